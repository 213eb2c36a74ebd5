//! Signatures of chunks and trailers, each chained to the one before.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::key::{EMPTY_SHA256, hmac_sha256, sha256_hex};

/// Signs and checks the chunks of one body in their order.
#[derive(Clone)]
pub struct ChunkSigner {
    signing_key: [u8; 32],
    timestamp: String,
    scope: String,
    previous: String,
}

impl std::fmt::Debug for ChunkSigner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // No key: this may end in a log.
        formatter.debug_struct("ChunkSigner").field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl ChunkSigner {
    pub(super) const fn new(signing_key: [u8; 32], timestamp: String, scope: String, seed: String) -> Self {
        Self { signing_key, timestamp, scope, previous: seed }
    }

    /// The signature of the next chunk.
    pub fn sign_chunk(&mut self, bytes: &[u8]) -> String {
        self.chunk_signature(&sha256_hex(bytes))
    }

    /// The signature of the trailer: lines `name:value`, each ended by `\n`.
    pub fn sign_trailer(&mut self, lines: &str) -> String {
        let text = format!(
            "AWS4-HMAC-SHA256-TRAILER\n{}\n{}\n{}\n{}",
            self.timestamp,
            self.scope,
            self.previous,
            sha256_hex(lines.as_bytes())
        );
        self.chain(&text)
    }

    /// Whether a chunk with this hash has the signature that was sent.
    pub(crate) fn check_chunk(&mut self, hasher: Sha256, sent: &[u8]) -> bool {
        let expected = self.chunk_signature(&hex::encode(hasher.finalize()));
        bool::from(expected.as_bytes().ct_eq(sent))
    }

    /// Whether a trailer has the signature that was sent.
    pub(crate) fn check_trailer(&mut self, lines: &str, sent: &[u8]) -> bool {
        bool::from(self.sign_trailer(lines).as_bytes().ct_eq(sent))
    }

    fn chunk_signature(&mut self, hash: &str) -> String {
        let text = format!(
            "AWS4-HMAC-SHA256-PAYLOAD\n{}\n{}\n{}\n{EMPTY_SHA256}\n{hash}",
            self.timestamp, self.scope, self.previous
        );
        self.chain(&text)
    }

    fn chain(&mut self, string_to_sign: &str) -> String {
        self.previous = hex::encode(hmac_sha256(&self.signing_key, string_to_sign.as_bytes()));
        self.previous.clone()
    }
}
