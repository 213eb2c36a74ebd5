//! Cleaner: has a disk give dead bytes back to its file system when they are many or space is short.

use std::time::Duration;

use cairn_proto::DiskId;
use cairn_shard_store::{Cleaned, DiskStatus};
use tracing::{debug, warn};

use super::{Pace, Upkeep};
use crate::error::EngineError;
use crate::queues::ShardReport;

const CLEANED_WITHIN: Duration = Duration::from_secs(120);
const PAUSE_BETWEEN_SLICES: Duration = Duration::from_millis(200);
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(10);
/// A slice that freed nothing has nothing more to free for now.
const NOTHING_FREED_PAUSE: Duration = Duration::from_secs(60);
/// Fewer dead bytes are not worth the copying.
const DEAD_BYTES_MIN: u64 = 32 << 20;

impl Upkeep {
    /// Cleans one slice of a disk if it is worth it.
    pub(crate) async fn cleaner_step(&self, disk: DiskId) -> Result<Pace, EngineError> {
        let Some(store) = self.shared.disks.get(disk) else { return Ok(Pace::End) };
        if !wants_cleaning(&store.status()) {
            return Ok(Pace::After(LOOK_AGAIN_AFTER));
        }
        Ok(self.clean_slice(disk, CLEANED_WITHIN).await)
    }

    /// One round. What goes on longer than `within` ends by itself: the disk does nothing beside it.
    async fn clean_slice(&self, disk: DiskId, within: Duration) -> Pace {
        let cleaned =
            self.calls.call_slow(within, &self.shared.disks, disk, |store| async move { store.clean().await }).await;
        let Ok(Cleaned { bytes_freed, goes_on, bad }) = cleaned else { return Pace::After(LOOK_AGAIN_AFTER) };
        for shard in bad {
            warn!(%disk, segment = %shard.key.segment, slot = %shard.key.slot, "units cannot be read, their space is kept");
            let (segment, slot) = (shard.key.segment, shard.key.slot);
            self.shared.reports.push(ShardReport { pg: shard.pg, segment, slot });
        }
        debug!(%disk, bytes_freed, "a round of cleaning");
        Pace::After(if bytes_freed > 0 || goes_on { PAUSE_BETWEEN_SLICES } else { NOTHING_FREED_PAUSE })
    }
}

/// More than a quarter of what the disk takes is dead, or space is short and some of it is, or small files are many; or a file
/// is dead as a whole: a damaged one, out of which all was repaired, would keep the disk from being opened again.
fn wants_cleaning(status: &DiskStatus) -> bool {
    let dead = status.bytes_used.saturating_sub(status.bytes_live);
    let short = status.bytes_free < status.bytes_total / 100 * 20;
    status.mergeable_files + status.dead_files > 0
        || (dead >= DEAD_BYTES_MIN && (dead > status.bytes_used / 4 || short))
}

#[cfg(test)]
mod tests {
    use cairn_shard_store::{DiskState, ShardStore};

    use super::super::testing::World;
    use super::*;

    #[tokio::test]
    async fn a_disk_that_is_late_with_cleaning_has_not_failed() {
        let world = World::new(6).await;
        let disk = world.disk(0);
        let disks = &world.engine.shared().disks;
        disk.faults().hang(true);
        assert_eq!(world.up.clean_slice(disk.id(), Duration::from_millis(20)).await, Pace::After(LOOK_AGAIN_AFTER));
        assert_eq!(disks.failures(disk.id()), 0);
        assert!(disks.writable(disk.id()) && world.up.calls.reachable(disks, disk.id()));
        disk.faults().hang(false);
        assert_eq!(world.up.clean_slice(disk.id(), CLEANED_WITHIN).await, Pace::After(NOTHING_FREED_PAUSE));
    }

    #[tokio::test]
    async fn what_cleaning_cannot_read_is_repaired() {
        let world = World::new(6).await;
        world.put("key", 300_000).await;
        let disk = world.disk(0);
        let key = world.keys_on(&disk).await[0];
        assert!(disk.corrupt_unit(key, 0));
        world.up.clean_slice(disk.id(), CLEANED_WITHIN).await;
        world.repair().await;
        assert!(disk.scrub(key).await.unwrap().is_empty());
        assert_eq!(world.missing().await, 0);
        world.assert_clean().await;
    }

    #[test]
    fn cleaning_is_worth_it_when_much_is_dead_or_space_is_short() {
        let mib = |count: u64| count << 20;
        let status = |used: u64, live: u64, free: u64| DiskStatus {
            state: DiskState::Serving,
            bytes_total: mib(1000),
            bytes_free: mib(free),
            shards: 1,
            bytes_live: mib(live),
            bytes_used: mib(used),
            errors: 0,
            mergeable_files: 0,
            dead_files: 0,
        };
        assert!(wants_cleaning(&status(400, 290, 500)));
        assert!(!wants_cleaning(&status(400, 310, 500)));
        assert!(wants_cleaning(&status(400, 310, 100)));
        assert!(!wants_cleaning(&status(400, 390, 100)));
        assert!(!wants_cleaning(&status(20, 0, 900)));
        assert!(wants_cleaning(&DiskStatus { mergeable_files: 65, ..status(400, 390, 900) }));
        assert!(wants_cleaning(&DiskStatus { dead_files: 1, ..status(400, 390, 900) }));
    }
}
