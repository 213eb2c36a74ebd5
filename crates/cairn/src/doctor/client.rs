//! Signed requests of S3, one connection each.

use std::{net::SocketAddr, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use cairn_meta::Clock;
use cairn_s3::{
    RequestParts,
    dates::from_unix_ms,
    sigv4::Signer,
    uri::aws_encode,
    xml::{XML_BODY_BYTES_MAX, parse_document},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use http_body_util::Full;

use super::{network::send, report::Trouble, target::Target};
use crate::http_client::{Address, Answer};

/// As the runner asks it: the job's timeout.
const EXPIRES_S: u64 = 3600;

/// Speaks S3 to the target.
pub(super) struct S3Client<'a> {
    pub(super) target: &'a Target,
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) region: String,
    pub(super) clock: Arc<dyn Clock>,
}

/// A request.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// None: the bucket itself.
    pub(super) key: Option<&'a str>,
    pub(super) query: &'a str,
    /// Headers that are signed.
    pub(super) signed: &'a [(&'static str, &'a str)],
    /// Headers that are not.
    pub(super) unsigned: &'a [(&'static str, &'a str)],
    pub(super) body: Bytes,
}

impl<'a> Call<'a> {
    /// A request for a key without body.
    pub(super) const fn of(method: Method, key: &'a str) -> Self {
        Self { method, key: Some(key), query: "", signed: &[], unsigned: &[], body: Bytes::new() }
    }
}

/// A refusal as S3 words it. A HEAD has a status alone.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) message: String,
}

impl Refusal {
    /// For people.
    pub(super) fn shown(&self) -> String {
        match (self.code.as_str(), self.message.as_str()) {
            ("", _) => format!("HTTP {}", self.status),
            (code, "") => format!("{code} (HTTP {})", self.status),
            (code, message) => format!("{code} (HTTP {}): {message}", self.status),
        }
    }
}

/// What an answer refuses; none if it is a success.
pub(super) fn refusal_of(answer: &Answer) -> Option<Refusal> {
    if answer.status.is_success() {
        return None;
    }
    let root = parse_document(&answer.body, XML_BODY_BYTES_MAX).unwrap_or_default();
    let text = |name: &str| {
        let child = root.children.iter().find(|child| child.name == name);
        child.map(|child| child.text.chars().take(300).collect()).unwrap_or_default()
    };
    Some(Refusal { status: answer.status.as_u16(), code: text("Code"), message: text("Message") })
}

impl S3Client<'_> {
    /// Sends a request that is signed by header.
    pub(super) async fn by_header(&self, call: Call<'_>) -> Result<Answer, Trouble> {
        let address = self.target.request_address();
        let path = self.path(call.key);
        let headers = headers_of(call.signed)?;
        let authority = address.authority();
        let parts = request_parts(&call, &authority, &path, &headers);
        let hash = hex::encode(digest(&SHA256, &call.body));
        let (mut headers, _) = self.signer().sign(&parts, &hash, self.now()).map_err(|error| unsendable(&error))?;
        headers.extend(headers_of(call.unsigned)?);
        self.send(&address, call.method, &path, call.query, headers, call.body).await
    }

    /// Sends a request by a presigned URL, as the runner's helper does.
    pub(super) async fn presigned(&self, call: Call<'_>) -> Result<Answer, Trouble> {
        let address = self.target.request_address();
        let path = self.path(call.key);
        let mut headers = headers_of(call.signed)?;
        let authority = address.authority();
        let parts = request_parts(&call, &authority, &path, &headers);
        let query = self.signer().presign(&parts, EXPIRES_S, self.now()).map_err(|error| unsendable(&error))?;
        headers.extend(headers_of(call.unsigned)?);
        self.send(&address, call.method, &path, &query, headers, call.body).await
    }

    async fn send(
        &self,
        address: &Address,
        method: Method,
        path: &str,
        query: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, Trouble> {
        let uri = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
        let mut request =
            Request::builder().method(method).uri(uri).body(Full::new(body)).map_err(|error| unsendable(&error))?;
        *request.headers_mut() = headers;
        let host = HeaderValue::from_str(&address.authority()).map_err(|error| unsendable(&error))?;
        request.headers_mut().insert(header::HOST, host);
        request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static("cairn-doctor"));
        send(address, &self.addresses, &self.target.roots, request).await
    }

    fn signer(&self) -> Signer {
        let key = &self.target.key;
        Signer::new(key.access_key.as_str(), key.secret.reveal(), self.region.as_str())
    }

    fn now(&self) -> time::OffsetDateTime {
        from_unix_ms(i64::try_from(self.clock.now_ms()).unwrap_or(i64::MAX))
    }

    fn path(&self, key: Option<&str>) -> String {
        let bucket = if self.target.path_style { format!("/{}", self.target.bucket) } else { String::new() };
        match key {
            Some(key) => format!("{bucket}/{}", aws_encode(key.as_bytes(), true)),
            None if bucket.is_empty() => "/".to_owned(),
            None => bucket,
        }
    }
}

fn request_parts<'a>(call: &'a Call<'_>, host: &'a str, path: &'a str, headers: &'a HeaderMap) -> RequestParts<'a> {
    RequestParts { method: &call.method, host, path, query: call.query, headers }
}

fn headers_of(pairs: &[(&'static str, &str)]) -> Result<HeaderMap, Trouble> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers
            .insert(HeaderName::from_static(name), HeaderValue::from_str(value).map_err(|error| unsendable(&error))?);
    }
    Ok(headers)
}

fn unsendable(error: &dyn std::fmt::Display) -> Trouble {
    Trouble::new(
        format!("the request cannot be sent: {error}"),
        "check access key, bucket and prefix for odd characters",
    )
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    #[test]
    fn refusals_are_read_from_their_xml() {
        let refusal = |status: u16, body: &'static str| {
            let status = StatusCode::from_u16(status).unwrap();
            refusal_of(&Answer { status, headers: HeaderMap::new(), body: Bytes::from_static(body.as_bytes()) })
        };
        assert_eq!(refusal(206, ""), None);
        let denied = refusal(403, "<Error><Code>AccessDenied</Code><Message>a &lt; b</Message></Error>").unwrap();
        assert_eq!(denied.shown(), "AccessDenied (HTTP 403): a < b");
        assert_eq!(refusal(404, "").unwrap().shown(), "HTTP 404");
        assert_eq!(refusal(502, "<html><body>Bad").unwrap().shown(), "HTTP 502");
    }
}
