//! The words of the project as types: ids that cannot be mixed up, and the generated code of `proto/`.
//!
//! No logic lives here; every crate above may use it.

pub mod admin;
mod ids;
mod record;

pub use ids::{
    AttachNumber, BucketId, CommandNumber, DiskId, Epoch, GroupId, Index, LogPosition, NodeId, PgId, SegmentId,
    Sequence, Slot, UploadId, VersionId, WriterId,
};
pub use record::{Record, RecordError, appended, decode_front, decode_record, encode_record};
