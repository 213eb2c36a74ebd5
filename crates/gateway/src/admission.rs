//! Who is served now: a slot and a memory budget, taken before a body is read.
//!
//! Nobody queues here. What cannot be served at once is told to slow down, which clients do by themselves. The last
//! quarter of the slots is kept for access keys that hold less than their share, so one busy key does not shut
//! others out.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use cairn_s3::{S3Error, S3ErrorCode};

#[derive(Debug, Default)]
struct Used {
    slots: usize,
    bytes: u64,
    by_key: HashMap<String, usize>,
}

/// Gives out slots.
#[derive(Debug)]
pub(crate) struct Admission {
    slots_max: usize,
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
        let mut used = self.admission.used();
        used.bytes = used.with(bytes, self.admission.bytes_max)?;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl Used {
    /// The bytes in use with so many more.
    fn with(&self, bytes: u64, bytes_max: u64) -> Result<u64, S3Error> {
        let all = self.bytes.saturating_add(bytes);
        if all > bytes_max { Err(S3ErrorCode::SlowDown.into()) } else { Ok(all) }
    }
}

impl Admission {
    pub(crate) fn new(slots_max: usize, bytes_max: u64) -> Arc<Self> {
        Arc::new(Self { slots_max, bytes_max, used: Mutex::default() })
    }

    /// Takes a slot for a request that will buffer at most `bytes`.
    ///
    /// # Errors
    /// `SlowDown`.
    pub(crate) fn admit(self: &Arc<Self>, access_key: &str, bytes: u64) -> Result<Slot, S3Error> {
        let mut used = self.used();
        let own = used.by_key.get(access_key).copied().unwrap_or(0);
        let keys = used.by_key.len() + usize::from(own == 0);
        if !may_take(self.slots_max, used.slots, own, keys) {
            return Err(S3ErrorCode::SlowDown.into());
        }
        used.bytes = used.with(bytes, self.bytes_max)?;
        used.slots += 1;
        *used.by_key.entry(access_key.to_owned()).or_default() += 1;
        let bytes = AtomicU64::new(bytes);
        Ok(Slot { admission: Arc::clone(self), access_key: access_key.to_owned(), bytes })
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn in_flight(&self) -> usize {
        self.used().slots
    }
}

/// The rule: `own` slots are held by this key, `keys` are active with it.
fn may_take(slots_max: usize, used: usize, own: usize, keys: usize) -> bool {
    if used >= slots_max {
        return false;
    }
    let shared = slots_max - slots_max / 4;
    used < shared || keys == 1 || own < slots_max.div_ceil(keys)
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut used = self.admission.used();
        used.slots -= 1;
        used.bytes -= self.bytes.load(Ordering::Relaxed);
        if let Some(own) = used.by_key.get_mut(&self.access_key) {
            *own -= 1;
            if *own == 0 {
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
            (7, 7, 1, true),
            (8, 8, 1, false),
            (8, 0, 2, false),
            // The last quarter is for those under their share.
            (5, 5, 2, true),
            (6, 5, 2, false),
            (6, 1, 2, true),
            (7, 0, 3, true),
        ] {
            assert_eq!(may_take(8, used, own, keys), taken, "used {used} own {own} keys {keys}");
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
        assert_eq!(admission.in_flight(), 0);
        assert!(admission.used.lock().unwrap().by_key.is_empty());
    }

    #[test]
    fn memory_is_a_bound_of_its_own() {
        let admission = Admission::new(8, 100);
        let first = admission.admit("key", 60).unwrap();
        assert_eq!(admission.admit("key", 60).unwrap_err().code, S3ErrorCode::SlowDown);
        first.hold(40).unwrap();
        assert_eq!(first.hold(1).unwrap_err().code, S3ErrorCode::SlowDown);
        drop(first);
        assert_eq!(admission.used().bytes, 0);
        assert!(admission.admit("key", 60).is_ok());
    }
}
