//! What `x-amz-content-sha256` says of the body.

use http::HeaderMap;

use crate::{S3Error, S3ErrorCode, headers::single_header};

/// How the body is signed and framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadKind {
    /// Plain, with this SHA-256, which the caller compares at the end.
    Sha256([u8; 32]),
    /// Plain and unsigned.
    Unsigned,
    /// aws-chunked, every chunk signed.
    StreamingSigned {
        /// Whether a signed trailer follows.
        trailer: bool,
    },
    /// aws-chunked, chunks unsigned, with a trailer.
    StreamingUnsignedTrailer,
}

impl PayloadKind {
    /// Reads the value of `x-amz-content-sha256`.
    ///
    /// # Errors
    /// `InvalidArgument` for any other value.
    pub fn parse(value: &str) -> Result<Self, S3Error> {
        match value {
            "UNSIGNED-PAYLOAD" => Ok(Self::Unsigned),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => Ok(Self::StreamingSigned { trailer: false }),
            "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => Ok(Self::StreamingSigned { trailer: true }),
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => Ok(Self::StreamingUnsignedTrailer),
            _ => hex::decode(value).ok().and_then(|bytes| bytes.try_into().ok()).map(Self::Sha256).ok_or_else(|| {
                S3Error::invalid_argument(
                    "x-amz-content-sha256",
                    value,
                    "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, a STREAMING- value or a SHA-256 in hex",
                )
            }),
        }
    }

    /// Reads the header; `None` if it is not there.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub fn parse_header(headers: &HeaderMap) -> Result<Option<Self>, S3Error> {
        single_header(headers, "x-amz-content-sha256")?.map(|value| Self::parse(value.trim())).transpose()
    }

    /// The body of a request without a signature: signed chunks cannot be in it.
    ///
    /// # Errors
    /// `InvalidArgument` or `InvalidRequest`.
    pub fn of_anonymous(headers: &HeaderMap) -> Result<Self, S3Error> {
        match Self::parse_header(headers)? {
            None => Ok(Self::Unsigned),
            Some(Self::StreamingSigned { .. }) => {
                Err(S3Error::new(S3ErrorCode::InvalidRequest, "signed chunks need a signed request"))
            }
            Some(kind) => Ok(kind),
        }
    }

    /// Whether the body is aws-chunked.
    #[must_use]
    pub const fn is_chunked(self) -> bool {
        matches!(self, Self::StreamingSigned { .. } | Self::StreamingUnsignedTrailer)
    }
}
