//! Shards that were ordered dead lately: a write of one that was on its way must not bring it back.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{DeleteOrder, DeleteReason, ShardKey, ShardStoreError};

/// So many that a write which was on its way when its shard was ordered dead finds it here. What is pushed out is the
/// inventory's to find.
const KEYS_MAX: usize = 32_768;

/// The shards of the latest orders.
#[derive(Debug, Default)]
pub(crate) struct RecentDead(Mutex<Keys>);

#[derive(Debug, Default)]
struct Keys {
    order: VecDeque<ShardKey>,
    known: HashSet<ShardKey>,
}

impl RecentDead {
    /// Remembers what an order says is dead.
    pub(crate) fn note(&self, keys: &[ShardKey], order: DeleteOrder) {
        if order.reason != DeleteReason::Dead {
            return;
        }
        let mut all = self.lock();
        for key in keys {
            all.add(*key, KEYS_MAX);
        }
    }

    /// Refuses a shard that is dead.
    pub(crate) fn check(&self, key: ShardKey) -> Result<(), ShardStoreError> {
        if self.lock().known.contains(&key) {
            return Err(ShardStoreError::Invalid("the shard was ordered dead"));
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Keys> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keys {
    fn add(&mut self, key: ShardKey, keys_max: usize) {
        if !self.known.insert(key) {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > keys_max
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use cairn_proto::{GroupId, SegmentId, Sequence, Slot, WriterId};

    use super::*;

    #[test]
    fn the_oldest_make_room() {
        let key = |number| ShardKey {
            segment: SegmentId { group: GroupId(1), writer: WriterId(1), sequence: Sequence(number) },
            slot: Slot(0),
        };
        let mut keys = Keys::default();
        for number in [1, 2, 1, 3] {
            keys.add(key(number), 2);
        }
        assert_eq!([1, 2, 3].map(|number| keys.known.contains(&key(number))), [false, true, true]);
        assert_eq!((keys.order.len(), keys.known.len()), (2, 2));
    }
}
