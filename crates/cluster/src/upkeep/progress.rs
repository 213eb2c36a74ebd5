//! Progress: each disk is told now and then, and at the end, how far the metadata group is. A copy of the metadata that is
//! put back later is found out by it (see `start/behind.rs`), also if the disk was never taken into service since.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cairn_proto::DiskId;
use cairn_shard_store::ShardStore;
use futures_util::future::join_all;
use tokio::time::{Instant, timeout};

use super::{Pace, Upkeep};
use crate::error::EngineError;
use crate::shared::Shared;

/// What was done since shows on no disk after a crash. Each time costs one sync.
const TOLD_EVERY: Duration = Duration::from_secs(5);
/// At the end a disk that hangs is waited for so long.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// When each disk was told last.
#[derive(Default)]
pub(crate) struct ProgressState(Mutex<BTreeMap<DiskId, Instant>>);

impl ProgressState {
    /// How long the disk need not be told yet; nothing where it is due, which begins the next time. What wakes the duties
    /// of disks makes it no earlier.
    fn rest(&self, disk: DiskId, now: Instant) -> Option<Duration> {
        let mut told = self.0.lock().expect("no holder of this lock panics");
        let last = *told.entry(disk).or_insert(now);
        let rest = TOLD_EVERY.saturating_sub(now.saturating_duration_since(last));
        if rest.is_zero() {
            told.insert(disk, now);
            return None;
        }
        Some(rest)
    }
}

impl Upkeep {
    /// Tells a disk of the group's position, if that has moved on.
    pub(crate) async fn progress_step(&self, disk: DiskId) -> Result<Pace, EngineError> {
        let Some(store) = self.shared.disks.get(disk) else { return Ok(Pace::End) };
        if let Some(rest) = self.progress.rest(disk, Instant::now()) {
            return Ok(Pace::After(rest));
        }
        let position = self.shared.meta.position();
        if position > store.told() && self.shared.behind.error().is_none() {
            let tell = |store: Arc<dyn ShardStore>| async move { store.tell(position).await };
            // A disk that takes no writes is told when it does again; what is wrong with it shows elsewhere.
            let _told = self.calls.call(&self.shared.disks, disk, tell).await;
        }
        Ok(Pace::After(TOLD_EVERY))
    }
}

/// Tells all disks where the group ends, when nothing more is committed. One that is behind them tells nothing.
pub(crate) async fn tell_all(shared: &Shared) {
    if shared.behind.error().is_some() {
        return;
    }
    let position = shared.meta.position();
    let disks = shared.disks.all();
    join_all(disks.iter().map(|disk| timeout(TOLD_WITHIN, disk.store.tell(position)))).await;
}

#[cfg(test)]
mod tests {
    use cairn_proto::LogPosition;

    use super::super::testing::World;
    use super::*;

    #[tokio::test]
    async fn a_disk_is_told_after_a_while_and_not_when_it_is_woken() {
        let state = ProgressState::default();
        let (disk, begun) = (DiskId(1), Instant::now());
        let at = |part: u32| begun + TOLD_EVERY / 4 * part;
        assert_eq!(state.rest(disk, begun), Some(TOLD_EVERY));
        assert_eq!(state.rest(disk, at(3)), Some(TOLD_EVERY / 4));
        assert_eq!((state.rest(disk, at(4)), state.rest(disk, at(5))), (None, Some(TOLD_EVERY / 4 * 3)));

        let world = World::new(6).await;
        let disk = world.disk(0);
        world.up.progress_step(disk.id()).await.unwrap();
        assert_eq!(disk.told(), LogPosition::default());
        let long_ago = Instant::now().checked_sub(TOLD_EVERY).unwrap();
        world.up.progress.0.lock().unwrap().insert(disk.id(), long_ago);
        world.up.progress_step(disk.id()).await.unwrap();
        assert_eq!(disk.told(), world.up.shared.meta.position());
        world.engine.shutdown().await;
        disk.reopen();
        assert_eq!(disk.told(), world.up.shared.meta.position(), "the end, which came after");
    }
}
