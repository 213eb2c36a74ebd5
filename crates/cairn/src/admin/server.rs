//! The running server's side: answers the command line over the Unix socket.

use std::{collections::HashMap, os::unix::net::UnixListener as StdListener, sync::Arc};

use bytes::Bytes;
use cairn_cluster::{Engine, EngineError};
use cairn_meta::{Clock, Command, IdentityNameRow, IdentityRow, MetaError, Refusal, Scope};
use cairn_proto::admin::{
    Bucket, CheckReport, CheckRequest, CreateBucketRequest, CreateKeyRequest, CreateKeyResponse, CreateSnapshotRequest,
    DeleteBucketRequest, DeleteBucketResponse, DropForgottenRequest, DropForgottenResponse, GetBucketRequest,
    GetServerRequest, GetStatusRequest, ListBucketsRequest, ListBucketsResponse, ListKeysRequest, ListKeysResponse,
    RemoveKeyRequest, RemoveKeyResponse, ServerInfo, SetBucketQuotaRequest, SetBucketSettingsRequest,
    SetKeyEnabledRequest, SetKeyEnabledResponse, Snapshot, Status as ServerStatus,
    admin_server::{Admin, AdminServer},
};
use tokio::{net::UnixListener, sync::Mutex};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, transport::Server};

use super::convert::{self, engine_status, meta_status};
use crate::secrets::{KeyPair, Sealer};

/// Rows of one page.
const PAGE: usize = 500;
/// Names of declared keys that are read at most.
const NAMES_MAX: usize = 10_000;
const DESCRIPTION_CHARS_MAX: usize = 200;
const PREFIX_BYTES_MAX: usize = 1024;
/// Calls of one connection that run at once; the command line makes one after the other.
const CALLS_MAX: usize = 8;

/// Tells how the server can be reached.
type Info = Box<dyn Fn() -> anyhow::Result<ServerInfo> + Send + Sync>;

/// The admin service.
pub(crate) struct AdminService {
    engine: Engine,
    sealer: Arc<Sealer>,
    clock: Arc<dyn Clock>,
    forget_keys: Box<dyn Fn() + Send + Sync>,
    info: Info,
    meta_folder: String,
    /// A check reads all rows and, with verification, all bytes: one is enough.
    checking: Mutex<()>,
}

impl AdminService {
    /// `forget_keys` makes the gateway read identities anew.
    pub(crate) fn new(
        engine: Engine,
        sealer: Arc<Sealer>,
        clock: Arc<dyn Clock>,
        forget_keys: Box<dyn Fn() + Send + Sync>,
        info: Info,
        meta_folder: String,
    ) -> Self {
        Self { engine, sealer, clock, forget_keys, info, meta_folder, checking: Mutex::new(()) }
    }

    async fn bucket(&self, name: &str) -> Result<Response<Bucket>, Status> {
        let row = self.engine.bucket(name).await.map_err(|error| bucket_status(name, &error))?;
        Ok(Response::new(convert::bucket(row)))
    }

    /// After an identity changed: no request that begins now is judged by what was known before.
    async fn change_identity(&self, access_key: &str, command: Command) -> Result<(), Status> {
        let done = self.engine.propose(command).await;
        (self.forget_keys)();
        done.map(drop).map_err(|error| key_status(access_key, &error))
    }
}

/// Serves the socket until `stop`; calls that run then finish.
pub(crate) async fn serve(service: AdminService, socket: StdListener, stop: CancellationToken) {
    let listener = match UnixListener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the admin socket cannot be served"),
    };
    let served = Server::builder()
        .concurrency_limit_per_connection(CALLS_MAX)
        .serve_with_incoming_shutdown(
            AdminServer::new(service),
            UnixListenerStream::new(listener),
            stop.cancelled_owned(),
        )
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the admin socket ended");
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn get_server(&self, _request: Request<GetServerRequest>) -> Result<Response<ServerInfo>, Status> {
        let info = (self.info)().map_err(|error| Status::internal(format!("{error:#}")))?;
        Ok(Response::new(info))
    }

    async fn create_bucket(&self, request: Request<CreateBucketRequest>) -> Result<Response<Bucket>, Status> {
        let CreateBucketRequest { name, settings, quota_bytes } = request.into_inner();
        let settings = convert::settings_wanted(settings)?;
        cairn_s3::uri::check_bucket_name(&name)
            .map_err(|error| Status::invalid_argument(format!("`{name}` is no bucket name: {}", error.message)))?;
        let made = self.engine.create_bucket(&name, settings, quota_bytes).await;
        made.map_err(|error| bucket_status(&name, &error))?;
        tracing::info!(bucket = name, cache = settings.cache, quota_bytes, "bucket created");
        self.bucket(&name).await
    }

    async fn delete_bucket(
        &self,
        request: Request<DeleteBucketRequest>,
    ) -> Result<Response<DeleteBucketResponse>, Status> {
        let name = request.into_inner().name;
        let deleted = self.engine.delete_bucket(&name).await;
        // Its access keys went with it, perhaps even where the answer did not come.
        (self.forget_keys)();
        deleted.map_err(|error| bucket_status(&name, &error))?;
        tracing::info!(bucket = name, "bucket removed, with the access keys limited to it");
        Ok(Response::new(DeleteBucketResponse {}))
    }

    async fn list_buckets(
        &self,
        request: Request<ListBucketsRequest>,
    ) -> Result<Response<ListBucketsResponse>, Status> {
        let after = Some(request.into_inner().after).filter(|after| !after.is_empty());
        let rows = self.engine.buckets("", after.as_deref(), PAGE).await.map_err(|error| engine_status(&error))?;
        let next = next_of(&rows, |row| row.name.clone());
        Ok(Response::new(ListBucketsResponse { buckets: rows.into_iter().map(convert::bucket).collect(), next }))
    }

    async fn get_bucket(&self, request: Request<GetBucketRequest>) -> Result<Response<Bucket>, Status> {
        self.bucket(&request.into_inner().name).await
    }

    async fn set_bucket_quota(&self, request: Request<SetBucketQuotaRequest>) -> Result<Response<Bucket>, Status> {
        let SetBucketQuotaRequest { name, quota_bytes } = request.into_inner();
        let set = self.engine.set_bucket_quota(&name, quota_bytes).await;
        set.map_err(|error| bucket_status(&name, &error))?;
        tracing::info!(bucket = name, quota_bytes, "quota set");
        self.bucket(&name).await
    }

    async fn set_bucket_settings(
        &self,
        request: Request<SetBucketSettingsRequest>,
    ) -> Result<Response<Bucket>, Status> {
        let SetBucketSettingsRequest { name, cache, profile, etag } = request.into_inner();
        let change = convert::settings_change(cache, profile.as_deref(), etag.as_deref())?;
        let set = self.engine.set_bucket_settings(&name, change).await;
        set.map_err(|error| bucket_status(&name, &error))?;
        tracing::info!(bucket = name, ?change, "settings changed");
        self.bucket(&name).await
    }

    async fn create_key(&self, request: Request<CreateKeyRequest>) -> Result<Response<CreateKeyResponse>, Status> {
        let wanted = request.into_inner();
        check_key_request(&wanted)?;
        self.bucket(&wanted.bucket).await?;
        let drawn = KeyPair::draw().map_err(|error| Status::internal(format!("{error:#}")))?;
        let sealed = self.sealer.seal(&drawn.secret).map_err(|error| Status::internal(error.to_string()))?;
        let identity = IdentityRow {
            access_key: drawn.access_key,
            sealed_secret: Bytes::from(sealed),
            scope: Scope::Bucket { bucket: wanted.bucket, prefix: wanted.prefix, write: wanted.write },
            enabled: true,
            created_ms: self.clock.now_ms(),
            description: wanted.description,
        };
        let key = convert::key(&identity, None);
        self.change_identity(&key.access_key, Command::PutIdentity { identity, must_be_new: true }).await?;
        tracing::info!(access_key = key.access_key, bucket = key.bucket, prefix = key.prefix, "access key created");
        let secret_key = drawn.secret.reveal().to_owned();
        Ok(Response::new(CreateKeyResponse { key: Some(key), secret_key }))
    }

    async fn list_keys(&self, request: Request<ListKeysRequest>) -> Result<Response<ListKeysResponse>, Status> {
        let after = Some(request.into_inner().after).filter(|after| !after.is_empty());
        let view = self.engine.meta().read().await.map_err(|error| meta_status(&error))?;
        let reading = tokio::task::spawn_blocking(move || {
            Ok((view.identities(after.as_deref(), PAGE)?, view.identity_names(None, NAMES_MAX)?))
        });
        let read: Result<(Vec<IdentityRow>, Vec<IdentityNameRow>), MetaError> =
            reading.await.map_err(|error| Status::internal(error.to_string()))?;
        let (rows, names) = read.map_err(|error| meta_status(&error))?;
        // Names that no configuration can give are the server's own.
        let declared = names.iter().filter(|row| !row.name.starts_with('@'));
        let names: HashMap<&str, &str> = declared.map(|row| (row.access_key.as_str(), row.name.as_str())).collect();
        let shown = |row: &IdentityRow| convert::key(row, names.get(row.access_key.as_str()).copied());
        let next = next_of(&rows, |row| row.access_key.clone());
        Ok(Response::new(ListKeysResponse { keys: rows.iter().map(shown).collect(), next }))
    }

    async fn set_key_enabled(
        &self,
        request: Request<SetKeyEnabledRequest>,
    ) -> Result<Response<SetKeyEnabledResponse>, Status> {
        let SetKeyEnabledRequest { access_key, enabled } = request.into_inner();
        let command = Command::SetIdentityEnabled { access_key: access_key.clone(), enabled };
        self.change_identity(&access_key, command).await?;
        tracing::info!(access_key, enabled, "access key switched");
        Ok(Response::new(SetKeyEnabledResponse {}))
    }

    async fn remove_key(&self, request: Request<RemoveKeyRequest>) -> Result<Response<RemoveKeyResponse>, Status> {
        let access_key = request.into_inner().access_key;
        let command = Command::RemoveIdentity { access_key: access_key.clone() };
        self.change_identity(&access_key, command).await?;
        tracing::info!(access_key, "access key removed");
        Ok(Response::new(RemoveKeyResponse {}))
    }

    async fn get_status(&self, _request: Request<GetStatusRequest>) -> Result<Response<ServerStatus>, Status> {
        let status = self.engine.status().await.map_err(|error| engine_status(&error))?;
        Ok(Response::new(convert::status(status, &self.meta_folder)))
    }

    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckReport>, Status> {
        let Ok(_one) = self.checking.try_lock() else {
            return Err(Status::failed_precondition("a check is running: wait for its end"));
        };
        let verify = request.into_inner().verify;
        let report = self.engine.check(verify).await.map_err(|error| engine_status(&error))?;
        Ok(Response::new(convert::report(report)))
    }

    async fn create_snapshot(&self, _request: Request<CreateSnapshotRequest>) -> Result<Response<Snapshot>, Status> {
        let written = self.engine.write_snapshot().await.map_err(|error| engine_status(&error))?;
        let disks = u32::try_from(written.disks).unwrap_or(u32::MAX);
        Ok(Response::new(Snapshot { index: written.snapshot.0, bytes: written.bytes, disks }))
    }

    async fn drop_forgotten(
        &self,
        _request: Request<DropForgottenRequest>,
    ) -> Result<Response<DropForgottenResponse>, Status> {
        self.engine.drop_forgotten().await.map_err(|error| engine_status(&error))?;
        tracing::warn!("what is newer than the recovered snapshot is given up: upkeep deletes it");
        Ok(Response::new(DropForgottenResponse {}))
    }
}

/// An error of a bucket, with its name and what to do.
fn bucket_status(name: &str, error: &EngineError) -> Status {
    match error {
        EngineError::NoSuchBucket => Status::not_found(format!(
            "no bucket `{name}`: `cairn bucket list` shows those there are, `cairn bucket create {name}` makes it"
        )),
        EngineError::BucketExists => Status::already_exists(format!(
            "bucket `{name}` exists: `cairn bucket create --if-missing` is content with it, `cairn bucket set` changes it"
        )),
        EngineError::BucketNotEmpty => Status::failed_precondition(format!(
            "bucket `{name}` is not empty: delete its objects first, as by `aws s3 rm --recursive s3://{name}`"
        )),
        other => engine_status(other),
    }
}

/// An error of an access key, with its name and what to do.
fn key_status(access_key: &str, error: &MetaError) -> Status {
    match error {
        MetaError::Refused(Refusal::NoSuchIdentity) => {
            Status::not_found(format!("no access key `{access_key}`: `cairn key list` shows those there are"))
        }
        MetaError::Refused(Refusal::LastRoot) => Status::failed_precondition(format!(
            "`{access_key}` is the last root key and stays: start the server with CAIRN_ROOT_ACCESS_KEY and \
             CAIRN_ROOT_SECRET_KEY to set another"
        )),
        other => meta_status(other),
    }
}

/// Where the next page begins, empty after the last one.
fn next_of<T>(rows: &[T], name: impl Fn(&T) -> String) -> String {
    if rows.len() < PAGE { String::new() } else { rows.last().map(name).unwrap_or_default() }
}

fn check_key_request(wanted: &CreateKeyRequest) -> Result<(), Status> {
    if wanted.prefix.len() > PREFIX_BYTES_MAX || wanted.prefix.contains('\0') {
        return Err(Status::invalid_argument(format!("a prefix has at most {PREFIX_BYTES_MAX} bytes and no NUL")));
    }
    let is_shown_badly = wanted.description.chars().any(char::is_control);
    if wanted.description.chars().count() > DESCRIPTION_CHARS_MAX || is_shown_badly {
        return Err(Status::invalid_argument(format!(
            "a description has at most {DESCRIPTION_CHARS_MAX} characters and no control characters"
        )));
    }
    Ok(())
}
