//! A gateway over disks and metadata in memory, and a client that signs.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_cluster::{ClusterKey, DiskFolder, DiskOpener, Engine, EngineOptions, FolderState, RandomIds};
use cairn_meta::{BucketSettings, Clock, Command, IdentityRow, MetaHandle, MetaOptions, Scope, SystemClock};
use cairn_proto::DiskId;
use cairn_s3::{
    RequestParts, dates,
    sigv4::{ChunkSigner, Signer},
};
use cairn_shard_store::{MemoryShardStore, ShardStore, ShardStoreError};
use http::{HeaderMap, HeaderName, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use time::OffsetDateTime;

use crate::{Gateway, GatewayOptions, Secret, SecretSealer, UnsealError};

pub(super) const ROOT: &str = "ROOTKEY";
pub(super) const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
const CLUSTER: u128 = 77;

/// Secrets as they are.
struct Unsealed;

impl SecretSealer for Unsealed {
    fn unseal(&self, sealed: &[u8]) -> Result<Secret, UnsealError> {
        String::from_utf8(sealed.to_vec()).map(Secret::new).map_err(|_| UnsealError)
    }
}

/// An hour before the machine's clock.
struct Ahead;

impl Clock for Ahead {
    fn now_ms(&self) -> u64 {
        SystemClock.now_ms() + 3_600_000
    }
}

#[derive(Default)]
pub(super) struct MemoryDisks(Mutex<HashMap<PathBuf, MemoryShardStore>>);

impl MemoryDisks {
    pub(super) fn all(&self) -> Vec<MemoryShardStore> {
        self.0.lock().unwrap().values().cloned().collect()
    }
}

#[async_trait]
impl DiskOpener for MemoryDisks {
    fn inspect(&self, folder: &Path) -> FolderState {
        match self.0.lock().unwrap().get(folder) {
            Some(store) => FolderState::Disk { id: store.id(), cluster_id: CLUSTER },
            None => FolderState::Empty,
        }
    }

    fn is_mount_point(&self, _: &Path) -> bool {
        false
    }

    async fn open(&self, folder: &Path, format_as: Option<DiskId>) -> Result<Arc<dyn ShardStore>, ShardStoreError> {
        let mut stores = self.0.lock().unwrap();
        if let Some(id) = format_as {
            stores.insert(folder.to_owned(), MemoryShardStore::new(id));
        }
        Ok(Arc::new(stores[folder].clone()))
    }
}

/// The gateway under test and what stands under it.
pub(super) struct World {
    pub(super) gateway: Gateway,
    pub(super) engine: Engine,
    pub(super) meta: MetaHandle,
    pub(super) disks: Arc<MemoryDisks>,
    pub(super) host: String,
    client: Client<HttpConnector, Full<Bytes>>,
    _folder: tempfile::TempDir,
}

/// An answer, read whole.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Reply {
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The text of the first element of a name.
    pub(super) fn element(&self, name: &str) -> &str {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let Some(start) = self.text().find(&open) else { return "" };
        let rest = &self.text()[start + open.len()..];
        &rest[..rest.find(&close).unwrap()]
    }

    /// Checks status and, where there is a document, the code in it.
    #[track_caller]
    pub(super) fn expect_error(&self, status: u16, code: &str) {
        assert_eq!((self.status.as_u16(), self.element("Code")), (status, code), "{}", self.text());
        assert_eq!(self.element("RequestId"), self.header("x-amz-request-id"));
    }

    #[track_caller]
    pub(super) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.body));
        assert_eq!(self.header("x-amz-request-id").len(), 16);
        self
    }
}

/// A request to be signed.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    /// Another host than the server's own.
    pub(super) host: Option<&'a str>,
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) headers: Vec<(&'a str, &'a str)>,
    pub(super) body: Bytes,
    pub(super) payload: &'a str,
}

pub(super) fn ask<'a>(method: &str, path: &'a str) -> Ask<'a> {
    let (method, headers, body) = (method.parse().unwrap(), Vec::new(), Bytes::new());
    Ask { method, host: None, path, query: "", headers, body, payload: UNSIGNED }
}

impl<'a> Ask<'a> {
    pub(super) fn host(self, host: &'a str) -> Self {
        Self { host: Some(host), ..self }
    }

    pub(super) fn query(self, query: &'a str) -> Self {
        Self { query, ..self }
    }

    pub(super) fn header(mut self, name: &'a str, value: &'a str) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn body(self, body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), ..self }
    }

    pub(super) fn payload(self, payload: &'a str) -> Self {
        Self { payload, ..self }
    }

    fn header_map(&self) -> HeaderMap {
        self.headers.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
    }
}

pub(super) fn now() -> OffsetDateTime {
    dates::from_unix_ms(i64::try_from(SystemClock.now_ms()).unwrap())
}

pub(super) fn signer(access_key: &str) -> Signer {
    Signer::new(access_key, format!("secret of {access_key}"), "eu-somewhere-1")
}

/// Bytes that repeat only late.
pub(super) fn bytes_of(length: usize) -> Bytes {
    (0..length).map(|i| u8::try_from((i * 31 + i / 251) % 256).unwrap()).collect::<Vec<_>>().into()
}

impl World {
    pub(super) async fn new() -> Self {
        Self::with(GatewayOptions::default()).await
    }

    pub(super) async fn with(options: GatewayOptions) -> Self {
        Self::with_engine(options, |_| {}).await
    }

    /// Over another engine.
    pub(super) async fn with_engine(options: GatewayOptions, change: impl FnOnce(&mut EngineOptions)) -> Self {
        let world = Self::bare(options, Arc::new(SystemClock), change).await;
        world.send(ROOT, ask("PUT", "/bucket")).await.expect(200);
        world
    }

    /// Over TLS the client here cannot follow: the bucket is made by hand.
    pub(super) async fn with_tls(options: GatewayOptions) -> Self {
        let world = Self::bare(options, Arc::new(SystemClock), |_| {}).await;
        world.engine.create_bucket("bucket", BucketSettings::default(), None).await.unwrap();
        world
    }

    /// The leader's clock goes before the gateway's.
    pub(super) async fn with_leader_ahead() -> Self {
        let world = Self::bare(GatewayOptions::default(), Arc::new(Ahead), |_| {}).await;
        world.send(ROOT, ask("PUT", "/bucket")).await.expect(200);
        world
    }

    async fn bare(
        options: GatewayOptions,
        leaders_clock: Arc<dyn Clock>,
        change: impl FnOnce(&mut EngineOptions),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let meta_options =
            MetaOptions { folder: folder.path().join("meta"), cluster_id: CLUSTER, voter: 1, memory: true };
        let meta = MetaHandle::start(meta_options, leaders_clock).await.unwrap();
        let disks = Arc::new(MemoryDisks::default());
        let mut engine_options = EngineOptions {
            cluster_id: CLUSTER,
            folders: (0..6).map(|number| DiskFolder { folder: PathBuf::from(format!("disk-{number}")) }).collect(),
            give_up_after: Duration::from_secs(1),
            upkeep: false,
            shutdown_within: Duration::from_secs(1),
            ..EngineOptions::default()
        };
        change(&mut engine_options);
        let opener: Arc<dyn DiskOpener> = disks.clone();
        let key = Arc::new(ClusterKey::new(1, &[5; ClusterKey::BYTES]));
        let ids = Arc::new(RandomIds::from_seed(7));
        let engine = Engine::start(engine_options, key, meta.clone(), opener, ids).await.unwrap();
        // What is made from here on is younger than the process by more than the milliseconds of the wall clock, by which
        // ranges of presigned URLs are judged, can tell.
        tokio::time::sleep(Duration::from_millis(10)).await;
        let options = GatewayOptions { listen: vec![([127, 0, 0, 1], 0).into()], ..options };
        let gateway = Gateway::start(options, engine.clone(), Arc::new(Unsealed), Arc::new(SystemClock)).await.unwrap();
        let host = gateway.local_addr().to_string();
        let client = Client::builder(TokioExecutor::new()).build_http();
        let world = Self { gateway, engine, meta, disks, host, client, _folder: folder };
        world.add_key(ROOT, Scope::Root).await;
        world
    }

    pub(super) async fn add_key(&self, access_key: &str, scope: Scope) {
        let identity = IdentityRow {
            access_key: access_key.to_owned(),
            sealed_secret: Bytes::from(format!("secret of {access_key}")),
            scope,
            enabled: true,
            created_ms: 0,
            description: String::new(),
        };
        self.meta.propose(Command::PutIdentity { identity, must_be_new: true }).await.unwrap();
        self.gateway.identities().invalidate();
    }

    /// Signs by header and sends.
    pub(super) async fn send(&self, access_key: &str, ask: Ask<'_>) -> Reply {
        let headers = self.sign(access_key, &ask);
        self.send_raw(&ask, headers, ask.query).await
    }

    pub(super) fn sign(&self, access_key: &str, ask: &Ask<'_>) -> HeaderMap {
        self.sign_streaming(access_key, ask).0
    }

    /// With what signs the chunks of the body.
    pub(super) fn sign_streaming(&self, access_key: &str, ask: &Ask<'_>) -> (HeaderMap, ChunkSigner) {
        let headers = ask.header_map();
        signer(access_key).sign(&self.parts(ask, &headers), ask.payload, now()).unwrap()
    }

    fn parts<'a>(&'a self, ask: &'a Ask<'_>, headers: &'a HeaderMap) -> RequestParts<'a> {
        let host = ask.host.unwrap_or(&self.host);
        RequestParts { method: &ask.method, host, path: ask.path, query: ask.query, headers }
    }

    /// Signs by query and sends with further headers that are not signed.
    pub(super) async fn send_presigned(&self, access_key: &str, ask: Ask<'_>, unsigned: &[(&str, &str)]) -> Reply {
        let mut headers = ask.header_map();
        let query = signer(access_key).presign(&self.parts(&ask, &headers), 3600, now()).unwrap();
        headers.extend(unsigned.iter().map(|(name, value)| {
            (Some(name.parse::<HeaderName>().unwrap()), value.parse::<http::HeaderValue>().unwrap())
        }));
        self.send_raw(&ask, headers, &query).await
    }

    pub(super) async fn send_raw(&self, ask: &Ask<'_>, headers: HeaderMap, query: &str) -> Reply {
        let mark = if query.is_empty() { "" } else { "?" };
        let mut request = Request::builder()
            .method(ask.method.clone())
            .uri(format!("http://{}{}{mark}{query}", self.host, ask.path))
            .body(Full::new(ask.body.clone()))
            .unwrap();
        request.headers_mut().extend(headers);
        // As S3's clients do, also where there is no body.
        if ask.method == Method::PUT && !request.headers().contains_key("content-length") {
            request.headers_mut().insert("content-length", ask.body.len().into());
        }
        if let Some(host) = ask.host {
            request.headers_mut().insert("host", host.parse().unwrap());
        }
        let answer = self.client.request(request).await.unwrap();
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Reply { status: parts.status, headers: parts.headers, body }
    }

    pub(super) async fn put(&self, path: &str, body: impl Into<Bytes>) -> Reply {
        self.send(ROOT, ask("PUT", path).body(body)).await.expect(200)
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.send(ROOT, ask("GET", path)).await
    }
}
