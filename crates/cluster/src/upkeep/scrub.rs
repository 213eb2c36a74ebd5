//! Scrub: each disk's shards are re-read at a bounded rate, so that about a month covers all of them.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use cairn_proto::DiskId;
use cairn_shard_store::{ShardKey, ShardStoreError, ShardSummary};
use tracing::{info, warn};

use super::calls::CallError;
use super::inventory::LISTING_PAGE;
use super::plan_inventory::WantedShard;
use super::plan_scrub::{pause_after, shard_bytes};
use super::{Pace, Upkeep};
use crate::error::EngineError;

/// Reading a shard may take longer than an answer.
pub(crate) const SCRUB_WITHIN: Duration = Duration::from_secs(60);
const PAUSE_WHILE_SKIPPING: Duration = Duration::from_millis(5);

/// Where the scrub of each disk stands.
#[derive(Default)]
pub(crate) struct ScrubState {
    walks: Mutex<HashMap<DiskId, Walk>>,
}

#[derive(Default)]
struct Walk {
    page: VecDeque<ShardSummary>,
    after: Option<ShardKey>,
    /// Shards to pass over, so that a node that restarts often does not read the same first shards each time.
    skip: u64,
    begun: bool,
}

/// What the scrub of one shard showed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scrubbed {
    /// All units are there and right.
    Whole,
    /// Units are bad or missing, or the shard is not there.
    Bad,
    /// The disk did not answer.
    NoAnswer,
}

impl Upkeep {
    /// Re-reads the next shard of a disk.
    pub(crate) async fn scrub_step(&self, disk: DiskId) -> Result<Pace, EngineError> {
        let Some(store) = self.shared.disks.get(disk) else { return Ok(Pace::End) };
        let Some(shard) = self.scrub.next(disk) else { return Ok(self.scrub_refill(disk).await) };
        let bytes_live = store.status().bytes_live;
        let pause = pause_after(shard_bytes(&shard), bytes_live, self.shared.options.scrub_days);
        // Where it cannot be told that a shard is bad, the next step reads it again.
        self.scrub_one(disk, &shard).await?;
        self.scrub.done(disk, shard.key);
        Ok(Pace::After(pause))
    }

    /// Re-reads all shards of a disk at once, as fast as it goes. Answers how many were bad.
    #[cfg(test)]
    pub(crate) async fn scrub_all(&self, disk: DiskId) -> Result<usize, EngineError> {
        let (mut after, mut bad) = (None, 0);
        loop {
            let listed = self
                .calls
                .call(&self.shared.disks, disk, |store| async move { store.list(after, LISTING_PAGE).await })
                .await;
            let Ok(listing) = listed else { return Ok(bad) };
            for shard in &listing {
                bad += usize::from(self.scrub_one(disk, shard).await? == Scrubbed::Bad);
            }
            let Some(last) = listing.last() else { return Ok(bad) };
            after = Some(last.key);
        }
    }

    async fn scrub_one(&self, disk: DiskId, shard: &ShardSummary) -> Result<Scrubbed, EngineError> {
        let scrubbed = self.scrub_shard(disk, shard.key).await;
        if scrubbed == Scrubbed::Bad {
            let wanted = WantedShard { pg: shard.pg, segment: shard.key.segment, slot: shard.key.slot };
            self.report_missing(disk, vec![wanted]).await?;
        }
        Ok(scrubbed)
    }

    /// Reads and verifies one shard.
    pub(crate) async fn scrub_shard(&self, disk: DiskId, key: ShardKey) -> Scrubbed {
        let answer = self
            .calls
            .call_within(SCRUB_WITHIN, &self.shared.disks, disk, |store| async move { store.scrub(key).await })
            .await;
        match answer {
            Ok(bad) if bad.is_empty() => Scrubbed::Whole,
            Ok(bad) => {
                warn!(%disk, segment = %key.segment, slot = %key.slot, units = bad.len(), "units are bad or missing");
                Scrubbed::Bad
            }
            Err(CallError::Failed(ShardStoreError::NotFound { .. } | ShardStoreError::Unit(_))) => Scrubbed::Bad,
            Err(_) => Scrubbed::NoAnswer,
        }
    }

    /// The next page of the walk; at the end it begins again.
    async fn scrub_refill(&self, disk: DiskId) -> Pace {
        if self.scrub.begin(disk) {
            let shards = self.shared.disks.get(disk).map_or(0, |store| store.status().shards);
            self.scrub.set_skip(disk, self.shared.ids.number() % shards.max(1));
        }
        let after = self.scrub.after(disk);
        let listed = self
            .calls
            .call(&self.shared.disks, disk, |store| async move { store.list(after, LISTING_PAGE).await })
            .await;
        let Ok(listing) = listed else { return self.idle() };
        if listing.is_empty() && after.is_some() {
            info!(%disk, "scrub went through");
        }
        let empty = listing.is_empty() && after.is_none();
        let skipping = self.scrub.refill(disk, listing);
        if empty {
            return self.idle();
        }
        if skipping { Pace::After(PAUSE_WHILE_SKIPPING) } else { Pace::Again }
    }
}

impl ScrubState {
    fn with<T>(&self, disk: DiskId, change: impl FnOnce(&mut Walk) -> T) -> T {
        change(self.walks.lock().expect("no holder of this lock panics").entry(disk).or_default())
    }

    fn next(&self, disk: DiskId) -> Option<ShardSummary> {
        self.with(disk, |walk| walk.page.front().cloned())
    }

    fn done(&self, disk: DiskId, shard: ShardKey) {
        self.with(disk, |walk| walk.page.pop_front_if(|front| front.key == shard));
    }

    fn after(&self, disk: DiskId) -> Option<ShardKey> {
        self.with(disk, |walk| walk.after)
    }

    /// Whether this is the disk's first walk since start.
    fn begin(&self, disk: DiskId) -> bool {
        self.with(disk, |walk| !std::mem::replace(&mut walk.begun, true))
    }

    fn set_skip(&self, disk: DiskId, skip: u64) {
        self.with(disk, |walk| walk.skip = skip);
    }

    /// Takes a page in; answers whether all of it was passed over.
    fn refill(&self, disk: DiskId, listing: Vec<ShardSummary>) -> bool {
        self.with(disk, |walk| {
            walk.after = listing.last().map(|shard| shard.key);
            let length = u64::try_from(listing.len()).unwrap_or(u64::MAX);
            if walk.skip >= length && length > 0 {
                walk.skip -= length;
                return true;
            }
            let skip = usize::try_from(std::mem::take(&mut walk.skip)).unwrap_or(usize::MAX);
            walk.page = listing.into_iter().skip(skip).collect();
            false
        })
    }
}

#[cfg(test)]
mod tests {
    use cairn_shard_store::ShardStore;

    use super::super::testing::World;

    #[tokio::test]
    async fn a_bad_shard_that_could_not_be_reported_is_read_again() {
        let world = World::new(6).await;
        world.put("key", 300_000).await;
        let disk = world.disk(0);
        let key = world.keys_on(&disk).await[0];
        // The walk's first page.
        while world.up.scrub.next(disk.id()).is_none() {
            world.up.scrub_step(disk.id()).await.unwrap();
        }
        assert!(disk.corrupt_unit(key, 0));
        world.engine.meta().shutdown().await.unwrap();
        assert!(world.up.scrub_step(disk.id()).await.is_err());
        assert_eq!(world.up.scrub.next(disk.id()).map(|shard| shard.key), Some(key));
    }
}
