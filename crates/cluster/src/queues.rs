//! What the foreground leaves for upkeep: shards that looked bad, and segments that will never be committed.
//!
//! Both are hints. A full queue drops the newest: scrub and inventory find the same things later.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;
use std::sync::Mutex;

use cairn_proto::{PgId, SegmentId, Slot};
use tokio::sync::Notify;

/// Most hints that wait in a queue.
const QUEUE_MAX: usize = 4096;

/// A shard that a reader could not use; repair checks by reading itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct ShardReport {
    pub(crate) pg: PgId,
    pub(crate) segment: SegmentId,
    pub(crate) slot: Slot,
}

/// A segment that was begun and will not be committed: once the write watermark passed it, it is dead.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Abandoned {
    pub(crate) pg: PgId,
    pub(crate) segment: SegmentId,
}

/// A bounded queue without doubles that a task can wait on.
pub(crate) struct HintQueue<T> {
    waiting: Mutex<(VecDeque<T>, HashSet<T>)>,
    added: Notify,
}

impl<T: Copy + Eq + Hash> HintQueue<T> {
    pub(crate) fn new() -> Self {
        Self { waiting: Mutex::new((VecDeque::new(), HashSet::new())), added: Notify::new() }
    }

    /// Adds a hint unless it waits already or the queue is full.
    pub(crate) fn push(&self, hint: T) {
        let mut waiting = self.waiting.lock().expect("no holder of this lock panics");
        let (order, known) = &mut *waiting;
        if order.len() >= QUEUE_MAX || !known.insert(hint) {
            return;
        }
        order.push_back(hint);
        self.added.notify_one();
    }

    /// Takes up to `limit` hints, oldest first.
    pub(crate) fn take(&self, limit: usize) -> Vec<T> {
        let mut waiting = self.waiting.lock().expect("no holder of this lock panics");
        let (order, known) = &mut *waiting;
        let count = limit.min(order.len());
        let taken: Vec<T> = order.drain(..count).collect();
        for hint in &taken {
            known.remove(hint);
        }
        taken
    }

    /// Resolves when a hint was added since the last call.
    pub(crate) async fn added(&self) {
        self.added.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_and_overflow_are_dropped_and_order_is_kept() {
        let queue = HintQueue::new();
        for number in (0..QUEUE_MAX).chain(0..QUEUE_MAX).chain([QUEUE_MAX + 1]) {
            queue.push(number);
        }
        assert_eq!(queue.take(2), vec![0, 1]);
        queue.push(0);
        let rest = queue.take(usize::MAX);
        assert_eq!((rest.len(), rest.first(), rest.last()), (QUEUE_MAX - 1, Some(&2), Some(&0)));
        assert!(queue.take(1).is_empty());
    }
}
