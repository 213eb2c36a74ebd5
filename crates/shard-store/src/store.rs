//! The trait every disk answers to, and the words of its calls.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use cairn_erasure::ErasureProfile;
use cairn_proto::{AttachNumber, DiskId, Epoch, Index, LogPosition, PgId, SegmentId, Slot};
use serde::{Deserialize, Serialize};

use crate::{SealedUnit, ShardStoreError, error::FenceReason};

/// Names a shard: all units of one segment in one slot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct ShardKey {
    /// The segment.
    pub segment: SegmentId,
    /// Its slot.
    pub slot: Slot,
}

/// What a shard says of itself, without the metadata.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShardHeader {
    /// Which shard.
    pub key: ShardKey,
    /// The placement group it was written to.
    pub pg: PgId,
    /// The group's epoch as the writer knew it.
    pub epoch: Epoch,
    /// The segment's profile.
    pub profile: ErasureProfile,
    /// Data bytes of the whole segment.
    pub segment_bytes: u64,
    /// Opaque to the disk: what recovery needs when the metadata is lost. At most 2 KiB.
    pub label: Bytes,
}

/// Whether a shard that exists may be written again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteMode {
    /// A client's write: a shard that exists is answered, not repeated.
    New,
    /// Repair's write: a shard that exists is replaced when the new one is whole.
    Replace,
}

/// What a write is for; the last tenth of a disk is not for clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpaceUse {
    /// A client's bytes: refused in the last 10 % of space.
    Client,
    /// Repair: refused in the last 5 %.
    Repair,
}

/// The answer to `finish`: the shard is durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Finished {
    /// The disk's attach number at that moment; the commit compares it.
    pub attach: AttachNumber,
}

/// Why shards are deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeleteReason {
    /// The group said that their segments are dead, which is for ever.
    Dead,
    /// Their slots are whole on another disk; they may come back here.
    Moved,
}

/// An order to delete: only what the group said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeleteOrder {
    /// The index at which the group said so. A disk refuses an index under the highest it was answered with.
    pub index: Index,
    /// Why.
    pub reason: DeleteReason,
}

/// One line of a disk's listing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ShardSummary {
    /// Which shard.
    pub key: ShardKey,
    /// The placement group it was written to.
    pub pg: PgId,
    /// The segment's profile.
    pub profile: ErasureProfile,
    /// Data bytes of the whole segment.
    pub segment_bytes: u64,
}

/// What a round of [`ShardStore::clean`] did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cleaned {
    /// Bytes given back.
    pub bytes_freed: u64,
    /// Whether it has begun what the next round goes on with, whatever this one freed.
    pub goes_on: bool,
    /// Shards with units that it could not read. Their files keep their space until the shards are written anew.
    pub bad: Vec<ShardSummary>,
}

/// How a disk stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DiskState {
    /// Reads and writes.
    Serving,
    /// Reads, takes no writes: full, a failed sync, an I/O error.
    ReadOnly(FenceReason),
    /// Neither reads nor writes: gone or unreadable.
    Fenced(FenceReason),
}

/// What a disk tells about itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskStatus {
    /// How it stands.
    pub state: DiskState,
    /// Size of its file system.
    pub bytes_total: u64,
    /// Free bytes of its file system.
    pub bytes_free: u64,
    /// Shards that exist.
    pub shards: u64,
    /// Payload bytes of those shards.
    pub bytes_live: u64,
    /// Bytes its files take, dead units included.
    pub bytes_used: u64,
    /// Read, checksum and write errors since start.
    pub errors: u64,
    /// Small files that [`ShardStore::clean`] would merge now: none while clients write, unless there are very many.
    pub mergeable_files: u64,
    /// Files without a live unit, as deletes and repairs leave them: [`ShardStore::clean`] drops them, damaged ones too.
    pub dead_files: u64,
}

/// How an instance of a disk's storage engine stands.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct InstanceStatus {
    /// Its name: that of its folder in the disk's.
    pub name: String,
    /// Bytes of its memtables.
    pub memtable_bytes: u64,
    /// Its tables.
    pub files: u64,
    /// Bytes that compaction has still to rewrite.
    pub pending_compaction_bytes: u64,
    /// Bytes of the block cache; the instances of a disk share one, so each tells the same.
    pub block_cache_bytes: u64,
    /// Errors of its flushes and compactions since it was opened.
    pub background_errors: u64,
}

/// A disk. All calls may block their task, none blocks the executor.
#[async_trait]
pub trait ShardStore: Send + Sync + 'static {
    /// The id drawn at format.
    fn id(&self) -> DiskId;

    /// The attach number the disk holds.
    fn attach(&self) -> AttachNumber;

    /// Records a new attach number, synced before it returns.
    async fn set_attach(&self, attach: AttachNumber) -> Result<(), ShardStoreError>;

    /// The highest index of the group that an order came with.
    fn answered(&self) -> Index;

    /// The position in the group's log that the disk was told last.
    fn told(&self) -> LogPosition;

    /// Tells the disk how far the group is, so that metadata older than the disk is found out. One that is not over what it
    /// was told before changes nothing. Durable when answered.
    async fn tell(&self, position: LogPosition) -> Result<(), ShardStoreError>;

    /// Begins a shard. Nothing of it exists until [`ShardWriter::finish`] was answered. One of the same key that is of
    /// another header is a [`ShardStoreError::Conflict`], unless it is to be replaced.
    async fn begin(
        &self,
        header: ShardHeader,
        mode: WriteMode,
        space: SpaceUse,
    ) -> Result<Box<dyn ShardWriter>, ShardStoreError>;

    /// Reads the units of some stripes, in order. `None` stands for a unit that cannot be read. The bytes are as
    /// stored: the reader verifies them with [`SealedUnit::open`].
    async fn read_units(&self, key: ShardKey, stripes: Range<u32>) -> Result<Vec<Option<Bytes>>, ShardStoreError>;

    /// The header of a shard that exists.
    async fn header(&self, key: ShardKey) -> Result<Option<ShardHeader>, ShardStoreError>;

    /// Lists shards in order of key, at most `limit` after `after`.
    async fn list(&self, after: Option<ShardKey>, limit: usize) -> Result<Vec<ShardSummary>, ShardStoreError>;

    /// Deletes shards; those that do not exist are no error. Answers how many existed. Durable when answered. A write
    /// of a dead shard that was on its way is refused when it finishes.
    async fn delete(&self, keys: &[ShardKey], order: DeleteOrder) -> Result<u64, ShardStoreError>;

    /// Reads a shard from the disk and verifies every unit. Answers the stripes that are bad or missing.
    async fn scrub(&self, key: ShardKey) -> Result<Vec<u32>, ShardStoreError>;

    /// Gives space back where it can: drops dead files, copies what lives out of mostly dead ones. Bounded work per call,
    /// but slow by nature.
    async fn clean(&self) -> Result<Cleaned, ShardStoreError>;

    /// Keeps a small record for recovery in place of the one before, synced before it returns. Opaque to the disk.
    async fn set_recovery_list(&self, list: Bytes) -> Result<(), ShardStoreError>;

    /// The record kept last. One that is damaged is an error.
    async fn recovery_list(&self) -> Result<Option<Bytes>, ShardStoreError>;

    /// How the disk stands. From memory: it never waits for the disk, and a disk that has long been silent says so.
    fn status(&self) -> DiskStatus;

    /// How the instances of its storage engine stand, as last seen; none for a disk that has no such engine, or is closed.
    fn instances(&self) -> Vec<InstanceStatus> {
        Vec::new()
    }

    /// Ends all work and closes the files. Later calls fail.
    async fn close(&self);
}

/// A shard being written. Dropped without `finish`, it never existed.
#[async_trait]
pub trait ShardWriter: Send {
    /// Adds the next unit; units come in order of stripe, from 0.
    async fn write_unit(&mut self, unit: SealedUnit) -> Result<(), ShardStoreError>;

    /// Makes the shard durable. Refused unless all stripes of the layout were written.
    async fn finish(self: Box<Self>) -> Result<Finished, ShardStoreError>;
}
