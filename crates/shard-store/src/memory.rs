//! A disk in memory, with switches for everything that can go wrong with one.

use std::{
    collections::BTreeMap,
    ops::{Bound, Range},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use cairn_proto::{AttachNumber, DiskId, Index, LogPosition};
use tokio::sync::watch;

use crate::{
    Cleaned, DeleteOrder, DiskState, DiskStatus, FenceReason, Finished, SealedUnit, ShardHeader, ShardKey, ShardStore,
    ShardStoreError, ShardSummary, ShardWriter, SpaceUse, WriteMode,
    checks::{Progress, check_header, check_standing, is_sound},
    dead::RecentDead,
};

/// Size a memory disk claims to have.
const BYTES_TOTAL: u64 = 1 << 40;

/// Switches of what goes wrong. All are off at first and may be thrown at any time.
#[derive(Debug)]
pub struct MemoryFaults {
    fail_writes: AtomicBool,
    fail_reads: AtomicBool,
    full: AtomicBool,
    bytes_taken: AtomicU64,
    gone: AtomicBool,
    hang: watch::Sender<bool>,
    read_delay_ms: AtomicU64,
}

impl MemoryFaults {
    /// Writes, deletes and finishes fail; reads go on.
    pub fn fail_writes(&self, on: bool) {
        self.fail_writes.store(on, Relaxed);
    }

    /// Every unit reads as missing.
    pub fn fail_reads(&self, on: bool) {
        self.fail_reads.store(on, Relaxed);
    }

    /// No space is left but for deletes.
    pub fn full(&self, on: bool) {
        self.full.store(on, Relaxed);
    }

    /// So many bytes of its file system are taken by others.
    pub fn taken(&self, bytes: u64) {
        self.bytes_taken.store(bytes, Relaxed);
    }

    /// Neither reads nor writes.
    pub fn gone(&self, on: bool) {
        self.gone.store(on, Relaxed);
    }

    /// Reads of units take so much longer.
    pub fn slow_reads(&self, by: Duration) {
        self.read_delay_ms.store(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Calls wait until this is switched off.
    pub fn hang(&self, on: bool) {
        self.hang.send_replace(on);
    }
}

#[derive(Clone, Debug)]
struct Shard {
    header: ShardHeader,
    units: Vec<Option<Bytes>>,
    payload_bytes: u64,
}

#[derive(Debug)]
struct Shared {
    id: DiskId,
    attach: AtomicU64,
    answered: Mutex<Index>,
    told: Mutex<LogPosition>,
    shards: Mutex<BTreeMap<ShardKey, Shard>>,
    dead: RecentDead,
    recovery_list: Mutex<Option<Bytes>>,
    faults: MemoryFaults,
    closed: AtomicBool,
    errors: AtomicU64,
}

/// A disk in memory. Clones are the same disk: a clone kept aside plays a disk that comes back.
#[derive(Clone, Debug)]
pub struct MemoryShardStore {
    shared: Arc<Shared>,
}

impl MemoryShardStore {
    /// An empty disk.
    #[must_use]
    pub fn new(id: DiskId) -> Self {
        let faults = MemoryFaults {
            fail_writes: AtomicBool::new(false),
            fail_reads: AtomicBool::new(false),
            full: AtomicBool::new(false),
            bytes_taken: AtomicU64::new(0),
            gone: AtomicBool::new(false),
            hang: watch::Sender::new(false),
            read_delay_ms: AtomicU64::new(0),
        };
        let shared = Shared {
            id,
            attach: AtomicU64::new(0),
            answered: Mutex::new(Index(0)),
            told: Mutex::default(),
            shards: Mutex::default(),
            dead: RecentDead::default(),
            recovery_list: Mutex::default(),
            faults,
            closed: AtomicBool::new(false),
            errors: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The switches.
    #[must_use]
    pub fn faults(&self) -> &MemoryFaults {
        &self.shared.faults
    }

    /// Flips a bit of a stored unit's last byte. Answers whether there was one.
    pub fn corrupt_unit(&self, key: ShardKey, stripe: u32) -> bool {
        let mut shards = self.shared.shards();
        let unit = shards.get_mut(&key).and_then(|shard| unit_at(&mut shard.units, stripe)?.as_mut());
        let Some(unit) = unit else { return false };
        let mut bytes = unit.to_vec();
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        *unit = Bytes::from(bytes);
        true
    }

    /// Loses one unit of a shard. Answers whether there was one.
    pub fn lose_unit(&self, key: ShardKey, stripe: u32) -> bool {
        let mut shards = self.shared.shards();
        let unit = shards.get_mut(&key).and_then(|shard| unit_at(&mut shard.units, stripe));
        unit.and_then(Option::take).is_some()
    }

    /// Loses a shard without a trace. Answers whether there was one.
    pub fn remove_shard(&self, key: ShardKey) -> bool {
        self.shared.shards().remove(&key).is_some()
    }

    /// Opens a closed disk again, as a restart would.
    pub fn reopen(&self) {
        self.shared.closed.store(false, Relaxed);
    }
}

fn unit_at(units: &mut [Option<Bytes>], stripe: u32) -> Option<&mut Option<Bytes>> {
    units.get_mut(usize::try_from(stripe).ok()?)
}

impl Shared {
    fn shards(&self) -> MutexGuard<'_, BTreeMap<ShardKey, Shard>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fenced(&self, reason: FenceReason) -> ShardStoreError {
        ShardStoreError::Fenced { disk: self.id, reason }
    }

    fn state(&self) -> DiskState {
        let faults = &self.faults;
        if self.closed.load(Relaxed) {
            return DiskState::Fenced(FenceReason::Closed);
        }
        if faults.gone.load(Relaxed) {
            return DiskState::Fenced(FenceReason::Gone);
        }
        if faults.fail_writes.load(Relaxed) {
            return DiskState::ReadOnly(FenceReason::WriteFailed("a switch says so".to_owned()));
        }
        if faults.full.load(Relaxed) {
            return DiskState::ReadOnly(FenceReason::Full { bytes_free: 0, bytes_total: BYTES_TOTAL });
        }
        DiskState::Serving
    }

    async fn wait_while_hung(&self) {
        // The sender is our own: it cannot be gone.
        let _ = self.faults.hang.subscribe().wait_for(|hung| !hung).await;
    }

    async fn check_read(&self) -> Result<(), ShardStoreError> {
        self.wait_while_hung().await;
        match self.state() {
            DiskState::Fenced(reason) => Err(self.fenced(reason)),
            _ => Ok(()),
        }
    }

    /// `needs_space` is false for deletes and the like.
    async fn check_write(&self, needs_space: bool) -> Result<(), ShardStoreError> {
        self.wait_while_hung().await;
        match self.state() {
            DiskState::ReadOnly(FenceReason::Full { .. }) if !needs_space => Ok(()),
            DiskState::Fenced(reason) | DiskState::ReadOnly(reason) => Err(self.fenced(reason)),
            DiskState::Serving => Ok(()),
        }
    }

    fn attach(&self) -> AttachNumber {
        AttachNumber(self.attach.load(Relaxed))
    }
}

#[async_trait]
impl ShardStore for MemoryShardStore {
    fn id(&self) -> DiskId {
        self.shared.id
    }

    fn attach(&self) -> AttachNumber {
        self.shared.attach()
    }

    async fn set_attach(&self, attach: AttachNumber) -> Result<(), ShardStoreError> {
        self.shared.check_write(false).await?;
        self.shared.attach.store(attach.0, Relaxed);
        Ok(())
    }

    fn answered(&self) -> Index {
        *self.shared.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn told(&self) -> LogPosition {
        *self.shared.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn tell(&self, position: LogPosition) -> Result<(), ShardStoreError> {
        self.shared.check_write(false).await?;
        let mut told = self.shared.told.lock().unwrap_or_else(PoisonError::into_inner);
        *told = position.max(*told);
        Ok(())
    }

    async fn begin(
        &self,
        header: ShardHeader,
        mode: WriteMode,
        _space: SpaceUse,
    ) -> Result<Box<dyn ShardWriter>, ShardStoreError> {
        let layout = check_header(&header)?;
        let standing = self.shared.shards().get(&header.key).map(|shard| shard.header.clone());
        let exists = check_standing(standing, &header, mode)?;
        self.shared.check_write(!exists).await?;
        let progress = Progress::new(&header, layout);
        let shard = Shard { payload_bytes: layout.shard_bytes(), header, units: Vec::new() };
        Ok(Box::new(MemoryWriter { shared: Arc::clone(&self.shared), mode, exists, progress, shard }))
    }

    async fn read_units(&self, key: ShardKey, stripes: Range<u32>) -> Result<Vec<Option<Bytes>>, ShardStoreError> {
        self.shared.check_read().await?;
        let delay_ms = self.shared.faults.read_delay_ms.load(Relaxed);
        if delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        }
        let shards = self.shared.shards();
        let shard = shards.get(&key).ok_or(ShardStoreError::NotFound { key })?;
        let range = usize::try_from(stripes.start).ok().zip(usize::try_from(stripes.end).ok());
        let units = range.and_then(|(start, end)| shard.units.get(start..end));
        let units = units.ok_or(ShardStoreError::Invalid("stripes beyond the shard"))?;
        if self.shared.faults.fail_reads.load(Relaxed) {
            self.shared.errors.fetch_add(1, Relaxed);
            return Ok(vec![None; units.len()]);
        }
        Ok(units.to_vec())
    }

    async fn header(&self, key: ShardKey) -> Result<Option<ShardHeader>, ShardStoreError> {
        self.shared.check_read().await?;
        Ok(self.shared.shards().get(&key).map(|shard| shard.header.clone()))
    }

    async fn list(&self, after: Option<ShardKey>, limit: usize) -> Result<Vec<ShardSummary>, ShardStoreError> {
        self.shared.check_read().await?;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let shards = self.shared.shards();
        let page = shards.range((from, Bound::<ShardKey>::Unbounded)).take(limit);
        Ok(page.map(|(_, shard)| summary(&shard.header)).collect())
    }

    async fn delete(&self, keys: &[ShardKey], order: DeleteOrder) -> Result<u64, ShardStoreError> {
        self.shared.check_write(false).await?;
        let mut seen = self.shared.answered.lock().unwrap_or_else(PoisonError::into_inner);
        if order.index < *seen {
            return Err(ShardStoreError::StaleOrder { order: order.index, seen: *seen });
        }
        *seen = order.index;
        self.shared.dead.note(keys, order);
        let mut shards = self.shared.shards();
        Ok(keys.iter().map(|key| u64::from(shards.remove(key).is_some())).sum())
    }

    async fn scrub(&self, key: ShardKey) -> Result<Vec<u32>, ShardStoreError> {
        let header = self.header(key).await?.ok_or(ShardStoreError::NotFound { key })?;
        let stripes = check_header(&header)?.stripes();
        let units = self.read_units(key, 0..stripes).await?;
        let is_bad =
            |(stripe, unit): &(u32, Option<Bytes>)| !unit.as_ref().is_some_and(|unit| is_sound(&header, *stripe, unit));
        Ok((0..).zip(units).filter(is_bad).map(|(stripe, _)| stripe).collect())
    }

    /// Memory has nothing to give back; what cleaning would stumble over is told.
    async fn clean(&self) -> Result<Cleaned, ShardStoreError> {
        self.shared.check_write(false).await?;
        let is_whole = |shard: &Shard| {
            let mut units = (0..).zip(&shard.units);
            units.all(|(stripe, unit)| unit.as_ref().is_some_and(|unit| is_sound(&shard.header, stripe, unit)))
        };
        let shards = self.shared.shards();
        let bad = shards.values().filter(|shard| !is_whole(shard)).map(|shard| summary(&shard.header)).collect();
        Ok(Cleaned { bad, ..Cleaned::default() })
    }

    async fn set_recovery_list(&self, list: Bytes) -> Result<(), ShardStoreError> {
        self.shared.check_write(false).await?;
        *self.shared.recovery_list.lock().unwrap_or_else(PoisonError::into_inner) = Some(list);
        Ok(())
    }

    async fn recovery_list(&self) -> Result<Option<Bytes>, ShardStoreError> {
        self.shared.check_read().await?;
        Ok(self.shared.recovery_list.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn status(&self) -> DiskStatus {
        let shards = self.shared.shards();
        let bytes_live: u64 = shards.values().map(|shard| shard.payload_bytes).sum();
        let is_full = self.shared.faults.full.load(Relaxed);
        let bytes_taken = bytes_live + self.shared.faults.bytes_taken.load(Relaxed);
        DiskStatus {
            state: self.shared.state(),
            bytes_total: BYTES_TOTAL,
            bytes_free: if is_full { 0 } else { BYTES_TOTAL.saturating_sub(bytes_taken) },
            shards: shards.len() as u64,
            bytes_live,
            bytes_used: bytes_live,
            mergeable_files: 0,
            dead_files: 0,
            errors: self.shared.errors.load(Relaxed),
        }
    }

    async fn close(&self) {
        self.shared.closed.store(true, Relaxed);
    }
}

fn summary(header: &ShardHeader) -> ShardSummary {
    let ShardHeader { key, pg, profile, segment_bytes, .. } = *header;
    ShardSummary { key, pg, profile, segment_bytes }
}

struct MemoryWriter {
    shared: Arc<Shared>,
    mode: WriteMode,
    exists: bool,
    progress: Progress,
    shard: Shard,
}

#[async_trait]
impl ShardWriter for MemoryWriter {
    async fn write_unit(&mut self, unit: SealedUnit) -> Result<(), ShardStoreError> {
        self.shared.check_write(!self.exists).await?;
        self.progress.take(&unit)?;
        self.shard.units.push(Some(unit.stored()));
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<Finished, ShardStoreError> {
        self.shared.check_write(!self.exists).await?;
        self.progress.check_whole()?;
        let Self { shared, mode, exists, shard, .. } = *self;
        let key = shard.header.key;
        shared.dead.check(key)?;
        let mut shards = shared.shards();
        match mode {
            WriteMode::Replace => drop(shards.insert(key, shard)),
            // It was there at the beginning: its deletion since then is no reason to bring it back.
            WriteMode::New if exists && !shards.contains_key(&key) => return Err(ShardStoreError::NotFound { key }),
            WriteMode::New => drop(shards.entry(key).or_insert(shard)),
        }
        Ok(Finished { attach: shared.attach() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{self, Sample};

    #[tokio::test]
    async fn a_memory_disk_conforms() {
        let disk = MemoryShardStore::new(DiskId(5));
        conformance::run(&disk).await;
        let sample = Sample::new(900, 300 << 10);
        sample.write(&disk, WriteMode::New).await.unwrap();
        disk.close().await;
        assert!(matches!(disk.header(sample.key()).await, Err(ShardStoreError::Fenced { .. })));
        disk.reopen();
        sample.check(&disk).await;
    }

    #[tokio::test]
    async fn every_switch_does_what_it_says() {
        let disk = MemoryShardStore::new(DiskId(5));
        let sample = Sample::new(1, 3 << 20);
        sample.write(&disk, WriteMode::New).await.unwrap();

        disk.faults().full(true);
        assert!(matches!(disk.status().state, DiskState::ReadOnly(FenceReason::Full { .. })));
        assert!(Sample::new(2, 10).write(&disk, WriteMode::New).await.is_err());
        sample.check(&disk).await;
        disk.faults().full(false);

        disk.faults().fail_writes(true);
        assert!(Sample::new(2, 10).write(&disk, WriteMode::New).await.is_err());
        disk.faults().fail_writes(false);

        disk.faults().fail_reads(true);
        assert_eq!(disk.read_units(sample.key(), 0..1).await.unwrap(), [None]);
        disk.faults().fail_reads(false);

        assert!(disk.corrupt_unit(sample.key(), 1));
        assert_eq!(disk.scrub(sample.key()).await.unwrap(), [1]);
        sample.write(&disk, WriteMode::Replace).await.unwrap();
        assert!(disk.scrub(sample.key()).await.unwrap().is_empty());

        disk.faults().hang(true);
        let read = tokio::spawn({
            let (disk, key) = (disk.clone(), sample.key());
            async move { disk.read_units(key, 0..1).await }
        });
        tokio::task::yield_now().await;
        assert!(!read.is_finished());
        disk.faults().hang(false);
        assert!(read.await.unwrap().unwrap()[0].is_some());

        assert!(disk.remove_shard(sample.key()));
        assert!(disk.header(sample.key()).await.unwrap().is_none());
    }
}
