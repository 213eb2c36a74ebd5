//! Hashes a body beside everything else that is done with it.
//!
//! Bytes are collected into pieces that are hashed on a thread for blocking work, one piece at a time and in order,
//! while the next is collected: at most two pieces are held. A small body is hashed in place: a thread switch would
//! cost more.

use bytes::Bytes;
use cairn_s3::{Checksum, ChecksumAlgorithm, ChecksumHasher, S3Error, S3ErrorCode};
use md5::{Digest, Md5};
use tokio::task::JoinHandle;

/// Bytes of a piece.
const PIECE_BYTES: usize = 1 << 20;
/// Bodies up to this are hashed in place: about 0.1 ms.
const IN_PLACE_BYTES: usize = 64 << 10;

/// What to compute.
struct Hashers {
    md5: Md5,
    sha256: Option<ChecksumHasher>,
    checksum: Option<ChecksumHasher>,
}

impl Hashers {
    fn update(&mut self, pieces: &[Bytes]) {
        for piece in pieces {
            self.md5.update(piece);
            for hasher in [&mut self.sha256, &mut self.checksum].into_iter().flatten() {
                hasher.update(piece);
            }
        }
    }
}

/// What was computed.
#[derive(Debug)]
pub(crate) struct Digests {
    /// Always: it is the ETag.
    pub(crate) md5: [u8; 16],
    /// The payload's hash, where it is to be compared.
    pub(crate) sha256: Option<Vec<u8>>,
    /// The checksum asked for.
    pub(crate) checksum: Option<Checksum>,
}

/// Hashes a body as it comes.
pub(crate) struct Digester {
    /// Away while a piece is being hashed.
    hashers: Option<Hashers>,
    running: Option<JoinHandle<Hashers>>,
    collected: Vec<Bytes>,
    collected_bytes: usize,
}

impl Digester {
    pub(crate) fn new(with_sha256: bool, checksum: Option<ChecksumAlgorithm>) -> Self {
        let hashers = Hashers {
            md5: Md5::new(),
            sha256: with_sha256.then(|| ChecksumHasher::new(ChecksumAlgorithm::Sha256)),
            checksum: checksum.map(ChecksumHasher::new),
        };
        Self { hashers: Some(hashers), running: None, collected: Vec::new(), collected_bytes: 0 }
    }

    /// Takes bytes; waits while the piece before is still being hashed.
    ///
    /// # Errors
    /// `InternalError` if the hashing thread is gone.
    pub(crate) async fn update(&mut self, bytes: Bytes) -> Result<(), S3Error> {
        self.collected_bytes += bytes.len();
        self.collected.push(bytes);
        if self.collected_bytes < PIECE_BYTES {
            return Ok(());
        }
        let mut hashers = self.take().await?;
        let pieces = std::mem::take(&mut self.collected);
        self.collected_bytes = 0;
        self.running = Some(tokio::task::spawn_blocking(move || {
            hashers.update(&pieces);
            hashers
        }));
        Ok(())
    }

    /// The digests of all bytes.
    ///
    /// # Errors
    /// `InternalError` if the hashing thread is gone.
    pub(crate) async fn finish(mut self) -> Result<Digests, S3Error> {
        let mut hashers = self.take().await?;
        let pieces = std::mem::take(&mut self.collected);
        if self.collected_bytes <= IN_PLACE_BYTES {
            hashers.update(&pieces);
        } else {
            let hash = move || {
                hashers.update(&pieces);
                hashers
            };
            hashers = tokio::task::spawn_blocking(hash).await.map_err(|_| S3ErrorCode::InternalError)?;
        }
        Ok(Digests {
            md5: hashers.md5.finalize().into(),
            sha256: hashers.sha256.map(|hasher| hasher.finish().digest),
            checksum: hashers.checksum.map(ChecksumHasher::finish),
        })
    }

    async fn take(&mut self) -> Result<Hashers, S3Error> {
        if let Some(running) = self.running.take() {
            return running.await.map_err(|_| S3ErrorCode::InternalError.into());
        }
        self.hashers.take().ok_or_else(|| S3ErrorCode::InternalError.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn any_cut_gives_the_same_digests() {
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let mut plain = ChecksumHasher::new(ChecksumAlgorithm::Crc32C);
        plain.update(&bytes);
        let expected_crc = plain.finish();
        let expected_md5: [u8; 16] = Md5::digest(&bytes).into();
        let expected_sha = {
            let mut hasher = ChecksumHasher::new(ChecksumAlgorithm::Sha256);
            hasher.update(&bytes);
            hasher.finish().digest
        };
        for cut in [1_000, 65_536, 1_048_576, 3_000_000] {
            let mut digester = Digester::new(true, Some(ChecksumAlgorithm::Crc32C));
            for piece in bytes.chunks(cut) {
                digester.update(Bytes::copy_from_slice(piece)).await.unwrap();
            }
            let digests = digester.finish().await.unwrap();
            assert_eq!(digests.md5, expected_md5, "{cut}");
            assert_eq!(digests.sha256.as_ref(), Some(&expected_sha), "{cut}");
            assert_eq!(digests.checksum.as_ref(), Some(&expected_crc), "{cut}");
        }
    }

    #[tokio::test]
    async fn an_empty_body_has_its_md5() {
        let digests = Digester::new(false, None).finish().await.unwrap();
        assert_eq!(hex::encode(digests.md5), "d41d8cd98f00b204e9800998ecf8427e");
        assert!(digests.sha256.is_none() && digests.checksum.is_none());
    }
}
