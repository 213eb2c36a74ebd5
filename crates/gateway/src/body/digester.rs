//! Hashes a body beside everything else that is done with it.
//!
//! Bytes are collected into pieces that are hashed off the async threads, one piece at a time and in order, while the
//! next is collected: at most two pieces are held. A small body is hashed in place: a thread switch would
//! cost more.

use bytes::Bytes;
use cairn_s3::{BodyVerifier, S3Error, S3ErrorCode, Trailers, VerifiedBody};

use super::{
    Hasher,
    hasher::{HashedBody, Hashing, hash_alone},
};

/// Bytes of a piece.
const PIECE_BYTES: usize = 1 << 20;
/// So much of the next piece, and the one before it should be hashed: it would soon be waited for.
const HURRY_BYTES: usize = PIECE_BYTES / 4 * 3;
/// What a digester holds at most: the piece being hashed, and the one being collected.
pub(crate) const HELD_BYTES: u64 = 2 * PIECE_BYTES as u64;
/// Bytes up to this are hashed in place: about 0.1 ms.
const IN_PLACE_BYTES: usize = 64 << 10;

enum State {
    Idle(Box<BodyVerifier>),
    Hashing(Hashing),
    /// The hashing thread is gone.
    Lost,
}

/// Hashes a body as it comes.
pub(crate) struct Digester {
    hasher: Hasher,
    /// From the first piece on, if it is hashed beside others.
    body: Option<HashedBody>,
    state: State,
    collected: Vec<Bytes>,
    collected_bytes: usize,
}

impl Digester {
    pub(crate) fn new(hasher: Hasher, verifier: BodyVerifier) -> Self {
        Self { hasher, body: None, state: State::Idle(Box::new(verifier)), collected: Vec::new(), collected_bytes: 0 }
    }

    /// Takes bytes; waits while the piece before is still being hashed.
    ///
    /// # Errors
    /// `InternalError` if the hashing thread is gone.
    pub(crate) async fn update(&mut self, bytes: Bytes) -> Result<(), S3Error> {
        let before = self.collected_bytes;
        self.collected_bytes += bytes.len();
        self.collected.push(bytes);
        if self.collected_bytes < PIECE_BYTES {
            if before < HURRY_BYTES && self.collected_bytes >= HURRY_BYTES {
                self.hurry();
            }
            return Ok(());
        }
        let verifier = self.idle().await?;
        self.state = State::Hashing(self.hash(verifier));
        Ok(())
    }

    /// Compares all bytes with what was announced.
    ///
    /// # Errors
    /// They differ; `InternalError` if the hashing thread is gone.
    pub(crate) async fn finish(mut self, trailers: Option<&Trailers>) -> Result<VerifiedBody, S3Error> {
        let mut verifier = self.idle().await?;
        if self.collected_bytes <= IN_PLACE_BYTES {
            self.collected.iter().for_each(|piece| verifier.update(piece));
        } else {
            let hashing = self.hash(verifier);
            self.hurry();
            verifier = hashing.await.map_err(|_| S3ErrorCode::InternalError)?;
        }
        verifier.finish(trailers)
    }

    fn hurry(&self) {
        if let Some(body) = &self.body {
            body.hurry();
        }
    }

    async fn idle(&mut self) -> Result<Box<BodyVerifier>, S3Error> {
        match std::mem::replace(&mut self.state, State::Lost) {
            State::Idle(verifier) => Ok(verifier),
            State::Hashing(running) => {
                self.hurry();
                running.await.map_err(|_| S3ErrorCode::InternalError.into())
            }
            State::Lost => Err(S3ErrorCode::InternalError.into()),
        }
    }

    fn hash(&mut self, verifier: Box<BodyVerifier>) -> Hashing {
        self.collected_bytes = 0;
        let pieces = std::mem::take(&mut self.collected);
        if !verifier.gains_by_company() {
            return hash_alone(verifier, pieces);
        }
        self.body.get_or_insert_with(|| self.hasher.enter()).hash(verifier, pieces)
    }
}

#[cfg(test)]
mod tests {
    use cairn_s3::{ChecksumAlgorithm, PayloadKind, RequestChecksums};

    use super::*;

    fn verifier() -> BodyVerifier {
        BodyVerifier::new(PayloadKind::Unsigned, RequestChecksums::default(), Some(ChecksumAlgorithm::Crc32C))
    }

    #[tokio::test]
    async fn any_cut_gives_the_same_digests() {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
        // Without an MD5 a body is hashed by itself.
        for fresh in [verifier, || verifier().with_fast_tag()] {
            let mut plain = fresh();
            plain.update(&bytes);
            let expected = plain.finish(None).unwrap();
            for cut in [1_000, 65_536, 1_048_576, 3_000_000] {
                let mut digester = Digester::new(Hasher::default(), fresh());
                for piece in bytes.chunks(cut) {
                    digester.update(Bytes::copy_from_slice(piece)).await.unwrap();
                }
                assert_eq!(digester.finish(None).await.unwrap(), expected, "{cut}");
            }
        }
    }

    #[tokio::test]
    async fn an_empty_body_has_its_md5() {
        let verified = Digester::new(Hasher::default(), verifier()).finish(None).await.unwrap();
        assert_eq!(cairn_s3::etag::of_body(verified.tag), "d41d8cd98f00b204e9800998ecf8427e");
    }
}
