//! Signature Version 4 of S3, by header and by presigned query, as pure functions.
//!
//! Two steps, because the secret is looked up in between: [`Authentication::parse`] reads and checks everything that
//! needs no secret (form, clocks, expiry, which headers are signed), [`SignedRequest::verify`] compares the signature.
//!
//! `host` and every `x-amz-*` header that is there must be signed. Otherwise whoever holds a presigned URL could add
//! `x-amz-copy-source` and read any object its signer can read. Other headers may be unsigned.

mod canonical;
mod chunk;
mod effective;
mod header;
mod key;
mod payload;
mod presigned;
mod sign;
mod verify;

use std::time::Duration;

use http::{HeaderMap, Method};
use time::OffsetDateTime;

pub use chunk::ChunkSigner;
pub use effective::effective_headers;
pub use payload::PayloadKind;
pub use sign::Signer;
pub use verify::{SignedRequest, Verified};

use crate::{Query, S3Error, S3ErrorCode, headers::single_header};

/// The one algorithm.
pub(crate) const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What of a request is signed, as it was sent.
#[derive(Debug, Clone, Copy)]
pub struct RequestParts<'a> {
    /// The method.
    pub method: &'a Method,
    /// The `Host` header, or the authority of HTTP/2.
    pub host: &'a str,
    /// The raw path.
    pub path: &'a str,
    /// The raw query, without `?`.
    pub query: &'a str,
    /// The headers.
    pub headers: &'a HeaderMap,
}

/// Limits of the check.
#[derive(Debug, Clone)]
pub struct SigV4Options {
    /// The longest `X-Amz-Expires`; S3 has seven days.
    pub presigned_expires_max: Duration,
    /// How far the clocks may differ; S3 has 15 minutes.
    pub clock_skew_max: Duration,
    /// The service in the scope.
    pub service: &'static str,
}

impl Default for SigV4Options {
    fn default() -> Self {
        Self {
            presigned_expires_max: Duration::from_secs(7 * 24 * 3600),
            clock_skew_max: Duration::from_secs(15 * 60),
            service: "s3",
        }
    }
}

/// How a request says who sent it.
#[derive(Debug, Clone)]
pub enum Authentication {
    /// It does not.
    Anonymous,
    /// By the `Authorization` header.
    Header(SignedRequest),
    /// By a presigned query.
    Presigned(SignedRequest),
}

impl Authentication {
    /// Reads the signature of a request and checks all that needs no secret.
    ///
    /// # Errors
    /// `AuthorizationHeaderMalformed` or `AuthorizationQueryParametersError` for a form that is wrong, `AccessDenied`
    /// for unsigned headers and expired URLs, `RequestTimeTooSkewed`, `InvalidRequest` for other ways of signing.
    pub fn parse(request: &RequestParts<'_>, now: OffsetDateTime, options: &SigV4Options) -> Result<Self, S3Error> {
        let query = Query::parse(request.query)?;
        let header = single_header(request.headers, "authorization")?;
        let is_presigned = ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature"]
            .into_iter()
            .any(|name| query.get_ignore_case(name).is_some());
        match (header, is_presigned) {
            (Some(_), true) => Err(S3Error::new(
                S3ErrorCode::InvalidRequest,
                "sign by the Authorization header or by the query, not by both",
            )),
            (Some(header), false) => header::parse(request, &query, header, now, options).map(Self::Header),
            (None, true) => presigned::parse(request, &query, now, options).map(Self::Presigned),
            (None, false) if query.has("AWSAccessKeyId") || query.has("Signature") => Err(version_refused()),
            (None, false) => Ok(Self::Anonymous),
        }
    }

    /// The signed request, unless it is anonymous.
    #[must_use]
    pub const fn signed(&self) -> Option<&SignedRequest> {
        match self {
            Self::Anonymous => None,
            Self::Header(signed) | Self::Presigned(signed) => Some(signed),
        }
    }

    /// The access key id, unless it is anonymous.
    #[must_use]
    pub fn access_key(&self) -> Option<&str> {
        self.signed().map(|signed| signed.access_key.as_str())
    }
}

/// Signature Version 2 and everything else.
pub(crate) fn version_refused() -> S3Error {
    S3Error::new(
        S3ErrorCode::InvalidRequest,
        "this way of signing is not supported; use AWS4-HMAC-SHA256 (Signature Version 4)",
    )
}

#[cfg(test)]
#[path = "vectors_test.rs"]
mod vectors_test;

#[cfg(test)]
#[path = "rules_test.rs"]
mod rules_test;
