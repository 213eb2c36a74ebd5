//! Progress: each disk is told now and then how far the metadata group is. A copy of the metadata that is put back later is
//! found out by it (see `start/behind.rs`), also if the disk was never taken into service since. Not always: what the copy's
//! own starts add to its index hides as much of what it lacks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cairn_proto::DiskId;
use cairn_shard_store::ShardStore;
use tokio::time::Instant;

use super::{Pace, Upkeep};
use crate::error::EngineError;

/// What was done since the last note shows on no disk. Each note costs one sync.
const NOTED_EVERY: Duration = Duration::from_secs(20);

/// When each disk was told last.
#[derive(Default)]
pub(crate) struct ProgressState(Mutex<BTreeMap<DiskId, Instant>>);

impl ProgressState {
    /// How long the disk need not be told yet; nothing where it is due, which begins the next time. What wakes the duties
    /// of disks makes no note due: orders that are on their way would be older than it.
    fn rest(&self, disk: DiskId, now: Instant) -> Option<Duration> {
        let mut told = self.0.lock().expect("no holder of this lock panics");
        let last = *told.entry(disk).or_insert(now);
        let rest = NOTED_EVERY.saturating_sub(now.saturating_duration_since(last));
        if rest.is_zero() {
            told.insert(disk, now);
            return None;
        }
        Some(rest)
    }
}

impl Upkeep {
    /// Tells a disk of the group's index, if that has moved on.
    pub(crate) async fn progress_step(&self, disk: DiskId) -> Result<Pace, EngineError> {
        let Some(store) = self.shared.disks.get(disk) else { return Ok(Pace::End) };
        if let Some(rest) = self.progress.rest(disk, Instant::now()) {
            return Ok(Pace::After(rest));
        }
        let applied = self.shared.meta.status().applied;
        if applied > store.answered() {
            let note = |store: Arc<dyn ShardStore>| async move { store.note_index(applied).await };
            // A disk that takes no writes is told when it does again; what is wrong with it shows elsewhere.
            let _noted = self.calls.call(&self.shared.disks, disk, note).await;
        }
        Ok(Pace::After(NOTED_EVERY))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::World;
    use super::*;

    #[tokio::test]
    async fn a_disk_is_told_after_a_while_and_not_when_it_is_woken() {
        let state = ProgressState::default();
        let (disk, begun) = (DiskId(1), Instant::now());
        let at = |part: u32| begun + NOTED_EVERY / 4 * part;
        assert_eq!(state.rest(disk, begun), Some(NOTED_EVERY));
        assert_eq!(state.rest(disk, at(3)), Some(NOTED_EVERY / 4));
        assert_eq!((state.rest(disk, at(4)), state.rest(disk, at(5))), (None, Some(NOTED_EVERY / 4 * 3)));

        let world = World::new(6).await;
        let disk = world.disk(0);
        let before = disk.answered();
        world.up.progress_step(disk.id()).await.unwrap();
        assert_eq!(disk.answered(), before);
        let long_ago = Instant::now().checked_sub(NOTED_EVERY).unwrap();
        world.up.progress.0.lock().unwrap().insert(disk.id(), long_ago);
        world.up.progress_step(disk.id()).await.unwrap();
        assert_eq!(disk.answered(), world.up.shared.meta.status().applied);
    }
}
