//! Who is served now: a slot and a memory budget, taken before a body is read.
//!
//! Nobody queues here. What cannot be served at once is told to slow down, which clients do by themselves. The last
//! quarter of the slots and of the memory is kept for access keys that hold less than their share, so one busy key does
//! not shut others out: not even one that was alone until now, whose requests may stand for a long time.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use cairn_s3::{S3Error, S3ErrorCode};

/// What is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Held {
    slots: u64,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Used {
    all: Held,
    /// Keys that hold a slot.
    by_key: HashMap<String, Held>,
}

/// Gives out slots.
#[derive(Debug)]
pub(crate) struct Admission {
    slots_max: u64,
    bytes_max: u64,
    used: Mutex<Used>,
}

/// A slot; given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    admission: Arc<Admission>,
    access_key: String,
    bytes: AtomicU64,
}

impl Slot {
    /// Takes memory for `bytes` more, which come back with the slot.
    ///
    /// # Errors
    /// `SlowDown`.
    pub(crate) fn hold(&self, bytes: u64) -> Result<(), S3Error> {
        self.admission.take(&self.access_key, Held { slots: 0, bytes })?;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl Admission {
    pub(crate) fn new(slots_max: usize, bytes_max: u64) -> Arc<Self> {
        let slots_max = u64::try_from(slots_max).unwrap_or(u64::MAX);
        Arc::new(Self { slots_max, bytes_max, used: Mutex::default() })
    }

    /// Takes a slot for a request that will buffer at most `bytes`.
    ///
    /// # Errors
    /// `SlowDown`.
    pub(crate) fn admit(self: &Arc<Self>, access_key: &str, bytes: u64) -> Result<Slot, S3Error> {
        self.take(access_key, Held { slots: 1, bytes })?;
        let bytes = AtomicU64::new(bytes);
        Ok(Slot { admission: Arc::clone(self), access_key: access_key.to_owned(), bytes })
    }

    /// Takes for a key, by the same rule slots and memory.
    fn take(&self, access_key: &str, asked: Held) -> Result<(), S3Error> {
        let mut used = self.used();
        let own = used.by_key.get(access_key).copied().unwrap_or_default();
        let keys = u64::try_from(used.by_key.len()).unwrap_or(u64::MAX) + u64::from(own.slots == 0);
        let slots = may_take(self.slots_max, used.all.slots, own.slots, keys, asked.slots);
        let bytes = may_take(self.bytes_max, used.all.bytes, own.bytes, keys, asked.bytes);
        if !slots || !bytes {
            return Err(S3ErrorCode::SlowDown.into());
        }
        let add = |held: Held| Held { slots: held.slots + asked.slots, bytes: held.bytes + asked.bytes };
        used.all = add(used.all);
        used.by_key.insert(access_key.to_owned(), add(own));
        Ok(())
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn held(&self) -> Held {
        self.used().all
    }
}

/// The rule: `own` of what is `used` are held by this key, `keys` are active with it.
fn may_take(max: u64, used: u64, own: u64, keys: u64, asked: u64) -> bool {
    let (all, of_key) = (used.saturating_add(asked), own.saturating_add(asked));
    let shared = max - max / 4;
    all <= max && (asked == 0 || all <= shared || (keys > 1 && of_key <= max.div_ceil(keys)))
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut used = self.admission.used();
        let bytes = self.bytes.load(Ordering::Relaxed);
        let less = |held: Held| Held { slots: held.slots - 1, bytes: held.bytes - bytes };
        used.all = less(used.all);
        if let Some(own) = used.by_key.get_mut(&self.access_key) {
            *own = less(*own);
            if own.slots == 0 {
                used.by_key.remove(&self.access_key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule() {
        for (used, own, keys, taken) in [
            (0, 0, 1, true),
            (5, 5, 1, true),
            (6, 6, 1, false),
            (8, 0, 2, false),
            // The last quarter is for those under their share.
            (5, 5, 2, true),
            (6, 5, 2, false),
            (6, 1, 2, true),
            (7, 0, 3, true),
        ] {
            assert_eq!(may_take(8, used, own, keys, 1), taken, "used {used} own {own} keys {keys}");
        }
    }

    #[test]
    fn a_busy_key_leaves_room_for_another_and_slots_come_back() {
        let admission = Admission::new(8, 100);
        let small = admission.admit("small", 1).unwrap();
        let mut busy = Vec::new();
        while let Ok(slot) = admission.admit("busy", 1) {
            busy.push(slot);
        }
        assert_eq!(busy.len(), 5);
        let more = admission.admit("small", 1).unwrap();
        let third = admission.admit("third", 1).unwrap();
        assert_eq!(admission.admit("fourth", 1).unwrap_err().code, S3ErrorCode::SlowDown);
        drop((small, busy, more, third));
        assert_eq!(admission.held(), Held::default());
        assert!(admission.used.lock().unwrap().by_key.is_empty());
    }

    #[test]
    fn a_key_that_was_alone_leaves_room_for_one_that_comes_later() {
        let admission = Admission::new(8, 100);
        let busy: Vec<_> = std::iter::from_fn(|| admission.admit("busy", 10).ok()).collect();
        assert_eq!(busy.len(), 6);
        let late = admission.admit("late", 20).unwrap();
        assert_eq!(busy[0].hold(20).unwrap_err().code, S3ErrorCode::SlowDown);
        late.hold(10).unwrap();
        let admission = Admission::new(80, 100);
        let busy: Vec<_> = std::iter::from_fn(|| admission.admit("busy", 10).ok()).collect();
        assert_eq!(busy.len(), 7);
        drop(admission.admit("late", 20).unwrap());
    }

    #[test]
    fn a_key_that_holds_much_memory_leaves_some_for_another() {
        let admission = Admission::new(80, 100);
        let small = admission.admit("small", 1).unwrap();
        let mut busy = Vec::new();
        while let Ok(slot) = admission.admit("busy", 10) {
            busy.push(slot);
        }
        assert_eq!(busy.len(), 7, "three quarters, since that is over its half");
        assert_eq!(busy[0].hold(5).unwrap_err().code, S3ErrorCode::SlowDown);
        small.hold(20).unwrap();
        assert_eq!(small.hold(10).unwrap_err().code, S3ErrorCode::SlowDown, "no more than there is");
        busy[0].hold(0).unwrap();
        drop(busy);
        small.hold(54).unwrap();
        small.hold(1).unwrap_err();
        drop(small);
        assert_eq!(admission.held(), Held::default());
    }

    #[test]
    fn memory_is_a_bound_of_its_own() {
        let admission = Admission::new(8, 100);
        let first = admission.admit("key", 60).unwrap();
        assert_eq!(admission.admit("key", 60).unwrap_err().code, S3ErrorCode::SlowDown);
        first.hold(15).unwrap();
        assert_eq!(first.hold(1).unwrap_err().code, S3ErrorCode::SlowDown);
        drop(first);
        assert_eq!(admission.held(), Held::default());
        assert!(admission.admit("key", 60).is_ok());
    }
}
