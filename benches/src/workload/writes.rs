//! `put` and `multipart`: new keys only, so that every write costs the same. A round ends early when the bytes that may
//! lie on the server are used up; after it, some are read back and all are removed.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Instant,
};

use async_trait::async_trait;

use super::{Load, Shelf, Spec, Workload, remove, timed};
use crate::{
    failure::{Failure, Failures},
    recorder::{Kind, Recorder},
    target::{How, Target},
};

/// How many are read back after a round.
const READ_BACK: usize = 16;

pub(super) struct Writes {
    shelf: Shelf,
    round: AtomicU32,
    /// Bytes that may still be written in this round.
    left: AtomicU64,
    /// The first acknowledged keys of this round, and the last.
    sample: Mutex<Vec<String>>,
}

impl Writes {
    pub(super) fn new(spec: Spec, target: Arc<Target>) -> Self {
        let shelf = Shelf::new(spec, target, spec.workload.name(), spec.object_bytes);
        Self { shelf, round: AtomicU32::new(0), left: AtomicU64::new(0), sample: Mutex::default() }
    }

    fn sample(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.sample.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, number: u64, key: String) {
        let mut sample = self.sample();
        let place = usize::try_from(number).unwrap_or(0) % READ_BACK;
        match sample.get_mut(place) {
            Some(known) => *known = key,
            None => sample.push(key),
        }
    }
}

#[async_trait]
impl Load for Writes {
    async fn before_round(&self, round: u32) -> Result<(), Failure> {
        self.round.store(round, Ordering::Relaxed);
        self.left.store(self.shelf.spec.bytes_max, Ordering::Relaxed);
        self.sample().clear();
        Ok(())
    }

    async fn step(&self, number: u64, from: Instant, recorder: &Recorder) -> bool {
        // A small object costs the server more than its bytes.
        let cost = self.shelf.bytes.max(4096);
        if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(cost)).is_err() {
            return false;
        }
        let key = format!("{}r{}/{number:08}", self.shelf.folder, self.round.load(Ordering::Relaxed));
        let content = self.shelf.content(&key);
        let target = &self.shelf.target;
        let went_well = match self.shelf.spec.workload {
            Workload::Multipart => {
                let upload = target.multipart(&key, content, self.shelf.spec.part_bytes);
                timed(recorder, Kind::Multipart, from, upload).await
            }
            _ => timed(recorder, Kind::Put, from, target.put(&key, content, 0, How::default())).await,
        };
        if went_well {
            self.note(number, key);
        }
        true
    }

    async fn after_round(&self) -> Failures {
        let mut failures = Failures::default();
        let sample = std::mem::take(&mut *self.sample());
        for key in sample {
            let content = self.shelf.content(&key);
            if let Err(failure) = self.shelf.target.get(&key, || Ok(vec![content]), How::default()).await {
                failures.add(&format!("read back: {failure}"));
            }
        }
        failures.merge(&remove(&self.shelf.target, &self.shelf.folder, self.shelf.spec.concurrency).await);
        failures
    }
}
