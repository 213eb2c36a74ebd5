//! Deletes shards of segments that the metadata group says are dead, and none other.

use std::collections::{BTreeMap, BTreeSet};

use cairn_meta::{BATCH_ROWS_MAX, Verdict};
use cairn_proto::{DiskId, Index, SegmentId};
use cairn_shard_store::{DeleteOrder, DeleteReason, ShardKey, ShardStoreError};
use futures_util::future::join_all;
use tracing::error;

use super::Upkeep;
use super::calls::CallError;
use crate::error::EngineError;

/// An order that another one overtook is given anew; more often than this the group is behind the disk.
const ORDERS_MAX: usize = 3;

/// What became of orders to delete.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Deleted {
    /// Shards that existed.
    pub(crate) shards: u64,
    /// Disks that did not carry the order out.
    pub(crate) owing: BTreeSet<DiskId>,
    /// Disks that were answered at a higher index meanwhile: ask the group and order again.
    pub(crate) overtaken: BTreeSet<DiskId>,
}

impl Upkeep {
    /// Of the shards on a disk deletes those whose segment is dead.
    pub(crate) async fn delete_dead(&self, disk: DiskId, keys: Vec<ShardKey>) -> Result<Deleted, EngineError> {
        let mut outcome = Deleted::default();
        for _ in 0..ORDERS_MAX {
            let (index, dead) = self.dead_of(keys.iter().map(|key| key.segment).collect()).await?;
            let keys: Vec<ShardKey> = keys.iter().copied().filter(|key| dead.contains(&key.segment)).collect();
            if keys.is_empty() {
                return Ok(outcome);
            }
            let round = self.order_delete(BTreeMap::from([(disk, keys)]), index).await;
            outcome.shards += round.shards;
            outcome.owing = round.owing;
            if round.overtaken.is_empty() {
                return Ok(outcome);
            }
        }
        self.note_behind(disk);
        outcome.owing.insert(disk);
        Ok(outcome)
    }

    /// Which of the segments are dead, and the index that says so.
    pub(crate) async fn dead_of(
        &self,
        segments: BTreeSet<SegmentId>,
    ) -> Result<(Index, BTreeSet<SegmentId>), EngineError> {
        let asked: Vec<SegmentId> = segments.into_iter().collect();
        let answer = self.look(move |view| view.verdicts(&asked)).await?;
        let dead = answer.verdicts.into_iter().filter(|(_, verdict)| *verdict == Verdict::Dead);
        Ok((answer.index, dead.map(|(segment, _)| segment).collect()))
    }

    /// Tells the disks to delete, all at once, each with its own deadline. A disk that is away, late or failing is
    /// noted: an inventory of it deletes what it still holds.
    pub(crate) async fn order_delete(&self, by_disk: BTreeMap<DiskId, Vec<ShardKey>>, index: Index) -> Deleted {
        let orders = by_disk.into_iter().map(|(disk, keys)| self.order_disk(disk, keys, index));
        let mut outcome = Deleted::default();
        for (disk, answer) in join_all(orders).await {
            match answer {
                Ok(count) => outcome.shards += count,
                Err(CallError::Failed(ShardStoreError::StaleOrder { .. })) => {
                    outcome.overtaken.insert(disk);
                }
                Err(_) => {
                    self.inventory.owe(disk);
                    outcome.owing.insert(disk);
                }
            }
        }
        outcome
    }

    async fn order_disk(&self, disk: DiskId, keys: Vec<ShardKey>, index: Index) -> (DiskId, Result<u64, CallError>) {
        let mut count = 0;
        for keys in keys.chunks(BATCH_ROWS_MAX) {
            let order = DeleteOrder { index, reason: DeleteReason::Dead };
            let keys = keys.to_vec();
            let answer = self
                .calls
                .call(&self.shared.disks, disk, |store| async move { store.delete(&keys, order).await })
                .await;
            match answer {
                Ok(deleted) => count += deleted,
                Err(error) => return (disk, Err(error)),
            }
        }
        (disk, Ok(count))
    }

    pub(crate) fn note_behind(&self, disk: DiskId) {
        if self.inventory.owe(disk) {
            error!(%disk, "the metadata is older than the disk: nothing is deleted there; was an old copy restored?");
        }
    }
}
