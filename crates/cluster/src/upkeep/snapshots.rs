//! Snapshots of the metadata: one a day, or as often as was chosen, and the list of them on every disk.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cairn_meta::WholeSnapshot;

use super::rest::Rests;
use super::{Pace, Upkeep};
use crate::error::EngineError;
use crate::snapshot::{list_on_disks, look_at_lists, write_snapshot};

/// How often the disks' lists are compared with the rows: a group's slots move, and disks are replaced.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// A snapshot that fails has been written half: it is tried again ever more seldom.
const FAILED_REST_FIRST: Duration = LOOK_EVERY;
const FAILED_REST_LONGEST: Duration = Duration::from_secs(3600);

/// How the snapshots stand.
pub(crate) struct SnapshotsState {
    /// Whether the first pause went by.
    begun: AtomicBool,
    pub(super) rests: Rests<()>,
}

impl SnapshotsState {
    pub(super) fn new() -> Self {
        Self { begun: AtomicBool::new(false), rests: Rests::new(FAILED_REST_FIRST, FAILED_REST_LONGEST) }
    }
}

/// Whether another snapshot is due.
fn is_due(newest: Option<&WholeSnapshot>, now_ms: u64, every: Duration) -> bool {
    let age = newest.map(|row| Duration::from_millis(now_ms.saturating_sub(row.created_ms)));
    age.is_none_or(|age| age >= every)
}

impl Upkeep {
    /// Writes a snapshot if one is due; mends the disks' lists. The first comes a minute after the first start.
    pub(crate) async fn snapshots_step(&self) -> Result<Pace, EngineError> {
        if !self.snapshots.begun.load(Ordering::Relaxed) {
            look_at_lists(&self.shared).await?;
            self.snapshots.begun.store(true, Ordering::Relaxed);
            return Ok(Pace::After(LOOK_EVERY));
        }
        let newest = self.look(|view| Ok(view.snapshots()?.pop())).await?;
        let now_ms = self.shared.meta.now_ms();
        let is_wanted = self.shared.options.snapshot_every.is_some_and(|every| is_due(newest.as_ref(), now_ms, every));
        if is_wanted && !self.snapshots.rests.rests(&()) {
            match write_snapshot(&self.shared).await {
                Ok(_) => self.snapshots.rests.worked(&()),
                Err(error) => {
                    self.snapshots.rests.failed(());
                    tracing::warn!(%error, "no snapshot of the metadata could be written; it is tried again");
                }
            }
        } else {
            // Where snapshots are switched off too: those that a person has written are listed on new disks.
            list_on_disks(&self.shared).await?;
        }
        Ok(Pace::After(LOOK_EVERY))
    }
}

#[cfg(test)]
mod tests {
    use cairn_proto::Index;

    use super::*;

    #[test]
    fn one_is_due_without_any_and_when_the_newest_is_old() {
        let made = |created_ms| WholeSnapshot { snapshot: Index(1), created_ms, extents: Vec::new() };
        let hour = Duration::from_secs(3600);
        assert!(is_due(None, 0, hour));
        assert!(!is_due(Some(&made(1000)), 3_600_999, hour));
        assert!(is_due(Some(&made(1000)), 3_601_000, hour));
        assert!(!is_due(Some(&made(5000)), 1000, hour), "a clock that went back");
    }
}
