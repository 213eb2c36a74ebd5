//! Reads and applies objects, as the pod's service account.
//!
//! Token, CA and namespace are read for each request: the token is renewed every hour or so, by a swapped link.

use std::{fs, path::Path};

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Full;
use serde_json::Value;

use super::{
    error::{KubernetesError, refusal},
    object::{Kind, ca_object, key_object},
};
use crate::{
    config::KubernetesPlace,
    http_client::{Address, Answer, client_config, connect, exchange, reason, resolve, roots_of_file, tls_handshake},
    secrets::KeyPair,
};

/// Who owns the fields that are applied.
const MANAGER: &str = "cairn";

/// Speaks to the API server.
#[derive(Clone, Debug)]
pub(crate) struct KubernetesClient {
    place: KubernetesPlace,
}

/// The service account at this moment.
struct Account {
    token: String,
    namespace: String,
}

impl KubernetesClient {
    /// A client; nothing is looked at yet.
    pub(crate) const fn new(place: KubernetesPlace) -> Self {
        Self { place }
    }

    /// An object; none if it is not there.
    pub(crate) async fn get(&self, kind: Kind, name: &str) -> Result<Option<Value>, KubernetesError> {
        let answer = self.ask(Method::GET, kind, name, None).await?;
        match answer.status.as_u16() {
            200 => serde_json::from_slice(&answer.body).map(Some).map_err(|_| no_object(&answer)),
            404 => Ok(None),
            _ => Err(refusal(&answer, "get", kind, name, &[])),
        }
    }

    /// Writes the pair into a Secret.
    pub(crate) async fn apply_key(&self, name: &str, key: &KeyPair) -> Result<(), KubernetesError> {
        let object = key_object(name, key);
        let encoded = object["data"]["secretkey"].as_str().unwrap_or_default();
        self.apply(Kind::Secret, name, &object, &[key.secret.reveal(), encoded]).await
    }

    /// Writes the CA into a ConfigMap.
    pub(crate) async fn apply_ca(&self, name: &str, pem: &str) -> Result<(), KubernetesError> {
        self.apply(Kind::ConfigMap, name, &ca_object(name, pem), &[]).await
    }

    async fn apply(&self, kind: Kind, name: &str, object: &Value, secrets: &[&str]) -> Result<(), KubernetesError> {
        let answer = self.ask(Method::PATCH, kind, name, Some(object)).await?;
        match answer.status.as_u16() {
            200 | 201 => Ok(()),
            _ => Err(refusal(&answer, "patch", kind, name, secrets)),
        }
    }

    async fn ask(
        &self,
        method: Method,
        kind: Kind,
        name: &str,
        object: Option<&Value>,
    ) -> Result<Answer, KubernetesError> {
        let server = self.address()?;
        let account = self.account()?;
        let resource = kind.resource();
        let path = format!("/api/v1/namespaces/{}/{resource}/{name}", account.namespace);
        let query = if object.is_some() { format!("?fieldManager={MANAGER}&force=true") } else { String::new() };
        // JSON is YAML.
        let body = object.map_or_else(Bytes::new, |object| Bytes::from(object.to_string()));
        let request = Request::builder()
            .method(method)
            .uri(format!("{path}{query}"))
            .header(header::HOST, server.authority())
            .header(header::AUTHORIZATION, format!("Bearer {}", account.token))
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/apply-patch+yaml")
            .header(header::USER_AGENT, concat!("cairn/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            .map_err(|error| KubernetesError::Account(error.to_string()))?;
        self.send(&server, request).await
    }

    async fn send(&self, server: &Address, request: Request<Full<Bytes>>) -> Result<Answer, KubernetesError> {
        let unreachable =
            |error: std::io::Error| KubernetesError::Unreachable { server: server.to_string(), why: reason(&error) };
        let addresses = resolve(&server.host, server.port).await.map_err(unreachable)?;
        let (stream, _) = connect(&addresses).await.map_err(unreachable)?;
        if !server.tls {
            return Ok(exchange(stream, request).await?);
        }
        let roots = roots_of_file(&self.place.account.join("ca.crt"))
            .map_err(|error| KubernetesError::Account(format!("{error:#}")))?;
        let stream = tls_handshake(stream, client_config(&roots), &server.host).await.map_err(unreachable)?;
        Ok(exchange(stream, request).await?)
    }

    fn address(&self) -> Result<Address, KubernetesError> {
        let url = self.place.api.as_deref().ok_or(KubernetesError::NoServer)?;
        Address::parse(url).map_err(KubernetesError::Account)
    }

    fn account(&self) -> Result<Account, KubernetesError> {
        let read = |name: &str| read_word(&self.place.account.join(name));
        Ok(Account { token: read("token")?, namespace: read("namespace")? })
    }
}

/// A file with one word.
fn read_word(path: &Path) -> Result<String, KubernetesError> {
    let text = fs::read_to_string(path)
        .map_err(|error| KubernetesError::Account(format!("read {}: {error}", path.display())))?;
    let word = text.trim();
    if word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(KubernetesError::Account(format!("{} holds nothing that can be used", path.display())));
    }
    Ok(word.to_owned())
}

fn no_object(answer: &Answer) -> KubernetesError {
    KubernetesError::Server { status: answer.status.as_u16(), message: "its answer is no JSON".to_owned() }
}
