//! `mixed`: 45 % GET, 30 % HEAD, 15 % PUT, 10 % DELETE. Read is what lies ready; deleted is what was put.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Instant,
};

use async_trait::async_trait;

use super::{Load, Shelf, Spec, remove, timed};
use crate::{
    failure::{Failure, Failures},
    recorder::{Kind, Recorder},
    target::{How, Target},
};

pub(super) struct Mixed {
    shelf: Shelf,
    objects: u64,
    round: AtomicU32,
    left: AtomicU64,
    /// Keys put and acknowledged, the oldest first. As many at most as the round's bytes allow.
    put: Mutex<VecDeque<String>>,
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Get,
    Head,
    Put,
    Delete,
}

const fn act(percent: u64) -> Act {
    match percent {
        0..45 => Act::Get,
        45..75 => Act::Head,
        75..90 => Act::Put,
        _ => Act::Delete,
    }
}

impl Mixed {
    pub(super) fn new(spec: Spec, target: Arc<Target>) -> Self {
        Self {
            shelf: Shelf::new(spec, target, "mixed", spec.object_bytes),
            objects: spec.objects(),
            round: AtomicU32::new(0),
            left: AtomicU64::new(0),
            put: Mutex::default(),
        }
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, VecDeque<String>> {
        self.put.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folder(&self) -> String {
        format!("{}r/", self.shelf.folder)
    }

    async fn put(&self, number: u64, from: Instant, recorder: &Recorder) -> bool {
        let cost = self.shelf.bytes.max(4096);
        if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(cost)).is_err() {
            return false;
        }
        let key = format!("{}{}/{number:08}", self.folder(), self.round.load(Ordering::Relaxed));
        let put = self.shelf.target.put(&key, self.shelf.content(&key), 0, How::default());
        if timed(recorder, Kind::Put, from, put).await {
            self.queue().push_back(key);
        }
        true
    }
}

#[async_trait]
impl Load for Mixed {
    async fn prepare(&self) -> Result<(), Failure> {
        self.shelf.fill(self.objects).await
    }

    async fn before_round(&self, round: u32) -> Result<(), Failure> {
        self.round.store(round, Ordering::Relaxed);
        self.left.store(self.shelf.spec.bytes_max, Ordering::Relaxed);
        self.queue().clear();
        Ok(())
    }

    async fn step(&self, number: u64, from: Instant, recorder: &Recorder) -> bool {
        let spec = &self.shelf.spec;
        let target = &self.shelf.target;
        let key = self.shelf.key(spec.draw(number, 0) % self.objects);
        let content = self.shelf.content(&key);
        match act(spec.draw(number, 1) % 100) {
            Act::Get => {
                timed(recorder, Kind::Get, from, target.get(&key, || Ok(vec![content]), How::default())).await;
            }
            Act::Head => {
                timed(recorder, Kind::Head, from, target.head_of(&key, content.length())).await;
            }
            Act::Put => return self.put(number, from, recorder).await,
            Act::Delete => {
                let oldest = self.queue().pop_front();
                match oldest {
                    Some(key) => {
                        timed(recorder, Kind::Delete, from, target.delete(&key)).await;
                    }
                    // Nothing was put yet.
                    None => return self.put(number, from, recorder).await,
                }
            }
        }
        true
    }

    async fn after_round(&self) -> Failures {
        remove(&self.shelf.target, &self.folder(), self.shelf.spec.concurrency).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_what_is_said() {
        let count = |wanted| (0..100).filter(|percent| act(*percent) == wanted).count();
        assert_eq!((count(Act::Get), count(Act::Head), count(Act::Put), count(Act::Delete)), (45, 30, 15, 10));
    }
}
