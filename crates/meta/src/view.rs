//! What a read answers: values of one RocksDB snapshot at one applied index.
//!
//! The queries are methods of `MetaView` (see `handle.rs`): every method reads the same snapshot.

use cairn_proto::{BucketId, Index, SegmentId, UploadId};

use crate::row::{PartRow, UploadRow};

/// A list of objects, as ListObjects asks for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListQuery {
    /// The bucket.
    pub bucket: BucketId,
    /// Keys begin with this.
    pub prefix: String,
    /// What ends a common prefix.
    pub delimiter: Option<String>,
    /// Entries after this key; a common prefix that this key lies in is skipped if `after` is itself that prefix or
    /// lies within it.
    pub after: Option<String>,
    /// At most so many entries, objects and prefixes together.
    pub limit: usize,
}

/// One page.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ListPage {
    /// In order of key.
    pub entries: Vec<ListEntry>,
    /// The key (or prefix) to go on after, if there is more.
    pub next: Option<String>,
}

/// One line of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ListEntry {
    /// An object, without its body's bytes.
    Object {
        /// Its key.
        key: String,
        /// Its length.
        bytes: u64,
        /// Without quotes.
        etag: String,
        /// When.
        modified_ms: u64,
        /// Storage class, none = STANDARD.
        storage_class: Option<String>,
        /// Its checksum's algorithm and kind.
        checksum: Option<(String, String)>,
    },
    /// All keys that share this beginning, up to the delimiter.
    Prefix(String),
}

/// Lists of uploads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UploadQuery {
    /// The bucket.
    pub bucket: BucketId,
    /// Keys begin with this.
    pub prefix: String,
    /// What ends a common prefix.
    pub delimiter: Option<String>,
    /// Uploads after this key, or after this upload of it.
    pub after: Option<(String, Option<UploadId>)>,
    /// At most so many.
    pub limit: usize,
}

/// One page of uploads.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UploadPage {
    /// In order of key, then of time.
    pub uploads: Vec<(String, UploadRow)>,
    /// Common prefixes.
    pub prefixes: Vec<String>,
    /// Where to go on.
    pub next: Option<(String, Option<UploadId>)>,
}

/// One page of parts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PartPage {
    /// In order of number.
    pub parts: Vec<(u16, PartRow)>,
    /// The number to go on after.
    pub next: Option<u16>,
}

/// What the group says of a segment that a disk holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// A row names it.
    Alive,
    /// No row names it, but its writer may still commit it.
    Pending,
    /// Dead for ever.
    Dead,
    /// This member has not seen its writer yet, or it is another group's.
    Unknown,
    /// No row names it, but the group began a life from a snapshot and it may be newer: nobody can say it is dead.
    Forgotten,
}

/// Verdicts, in order of the question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdicts {
    /// The index at which they hold.
    pub index: Index,
    /// One for each segment asked for.
    pub verdicts: Vec<(SegmentId, Verdict)>,
}

/// Exact garbage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GarbageTotals {
    /// Rows.
    pub rows: u64,
    /// Bytes of objects and parts in them.
    pub bytes: u64,
}
