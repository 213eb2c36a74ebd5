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
use cairn_s3::{
    Checksum, ChecksumAlgorithm, ChunkedDecoder, PayloadKind, RequestChecksums, S3Error, S3ErrorCode,
    chunked::ChunkedOptions, headers, sigv4::ChunkSigner,
};
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use super::{Digester, Digests};
use crate::tasks::Tasks;

/// What is read and thrown away of a body nobody wants, so that its sender hears the answer.
const DRAINED_BYTES_MAX: u64 = 32 << 20;
/// And for how long.
const DRAINED_WITHIN: Duration = Duration::from_secs(10);

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

    /// The next bytes; none at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, S3Error> {
        self.waits = false;
        let Some(body) = &mut self.body else { return Ok(None) };
        loop {
            let frame = match tokio::time::timeout(self.idle_max, body.frame()).await {
                Err(_) => return Err(S3ErrorCode::RequestTimeout.into()),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => {
                    tracing::debug!(%error, "a body broke off");
                    return Err(S3ErrorCode::IncompleteBody.into());
                }
                Ok(Some(Ok(frame))) => frame,
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

/// A client that is still sending when we answer would get a reset instead of the answer: what it sends is taken, up
/// to a bound.
impl Drop for Inbound {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| !self.waits && !body.is_end_stream()) else { return };
        if !self.tasks.is_stopping() {
            self.tasks.spawn(tokio::time::timeout(DRAINED_WITHIN, drain(body)));
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

enum Framing {
    Plain,
    Chunked(Box<ChunkedDecoder>),
}

/// A request's body, decoded and hashed.
pub(crate) struct Payload {
    inbound: Inbound,
    framing: Framing,
    ready: VecDeque<Bytes>,
    digester: Digester,
    length: Option<u64>,
    decoded: u64,
    sha256: Option<[u8; 32]>,
    checksums: RequestChecksums,
}

/// How a body is read.
pub(crate) struct PayloadOptions {
    /// As the signature says.
    pub(crate) kind: PayloadKind,
    /// Checks signed chunks.
    pub(crate) chunk_signer: Option<ChunkSigner>,
    /// A checksum to compute besides the one the request names.
    pub(crate) also: Option<ChecksumAlgorithm>,
}

impl Payload {
    /// Looks at the headers; reads nothing yet.
    ///
    /// # Errors
    /// Headers that contradict each other or cannot be read.
    pub(crate) fn new(inbound: Inbound, headers: &HeaderMap, options: PayloadOptions) -> Result<Self, S3Error> {
        let checksums = RequestChecksums::parse(headers)?;
        let (framing, length) = match options.kind {
            PayloadKind::Sha256(_) | PayloadKind::Unsigned => {
                if checksums.trailer.is_some() {
                    return Err(S3Error::new(
                        S3ErrorCode::InvalidRequest,
                        "x-amz-trailer needs an x-amz-content-sha256 of STREAMING-…-TRAILER",
                    ));
                }
                (Framing::Plain, content_length(headers)?)
            }
            PayloadKind::StreamingSigned { .. } | PayloadKind::StreamingUnsignedTrailer => {
                let decoded_bytes = headers::parse_decoded_content_length(headers)?;
                let has_trailer = !matches!(options.kind, PayloadKind::StreamingSigned { trailer: false });
                let trailer_names = checksums.trailer.map(|algorithm| algorithm.header_name().to_owned());
                let decoder = ChunkedDecoder::new(ChunkedOptions {
                    decoded_bytes,
                    signer: options.chunk_signer,
                    trailer_names: trailer_names.into_iter().collect(),
                    has_trailer,
                });
                (Framing::Chunked(Box::new(decoder)), Some(decoded_bytes))
            }
        };
        let sha256 = match options.kind {
            PayloadKind::Sha256(expected) => Some(expected),
            _ => None,
        };
        let digester = Digester::new(sha256.is_some(), checksums.wanted().or(options.also));
        Ok(Self { inbound, framing, ready: VecDeque::new(), digester, length, decoded: 0, sha256, checksums })
    }

    /// The announced length of the decoded body.
    ///
    /// # Errors
    /// `MissingContentLength`.
    pub(crate) fn length(&self) -> Result<u64, S3Error> {
        self.length.ok_or_else(|| S3ErrorCode::MissingContentLength.into())
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
            match &mut self.framing {
                Framing::Plain => self.ready.push_back(bytes),
                Framing::Chunked(decoder) => self.ready.extend(decoder.push(bytes)?),
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
    pub(crate) async fn finish(self) -> Result<Digests, S3Error> {
        let announced = match self.framing {
            Framing::Plain => self.checksums.value.clone(),
            Framing::Chunked(decoder) => {
                let trailers = decoder.finish()?;
                match self.checksums.trailer {
                    None => self.checksums.value.clone(),
                    Some(algorithm) => {
                        let value = trailers.get(algorithm.header_name()).ok_or(S3ErrorCode::MalformedTrailerError)?;
                        Some(Checksum::parse(algorithm, value)?)
                    }
                }
            }
        };
        if self.length.is_some_and(|length| length != self.decoded) {
            return Err(S3ErrorCode::IncompleteBody.into());
        }
        let digests = self.digester.finish().await?;
        compare(&digests, self.sha256, self.checksums.content_md5, announced.as_ref())?;
        Ok(digests)
    }
}

fn compare(
    digests: &Digests,
    sha256: Option<[u8; 32]>,
    content_md5: Option<[u8; 16]>,
    announced: Option<&Checksum>,
) -> Result<(), S3Error> {
    if sha256.is_some_and(|expected| digests.sha256.as_deref() != Some(&expected)) {
        return Err(S3ErrorCode::XAmzContentSha256Mismatch.into());
    }
    if content_md5.is_some_and(|expected| digests.md5 != expected) {
        return Err(S3Error::new(S3ErrorCode::BadDigest, "the Content-MD5 you specified did not match what we received"));
    }
    if let Some(announced) = announced
        && digests.checksum.as_ref() != Some(announced)
    {
        let message = format!(
            "the {} you specified did not match the calculated checksum",
            announced.algorithm.as_str()
        );
        return Err(S3Error::new(S3ErrorCode::BadDigest, message));
    }
    Ok(())
}

fn content_length(headers: &HeaderMap) -> Result<Option<u64>, S3Error> {
    let Some(text) = headers::single_header(headers, "content-length")? else { return Ok(None) };
    let length = text.trim().parse().map_err(|_| {
        S3Error::invalid_argument("Content-Length", text, "the length must be a number of bytes")
    })?;
    Ok(Some(length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests() -> Digests {
        let checksum = Checksum { algorithm: ChecksumAlgorithm::Crc32, digest: vec![1; 4], parts: None };
        Digests { md5: [1; 16], sha256: Some(vec![1; 32]), checksum: Some(checksum) }
    }

    #[test]
    fn everything_announced_is_compared() {
        let crc = |byte| Checksum { algorithm: ChecksumAlgorithm::Crc32, digest: vec![byte; 4], parts: None };
        compare(&digests(), None, None, None).unwrap();
        compare(&digests(), Some([1; 32]), Some([1; 16]), Some(&crc(1))).unwrap();
        let code = |result: Result<(), S3Error>| result.unwrap_err().code;
        assert_eq!(code(compare(&digests(), Some([2; 32]), None, None)), S3ErrorCode::XAmzContentSha256Mismatch);
        assert_eq!(code(compare(&digests(), None, Some([2; 16]), None)), S3ErrorCode::BadDigest);
        assert_eq!(code(compare(&digests(), None, None, Some(&crc(2)))), S3ErrorCode::BadDigest);
        let other = Checksum { algorithm: ChecksumAlgorithm::Crc32C, ..crc(1) };
        assert_eq!(code(compare(&digests(), None, None, Some(&other))), S3ErrorCode::BadDigest);
        // A composite value says nothing about one body.
        let composite = Checksum { parts: Some(1), ..crc(1) };
        assert_eq!(code(compare(&digests(), None, None, Some(&composite))), S3ErrorCode::BadDigest);
    }
}
