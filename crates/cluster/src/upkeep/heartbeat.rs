//! How each disk of this node stands: changes are logged, and wake what waited for them.

use std::collections::BTreeMap;
use std::sync::Mutex;

use cairn_proto::DiskId;
use cairn_shard_store::{DiskState, FenceReason};
use tracing::{info, warn};

use super::{Pace, Upkeep};
use crate::error::EngineError;

/// What was seen last.
#[derive(Default)]
pub(crate) struct HeartbeatState {
    seen: Mutex<BTreeMap<DiskId, Seen>>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Seen {
    state: DiskState,
    writable: bool,
}

/// What changed between two looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Changes {
    /// A disk can be used for more than before.
    came: bool,
    /// The disks that take new segments are others.
    writable: bool,
}

impl Upkeep {
    /// Looks at all disks once.
    pub(crate) async fn heartbeat_step(&self) -> Result<Pace, EngineError> {
        let disks = &self.shared.disks;
        let seen = disks.all().into_iter().map(|disk| {
            let writable = disks.writable(disk.id);
            (disk.id, Seen { state: disk.status.state, writable })
        });
        let now: BTreeMap<_, _> = seen.collect();
        let before =
            std::mem::replace(&mut *self.heartbeat.seen.lock().expect("no holder of this lock panics"), now.clone());
        log_changes(&before, &now);
        let changes = changes_between(&before, &now);
        if changes.came {
            self.disks_came();
        } else if changes.writable {
            self.wakes.groups.notify_one();
        }
        Ok(self.idle())
    }
}

fn changes_between(before: &BTreeMap<DiskId, Seen>, now: &BTreeMap<DiskId, Seen>) -> Changes {
    let rank = |seen: &Seen| match (&seen.state, seen.writable) {
        (DiskState::Fenced(_), _) => 1,
        (DiskState::ReadOnly(_), _) => 2,
        (DiskState::Serving, false) => 3,
        (DiskState::Serving, true) => 4,
    };
    let came = now.iter().any(|(disk, seen)| rank(seen) > before.get(disk).map_or(0, rank));
    let writable = |seen: &BTreeMap<DiskId, Seen>| {
        seen.iter().filter(|(_, seen)| seen.writable).map(|(disk, _)| *disk).collect::<Vec<_>>()
    };
    Changes { came, writable: writable(before) != writable(now) }
}

fn log_changes(before: &BTreeMap<DiskId, Seen>, now: &BTreeMap<DiskId, Seen>) {
    for (disk, seen) in now {
        if before.get(disk).is_some_and(|before| before.state == seen.state) {
            continue;
        }
        match &seen.state {
            DiskState::Serving => info!(%disk, "disk serves"),
            DiskState::ReadOnly(reason @ FenceReason::Full { .. }) => {
                warn!(%disk, %reason, "disk is full: new segments go to others");
            }
            DiskState::ReadOnly(reason) => warn!(%disk, %reason, "disk takes no more writes"),
            DiskState::Fenced(reason) => warn!(%disk, %reason, "disk is out: reads are made up from others"),
        }
    }
    for disk in before.keys().filter(|disk| !now.contains_key(disk)) {
        warn!(%disk, "disk left the table");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(state: DiskState, writable: bool) -> BTreeMap<DiskId, Seen> {
        BTreeMap::from([(DiskId(1), Seen { state, writable })])
    }

    #[test]
    fn only_what_got_better_wakes_all() {
        let gone = || seen(DiskState::Fenced(FenceReason::Gone), false);
        let serving = || seen(DiskState::Serving, true);
        let none = BTreeMap::new();
        assert_eq!(changes_between(&none, &serving()), Changes { came: true, writable: true });
        assert_eq!(changes_between(&serving(), &serving()), Changes::default());
        assert_eq!(changes_between(&serving(), &gone()), Changes { came: false, writable: true });
        assert_eq!(changes_between(&gone(), &serving()), Changes { came: true, writable: true });
        assert_eq!(changes_between(&serving(), &none), Changes { came: false, writable: true });
    }
}
