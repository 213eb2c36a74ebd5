//! The commands of the metadata group: everything that changes a row.
//!
//! A command carries all it needs: time, ids and placement were chosen by the proposer, `apply` reads rows alone.

use bytes::Bytes;
use cairn_proto::{
    AttachNumber, BucketId, CommandNumber, DiskId, Epoch, Index, NodeId, PgId, SegmentId, Sequence, Slot, UploadId,
    VersionId, WriterId,
};
use serde::{Deserialize, Serialize};

use crate::cluster_rows::{ClusterKeyRow, FIRST_VERSION};
use crate::row::{Attributes, ChecksumRow, Extent, IdentityRow, ProfileRow};
use crate::settings::{BucketSettings, SettingsChange};

/// A command with what makes its retry harmless.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Envelope {
    /// The writer it belongs to, none for the leader's own.
    pub origin: Option<Origin>,
    /// The proposer's clock, milliseconds since 1970.
    pub now_ms: u64,
    /// What to do.
    pub command: Command,
}

/// Names a command of a writer: a retry returns the first result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Origin {
    /// The writer.
    pub writer: WriterId,
    /// Its command's number.
    pub number: CommandNumber,
    /// Results under this number were seen.
    pub lowest_unanswered: CommandNumber,
}

/// A condition on the key's present version, checked in `apply`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Preconditions {
    /// `If-None-Match: *`: the key must have no object.
    pub absent: bool,
    /// `If-Match`: one of these ETags (without quotes), or `*` for any object.
    pub etags: Option<Vec<String>>,
}

/// A segment that a commit brings in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NewSegment {
    /// Its id: of the committing writer, at or over its watermark.
    pub id: SegmentId,
    /// Its group.
    pub pg: PgId,
    /// Its length.
    pub bytes: u64,
    /// Its profile, which must be the group's.
    pub profile: ProfileRow,
    /// Per slot the disk and attach number that answered `finish`; none where it did not.
    pub answered: Vec<Option<(DiskId, AttachNumber)>>,
}

/// The bytes of a version or part, as a command brings them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum NewBody {
    /// In the command.
    Inline(Bytes),
    /// New segments, each used whole, in order.
    Segments(Vec<NewSegment>),
    /// In the command, sealed.
    Sealed {
        /// As they are kept.
        sealed: Bytes,
        /// How many they are when opened.
        bytes: u64,
    },
}

/// A row whose bytes a copy refers to: it must still stand as it was read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CopySource {
    /// Its bucket.
    pub bucket: BucketId,
    /// Its key.
    pub key: String,
    /// The version that was read.
    pub version: VersionId,
    /// The extents the copy takes from it (all of the object, or a range for a part); none for an inline source,
    /// whose bytes come in `inline`.
    pub extents: Vec<Extent>,
    /// The bytes, where they are inline.
    pub inline: Option<Bytes>,
}

/// One part as CompleteMultipartUpload names it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChosenPart {
    /// Its number.
    pub number: u16,
    /// Its ETag, without quotes.
    pub etag: String,
    /// Its checksum, where the client named one.
    pub checksum: Option<String>,
}

/// What can be done. The log numbers the kinds in this order, so new ones are appended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Command {
    /// Changes nothing: a leader's first entry.
    Nothing,

    // Writers.
    /// Opens a writer for a node and closes its earlier ones.
    OpenWriter {
        /// The node.
        node: NodeId,
    },
    /// Closes a writer.
    CloseWriter {
        /// Which.
        writer: WriterId,
    },
    /// Tells that no segment of the writer under this sequence is being written any more.
    RaiseWatermark {
        /// Whose.
        writer: WriterId,
        /// The lowest sequence still being written.
        sequence: Sequence,
    },

    // The cluster map.
    /// Takes a disk into service: makes its row or raises its attach number.
    AttachDisk {
        /// The disk.
        disk: DiskId,
        /// Where it is.
        node: NodeId,
        /// Its folder.
        folder: String,
        /// Whether the folder is a mount point.
        was_mount: bool,
        /// Size of its file system.
        bytes_total: u64,
        /// The disk whose slots it takes: it lay in the same folder and is gone.
        replaces: Option<DiskId>,
    },
    /// Makes placement groups.
    CreatePgs {
        /// Their profile.
        profile: ProfileRow,
        /// The disks of each.
        groups: Vec<Vec<DiskId>>,
    },
    /// Gives a slot to another disk.
    MoveSlot {
        /// The group.
        pg: PgId,
        /// Its epoch as it was planned.
        epoch: Epoch,
        /// The slot.
        slot: Slot,
        /// The new disk.
        disk: DiskId,
    },
    /// A group takes no more segments.
    RetirePg {
        /// The group.
        pg: PgId,
        /// Its epoch as it was planned.
        epoch: Epoch,
    },
    /// An inventory of a disk went through.
    FinishInventory {
        /// The disk.
        disk: DiskId,
        /// Its attach number when the inventory began.
        attach: AttachNumber,
    },

    // Repair.
    /// Shards that were not found where they should be.
    ReportMissing {
        /// The group.
        pg: PgId,
        /// Its epoch as the reporter knew it.
        epoch: Epoch,
        /// The slot.
        slot: Slot,
        /// The segments; at most [`crate::BATCH_ROWS_MAX`].
        segments: Vec<SegmentId>,
    },
    /// A missing shard was written again.
    FinishRepair {
        /// The group.
        pg: PgId,
        /// Its epoch as it was planned.
        epoch: Epoch,
        /// The slot.
        slot: Slot,
        /// The segment.
        segment: SegmentId,
        /// The disk that answered.
        disk: DiskId,
        /// Its attach number.
        attach: AttachNumber,
    },

    // Garbage.
    /// Marks garbage rows free whose index is under `below`, but those held by name; at most
    /// [`crate::BATCH_ROWS_MAX`] rows, in order, from `from` on.
    MarkFree {
        /// First index to look at.
        from: Index,
        /// The read watermark.
        below: Index,
        /// Versions that a long read holds by name.
        held: Vec<VersionId>,
    },
    /// Removes garbage rows that are free and whose dead segments were deleted from the disks; at most
    /// [`crate::BATCH_ROWS_MAX`] in one command. Rows that are gone are no error, one that is not free refuses the
    /// command. An upload's row is taken apart: its part rows become free rows of their own first,
    /// [`crate::BATCH_ROWS_MAX`] at a time, under keys of this command. Answers [`Reply::Marked`]: with `next` set some
    /// rows are left, for the next command.
    RemoveGarbage {
        /// The rows' keys as a read gave them.
        rows: Vec<GarbageKey>,
    },

    // Buckets.
    /// Makes a bucket of default settings.
    CreateBucket {
        /// Its name.
        name: String,
    },
    /// Removes an empty bucket; its open uploads become garbage.
    DeleteBucket {
        /// Its name.
        name: String,
    },
    /// Sets or lifts a bucket's quota.
    SetBucketQuota {
        /// Its name.
        name: String,
        /// The most bytes, none = no limit.
        quota_bytes: Option<u64>,
    },

    // Objects.
    /// Makes a version of an object.
    PutObject {
        /// The bucket.
        bucket: BucketId,
        /// The key.
        key: String,
        /// Its ETag, without quotes.
        etag: String,
        /// Its checksum.
        checksum: Option<ChecksumRow>,
        /// Metadata.
        attributes: Attributes,
        /// Its bytes.
        body: NewBody,
        /// Conditions.
        preconditions: Preconditions,
    },
    /// Makes a version that refers to the bytes of another.
    CopyObject {
        /// The destination's bucket.
        bucket: BucketId,
        /// The destination's key.
        key: String,
        /// What is copied.
        source: CopySource,
        /// The new row's ETag.
        etag: String,
        /// Its checksum.
        checksum: Option<ChecksumRow>,
        /// Metadata.
        attributes: Attributes,
        /// Conditions on the destination.
        preconditions: Preconditions,
    },
    /// Deletes objects; a key without one is no error.
    DeleteObjects {
        /// The bucket.
        bucket: BucketId,
        /// Keys with their conditions; at most 1,000.
        keys: Vec<(String, Preconditions)>,
    },

    // Uploads.
    /// Opens an upload.
    CreateUpload {
        /// The bucket.
        bucket: BucketId,
        /// The key.
        key: String,
        /// Metadata.
        attributes: Attributes,
        /// Checksum algorithm and kind announced, value empty.
        checksum: Option<ChecksumRow>,
        /// Who.
        initiator: String,
        /// Whether it is a large PUT's own: it dies with its writer.
        internal: bool,
    },
    /// Makes or replaces a part.
    PutPart {
        /// The bucket.
        bucket: BucketId,
        /// The key.
        key: String,
        /// The upload.
        upload: UploadId,
        /// The part's number, 1 to 10,000.
        number: u16,
        /// Its ETag.
        etag: String,
        /// Its checksum.
        checksum: Option<ChecksumRow>,
        /// Its bytes.
        segments: Vec<NewSegment>,
    },
    /// Makes or replaces a part that refers to bytes of an object. Inline ones are refused: a part's are written anew.
    CopyPart {
        /// The bucket.
        bucket: BucketId,
        /// The key.
        key: String,
        /// The upload.
        upload: UploadId,
        /// The part's number.
        number: u16,
        /// What is copied.
        source: CopySource,
        /// Its ETag.
        etag: String,
        /// Its checksum.
        checksum: Option<ChecksumRow>,
    },
    /// Makes an object of an upload's parts.
    CompleteUpload {
        /// The bucket.
        bucket: BucketId,
        /// The key.
        key: String,
        /// The upload.
        upload: UploadId,
        /// The chosen parts, ascending.
        parts: Vec<ChosenPart>,
        /// The object's ETag (the multipart form, or the MD5 of a large PUT).
        etag: String,
        /// Its checksum.
        checksum: Option<ChecksumRow>,
        /// Conditions on the key.
        preconditions: Preconditions,
    },
    /// Aborts an upload; its parts become garbage.
    AbortUpload {
        /// The bucket.
        bucket: BucketId,
        /// The key.
        key: String,
        /// The upload.
        upload: UploadId,
    },

    // Identities.
    /// Makes or replaces an access key.
    PutIdentity {
        /// The row.
        identity: IdentityRow,
        /// Refuse if the access key exists.
        must_be_new: bool,
    },
    /// Switches an access key on or off.
    SetIdentityEnabled {
        /// The access key.
        access_key: String,
        /// On or off.
        enabled: bool,
    },
    /// Removes an access key; the last root key stays.
    RemoveIdentity {
        /// The access key.
        access_key: String,
    },

    // Settings of buckets.
    /// Makes a bucket with settings.
    CreateBucketWith {
        /// Its name.
        name: String,
        /// Its settings.
        settings: BucketSettings,
        /// The most bytes, none = no limit.
        quota_bytes: Option<u64>,
    },
    /// Changes a bucket's settings; objects that are there stay as they were written.
    SetBucketSettings {
        /// Its name.
        name: String,
        /// What changes.
        change: SettingsChange,
    },

    // Declared identities.
    /// Makes or replaces the access key that a declared name stands for from now on. The one it stood for before goes,
    /// unless it is a root key.
    DeclareIdentity {
        /// The name.
        name: String,
        /// The row.
        identity: IdentityRow,
    },
    // The cluster.
    /// Raises the cluster version, if every node of the map knows it. It never falls.
    RaiseVersion {
        /// To what.
        version: u32,
        /// What each node's program knows.
        known: Vec<(NodeId, u32)>,
    },
    /// Keeps a cluster key, sealed; refused where there is one of that number.
    PutClusterKey {
        /// The row.
        row: ClusterKeyRow,
    },
    /// Keeps a piece of a snapshot of the metadata, the last one with what makes the snapshot whole.
    PutSnapshot {
        /// The index of the rows in it.
        snapshot: Index,
        /// Counted up from 0.
        piece: u16,
        /// Its bytes.
        segments: Vec<NewSegment>,
        /// Set for the last piece.
        last: bool,
    },
    /// Removes a snapshot, whole or not; its bytes become garbage.
    RemoveSnapshot {
        /// Which.
        snapshot: Index,
    },
    /// Lets go of what a life of the metadata group forgot: unnamed segments of before are dead from now on.
    DropForgotten {},

    // Disks.
    /// A disk came back with an older attach number than the group's: it is a copy, or went back in time. Its shards
    /// count as missing until an inventory has seen them.
    DistrustDisk {
        /// The disk.
        disk: DiskId,
        /// Its attach number now.
        attach: AttachNumber,
    },
}

impl Command {
    /// The cluster version from which on the command may be written.
    #[must_use]
    pub const fn since(&self) -> u32 {
        match self {
            Self::CreateBucketWith { .. }
            | Self::SetBucketSettings { .. }
            | Self::DeclareIdentity { .. }
            | Self::PutClusterKey { .. }
            | Self::PutSnapshot { .. }
            | Self::RemoveSnapshot { .. }
            | Self::DropForgotten {}
            | Self::DistrustDisk { .. }
            | Self::PutObject { body: NewBody::Sealed { .. }, .. } => 2,
            _ => FIRST_VERSION,
        }
    }
}

/// Names a garbage row.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct GarbageKey {
    /// The apply that put it there.
    pub index: Index,
    /// The command's place in its entry.
    pub ordinal: u32,
    /// Counts the rows of one command.
    pub counter: u32,
}

/// What a command did. One for each command, in order.
pub type Outcome = Result<Reply, Refusal>;

/// What a command answers when it was done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// Nothing to say.
    Done,
    /// A writer was opened.
    Writer(WriterId),
    /// A disk was attached.
    Attached(AttachNumber),
    /// Groups were made.
    Pgs(Vec<PgId>),
    /// A bucket was made.
    Bucket(BucketId),
    /// A version was made.
    Version {
        /// Which.
        version: VersionId,
        /// When, as the row says.
        modified_ms: u64,
    },
    /// An upload was opened.
    Upload(UploadId),
    /// Per key whether an object was deleted, or why not.
    Deleted(Vec<Result<bool, Refusal>>),
    /// Garbage rows touched; `next` where the next call should begin, none at the end.
    Marked {
        /// Rows marked.
        rows: u64,
        /// Where to go on.
        next: Option<Index>,
    },
}

/// Why a command was refused; it changed nothing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// No such bucket, or it is another life of that name.
    #[error("no such bucket")]
    NoSuchBucket,
    /// The bucket exists.
    #[error("the bucket exists")]
    BucketExists,
    /// The bucket has objects.
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    /// No object under the key.
    #[error("no such object")]
    NoSuchObject,
    /// The upload is not open.
    #[error("no such upload")]
    NoSuchUpload,
    /// A part named in a completion is not there or is another one.
    #[error("part {number} is not there or is another one")]
    InvalidPart {
        /// Its number.
        number: u16,
    },
    /// Parts are not in ascending order.
    #[error("parts are not in ascending order")]
    InvalidPartOrder,
    /// A part but the last is under 5 MiB.
    #[error("part {number} has {bytes} bytes, under 5 MiB")]
    PartTooSmall {
        /// Its number.
        number: u16,
        /// Its length.
        bytes: u64,
    },
    /// A condition did not hold.
    #[error("a precondition failed")]
    PreconditionFailed,
    /// The bucket's quota would be exceeded.
    #[error("the bucket's quota of {quota_bytes} bytes would be exceeded")]
    QuotaExceeded {
        /// The quota.
        quota_bytes: u64,
    },
    /// The source of a copy is no longer as it was read: read it again.
    #[error("the source changed")]
    SourceChanged,
    /// The writer is closed: open a new one.
    #[error("the writer is closed")]
    WriterClosed,
    /// A command under the line of answered ones.
    #[error("the command is older than what the writer has seen answered")]
    CommandTooOld,
    /// A segment of another writer, under the watermark, or committed before.
    #[error("segment {segment} cannot be committed: {why}")]
    SegmentRefused {
        /// Which.
        segment: SegmentId,
        /// Why.
        why: String,
    },
    /// Too few shards are where the group expects them: lift the segment.
    #[error("segment {segment}: {present} shards hold, {needed} are needed")]
    TooFewShards {
        /// Which.
        segment: SegmentId,
        /// Slots that count.
        present: u8,
        /// Slots needed.
        needed: u8,
    },
    /// The plan is older than the group's epoch.
    #[error("the placement group changed")]
    StaleEpoch,
    /// No such disk or group.
    #[error("no such {0}")]
    Unknown(String),
    /// No such access key.
    #[error("no such access key")]
    NoSuchIdentity,
    /// The access key exists.
    #[error("the access key exists")]
    IdentityExists,
    /// It would remove or disable the last root key.
    #[error("the last root key stays")]
    LastRoot,
    /// The command breaks a rule of its form.
    #[error("invalid command: {0}")]
    Invalid(String),
    /// A row is damaged or of a newer version: this member must stop.
    #[error("damaged row: {0}")]
    Damaged(String),
}
