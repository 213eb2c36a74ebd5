//! `delete`: of objects laid ready before each round; it ends when none is left.

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;

use super::{Load, Shelf, Spec, timed};
use crate::{
    failure::{Failure, Failures},
    recorder::{Kind, Recorder},
    target::Target,
};

pub(super) struct Deletes {
    shelf: Shelf,
    objects: u64,
}

impl Deletes {
    pub(super) fn new(spec: Spec, target: Arc<Target>) -> Self {
        Self { shelf: Shelf::new(spec, target, "delete", spec.object_bytes), objects: spec.objects() }
    }
}

#[async_trait]
impl Load for Deletes {
    async fn before_round(&self, _round: u32) -> Result<(), Failure> {
        self.shelf.fill(self.objects).await
    }

    async fn step(&self, number: u64, from: Instant, recorder: &Recorder) -> bool {
        if number >= self.objects {
            return false;
        }
        timed(recorder, Kind::Delete, from, self.shelf.target.delete(&self.shelf.key(number))).await;
        true
    }

    async fn after_round(&self) -> Failures {
        // What is listed after its delete was acknowledged is a wrong answer.
        let mut failures = Failures::default();
        let left = self.shelf.target.keys_left();
        match self.shelf.target.list(&self.shelf.folder, "", 1000).await {
            Ok(listed) => {
                for _ in listed.iter().filter(|key| !left.contains(key)) {
                    failures.add("deleted and still listed");
                }
            }
            Err(failure) => failures.add(&format!("list what is left: {failure}")),
        }
        failures.merge(&super::remove(&self.shelf.target, &self.shelf.folder, self.shelf.spec.concurrency).await);
        failures
    }
}
