//! The S3 protocol alone: names, signatures, chunked bodies, checksums, headers, XML and errors.
//!
//! This crate knows no storage, no clock and no network. Everything in it is a pure function or a push decoder over
//! bytes it is handed, so it can be fuzzed, tested and reused without a server. Bad input always gives an
//! [`S3Error`], never a panic, and every buffer it holds has a bound next to its constant.

mod body;
pub mod checksum;
pub mod chunked;
pub mod conditional;
pub mod copy_source;
pub mod dates;
mod error;
pub mod etag;
pub mod headers;
mod operation;
pub mod params;
pub mod query;
pub mod range;
pub mod sigv4;
pub mod uri;
pub mod xml;

pub use body::{BODIES_AT_ONCE, BodyTag, BodyVerifier, VerifiedBody};
pub use checksum::{Checksum, ChecksumAlgorithm, ChecksumHasher, ChecksumType, RequestChecksums};
pub use chunked::{ChunkedDecoder, ChunkedOptions, Trailers};
pub use conditional::{ReadConditions, WriteConditions};
pub use copy_source::CopySource;
pub use error::{S3Error, S3ErrorCode};
pub use headers::{ObjectHeaders, ResponseOverrides};
pub use operation::{ALLOWED_METHODS, Operation};
pub use query::Query;
pub use range::ByteRange;
pub use sigv4::{Authentication, PayloadKind, RequestParts, SigV4Options, SignedRequest, Verified};
pub use uri::{Target, parse_target};
