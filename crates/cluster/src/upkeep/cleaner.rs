//! Cleaner: has a disk give dead bytes back to its file system when they are many or space is short.

use std::time::Duration;

use cairn_proto::DiskId;
use cairn_shard_store::DiskStatus;
use tracing::debug;

use super::{Pace, Upkeep};
use crate::error::EngineError;

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
        let cleaned = self
            .calls
            .call_within(CLEANED_WITHIN, &self.shared.disks, disk, |store| async move { store.clean().await })
            .await;
        match cleaned {
            Ok(0) => Ok(Pace::After(NOTHING_FREED_PAUSE)),
            Ok(bytes) => {
                debug!(%disk, bytes, "space given back");
                Ok(Pace::After(PAUSE_BETWEEN_SLICES))
            }
            Err(_) => Ok(Pace::After(LOOK_AGAIN_AFTER)),
        }
    }
}

/// More than a quarter of what the disk takes is dead, or space is short and some of it is, or small files are many.
fn wants_cleaning(status: &DiskStatus) -> bool {
    let dead = status.bytes_used.saturating_sub(status.bytes_live);
    let short = status.bytes_free < status.bytes_total / 100 * 20;
    status.mergeable_files > 0 || (dead >= DEAD_BYTES_MIN && (dead > status.bytes_used / 4 || short))
}

#[cfg(test)]
mod tests {
    use cairn_shard_store::DiskState;

    use super::*;

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
        };
        assert!(wants_cleaning(&status(400, 290, 500)));
        assert!(!wants_cleaning(&status(400, 310, 500)));
        assert!(wants_cleaning(&status(400, 310, 100)));
        assert!(!wants_cleaning(&status(400, 390, 100)));
        assert!(!wants_cleaning(&status(20, 0, 900)));
        assert!(wants_cleaning(&DiskStatus { mergeable_files: 65, ..status(400, 390, 900) }));
    }
}
