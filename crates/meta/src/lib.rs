//! The metadata group: buckets, keys, manifests, identities and the cluster map, kept by Raft.
//!
//! Commands go in, rows come out; openraft is not visible outside this crate.

mod apply;
mod clock;
mod cluster_rows;
mod command;
mod error;
mod handle;
mod keys;
mod log_store;
mod query;
mod raft;
mod recovery;
mod row;
mod rows;
mod settings;
mod state_machine;
mod view;

pub use apply::{apply_entry, decode_entry, encode_entry};
pub use clock::{Clock, ManualClock, SystemClock};
pub use cluster_rows::{
    CLUSTER_VERSION, ClusterKeyRow, FIRST_VERSION, IDS_OF_A_LIFE, LifeRow, SNAPSHOT_PIECES_MAX, SnapshotRow,
    WholeSnapshot,
};
pub use command::{
    ChosenPart, Command, CopySource, Envelope, GarbageKey, NewBody, NewSegment, Origin, Outcome, Preconditions,
    Refusal, Reply,
};
pub use error::MetaError;
pub use handle::{MetaHandle, MetaOptions, MetaStatus};
pub use query::Query;
pub use raft::{
    meta_view::MetaView,
    space::{ADD_BYTES_MIN, Space, SpaceSource},
};
pub use recovery::{MetaExport, MetaImport, NewLife, Recovered};
pub use row::{
    Attributes, Body, BucketRow, ChecksumRow, DataKey, DiskRow, Extent, Garbage, GarbageRow, IdentityNameRow,
    IdentityRow, ObjectRow, PartRef, PartRow, PgRow, ProfileRow, Referrer, Scope, SegmentRow, UploadRow, WriterRow,
};
pub use rows::{Change, MemoryRows, Overlay, RowsError, RowsRead};
pub use settings::{BucketSettings, EtagKind, ProfileWish, SettingsChange};
pub use view::{GarbageTotals, ListEntry, ListPage, ListQuery, PartPage, UploadPage, UploadQuery, Verdict, Verdicts};

/// Most rows a command of repair or reaping touches.
pub const BATCH_ROWS_MAX: usize = 500;
/// Most extents of a row: 5 GiB of 64 MiB segments.
pub const EXTENTS_MAX: usize = 80;
/// Longest segment.
pub const SEGMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Smallest part of an upload, but for its last.
pub const PART_BYTES_MIN: u64 = 5 * 1024 * 1024;
/// Largest object that travels in its row.
pub const INLINE_BYTES_MAX: usize = 16 * 1024;
/// Most bytes that sealing adds to them.
pub const SEALED_MORE_MAX: usize = 128;
