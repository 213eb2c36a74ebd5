//! `get`, `head` and `ranged`: of objects that lie ready, in random order.

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;

use super::{Load, Shelf, Spec, Workload, timed};
use crate::{
    failure::Failure,
    recorder::{Kind, Recorder},
    target::{How, Target},
};

pub(super) struct Reads {
    shelf: Shelf,
    objects: u64,
}

impl Reads {
    pub(super) fn new(spec: Spec, target: Arc<Target>) -> Self {
        Self { shelf: Shelf::new(spec, target, spec.workload.name(), spec.object_bytes), objects: spec.objects() }
    }
}

#[async_trait]
impl Load for Reads {
    async fn prepare(&self) -> Result<(), Failure> {
        self.shelf.fill(self.objects).await
    }

    async fn step(&self, number: u64, from: Instant, recorder: &Recorder) -> bool {
        let spec = &self.shelf.spec;
        let key = self.shelf.key(spec.draw(number, 0) % self.objects);
        let content = self.shelf.content(&key);
        let target = &self.shelf.target;
        match spec.workload {
            Workload::Head => {
                timed(recorder, Kind::Head, from, target.head_of(&key, content.length())).await;
            }
            Workload::Ranged => {
                let length = spec.range_bytes.min(content.length());
                let begin = spec.draw(number, 1) % (content.length() - length + 1);
                let range = target.range(&key, content, begin..begin + length);
                timed(recorder, Kind::Range, from, range).await;
            }
            _ => {
                timed(recorder, Kind::Get, from, target.get(&key, || Ok(vec![content]), How::default())).await;
            }
        }
        true
    }
}
