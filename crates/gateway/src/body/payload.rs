//! The body of a request: received with an idle limit, taken out of its chunks, hashed, and verified at its end.
//!
//! **Invariant:** what [`Payload::finish`] has not accepted is not committed. Length, payload hash, Content-MD5,
//! checksum header and checksum trailer are all compared there.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use cairn_meta::EtagKind;
use cairn_s3::{
    BodyVerifier, ChecksumAlgorithm, ChunkedDecoder, PayloadKind, RequestChecksums, S3Error, S3ErrorCode, VerifiedBody,
    headers, sigv4::ChunkSigner,
};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use super::{Digester, Hasher};
use crate::tasks::Tasks;

/// What is read and thrown away of a body nobody wants, so that its sender hears the answer.
const DRAINED_BYTES_MAX: u64 = 32 << 20;
/// And for how long.
const DRAINED_WITHIN: Duration = Duration::from_secs(10);
/// When the server stops, a body that stands still is waited for no longer than this.
const STOPPING_IDLE_MAX: Duration = Duration::from_secs(2);

/// The bytes as they come from the connection.
pub(crate) struct Inbound {
    body: Option<Incoming>,
    idle_max: Duration,
    received: Arc<AtomicU64>,
    tasks: Tasks,
    /// The client waits for `100 Continue` before it sends: then there is nothing to throw away.
    waits: bool,
}

impl Inbound {
    pub(crate) fn new(
        body: Incoming,
        request_headers: &HeaderMap,
        idle_max: Duration,
        received: Arc<AtomicU64>,
        tasks: Tasks,
    ) -> Self {
        let waits = request_headers.contains_key(header::EXPECT);
        Self { body: Some(body), idle_max, received, tasks, waits }
    }

    fn is_empty(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    /// The next bytes; none at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, S3Error> {
        self.waits = false;
        let Some(body) = &mut self.body else { return Ok(None) };
        loop {
            let next = tokio::select! {
                biased;
                next = body.frame() => next,
                () = too_long(&self.tasks, self.idle_max) => return Err(S3ErrorCode::RequestTimeout.into()),
            };
            let frame = match next {
                None => return Ok(None),
                Some(Err(error)) => {
                    tracing::debug!(%error, "a body broke off");
                    return Err(S3ErrorCode::IncompleteBody.into());
                }
                Some(Ok(frame)) => frame,
            };
            if let Ok(bytes) = frame.into_data()
                && !bytes.is_empty()
            {
                self.received.fetch_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX), Ordering::Relaxed);
                return Ok(Some(bytes));
            }
        }
    }
}

/// Resolves when a body has stood still for too long.
async fn too_long(tasks: &Tasks, idle_max: Duration) {
    let while_stopping = async {
        tasks.stopping().await;
        tokio::time::sleep(STOPPING_IDLE_MAX).await;
    };
    tokio::select! {
        () = tokio::time::sleep(idle_max) => {}
        () = while_stopping => {}
    }
}

/// A client that is still sending when we answer would get a reset instead of the answer: what it sends is taken, up
/// to a bound.
impl Drop for Inbound {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| !self.waits && !body.is_end_stream()) else { return };
        if !self.tasks.is_stopping() {
            let tasks = self.tasks.clone();
            self.tasks.spawn(async move {
                tokio::select! {
                    _ = tokio::time::timeout(DRAINED_WITHIN, drain(body)) => {}
                    () = tasks.stopping() => {}
                }
            });
        }
    }
}

async fn drain(mut body: Incoming) {
    let mut drained = 0;
    while let Some(Ok(frame)) = body.frame().await {
        drained += frame.data_ref().map_or(0, |bytes| u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if drained > DRAINED_BYTES_MAX {
            return;
        }
    }
}

/// A request's body, decoded and hashed.
pub(crate) struct Payload {
    inbound: Inbound,
    /// For an aws-chunked body.
    decoder: Option<Box<ChunkedDecoder>>,
    ready: VecDeque<Bytes>,
    digester: Digester,
    length: Option<u64>,
    /// Whether the request said the length.
    is_announced: bool,
    decoded: u64,
    checksums: RequestChecksums,
}

/// How a body is read.
pub(crate) struct PayloadOptions {
    pub(crate) hasher: Hasher,
    /// As the signature says.
    pub(crate) kind: PayloadKind,
    /// Checks signed chunks.
    pub(crate) chunk_signer: Option<ChunkSigner>,
    /// A checksum to compute where the request names none.
    pub(crate) fallback: Option<ChecksumAlgorithm>,
    /// What the ETag is made of.
    pub(crate) etag: EtagKind,
}

impl Payload {
    /// Looks at the headers; reads nothing yet.
    ///
    /// # Errors
    /// Headers that contradict each other or cannot be read.
    pub(crate) fn new(inbound: Inbound, headers: &HeaderMap, options: PayloadOptions) -> Result<Self, S3Error> {
        let checksums = RequestChecksums::parse(headers)?;
        let decoder = ChunkedDecoder::for_request(headers, options.kind, options.chunk_signer, &checksums)?;
        let announced = match decoder {
            Some(_) => Some(headers::parse_decoded_content_length(headers)?),
            None => content_length(headers)?,
        };
        // A request that ends with its headers has no body, whether it says so or not.
        let length = announced.or(inbound.is_empty().then_some(0));
        let verifier = BodyVerifier::new(options.kind, checksums.clone(), options.fallback);
        let verifier = match options.etag {
            EtagKind::Md5 => verifier,
            EtagKind::Fast => verifier.with_fast_tag(),
        };
        let digester = Digester::new(options.hasher, verifier);
        let decoder = decoder.map(Box::new);
        let (ready, is_announced) = (VecDeque::new(), announced.is_some());
        Ok(Self { inbound, decoder, ready, digester, length, is_announced, decoded: 0, checksums })
    }

    /// The announced length of the decoded body. That of an object's bytes is always told: what a client left out must not
    /// become an empty object.
    ///
    /// # Errors
    /// `MissingContentLength`.
    pub(crate) fn length(&self) -> Result<u64, S3Error> {
        self.length.filter(|_| self.is_announced).ok_or_else(|| S3ErrorCode::MissingContentLength.into())
    }

    /// What the request says of its checksums.
    pub(crate) fn checksums(&self) -> &RequestChecksums {
        &self.checksums
    }

    /// The next decoded bytes; none at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, S3Error> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                self.decoded += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                self.digester.update(bytes.clone()).await?;
                return Ok(Some(bytes));
            }
            let Some(bytes) = self.inbound.next().await? else { return Ok(None) };
            match &mut self.decoder {
                None => self.ready.push_back(bytes),
                Some(decoder) => self.ready.extend(decoder.push(bytes)?),
            }
        }
    }

    /// Reads the whole body, at most `bytes_max`, and verifies it.
    pub(crate) async fn collect(mut self, bytes_max: usize) -> Result<Bytes, S3Error> {
        let too_large = || S3Error::new(S3ErrorCode::EntityTooLarge, format!("this body may have {bytes_max} bytes"));
        if self.length.is_some_and(|length| usize::try_from(length).map_or(true, |length| length > bytes_max)) {
            return Err(too_large());
        }
        let mut collected = Vec::new();
        while let Some(bytes) = self.next().await? {
            if collected.len() + bytes.len() > bytes_max {
                return Err(too_large());
            }
            collected.extend_from_slice(&bytes);
        }
        self.finish().await?;
        Ok(collected.into())
    }

    /// Verifies the body, which was read to its end.
    ///
    /// # Errors
    /// It is not whole, or not what was announced.
    pub(crate) async fn finish(self) -> Result<VerifiedBody, S3Error> {
        let trailers = self.decoder.map(|decoder| decoder.finish()).transpose()?;
        if self.length.is_some_and(|length| length != self.decoded) {
            return Err(S3ErrorCode::IncompleteBody.into());
        }
        self.digester.finish(trailers.as_ref()).await
    }
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>, S3Error> {
    let Some(text) = headers::single_header(headers, "content-length")? else { return Ok(None) };
    let wrong = || S3Error::invalid_argument("Content-Length", text, "the length must be a number of bytes");
    text.trim().parse().map(Some).map_err(|_| wrong())
}
