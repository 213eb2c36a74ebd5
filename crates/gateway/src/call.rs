//! One authenticated request on its way through an operation, and what all operations share.

use std::{future::Future, sync::Arc};

use cairn_cluster::{Engine, EngineError};
use cairn_meta::{BucketRow, BucketSettings, Clock, EtagKind, ObjectRow};
use cairn_s3::{PayloadKind, Query, S3Error, S3ErrorCode, Target, dates, parse_target, sigv4::ChunkSigner, uri};
use http::HeaderMap;
use time::OffsetDateTime;

use crate::{
    admission::{Admission, Slot},
    auth::PresignedUrl,
    authorize::{Action, authorize},
    body::{HASHED_BYTES, Hasher, Inbound, Payload, PayloadOptions},
    error::answer_for,
    identities::{Identities, Identity},
    metrics::Metrics,
    options::GatewayOptions,
    server::HTTP2_SEND_BUFFER_BYTES,
    tasks::Tasks,
    tls::TlsMode,
};

/// What every request needs.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) options: Arc<GatewayOptions>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) identities: Identities,
    pub(crate) admission: Arc<Admission>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tasks: Tasks,
    pub(crate) hasher: Hasher,
}

impl Shared {
    /// The time, as clients see it.
    pub(crate) fn now(&self) -> OffsetDateTime {
        moment(self.clock.now_ms())
    }

    /// A row's time, never ahead of ours: a runner that sees the future keeps its old cache.
    pub(crate) fn modified(&self, modified_ms: u64) -> OffsetDateTime {
        moment(modified_ms.min(self.clock.now_ms()))
    }
}

/// A moment from milliseconds since 1970.
pub(crate) fn moment(ms: u64) -> OffsetDateTime {
    dates::from_unix_ms(i64::try_from(ms).unwrap_or(i64::MAX))
}

/// What the connection holds of a body on its way out: HTTP/2's buffer, and two pieces on the way to it.
const SENDING_BYTES: u64 = HTTP2_SEND_BUFFER_BYTES as u64 + 2 * (256 << 10);

/// An authenticated request.
pub(crate) struct Call {
    pub(crate) shared: Arc<Shared>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) target: Target,
    pub(crate) query: Query,
    /// The headers that take effect.
    pub(crate) headers: HeaderMap,
    pub(crate) host: String,
    pub(crate) payload: PayloadKind,
    /// The URL, if the request was signed by its query.
    pub(crate) presigned: Option<PresignedUrl>,
    /// What admission gave it.
    pub(crate) slot: Option<Arc<Slot>>,
    pub(crate) chunk_signer: Option<ChunkSigner>,
    pub(crate) inbound: Option<Inbound>,
}

impl Call {
    /// The bucket; operations that have none do not ask.
    pub(crate) fn bucket_name(&self) -> &str {
        self.target.bucket().unwrap_or_default()
    }

    /// The key; operations that have none do not ask.
    pub(crate) fn key(&self) -> &str {
        self.target.key().unwrap_or_default()
    }

    /// Where the object is, as the client addressed it: the bucket is named once, in the path or in the host.
    pub(crate) fn object_url(&self) -> String {
        let options = &self.shared.options;
        let scheme = if options.tls == TlsMode::Off { "http" } else { "https" };
        let key = uri::aws_encode(self.key().as_bytes(), true);
        if names_bucket(&self.host, &options.domains) {
            format!("{scheme}://{}/{key}", self.host)
        } else {
            format!("{scheme}://{}/{}/{key}", self.host, self.bucket_name())
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.shared.engine
    }

    /// May the sender do that?
    pub(crate) fn authorize(&self, action: Action<'_>) -> Result<(), S3Error> {
        authorize(&self.identity.scope, action)
    }

    /// May the sender read this key?
    pub(crate) fn authorize_read(&self) -> Result<(), S3Error> {
        self.authorize(Action::Read { bucket: self.bucket_name(), key: self.key() })
    }

    /// May the sender write this key?
    pub(crate) fn authorize_write(&self) -> Result<(), S3Error> {
        self.authorize(Action::Write { bucket: self.bucket_name(), key: self.key() })
    }

    /// The bucket's row.
    pub(crate) async fn bucket(&self) -> Result<BucketRow, S3Error> {
        find_bucket(self.engine(), self.bucket_name()).await
    }

    /// Takes memory for reading so many bytes of an object and sending them.
    pub(crate) fn hold_read(&self, row: &ObjectRow, bytes: u64) -> Result<(), S3Error> {
        self.hold(self.engine().held_by_read(row, bytes).saturating_add(bytes.min(SENDING_BYTES)))
    }

    /// Takes memory for writing so many bytes to a bucket, beside what admission took for receiving them.
    pub(crate) fn hold_write(&self, to: BucketSettings, class: Option<&str>, bytes: u64) -> Result<(), S3Error> {
        self.hold(self.engine().held_by_write(to, class, bytes))
    }

    /// Takes memory for a copy that moves so many bytes, and hashes them.
    pub(crate) fn hold_copy(
        &self,
        from: &ObjectRow,
        to: BucketSettings,
        class: Option<&str>,
        bytes: u64,
    ) -> Result<(), S3Error> {
        let engine = self.engine();
        let held = engine.held_by_read(from, bytes).saturating_add(engine.held_by_write(to, class, bytes));
        self.hold(held.saturating_add(bytes.min(HASHED_BYTES)))
    }

    fn hold(&self, bytes: u64) -> Result<(), S3Error> {
        self.slot.as_ref().map_or(Ok(()), |slot| slot.hold(bytes))
    }

    /// The body, to be read once.
    pub(crate) fn take_payload(&mut self) -> Result<Payload, S3Error> {
        self.take_object(None, EtagKind::Md5)
    }

    /// The body of an object or part, to be read once. `fallback` names a checksum to compute where the request names
    /// none.
    pub(crate) fn take_object(
        &mut self,
        fallback: Option<cairn_s3::ChecksumAlgorithm>,
        etag: EtagKind,
    ) -> Result<Payload, S3Error> {
        let inbound = self.inbound.take().ok_or(S3ErrorCode::InternalError)?;
        let (hasher, kind, chunk_signer) = (self.shared.hasher.clone(), self.payload, self.chunk_signer.take());
        let options = PayloadOptions { hasher, kind, chunk_signer, fallback, etag };
        Payload::new(inbound, &self.headers, options)
    }

    /// Does work that changes something to its end, even if the client goes away: half a commit is worse than one
    /// nobody hears of.
    pub(crate) async fn settle<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, EngineError>> + Send + 'static,
    ) -> Result<T, S3Error> {
        // Work that outlives its request keeps the request's slot: it stays admitted.
        let slot = self.slot.clone();
        let work = async move {
            let _slot = slot;
            work.await
        };
        self.shared.tasks.settle(work).await.unwrap_or(Err(EngineError::Unknown)).map_err(answer_for)
    }
}

/// Whether a host is a bucket's (virtual-hosted style).
pub(crate) fn names_bucket(host: &str, domains: &[String]) -> bool {
    matches!(parse_target(host, "/", domains), Ok(Target::Bucket(_)))
}

/// A bucket's row; an error that names the bucket.
pub(crate) async fn find_bucket(engine: &Engine, name: &str) -> Result<BucketRow, S3Error> {
    engine.bucket(name).await.map_err(|error| {
        let answer = answer_for(error);
        match answer.code {
            S3ErrorCode::NoSuchBucket => answer.with("BucketName", name),
            _ => answer,
        }
    })
}
