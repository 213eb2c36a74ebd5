//! `list`: pages of the keys that lie ready, from random places. Each page is compared key by key.

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;

use super::{Load, Shelf, Spec, timed};
use crate::{
    failure::Failure,
    recorder::{Done, Kind, Recorder},
    target::Target,
};

/// A page of S3.
const PAGE: u64 = 1000;
/// The listed objects are an empty archive each: their bytes do not matter.
const OBJECT_BYTES: u64 = 22;

pub(super) struct Lists {
    shelf: Shelf,
    objects: u64,
}

impl Lists {
    pub(super) fn new(spec: Spec, target: Arc<Target>) -> Self {
        Self { shelf: Shelf::new(spec, target, "list", OBJECT_BYTES), objects: spec.objects() }
    }

    async fn page(&self, number: u64) -> Result<Done, Failure> {
        let page = PAGE.min(self.objects);
        let first = self.shelf.spec.draw(number, 0) % (self.objects - page + 1);
        // Key 8 comes after key 7; nothing comes before key 0.
        let after = first.checked_sub(1).map(|before| self.shelf.key(before)).unwrap_or_default();
        let keys = self.shelf.target.list(&self.shelf.folder, &after, usize::try_from(PAGE).unwrap_or(1000)).await?;
        let wanted = (first..first + page).map(|number| self.shelf.key(number));
        match keys.iter().cloned().eq(wanted) {
            true => Ok(Done { keys: page, ..Done::default() }),
            false => Err(Failure::new("wrong keys")),
        }
    }
}

#[async_trait]
impl Load for Lists {
    async fn prepare(&self) -> Result<(), Failure> {
        self.shelf.fill(self.objects).await
    }

    async fn step(&self, number: u64, from: Instant, recorder: &Recorder) -> bool {
        timed(recorder, Kind::List, from, self.page(number)).await;
        true
    }
}
