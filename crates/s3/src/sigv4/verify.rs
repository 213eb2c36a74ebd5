//! A request whose signature was read, and the comparison of it.

use subtle::ConstantTimeEq;
use time::OffsetDateTime;

use super::{
    ALGORITHM, ChunkSigner, PayloadKind,
    key::{Scope, hmac_sha256, sha256_hex},
};
use crate::{S3Error, S3ErrorCode, dates};

/// A signed request before its secret is known. What it says is **not** proven before [`Self::verify`].
#[derive(Clone)]
pub struct SignedRequest {
    /// The access key id.
    pub access_key: String,
    /// The session token, which the caller must know or refuse with `InvalidToken`.
    pub security_token: Option<String>,
    /// When it was signed.
    pub signed_at: OffsetDateTime,
    /// The end of a presigned URL.
    pub expires_at: Option<OffsetDateTime>,
    /// How the body comes.
    pub payload: PayloadKind,
    pub(super) scope: Scope,
    pub(super) signature: [u8; 32],
    pub(super) canonical_request: String,
}

impl std::fmt::Debug for SignedRequest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // No signature and no token: this may end in a log.
        formatter.debug_struct("SignedRequest").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

/// A request whose signature is right.
#[derive(Debug, Clone)]
pub struct Verified {
    /// How the body comes.
    pub payload: PayloadKind,
    /// Checks the chunks of a body of signed chunks.
    pub chunk_signer: Option<ChunkSigner>,
}

impl SignedRequest {
    /// The region in the scope. Any is accepted.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.scope.region
    }

    /// The hex signature, which names a presigned URL. It is a secret while the URL is valid.
    #[must_use]
    pub fn signature_hex(&self) -> String {
        hex::encode(self.signature)
    }

    /// The signature itself; see [`Self::signature_hex`].
    #[must_use]
    pub const fn signature(&self) -> [u8; 32] {
        self.signature
    }

    /// Compares the signature with the one this secret makes, in constant time.
    ///
    /// # Errors
    /// `SignatureDoesNotMatch`, with what this server signed, so that the client can compare.
    pub fn verify(&self, secret: &str) -> Result<Verified, S3Error> {
        let timestamp = dates::format_amz(self.signed_at);
        let string_to_sign = string_to_sign(&timestamp, &self.scope, &self.canonical_request);
        let signing_key = self.scope.signing_key(secret);
        let expected = hmac_sha256(&signing_key, string_to_sign.as_bytes());
        if !bool::from(expected.ct_eq(&self.signature)) {
            return Err(S3Error::from(S3ErrorCode::SignatureDoesNotMatch)
                .with("AWSAccessKeyId", self.access_key.clone())
                .with("StringToSign", string_to_sign)
                .with("CanonicalRequest", self.canonical_request.clone()));
        }
        let chunk_signer = matches!(self.payload, PayloadKind::StreamingSigned { .. })
            .then(|| ChunkSigner::new(signing_key, timestamp, self.scope.to_string(), self.signature_hex()));
        Ok(Verified { payload: self.payload, chunk_signer })
    }
}

pub(super) fn string_to_sign(timestamp: &str, scope: &Scope, canonical_request: &str) -> String {
    format!("{ALGORITHM}\n{timestamp}\n{scope}\n{}", sha256_hex(canonical_request.as_bytes()))
}

/// The 32 bytes of a signature in hex.
pub(super) fn parse_signature(text: &str) -> Option<[u8; 32]> {
    hex::decode(text).ok()?.try_into().ok()
}
