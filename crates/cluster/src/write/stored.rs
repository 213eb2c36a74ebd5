//! Bytes that are durable on disks and wait for their commit.
//!
//! Until the commit names them they are nothing: dropped, their sequences are released, and once the write watermark
//! passed those the group calls the segments dead.

use std::sync::Arc;

use bytes::Bytes;
use cairn_meta::NewSegment;
use cairn_proto::{BucketId, PgId};

use crate::label::SegmentOwner;
use crate::queues::Abandoned;
use crate::shared::Shared;
use crate::want::Want;
use crate::writer_life::RunningSegment;

/// A segment that will be abandoned unless it is committed.
pub(super) struct SegmentGuard {
    shared: Arc<Shared>,
    running: RunningSegment,
    pg: PgId,
    committed: bool,
}

impl SegmentGuard {
    pub(super) fn new(shared: &Arc<Shared>, pg: PgId) -> Self {
        let running = shared.writer.begin_segment();
        Self { shared: Arc::clone(shared), running, pg, committed: false }
    }

    pub(super) fn id(&self) -> cairn_proto::SegmentId {
        self.running.id()
    }
}

impl Drop for SegmentGuard {
    fn drop(&mut self) {
        if !self.committed {
            self.shared.abandoned.push(Abandoned { pg: self.pg, segment: self.running.id() });
        }
    }
}

/// A segment whose shards are synced on enough disks.
pub(super) struct StoredSegment {
    pub(super) new: NewSegment,
    pub(super) guard: SegmentGuard,
    /// First byte within the object, for the labels of a lift.
    pub(super) offset: u64,
    /// What it is to be coded with, for a lift.
    pub(super) want: Want,
}

/// What was written and waits for its commit.
pub(super) enum StoredBody {
    /// Travels in the command.
    Inline(Bytes),
    /// Segments in order.
    Segments(Vec<StoredSegment>),
}

/// Written bytes that no reader sees yet. Dropped, they never will be.
pub struct StoredBytes {
    pub(super) shared: Arc<Shared>,
    pub(super) bucket: BucketId,
    pub(super) key: String,
    /// For the labels of a lift.
    pub(super) owner: Arc<SegmentOwner>,
    pub(super) bytes: u64,
    pub(super) body: StoredBody,
}

impl StoredBytes {
    /// How many bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// The committed segments are not garbage.
pub(super) fn mark_committed(segments: &mut [StoredSegment]) {
    for segment in segments {
        segment.guard.committed = true;
    }
}
