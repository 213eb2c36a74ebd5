//! An API server of Kubernetes as far as Secrets and ConfigMaps of one namespace go: TLS, bearer tokens, RBAC by verb
//! and name, server-side apply with owners of fields, and the `Status` objects of its refusals.
//!
//! Its rules are those of `apiserver/pkg/endpoints/handlers/patch.go`: an apply is authorized as `patch`, and where the
//! object is missing as `create` with its name; it needs a field manager; it conflicts with other owners unless forced.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivateKeyDer};
use serde_json::{Value, json};

const NAMESPACE: &str = "cairn-test";

/// An object with the owners of its data.
#[derive(Clone)]
struct Object {
    value: Value,
    owners: BTreeMap<String, String>,
}

#[derive(Default)]
struct State {
    token: String,
    /// Verb, resource and name that are allowed.
    allowed: BTreeSet<(String, String, String)>,
    objects: BTreeMap<(String, String), Object>,
    version: u64,
    /// Statuses that the next requests get, whatever they ask.
    faults: Vec<u16>,
    /// Method, resource, name and status of each request.
    seen: Vec<(String, String, String, u16)>,
}

/// The server; its thread ends with the process.
pub(crate) struct KubeApi {
    address: SocketAddr,
    account: PathBuf,
    state: Arc<Mutex<State>>,
}

impl KubeApi {
    /// Starts one, with a service account of its own in `folder`, that allows all verbs on these Secrets and
    /// ConfigMaps.
    pub(crate) fn start(folder: &Path, secrets: &[&str], config_maps: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let api = Self::prepare(folder, listener.local_addr().unwrap());
        for (resource, names) in [("secrets", secrets), ("configmaps", config_maps)] {
            for (name, verb) in names.iter().flat_map(|name| ["get", "patch", "create"].map(|verb| (name, verb))) {
                api.allow(verb, resource, name);
            }
        }
        api.listen(listener);
        api
    }

    fn prepare(folder: &Path, address: SocketAddr) -> Self {
        let api = Self { address, account: folder.join("account"), state: Arc::default() };
        fs::create_dir_all(&api.account).unwrap();
        fs::write(api.account.join("namespace"), NAMESPACE).unwrap();
        api.rotate_token("first-token");
        api
    }

    fn listen(&self, listener: TcpListener) {
        let issued = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        fs::write(self.account.join("ca.crt"), issued.cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![issued.cert.der().clone()], key)
            .unwrap();
        let (config, state) = (Arc::new(config), Arc::clone(&self.state));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, state) = (Arc::clone(&config), Arc::clone(&state));
                std::thread::spawn(move || serve(stream, config, &state));
            }
        });
    }

    /// What the store has to be told to find it.
    pub(crate) fn environment(&self) -> [(&'static str, String); 2] {
        [
            ("CAIRN_KUBERNETES_API", format!("https://{}", self.address)),
            ("CAIRN_KUBERNETES_ACCOUNT", self.account.display().to_string()),
        ]
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Allows a verb.
    pub(crate) fn allow(&self, verb: &str, resource: &str, name: &str) {
        self.lock().allowed.insert((verb.to_owned(), resource.to_owned(), name.to_owned()));
    }

    /// Forbids a verb.
    pub(crate) fn forbid(&self, verb: &str, resource: &str, name: &str) {
        self.lock().allowed.remove(&(verb.to_owned(), resource.to_owned(), name.to_owned()));
    }

    /// The next requests fail with these.
    pub(crate) fn fail(&self, statuses: &[u16]) {
        self.lock().faults = statuses.to_vec();
    }

    /// Gives the account another token.
    pub(crate) fn rotate_token(&self, token: &str) {
        token.clone_into(&mut self.lock().token);
        fs::write(self.account.join("token"), format!("{token}\n")).unwrap();
    }

    /// The decoded pair of a Secret.
    pub(crate) fn key(&self, name: &str) -> Option<(String, String)> {
        let state = self.lock();
        let data = &state.objects.get(&("secrets".to_owned(), name.to_owned()))?.value["data"];
        let text = |key: &str| String::from_utf8(STANDARD.decode(data[key].as_str().unwrap()).unwrap()).unwrap();
        Some((text("accesskey"), text("secretkey")))
    }

    /// An object.
    pub(crate) fn object(&self, resource: &str, name: &str) -> Option<Value> {
        Some(self.lock().objects.get(&(resource.to_owned(), name.to_owned()))?.value.clone())
    }

    /// An operator writes a Secret of his own.
    pub(crate) fn put_key(&self, name: &str, access_key: &str, secret_key: &str, more: &Value) {
        let mut value = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": { "name": name },
            "data": { "accesskey": STANDARD.encode(access_key), "secretkey": STANDARD.encode(secret_key) },
        });
        for (key, more) in more.as_object().into_iter().flatten() {
            value[key] = more.clone();
        }
        let owners = ["accesskey", "secretkey"].map(|key| (key.to_owned(), "operator".to_owned())).into();
        self.lock().objects.insert(("secrets".to_owned(), name.to_owned()), Object { value, owners });
    }

    /// Deletes an object.
    pub(crate) fn delete(&self, resource: &str, name: &str) {
        self.lock().objects.remove(&(resource.to_owned(), name.to_owned()));
    }

    /// How many requests to read there were since they were taken.
    pub(crate) fn gets(&self) -> usize {
        self.lock().seen.iter().filter(|(method, ..)| method == "GET").count()
    }

    /// The requests since the last call: method, resource, name and status.
    pub(crate) fn take_seen(&self) -> Vec<(String, String, String, u16)> {
        std::mem::take(&mut self.lock().seen)
    }
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>, state: &Mutex<State>) {
    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    let Some((head, body)) = read_request(&mut stream) else { return };
    let (status, answer) = state.lock().unwrap().answer(&head, &body);
    let answer = answer.to_string();
    let text = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{answer}",
        answer.len()
    );
    // A client that left is no matter.
    let _ = stream.write_all(text.as_bytes()).and_then(|()| stream.flush());
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

fn read_request(stream: &mut impl Read) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let length = header(&head, "content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
            let mut body = bytes.split_off(end + 4);
            while body.len() < length {
                let read = stream.read(&mut piece).ok().filter(|read| *read > 0)?;
                body.extend_from_slice(&piece[..read]);
            }
            return Some((head, body));
        }
        let read = stream.read(&mut piece).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&piece[..read]);
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}

fn status(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "code": code,
    });
    (code, body)
}

impl State {
    fn answer(&mut self, head: &str, body: &[u8]) -> (u16, Value) {
        let mut words = head.lines().next().unwrap().split(' ');
        let (method, target) = (words.next().unwrap().to_owned(), words.next().unwrap());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let parts: Vec<&str> = path.split('/').collect();
        let [_, "api", "v1", "namespaces", namespace, resource, name] = parts[..] else {
            return status(404, "NotFound", "the server could not find the requested resource");
        };
        let (code, value) = if let Some(fault) = (!self.faults.is_empty()).then(|| self.faults.remove(0)) {
            status(fault, "Fault", "etcdserver: request timed out")
        } else if header(head, "authorization").and_then(|text| text.strip_prefix("Bearer "))
            != Some(self.token.as_str())
        {
            status(401, "Unauthorized", "Unauthorized")
        } else if namespace != NAMESPACE {
            status(403, "Forbidden", &format!("{resource} \"{name}\" is forbidden: cannot act in {namespace}"))
        } else if method == "GET" {
            self.get(resource, name)
        } else {
            self.patch(resource, name, query, head, body)
        };
        self.seen.push((method, resource.to_owned(), name.to_owned(), code));
        (code, value)
    }

    fn may(&self, verb: &str, resource: &str, name: &str) -> Result<(), (u16, Value)> {
        if self.allowed.contains(&(verb.to_owned(), resource.to_owned(), name.to_owned())) {
            return Ok(());
        }
        Err(status(
            403,
            "Forbidden",
            &format!(
                "{resource} \"{name}\" is forbidden: User \"system:serviceaccount:{NAMESPACE}:cairn\" cannot {verb} \
                 resource \"{resource}\" in API group \"\" in the namespace \"{NAMESPACE}\""
            ),
        ))
    }

    fn get(&self, resource: &str, name: &str) -> (u16, Value) {
        if let Err(refused) = self.may("get", resource, name) {
            return refused;
        }
        match self.objects.get(&(resource.to_owned(), name.to_owned())) {
            Some(object) => (200, object.value.clone()),
            None => status(404, "NotFound", &format!("{resource} \"{name}\" not found")),
        }
    }

    fn patch(&mut self, resource: &str, name: &str, query: &str, head: &str, body: &[u8]) -> (u16, Value) {
        let id = (resource.to_owned(), name.to_owned());
        let before = self.objects.get(&id).cloned();
        if let Err(refused) = self.may("patch", resource, name) {
            return refused;
        }
        if header(head, "content-type") != Some("application/apply-patch+yaml") {
            return status(415, "UnsupportedMediaType", "the body of the request was in an unknown format");
        }
        let parameter =
            |name: &str| query.split('&').filter_map(|pair| pair.split_once('=')).find(|pair| pair.0 == name);
        let Some((_, manager)) = parameter("fieldManager") else {
            return status(422, "Invalid", "fieldManager: Required value: is required for apply patch");
        };
        let Ok(patch) = serde_json::from_slice::<Value>(body) else {
            return status(400, "BadRequest", "error decoding YAML");
        };
        let kind = if resource == "secrets" { "Secret" } else { "ConfigMap" };
        if patch["apiVersion"] != "v1" || patch["kind"] != kind || patch["metadata"]["name"] != name {
            return status(400, "BadRequest", "the name of the object does not match the name on the URL");
        }
        let data = patch["data"].as_object().cloned().unwrap_or_default();
        let encoded = |value: &Value| value.as_str().is_some_and(|text| STANDARD.decode(text).is_ok());
        if resource == "secrets" && !data.values().all(encoded) {
            return status(400, "BadRequest", "illegal base64 data at input byte 0");
        }
        if before.is_none()
            && let Err(refused) = self.may("create", resource, name)
        {
            return refused;
        }
        let is_new = before.is_none();
        let mut object = before.unwrap_or_else(|| Object {
            value: json!({ "apiVersion": "v1", "kind": kind, "metadata": { "name": name }, "data": {} }),
            owners: BTreeMap::new(),
        });
        let forced = parameter("force").is_some_and(|pair| pair.1 == "true");
        let is_others = |key: &String, value: &Value| {
            object.owners.get(key).is_some_and(|owner| owner != manager) && object.value["data"][key] != *value
        };
        if let Some((key, _)) = data.iter().find(|(key, value)| is_others(key, value)).filter(|_| !forced) {
            return status(
                409,
                "Conflict",
                &format!("Apply failed with 1 conflict: conflict with \"operator\": .data.{key}"),
            );
        }
        let mut changed = object.value.clone();
        for (key, owner) in &object.owners {
            if owner == manager && !data.contains_key(key) {
                changed["data"].as_object_mut().unwrap().remove(key);
            }
        }
        for (key, value) in &data {
            changed["data"][key] = value.clone();
            object.owners.insert(key.clone(), manager.to_owned());
        }
        for (key, value) in patch["metadata"]["labels"].as_object().into_iter().flatten() {
            changed["metadata"]["labels"][key] = value.clone();
        }
        if changed["immutable"] == true && changed["data"] != object.value["data"] {
            return status(
                422,
                "Invalid",
                &format!("{kind} \"{name}\" is invalid: data: Forbidden: field is immutable when `immutable` is set"),
            );
        }
        if changed != object.value {
            self.version += 1;
            changed["metadata"]["resourceVersion"] = json!(self.version.to_string());
        }
        object.value = changed.clone();
        self.objects.insert(id, object);
        (if is_new { 201 } else { 200 }, changed)
    }
}
