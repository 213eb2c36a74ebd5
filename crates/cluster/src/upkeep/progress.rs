//! Progress: each disk is told now and then how far the metadata group is. A copy of the metadata that is put back later is
//! found out by it (see `start/behind.rs`), also if the disk was never taken into service since.

use std::time::Duration;

use cairn_proto::DiskId;

use super::{Pace, Upkeep};
use crate::error::EngineError;

/// How much of what was done a copy may lack and not be found out. Each note costs a disk one sync.
const NOTED_EVERY: Duration = Duration::from_secs(20);

impl Upkeep {
    /// Tells a disk of the group's index, if that has moved on.
    pub(crate) async fn progress_step(&self, disk: DiskId) -> Result<Pace, EngineError> {
        let Some(store) = self.shared.disks.get(disk) else { return Ok(Pace::End) };
        let applied = self.shared.meta.status().applied;
        if applied > store.answered() {
            // A disk that takes no writes is told when it does again; what is wrong with it shows elsewhere.
            let noted =
                self.calls.call(&self.shared.disks, disk, move |store| async move { store.note_index(applied).await });
            let _noted = noted.await;
        }
        Ok(Pace::After(NOTED_EVERY))
    }
}
