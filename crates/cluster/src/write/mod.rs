//! Writing: bytes into stripes, stripes into units, units to disks, and what to do when disks fail on the way.
//!
//! ```text
//! ObjectWriter -- 64 MiB --> SegmentWriter -- units --> Lane (one task per slot) --> ShardWriter
//!       |                          | finish: k+1 or all -> StoredSegment; k -> lift into another group
//!       +-- StoredBytes -> commit (one command), or dropped: sequences released, shards are garbage of a dead segment
//! ```

mod commit;
mod lane;
mod late;
mod lift;
mod object;
mod own_upload;
mod segment;
mod snapshot;
mod stored;

pub use object::{ObjectWriter, WriteKind, WriteTarget};
pub use stored::StoredBytes;

pub(crate) use commit::{commit_object, commit_part};
pub(crate) use lane::LANE_UNITS_MAX;
pub(crate) use object::check_part_bytes;
pub(crate) use own_upload::{OwnUpload, is_own_part};
pub(crate) use snapshot::commit_snapshot;
