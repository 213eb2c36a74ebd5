//! The rows of the state machine, as values. Their keys are in `keys.rs`.
//!
//! Each is written as a [`cairn_proto::Record`]: a version byte, these fields, and the tail of a newer program.

use bytes::Bytes;
use cairn_proto::{
    AttachNumber, BucketId, DiskId, Epoch, Index, NodeId, PgId, SegmentId, Sequence, Slot, UploadId, VersionId,
    WriterId,
};
use serde::{Deserialize, Serialize};

use crate::settings::BucketSettings;

/// `k+m` as a row keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ProfileRow {
    /// Data slots.
    pub data: u8,
    /// Parity slots.
    pub parity: u8,
}

/// A bucket. Key: its name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BucketRow {
    /// Its life's id.
    pub id: BucketId,
    /// Its name.
    pub name: String,
    /// When it was made, milliseconds since 1970.
    pub created_ms: u64,
    /// Most bytes of objects and open parts, none = no limit.
    pub quota_bytes: Option<u64>,
    /// Exact bytes of its objects.
    pub bytes: u64,
    /// Exact number of its objects.
    pub objects: u64,
    /// Exact bytes of the parts of open uploads.
    pub upload_bytes: u64,
    /// Exact number of open uploads.
    pub uploads: u64,
    /// What its owner chose; the default in rows of before there were any.
    #[serde(deserialize_with = "cairn_proto::appended")]
    pub settings: BucketSettings,
}

/// Some bytes of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Extent {
    /// The segment.
    pub segment: SegmentId,
    /// Its placement group: the segment's row is at (group, segment).
    pub pg: PgId,
    /// First byte within the segment.
    pub offset: u64,
    /// How many.
    pub bytes: u64,
}

/// Where the bytes of a version or part are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Body {
    /// In the row: objects up to 16 KiB.
    Inline(Bytes),
    /// In segments, in order; at most [`crate::EXTENTS_MAX`].
    Extents(Vec<Extent>),
    /// In the part rows of a completed upload, which stay where they are.
    Parts {
        /// The upload.
        upload: UploadId,
        /// The chosen parts in order.
        parts: Vec<PartRef>,
    },
    /// In the row, sealed by the cluster's key: who put them there opens them, the group never does.
    Sealed(Bytes),
}

impl Body {
    /// Whether the bytes are in the row.
    #[must_use]
    pub const fn is_inline(&self) -> bool {
        matches!(self, Self::Inline(_) | Self::Sealed(_))
    }
}

/// The key that an object's own bytes are encrypted with, itself encrypted by a key of that number. Unused today.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DataKey {
    /// Which key wraps it.
    pub key_id: String,
    /// The wrapped key.
    pub wrapped: Bytes,
}

/// A part as the completed object names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PartRef {
    /// The part's number.
    pub number: u16,
    /// Its length.
    pub bytes: u64,
}

/// A checksum that S3 clients know.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChecksumRow {
    /// `CRC32`, `CRC32C`, `CRC64NVME`, `SHA1`, `SHA256`.
    pub algorithm: String,
    /// As the header carries it (base64, composite ones with `-N`).
    pub value: String,
    /// `FULL_OBJECT` or `COMPOSITE`.
    pub kind: String,
}

/// What travels with an object's bytes and is given back as it came.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Attributes {
    /// System metadata: lower-case header name and value.
    pub system: Vec<(String, String)>,
    /// User metadata: name without `x-amz-meta-`, and value.
    pub user: Vec<(String, String)>,
    /// Storage class, none = STANDARD.
    pub storage_class: Option<String>,
    /// Whether `x-amz-server-side-encryption: AES256` was asked for and is echoed.
    pub sse: bool,
}

/// A version of an object. Key: (bucket id, key, version newest first).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ObjectRow {
    /// Which version.
    pub version: VersionId,
    /// Its length.
    pub bytes: u64,
    /// Without quotes.
    pub etag: String,
    /// Milliseconds since 1970, as the leader said.
    pub modified_ms: u64,
    /// The checksum the client gave or asked for.
    pub checksum: Option<ChecksumRow>,
    /// Metadata.
    pub attributes: Attributes,
    /// Where its bytes are.
    pub body: Body,
    /// The key its bytes are encrypted with; none in rows of before there was one.
    #[serde(deserialize_with = "cairn_proto::appended")]
    pub data_key: Option<DataKey>,
}

/// The beginning of an [`ObjectRow`], field by field, as far as lists show it: the body of a small object is not read.
#[derive(Deserialize)]
pub(crate) struct ListedRow<'a> {
    _version: VersionId,
    pub(crate) bytes: u64,
    pub(crate) etag: &'a str,
    pub(crate) modified_ms: u64,
    #[serde(borrow)]
    pub(crate) checksum: Option<ListedChecksum<'a>>,
    #[serde(borrow)]
    pub(crate) attributes: ListedAttributes<'a>,
}

/// A [`ChecksumRow`], field by field.
#[derive(Deserialize)]
pub(crate) struct ListedChecksum<'a> {
    pub(crate) algorithm: &'a str,
    _value: &'a str,
    pub(crate) kind: &'a str,
}

/// The beginning of [`Attributes`], field by field.
#[derive(Deserialize)]
pub(crate) struct ListedAttributes<'a> {
    #[serde(borrow)]
    _system: Vec<(&'a str, &'a str)>,
    #[serde(borrow)]
    _user: Vec<(&'a str, &'a str)>,
    pub(crate) storage_class: Option<&'a str>,
}

/// An open upload. Key: (bucket id, key, upload id). Once completed or aborted the row is gone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct UploadRow {
    /// Its id.
    pub id: UploadId,
    /// When it was opened.
    pub opened_ms: u64,
    /// Metadata for the object to come.
    pub attributes: Attributes,
    /// Checksum algorithm and kind announced, value empty.
    pub checksum: Option<ChecksumRow>,
    /// Who opened it, for lists.
    pub initiator: String,
    /// Set for the upload that a large PUT becomes by itself: the writer that must be open for it to go on.
    pub writer: Option<WriterId>,
}

/// A part. Key: (upload id, part number).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PartRow {
    /// The apply that made it: names it in garbage and references.
    pub version: VersionId,
    /// Its length.
    pub bytes: u64,
    /// Without quotes.
    pub etag: String,
    /// When.
    pub modified_ms: u64,
    /// The checksum the client gave.
    pub checksum: Option<ChecksumRow>,
    /// Its bytes; parts are never inline.
    pub extents: Vec<Extent>,
    /// The key its bytes are encrypted with; none in rows of before there was one.
    #[serde(deserialize_with = "cairn_proto::appended")]
    pub data_key: Option<DataKey>,
}

/// A segment. Key: (PG, segment id). The reverse index: repair and scrub of a group list these.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SegmentRow {
    /// Its length.
    pub bytes: u64,
    /// Its profile.
    pub profile: ProfileRow,
    /// The group's epoch at its commit.
    pub epoch: Epoch,
    /// Slots known to be missing, sorted.
    pub missing: Vec<Slot>,
    /// Rows that refer to it, those in garbage too.
    pub references: u32,
    /// Of these, rows in garbage that are marked free. Dead when all are.
    pub free_references: u32,
}

impl SegmentRow {
    /// Whether all rows that refer to it are garbage marked free: nobody reads it any more.
    #[must_use]
    pub const fn is_dead(&self) -> bool {
        self.free_references >= self.references
    }
}

/// Which row refers to a segment. Key of a reference row: (segment id, version that refers).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Referrer {
    /// An object's version.
    Object {
        /// The bucket.
        bucket: BucketId,
        /// The key.
        key: String,
        /// The version.
        version: VersionId,
    },
    /// A part.
    Part {
        /// The upload.
        upload: UploadId,
        /// The number.
        number: u16,
        /// The version.
        version: VersionId,
    },
    /// A piece of a snapshot of the metadata.
    Snapshot {
        /// Which.
        snapshot: Index,
        /// Its piece.
        piece: u16,
        /// The version that names its reference.
        version: VersionId,
    },
}

/// What was overwritten or deleted and waits for its readers. Key: (index, ordinal, counter): in order of time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GarbageRow {
    /// Marked free: no reader needs it.
    pub free: bool,
    /// The version a reader may hold by name.
    pub version: VersionId,
    /// Bytes it takes.
    pub bytes: u64,
    /// What it is.
    pub what: Garbage,
}

/// What a garbage row stands for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Garbage {
    /// The segments of one version or part.
    Extents(Vec<Extent>),
    /// All part rows that still stand under an upload (aborted, or its object is gone); taken apart in steps.
    Upload(UploadId),
}

/// A placement group. Key: its id.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PgRow {
    /// Its id.
    pub id: PgId,
    /// Its profile.
    pub profile: ProfileRow,
    /// Raised with each change of a slot.
    pub epoch: Epoch,
    /// The disk of each slot.
    pub slots: Vec<DiskId>,
    /// Takes no new segments any more.
    pub retired: bool,
}

/// A disk. Key: its id.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct DiskRow {
    /// Its id.
    pub id: DiskId,
    /// The node that holds it.
    pub node: NodeId,
    /// How often it was taken into service.
    pub attach: AttachNumber,
    /// Its folder on that node.
    pub folder: String,
    /// Whether the folder was a mount point when it was attached: an empty folder that is none now is refused.
    pub was_mount: bool,
    /// Size of its file system when it was attached.
    pub bytes_total: u64,
    /// The attach number at which an inventory last went through.
    pub inventory: Option<AttachNumber>,
    /// Set when another disk took its slots.
    pub replaced_by: Option<DiskId>,
    /// It came back with an older attach number than the group's, and no inventory has gone through since.
    #[serde(deserialize_with = "cairn_proto::appended")]
    pub behind: bool,
}

/// A gateway's life. Key: its id.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WriterRow {
    /// Its id.
    pub id: WriterId,
    /// The node it runs on.
    pub node: NodeId,
    /// Closed for ever.
    pub closed: bool,
    /// Write watermark: no segment under it is still being written.
    pub watermark: Sequence,
    /// Results under this number were seen and are gone.
    pub answered_below: u64,
    /// Raft index at which it was opened.
    pub opened: Index,
}

/// Who may do what. Key: the access key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IdentityRow {
    /// The access key.
    pub access_key: String,
    /// The secret, sealed by the store's key file; opaque here.
    pub sealed_secret: Bytes,
    /// What it may do.
    pub scope: Scope,
    /// Switched off while false.
    pub enabled: bool,
    /// When it was made.
    pub created_ms: u64,
    /// For people.
    pub description: String,
}

/// The access key that a declared name stands for. Key: the name. It stays when the access key is removed, so that the
/// name's next key is known to be another.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IdentityNameRow {
    /// The name.
    pub name: String,
    /// The access key.
    pub access_key: String,
}

/// What an access key may do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Scope {
    /// Everything.
    Root,
    /// One bucket, keys under a prefix.
    Bucket {
        /// The bucket's name.
        bucket: String,
        /// Prefix of every key it may touch; empty = all.
        prefix: String,
        /// May write and delete too.
        write: bool,
    },
}
