//! Which versions of a key that is being overwritten a reader may see. A version is out when another one that began
//! after it was acknowledged was acknowledged itself before the reader began. A write that was never answered may show
//! at any time.

use std::sync::{Mutex, PoisonError};

/// Writes never heard of again that are kept per key. Beyond that the key is no longer judged.
const UNKNOWN_MAX: usize = 64;

/// One write.
#[derive(Debug, Clone, Copy)]
struct Write {
    version: u64,
    began: u64,
    acknowledged: Option<u64>,
}

/// The writes of one key that may still show.
#[derive(Debug, Default)]
struct State {
    clock: u64,
    versions: u64,
    writes: Vec<Write>,
}

impl State {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Strikes what no reader that begins now can see.
    fn prune(&mut self) {
        let newest_begin =
            self.writes.iter().filter(|write| write.acknowledged.is_some()).map(|write| write.began).max();
        let Some(newest_begin) = newest_begin else { return };
        self.writes.retain(|write| write.acknowledged.is_none_or(|acknowledged| acknowledged >= newest_begin));
    }
}

/// The versions of one key.
#[derive(Debug, Default)]
pub(crate) struct Versions(Mutex<State>);

/// What a reader that began may see.
#[derive(Debug, Clone)]
pub(crate) struct Sightline {
    versions: Vec<u64>,
    newest: u64,
}

impl Versions {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a write; answers its version.
    pub(crate) fn begin(&self) -> u64 {
        let mut state = self.state();
        state.versions += 1;
        let (version, began) = (state.versions, state.tick());
        state.writes.push(Write { version, began, acknowledged: None });
        version
    }

    /// The server acknowledged a write.
    pub(crate) fn acknowledge(&self, version: u64) {
        let mut state = self.state();
        let now = state.tick();
        if let Some(write) = state.writes.iter_mut().find(|write| write.version == version) {
            write.acknowledged = Some(now);
        }
        state.prune();
    }

    /// The server refused a write: it never shows.
    pub(crate) fn refuse(&self, version: u64) {
        self.state().writes.retain(|write| write.version != version);
    }

    /// Begins a read.
    pub(crate) fn look(&self) -> Sightline {
        let state = self.state();
        let versions = state.writes.iter().map(|write| write.version).collect();
        Sightline { versions, newest: state.versions }
    }

    /// The versions that a read which began at `line` may find now; `None` if too many are unknown to judge.
    pub(crate) fn admissible(&self, line: &Sightline) -> Option<Vec<u64>> {
        let newest = self.state().versions;
        if line.versions.len() > UNKNOWN_MAX {
            return None;
        }
        Some(line.versions.iter().copied().chain(line.newest + 1..=newest).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(versions: &Versions) -> Vec<u64> {
        versions.admissible(&versions.look()).unwrap()
    }

    #[test]
    fn an_acknowledged_overwrite_hides_the_old_version() {
        let versions = Versions::default();
        let first = versions.begin();
        versions.acknowledge(first);
        assert_eq!(seen(&versions), [1]);
        let second = versions.begin();
        assert_eq!(seen(&versions), [1, 2], "while it is written both may show");
        versions.acknowledge(second);
        assert_eq!(seen(&versions), [2]);
    }

    #[test]
    fn a_read_that_overlaps_a_write_may_see_either() {
        let versions = Versions::default();
        versions.acknowledge(versions.begin());
        let line = versions.look();
        versions.acknowledge(versions.begin());
        versions.acknowledge(versions.begin());
        assert_eq!(versions.admissible(&line).unwrap(), [1, 2, 3]);
    }

    #[test]
    fn of_two_writes_at_once_either_may_win() {
        let versions = Versions::default();
        versions.acknowledge(versions.begin());
        let (second, third) = (versions.begin(), versions.begin());
        versions.acknowledge(third);
        assert_eq!(seen(&versions), [2, 3]);
        versions.acknowledge(second);
        assert_eq!(seen(&versions), [2, 3]);
        versions.acknowledge(versions.begin());
        assert_eq!(seen(&versions), [4]);
    }

    #[test]
    fn an_unanswered_write_may_show_later_and_a_refused_one_never() {
        let versions = Versions::default();
        let lost = versions.begin();
        let refused = versions.begin();
        versions.refuse(refused);
        for _ in 0..3 {
            versions.acknowledge(versions.begin());
        }
        assert_eq!(seen(&versions), [lost, 5]);
    }

    #[test]
    fn what_is_kept_has_a_bound_in_what_is_judged() {
        let versions = Versions::default();
        for _ in 0..=UNKNOWN_MAX {
            versions.begin();
        }
        assert!(versions.admissible(&versions.look()).is_none());
    }
}
