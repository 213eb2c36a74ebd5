//! Pins: the index under which a running read may still use rows.
//!
//! A read pins the highest index this node knows *before* it asks for its manifest, so whatever the manifest names went
//! to garbage, if at all, at a higher index. The read watermark is the lowest pin, or without reads the highest index
//! known; it only rises. A read that is older than a limit stops holding by index and is named by its version instead,
//! in the very answer that passes its pin: one stalled download does not hold all the space.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cairn_proto::{Index, VersionId};
use tokio::time::Instant;

/// What this node's reads need: garbage of an index *over* `index`, and the named versions, must stay.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ReadMark {
    /// No read can see what became garbage at or under this index, but for the versions in `held`.
    pub(crate) index: Index,
    /// Versions that long reads hold by name.
    pub(crate) held: Vec<VersionId>,
}

struct Held {
    index: Index,
    since: Instant,
    version: Option<VersionId>,
    /// Held by its name from the start.
    by_name: bool,
}

#[derive(Default)]
struct State {
    next: u64,
    pins: BTreeMap<u64, Held>,
    watermark: Index,
}

/// All pins of this node.
pub(crate) struct Pins {
    state: Mutex<State>,
    by_index_within: Duration,
}

impl Pins {
    pub(crate) fn new(by_index_within: Duration) -> Self {
        Self { state: Mutex::default(), by_index_within }
    }

    /// Pins what `known` says under the same lock that guards the watermark: no pin is ever under it.
    pub(crate) fn pin(self: &Arc<Self>, known: impl FnOnce() -> Index) -> Pin {
        let mut state = self.lock();
        let index = known().max(state.watermark);
        let number = state.next;
        state.next += 1;
        state.pins.insert(number, Held { index, since: Instant::now(), version: None, by_name: false });
        Pin { pins: Arc::clone(self), number }
    }

    /// The read watermark now, and the versions held by name under it.
    pub(crate) fn mark(&self, known: impl FnOnce() -> Index) -> ReadMark {
        self.mark_at(Instant::now(), known)
    }

    fn mark_at(&self, now: Instant, known: impl FnOnce() -> Index) -> ReadMark {
        let mut state = self.lock();
        let is_old = |held: &Held| now.duration_since(held.since) >= self.by_index_within;
        let by_name = |held: &Held| held.version.filter(|_| held.by_name || is_old(held));
        let lowest = state.pins.values().filter(|held| by_name(held).is_none()).map(|held| held.index).min();
        let held = state.pins.values().filter_map(by_name).collect();
        state.watermark = state.watermark.max(lowest.unwrap_or_else(known));
        ReadMark { index: state.watermark, held }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

/// One read's pin; dropping it ends it.
pub(crate) struct Pin {
    pins: Arc<Pins>,
    number: u64,
}

impl Pin {
    /// Says which version the read uses, so that it can be held by name when it grows old.
    pub(crate) fn name(&self, version: VersionId) {
        if let Some(held) = self.pins.lock().pins.get_mut(&self.number) {
            held.version = Some(version);
        }
    }

    /// Holds its version by name from now on, young as it is: it will be held for long, and for no other version.
    pub(crate) fn by_name(&self) {
        if let Some(held) = self.pins.lock().pins.get_mut(&self.number) {
            held.by_name = true;
        }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.pins.lock().pins.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(index: u64) -> VersionId {
        VersionId { index: Index(index), ordinal: 0 }
    }

    #[test]
    fn the_watermark_is_the_lowest_pin_and_only_rises() {
        let pins = Arc::new(Pins::new(Duration::from_secs(30)));
        assert_eq!(pins.mark(|| Index(5)).index, Index(5));
        let old = pins.pin(|| Index(7));
        let young = pins.pin(|| Index(9));
        assert_eq!(pins.mark(|| Index(12)).index, Index(7));
        drop(old);
        assert_eq!(pins.mark(|| Index(12)).index, Index(9));
        drop(young);
        assert_eq!(pins.mark(|| Index(12)).index, Index(12));
        let behind = pins.pin(|| Index(3));
        assert_eq!(pins.mark(|| Index(20)).index, Index(12), "no pin lies under the watermark");
        drop(behind);
    }

    #[test]
    fn an_old_read_is_named_in_the_answer_that_passes_it() {
        let pins = Arc::new(Pins::new(Duration::from_secs(30)));
        let named = pins.pin(|| Index(4));
        named.name(version(2));
        let unnamed = pins.pin(|| Index(6));
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(31));
        assert_eq!(pins.mark_at(now, || Index(9)), ReadMark { index: Index(4), held: vec![] });
        assert_eq!(pins.mark_at(later, || Index(9)), ReadMark { index: Index(6), held: vec![version(2)] });
        unnamed.name(version(3));
        unnamed.by_name();
        assert_eq!(pins.mark_at(now, || Index(9)), ReadMark { index: Index(6), held: vec![version(3)] });
        drop((named, unnamed));
        assert_eq!(pins.mark_at(later, || Index(9)), ReadMark { index: Index(9), held: vec![] });
    }
}
