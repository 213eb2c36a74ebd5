//! Checks a body against everything the request announced of it, and gives its MD5 and checksum.
//!
//! Nothing may be committed before [`BodyVerifier::finish`] said yes.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use cairn_digest::{Md5, Stream};
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::Xxh3;

use crate::{
    Checksum, ChecksumAlgorithm, ChecksumHasher, PayloadKind, RequestChecksums, S3Error, S3ErrorCode, Trailers,
};

/// Bodies that are hashed side by side.
pub const BODIES_AT_ONCE: usize = cairn_digest::LANES;

/// What a whole and right body is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedBody {
    /// Bytes, decoded.
    pub byte_count: u64,
    /// For the ETag.
    pub tag: BodyTag,
    /// The checksum of the algorithm asked for, to be stored and returned.
    pub checksum: Option<Checksum>,
}

/// The digest that a body's ETag is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyTag {
    /// MD5.
    Md5([u8; 16]),
    /// XXH3 of 128 bits: tells bodies apart at a fraction of the cost, but proves nothing against one who means harm.
    Fast([u8; 16]),
}

/// Takes the decoded bytes of a body. Hashing costs CPU: do it off the async threads.
#[derive(Debug)]
pub struct BodyVerifier {
    byte_count: u64,
    /// None where neither the ETag nor a Content-MD5 needs it.
    md5: Option<Md5>,
    /// Instead of the MD5 for the ETag.
    fast: Option<FastHasher>,
    expected_sha256: Option<[u8; 32]>,
    sha256: Option<Sha256>,
    checksum: Option<ChecksumHasher>,
    announced: RequestChecksums,
}

/// Xxh3 cannot be shown.
struct FastHasher(Box<Xxh3>);

impl std::fmt::Debug for FastHasher {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Xxh3")
    }
}

impl BodyVerifier {
    /// A verifier of a body of this kind. `fallback` is the algorithm to compute if the request names none (for a
    /// part: the upload's).
    #[must_use]
    pub fn new(payload: PayloadKind, announced: RequestChecksums, fallback: Option<ChecksumAlgorithm>) -> Self {
        let expected_sha256 = match payload {
            PayloadKind::Sha256(hash) => Some(hash),
            _ => None,
        };
        Self {
            byte_count: 0,
            md5: Some(Md5::default()),
            fast: None,
            expected_sha256,
            sha256: expected_sha256.map(|_| Sha256::new()),
            checksum: announced.wanted().or(fallback).map(ChecksumHasher::new),
            announced,
        }
    }

    /// Makes the ETag of the cheaper digest. A Content-MD5 is compared all the same.
    #[must_use]
    pub fn with_fast_tag(mut self) -> Self {
        self.fast = Some(FastHasher(Box::default()));
        self.md5 = self.announced.content_md5.map(|_| Md5::default());
        self
    }

    /// Takes bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        if let Some(hasher) = &mut self.md5 {
            hasher.update(bytes);
        }
        self.update_others(bytes);
    }

    /// Whether hashing it beside others saves much: MD5 is most of its cost, and this CPU has lanes for it.
    #[must_use]
    pub fn gains_by_company(&self) -> bool {
        self.md5.is_some() && self.sha256.is_none() && cairn_digest::lanes() > 1
    }

    /// Takes the bytes of several bodies: their MD5s are computed side by side.
    pub fn update_many<'a>(bodies: impl IntoIterator<Item = (&'a mut Self, &'a [Bytes])>) {
        let mut streams = Vec::new();
        for (body, pieces) in bodies {
            pieces.iter().for_each(|piece| body.update_others(piece));
            streams.extend(body.md5.as_mut().map(|md5| Stream::new(md5, pieces)));
        }
        cairn_digest::update_many(streams);
    }

    /// All but the MD5.
    fn update_others(&mut self, bytes: &[u8]) {
        self.byte_count += bytes.len() as u64;
        if let Some(FastHasher(hasher)) = &mut self.fast {
            hasher.update(bytes);
        }
        if let Some(hasher) = &mut self.sha256 {
            hasher.update(bytes);
        }
        if let Some(hasher) = &mut self.checksum {
            hasher.update(bytes);
        }
    }

    /// Ends the body. `trailers` are those of an aws-chunked body.
    ///
    /// # Errors
    /// `XAmzContentSHA256Mismatch`, `BadDigest`, `MalformedTrailerError` for a trailer that did not come.
    pub fn finish(self, trailers: Option<&Trailers>) -> Result<VerifiedBody, S3Error> {
        if let (Some(expected), Some(hasher)) = (self.expected_sha256, self.sha256) {
            check_sha256(expected, hasher.finalize().into())?;
        }
        let md5: Option<[u8; 16]> = self.md5.map(Md5::finish);
        if let (Some(expected), Some(md5)) = (self.announced.content_md5, md5)
            && expected != md5
        {
            return Err(S3Error::from(S3ErrorCode::BadDigest)
                .with("ExpectedDigest", STANDARD.encode(expected))
                .with("CalculatedDigest", STANDARD.encode(md5)));
        }
        let checksum = self.checksum.map(ChecksumHasher::finish);
        if let Some(expected) = expected_checksum(&self.announced, trailers)?
            && checksum.as_ref() != Some(&expected)
        {
            let name = expected.algorithm.as_str();
            let computed = checksum.map(|checksum| checksum.to_string()).unwrap_or_default();
            return Err(S3Error::new(
                S3ErrorCode::BadDigest,
                format!("the {name} that was sent is not that of the body; send it again"),
            )
            .with("ExpectedDigest", expected.to_string())
            .with("CalculatedDigest", computed));
        }
        let tag = match self.fast {
            Some(FastHasher(hasher)) => BodyTag::Fast(hasher.digest128().to_be_bytes()),
            None => BodyTag::Md5(md5.unwrap_or_default()),
        };
        Ok(VerifiedBody { byte_count: self.byte_count, tag, checksum })
    }
}

fn expected_checksum(announced: &RequestChecksums, trailers: Option<&Trailers>) -> Result<Option<Checksum>, S3Error> {
    let Some(algorithm) = announced.trailer else { return Ok(announced.value.clone()) };
    let value = trailers.and_then(|trailers| trailers.get(algorithm.header_name())).ok_or_else(|| {
        S3Error::new(S3ErrorCode::MalformedTrailerError, "the checksum announced by x-amz-trailer did not come")
    })?;
    Checksum::parse(algorithm, value).map(Some)
}

fn check_sha256(expected: [u8; 32], computed: [u8; 32]) -> Result<(), S3Error> {
    if expected == computed {
        return Ok(());
    }
    Err(S3Error::from(S3ErrorCode::XAmzContentSha256Mismatch)
        .with("ClientComputedContentSHA256", hex::encode(expected))
        .with("S3ComputedContentSHA256", hex::encode(computed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn md5_of(body: &[u8]) -> [u8; 16] {
        md5::Md5::digest(body).into()
    }

    fn verify(payload: PayloadKind, announced: RequestChecksums, body: &[u8]) -> Result<VerifiedBody, S3Error> {
        let mut verifier = BodyVerifier::new(payload, announced, None);
        for piece in body.chunks(3) {
            verifier.update(piece);
        }
        verifier.finish(None)
    }

    #[test]
    fn a_right_body_gives_its_digests() {
        let body = b"123456789";
        let announced = RequestChecksums {
            value: Some(Checksum::parse(ChecksumAlgorithm::Crc32, "y/Q5Jg==").unwrap()),
            content_md5: Some(md5_of(body)),
            ..RequestChecksums::default()
        };
        let payload = PayloadKind::Sha256(Sha256::digest(body).into());
        let verified = verify(payload, announced.clone(), body).unwrap();
        assert_eq!(verified.byte_count, 9);
        assert_eq!(crate::etag::of_body(verified.tag), "25f9e794323b453885f5181f1b624d0b");
        assert_eq!(verified.checksum, announced.value);
    }

    #[test]
    fn a_fast_tag_tells_bodies_apart_and_a_content_md5_counts_all_the_same() {
        let tag_of = |body: &[u8], content_md5| {
            let announced = RequestChecksums { content_md5, ..RequestChecksums::default() };
            let mut verifier = BodyVerifier::new(PayloadKind::Unsigned, announced, None).with_fast_tag();
            body.chunks(4).for_each(|piece| verifier.update(piece));
            verifier.finish(None).map(|verified| verified.tag)
        };
        let right = tag_of(b"123456789", None).unwrap();
        assert!(matches!(right, BodyTag::Fast(_)));
        assert_eq!(tag_of(b"123456789", Some(md5_of(b"123456789"))).unwrap(), right);
        assert_ne!(tag_of(b"123456780", None).unwrap(), right);
        assert_ne!(tag_of(b"", None).unwrap(), right);
        assert_eq!(tag_of(b"wrong", Some(md5_of(b"right"))).unwrap_err().code, S3ErrorCode::BadDigest);
    }

    #[test]
    fn a_wrong_body_is_refused_by_each_digest() {
        let sha256 = PayloadKind::Sha256(Sha256::digest(b"right").into());
        let none = RequestChecksums::default();
        assert_eq!(verify(sha256, none.clone(), b"wrong").unwrap_err().code, S3ErrorCode::XAmzContentSha256Mismatch);
        let md5 = RequestChecksums { content_md5: Some(md5_of(b"right")), ..none.clone() };
        assert_eq!(verify(PayloadKind::Unsigned, md5, b"wrong").unwrap_err().code, S3ErrorCode::BadDigest);
        for algorithm in ChecksumAlgorithm::ALL {
            let mut hasher = ChecksumHasher::new(algorithm);
            hasher.update(b"right");
            let announced = RequestChecksums { value: Some(hasher.finish()), ..none.clone() };
            assert!(verify(PayloadKind::Unsigned, announced.clone(), b"right").is_ok());
            assert_eq!(verify(PayloadKind::Unsigned, announced, b"wrong").unwrap_err().code, S3ErrorCode::BadDigest);
        }
    }

    #[test]
    fn several_bodies_at_once_give_what_each_gives_alone() {
        let bodies: Vec<Vec<Bytes>> =
            (0..5_u8).map(|body| (0..body).map(|piece| vec![body ^ piece; 100].into()).collect()).collect();
        let fresh = |body: usize| {
            let verifier = BodyVerifier::new(PayloadKind::Unsigned, RequestChecksums::default(), None);
            if body == 3 { verifier.with_fast_tag() } else { verifier }
        };
        let mut together: Vec<BodyVerifier> = (0..bodies.len()).map(fresh).collect();
        BodyVerifier::update_many(together.iter_mut().zip(bodies.iter().map(Vec::as_slice)));
        for (index, (verifier, pieces)) in together.into_iter().zip(&bodies).enumerate() {
            let mut alone = fresh(index);
            pieces.iter().for_each(|piece| alone.update(piece));
            assert_eq!(verifier.finish(None).unwrap(), alone.finish(None).unwrap(), "body {index}");
        }
    }

    #[test]
    fn an_announced_trailer_must_come() {
        let announced = RequestChecksums { trailer: Some(ChecksumAlgorithm::Crc32), ..RequestChecksums::default() };
        let error = verify(PayloadKind::StreamingUnsignedTrailer, announced, b"x").unwrap_err();
        assert_eq!(error.code, S3ErrorCode::MalformedTrailerError);
    }

    #[test]
    fn the_fallback_is_computed() {
        let fallback = Some(ChecksumAlgorithm::Crc64Nvme);
        let verifier = BodyVerifier::new(PayloadKind::Unsigned, RequestChecksums::default(), fallback);
        let checksum = verifier.finish(None).unwrap().checksum.unwrap();
        assert_eq!(checksum.to_string(), "AAAAAAAAAAA=");
    }
}
