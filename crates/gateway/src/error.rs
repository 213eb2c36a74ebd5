//! The only place where errors of the engine become codes of S3.
//!
//! **Invariant:** an answer that never came is never a 4xx: the client would believe that nothing happened.

use std::{io, net::SocketAddr};

use cairn_cluster::EngineError;
use cairn_meta::{MetaError, Refusal};
use cairn_s3::{S3Error, S3ErrorCode};

use crate::tls::TlsError;

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The address is not to be had.
    #[error("listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// No address was given.
    #[error("no address to listen on was given")]
    NoAddress,
    /// No certificate.
    #[error("prepare TLS")]
    Tls(#[from] TlsError),
}

/// Turns an error of the engine into an answer.
pub(crate) fn answer_for(error: EngineError) -> S3Error {
    let plain = |code: S3ErrorCode| S3Error::from(code);
    match error {
        EngineError::NoSuchBucket => plain(S3ErrorCode::NoSuchBucket),
        EngineError::NoSuchObject => plain(S3ErrorCode::NoSuchKey),
        EngineError::NoSuchUpload => plain(S3ErrorCode::NoSuchUpload),
        EngineError::BucketExists => plain(S3ErrorCode::BucketAlreadyOwnedByYou),
        EngineError::BucketNotEmpty => plain(S3ErrorCode::BucketNotEmpty),
        EngineError::PreconditionFailed => plain(S3ErrorCode::PreconditionFailed),
        EngineError::VersionUnknown => version_unknown(),
        EngineError::QuotaExceeded { quota_bytes } => quota_exceeded(quota_bytes),
        EngineError::InvalidPart { number } => plain(S3ErrorCode::InvalidPart).with("PartNumber", number.to_string()),
        EngineError::InvalidPartOrder => plain(S3ErrorCode::InvalidPartOrder),
        EngineError::PartTooSmall { number, bytes } => part_too_small(number, bytes),
        EngineError::TooLarge { bytes_max } => {
            plain(S3ErrorCode::EntityTooLarge).with("MaxSizeAllowed", bytes_max.to_string())
        }
        EngineError::Unavailable { why } => unavailable(&why),
        EngineError::NoSpace { why } => no_space(&why),
        EngineError::Unknown => unknown(),
        EngineError::Corrupt { segment, detail } => {
            tracing::error!(%segment, detail, "an object cannot be read: too few good units");
            S3Error::new(S3ErrorCode::InternalError, "the object's bytes are damaged beyond what parity can mend")
        }
        error @ EngineError::MetaBehind { .. } => internal("the metadata is not that of the disks", &error),
        error @ EngineError::Sealed { .. } => internal("the bytes in an object's row do not open", &error),
        EngineError::Invalid(why) => internal("the engine refused a call", &why),
        EngineError::Meta(error) => answer_for_meta(error),
        EngineError::Disk(error) => internal("a disk failed", &error),
        EngineError::Shutdown => shutting_down(),
    }
}

/// Turns a refusal of one key in a batch into an answer.
pub(crate) fn answer_for_refusal(refusal: Refusal) -> S3Error {
    answer_for(EngineError::from(refusal))
}

fn answer_for_meta(error: MetaError) -> S3Error {
    match error {
        MetaError::Unknown => unknown(),
        MetaError::Unavailable { why } => unavailable(&why),
        MetaError::Gone { what } => unavailable(&what),
        error @ MetaError::Stopped { .. } => unavailable(&error.to_string()),
        MetaError::Shutdown => shutting_down(),
        other => internal("the metadata group failed", &other),
    }
}

fn quota_exceeded(quota_bytes: u64) -> S3Error {
    // S3 has no quota; this is the code that clients do not retry for ever.
    S3Error::new(S3ErrorCode::AccessDenied, format!("the bucket's quota of {quota_bytes} bytes is used up"))
        .with("QuotaBytes", quota_bytes.to_string())
}

fn version_unknown() -> S3Error {
    S3Error::new(
        S3ErrorCode::PreconditionFailed,
        "the object was overwritten after this URL was signed, and the server does not know which version the URL's \
         earlier ranges were of; sign a new URL, or begin with the range bytes=0-0",
    )
}

fn part_too_small(number: u16, bytes: u64) -> S3Error {
    S3Error::from(S3ErrorCode::EntityTooSmall)
        .with("ProposedSize", bytes.to_string())
        .with("MinSizeAllowed", (5_u64 << 20).to_string())
        .with("PartNumber", number.to_string())
}

fn unavailable(why: &str) -> S3Error {
    S3Error::new(S3ErrorCode::ServiceUnavailable, format!("the store cannot do this now ({why}); try again"))
}

fn no_space(why: &str) -> S3Error {
    tracing::error!(why, "no space");
    S3Error::new(S3ErrorCode::ServiceUnavailable, format!("no space is left: {why}"))
}

fn unknown() -> S3Error {
    S3Error::new(
        S3ErrorCode::InternalError,
        "the store did not learn whether this was done; look, and try again if it was not",
    )
}

fn shutting_down() -> S3Error {
    S3Error::new(S3ErrorCode::ServiceUnavailable, "the server is shutting down; try again")
}

fn internal(what: &str, error: &dyn std::fmt::Display) -> S3Error {
    tracing::error!(%error, "{what}");
    S3ErrorCode::InternalError.into()
}

#[cfg(test)]
mod tests {
    use cairn_proto::SegmentId;

    use super::*;

    #[test]
    fn codes_and_status() {
        for (error, code, status) in [
            (EngineError::NoSuchBucket, "NoSuchBucket", 404),
            (EngineError::NoSuchObject, "NoSuchKey", 404),
            (EngineError::NoSuchUpload, "NoSuchUpload", 404),
            (EngineError::BucketExists, "BucketAlreadyOwnedByYou", 409),
            (EngineError::BucketNotEmpty, "BucketNotEmpty", 409),
            (EngineError::PreconditionFailed, "PreconditionFailed", 412),
            (EngineError::VersionUnknown, "PreconditionFailed", 412),
            (EngineError::QuotaExceeded { quota_bytes: 1 }, "AccessDenied", 403),
            (EngineError::InvalidPart { number: 1 }, "InvalidPart", 400),
            (EngineError::InvalidPartOrder, "InvalidPartOrder", 400),
            (EngineError::PartTooSmall { number: 1, bytes: 2 }, "EntityTooSmall", 400),
            (EngineError::TooLarge { bytes_max: 1 }, "EntityTooLarge", 400),
            (EngineError::from(MetaError::Stopped { why: "x".into() }), "ServiceUnavailable", 503),
            (EngineError::Meta(MetaError::Stopped { why: "x".into() }), "ServiceUnavailable", 503),
            (EngineError::Unavailable { why: "x".into() }, "ServiceUnavailable", 503),
            (EngineError::NoSpace { why: "x".into() }, "ServiceUnavailable", 503),
            (EngineError::Corrupt { segment: SegmentId::default(), detail: "x".into() }, "InternalError", 500),
            (EngineError::Invalid("x".into()), "InternalError", 500),
            (EngineError::Shutdown, "ServiceUnavailable", 503),
        ] {
            let answer = answer_for(error);
            assert_eq!((answer.code.as_str(), answer.status().as_u16()), (code, status));
        }
    }

    /// Who deletes because there is no space is not told to delete.
    #[test]
    fn a_full_metadata_disk_is_named() {
        let error = MetaError::NoSpace { free_bytes: 5, needed_bytes: 16 << 20 };
        let answer = answer_for(error.into());
        assert_eq!(answer.code, S3ErrorCode::ServiceUnavailable);
        for part in ["metadata's file system has 5 bytes free", "16777216 are needed even to delete", "enlarge it"] {
            assert!(answer.message.contains(part), "{part} in {}", answer.message);
        }
    }

    #[test]
    fn an_unknown_outcome_is_never_the_clients_fault() {
        for error in [
            EngineError::Unknown,
            EngineError::Meta(MetaError::Unknown),
            EngineError::from(MetaError::Unknown),
            EngineError::from(Refusal::WriterClosed),
            EngineError::from(Refusal::CommandTooOld),
            EngineError::from(Refusal::Damaged("row".into())),
        ] {
            assert!(answer_for(error).status().as_u16() >= 500);
        }
    }
}
