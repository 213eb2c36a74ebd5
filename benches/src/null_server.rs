//! A server in this process that stores nothing: what is measured against it is the harness' own cost. It keeps the
//! length and version of each key, and makes the bytes of an answer anew. Tests let it lie, refuse and stall, and note what
//! it was asked.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use cairn_s3::{Query, uri::decode_path};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    content::{Content, Outgoing},
    endpoint::{Endpoint, parse_url},
};

/// What the server does wrong.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// One bit of the middle byte of each body read is turned over.
    pub damaged: bool,
    /// Every so many requests one is refused with `SlowDown`; 0: none.
    pub slow_down_every: u64,
    /// Objects are answered without what was written last: the former version.
    pub stale: bool,
}

/// A request that was noted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// When its head was there.
    pub at: Instant,
    /// Method, path, query without what a presigned URL adds, `Range` and length.
    pub what: String,
}

/// A running null server; it ends when dropped.
pub struct NullServer {
    endpoint: Endpoint,
    shared: Arc<Shared>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
    _folder: TempDir,
}

/// What is known of an object.
#[derive(Debug, Clone, Copy)]
struct Known {
    version: u64,
    length: u64,
}

/// Path of an object, to what is known of it and of the version before.
#[derive(Debug, Default)]
struct Store {
    objects: BTreeMap<String, (Known, Option<Known>)>,
    /// Uploads begun: their ids.
    begun: u64,
    /// Upload id to the lengths of its parts.
    uploads: BTreeMap<String, BTreeMap<u32, u64>>,
}

struct Shared {
    seed: u64,
    faults: Faults,
    requests: AtomicU64,
    /// None: nothing is noted, so that load of any length takes no memory.
    noted: Option<Mutex<Vec<Noted>>>,
    store: Mutex<Store>,
}

impl NullServer {
    /// Starts one whose content follows from `seed`, on threads named `null`.
    ///
    /// # Errors
    /// If there is no port, thread or certificate.
    pub fn start(seed: u64, tls: bool, faults: Faults) -> Result<Self> {
        Self::begin(seed, tls, faults, None)
    }

    /// Starts one that does nothing wrong, and notes each request.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_noting(seed: u64) -> Result<Self> {
        Self::begin(seed, false, Faults::default(), Some(Mutex::default()))
    }

    fn begin(seed: u64, tls: bool, faults: Faults, noted: Option<Mutex<Vec<Noted>>>) -> Result<Self> {
        let folder = tempfile::tempdir().context("make a folder for the certificate")?;
        let ca = folder.path().join("ca.crt");
        let acceptor = if tls { Some(acceptor(&ca)?) } else { None };
        let listener = std::net::TcpListener::bind("127.0.0.1:0").context("find a port for the null server")?;
        listener.set_nonblocking(true).context("prepare the null server's port")?;
        let address = listener.local_addr().context("find the null server's port")?;
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared { seed, faults, requests: AtomicU64::new(0), noted, store: Mutex::default() });
        let (heard, serving) = (stop.clone(), Arc::clone(&shared));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("null")
            .enable_all()
            .build()
            .context("start the null server")?;
        // The runtime lives and ends in a thread of its own: it may not end where another one's tasks run.
        let thread = std::thread::Builder::new()
            .name("null".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    if let Ok(listener) = TcpListener::from_std(listener) {
                        accept(listener, acceptor, serving, heard).await;
                    }
                });
            })
            .context("start the null server")?;
        let endpoint = endpoint(address, tls.then_some(ca))?;
        Ok(Self { endpoint, shared, stop, thread: Some(thread), _folder: folder })
    }

    /// How it is reached.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What was noted so far, in the order in which it came.
    #[must_use]
    pub fn noted(&self) -> Vec<Noted> {
        let noted = self.shared.noted.as_ref();
        noted.map(|noted| noted.lock().unwrap_or_else(PoisonError::into_inner).clone()).unwrap_or_default()
    }
}

impl Drop for NullServer {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn endpoint(address: SocketAddr, ca: Option<PathBuf>) -> Result<Endpoint> {
    let scheme = if ca.is_some() { "https" } else { "http" };
    Ok(Endpoint {
        name: "null".to_owned(),
        url: parse_url(&format!("{scheme}://{address}")).map_err(anyhow::Error::msg)?,
        ca,
        access_key: "null".to_owned(),
        secret_key: "null".to_owned(),
        region: "us-east-1".to_owned(),
        pids: Vec::new(),
    })
}

/// Makes a certificate for the loopback address and writes it down for the client.
fn acceptor(ca: &std::path::Path) -> Result<TlsAcceptor> {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).context("make a certificate")?;
    std::fs::write(ca, made.cert.pem()).context("write the null server's certificate")?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder().with_no_client_auth();
    let config = config.with_single_cert(vec![made.cert.der().clone()], key).context("use the certificate")?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let tcp = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((tcp, _)) => tcp,
                // Out of descriptors: those that are open must end first.
                Err(_) => { tokio::time::sleep(Duration::from_millis(10)).await; continue }
            },
        };
        let _ = tcp.set_nodelay(true);
        let (tls, shared) = (tls.clone(), Arc::clone(&shared));
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let shared = Arc::clone(&shared);
                async move { shared.answer(request).await }
            });
            // A client that hangs up is no matter here.
            let _ = match tls {
                None => http1::Builder::new().serve_connection(TokioIo::new(tcp), service).await,
                Some(tls) => match tls.accept(tcp).await {
                    Ok(stream) => http1::Builder::new().serve_connection(TokioIo::new(stream), service).await,
                    Err(_) => Ok(()),
                },
            };
        });
    }
}

type Answer = Response<Outgoing>;

impl Shared {
    fn store(&self) -> std::sync::MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Answer, hyper::Error> {
        let (head, mut body) = request.into_parts();
        self.note(&head);
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            length += frame?.data_ref().map_or(0, |piece| piece.len() as u64);
        }
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        if self.faults.slow_down_every > 0 && number % self.faults.slow_down_every == self.faults.slow_down_every - 1 {
            return Ok(error(StatusCode::SERVICE_UNAVAILABLE, "SlowDown"));
        }
        let path = decode_path(head.uri.path()).unwrap_or_default();
        let query = Query::parse(head.uri.query().unwrap_or_default()).unwrap_or_default();
        let is_bucket = !path.trim_start_matches('/').contains('/');
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        Ok(match head.method {
            Method::GET if is_bucket => self.list(&path, &query),
            Method::PUT | Method::DELETE | Method::HEAD if is_bucket => Answer::new(Outgoing::empty()),
            Method::PUT if query.has("uploadId") => self.put_part(&query, length),
            Method::PUT => {
                let version = header("x-amz-meta-cachekey").and_then(|text| text.strip_prefix('v')?.parse().ok());
                self.put(path, Known { version: version.unwrap_or(0), length });
                etag(Outgoing::empty())
            }
            Method::POST if query.has("uploads") => self.create_upload(),
            Method::POST => self.complete(path, &query),
            Method::DELETE => {
                self.store().objects.remove(&path);
                status(StatusCode::NO_CONTENT)
            }
            Method::GET | Method::HEAD => self.get(&path, &head.method, header("range")),
            _ => error(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
        })
    }

    fn note(&self, head: &http::request::Parts) {
        let Some(noted) = &self.noted else { return };
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-");
        let query = head.uri.query().unwrap_or_default();
        // A signature has the time in it.
        let query: Vec<_> = query.split('&').filter(|pair| !pair.starts_with("X-Amz-")).collect();
        let (method, path, query) = (&head.method, head.uri.path(), query.join("&"));
        let what = format!("{method} {path}?{query} {} {}", header("range"), header("content-length"));
        let mut noted = noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.push(Noted { at: Instant::now(), what });
    }

    fn put(&self, path: String, known: Known) {
        let mut store = self.store();
        let former = store.objects.get(&path).map(|(known, _)| *known);
        store.objects.insert(path, (known, former));
    }

    fn create_upload(&self) -> Answer {
        let mut store = self.store();
        store.begun += 1;
        let upload = format!("upload-{}", store.begun);
        store.uploads.insert(upload.clone(), BTreeMap::new());
        Answer::new(Outgoing::given(format!("<R><UploadId>{upload}</UploadId></R>")))
    }

    fn put_part(&self, query: &Query, length: u64) -> Answer {
        let number = query.get("partNumber").and_then(|number| number.parse().ok());
        let mut store = self.store();
        let upload = query.get("uploadId").and_then(|upload| store.uploads.get_mut(upload));
        let (Some(number), Some(parts)) = (number, upload) else { return error(StatusCode::NOT_FOUND, "NoSuchUpload") };
        parts.insert(number, length);
        etag(Outgoing::empty())
    }

    fn complete(&self, path: String, query: &Query) -> Answer {
        let parts = query.get("uploadId").and_then(|upload| self.store().uploads.remove(upload));
        let Some(parts) = parts else { return error(StatusCode::NOT_FOUND, "NoSuchUpload") };
        self.put(path, Known { version: 0, length: parts.values().sum() });
        Answer::new(Outgoing::given("<R></R>"))
    }

    fn get(&self, path: &str, method: &Method, range: Option<&str>) -> Answer {
        let found = self.store().objects.get(path).copied();
        let Some((now, former)) = found else { return error(StatusCode::NOT_FOUND, "NoSuchKey") };
        let known = if self.faults.stale { former.unwrap_or(now) } else { now };
        let key = path.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key);
        let content = Content::new(self.seed, key, known.version, known.length);
        let bounds = range.and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let bounds = bounds.and_then(|(from, last)| Some((from.parse::<u64>().ok()?, last.parse::<u64>().ok()? + 1)));
        let (from, to) = bounds.unwrap_or((0, known.length));
        let body = Outgoing::range(content, from, to.min(known.length).max(from));
        let mut answer = etag(if self.faults.damaged { body.damaged() } else { body });
        if range.is_some() {
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            let text = format!("bytes {from}-{}/{}", to.saturating_sub(1), known.length);
            set(&mut answer, "content-range", &text);
        }
        if *method == Method::HEAD {
            set(&mut answer, "content-length", &known.length.to_string());
            *answer.body_mut() = Outgoing::empty();
        }
        answer
    }

    fn list(&self, path: &str, query: &Query) -> Answer {
        let bucket = format!("/{}/", path.trim_matches('/'));
        let prefix = format!("{bucket}{}", query.get("prefix").unwrap_or_default());
        let after = format!("{bucket}{}", query.get("start-after").unwrap_or_default());
        let most = query.get("max-keys").and_then(|most| most.parse().ok()).unwrap_or(1000);
        let store = self.store();
        let paths = store.objects.range(after.clone()..).map(|(path, _)| path);
        let keys = paths.filter(|path| path.starts_with(&prefix) && **path != after).take(most);
        let items: String =
            keys.map(|path| format!("<Contents><Key>{}</Key></Contents>", &path[bucket.len()..])).collect();
        Answer::new(Outgoing::given(format!("<R>{items}</R>")))
    }
}

fn status(status: StatusCode) -> Answer {
    let mut answer = Answer::new(Outgoing::empty());
    *answer.status_mut() = status;
    answer
}

fn error(code: StatusCode, name: &str) -> Answer {
    let mut answer = Answer::new(Outgoing::given(format!("<Error><Code>{name}</Code></Error>")));
    *answer.status_mut() = code;
    answer
}

fn etag(body: Outgoing) -> Answer {
    let mut answer = Answer::new(body);
    set(&mut answer, "etag", "\"0\"");
    answer
}

fn set(answer: &mut Answer, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}
