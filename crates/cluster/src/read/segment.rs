//! One segment being read: which disk holds which slot, and stripes out of any `k` good units.
//!
//! The data units asked for are read first. Where one is bad, missing or late, others are read in its place, as many
//! as are needed to decode. A slot that failed once is asked last for the rest of the segment: its other units may be
//! good.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cairn_erasure::{Codec, StripeLayout};
use cairn_meta::SegmentRow;
use cairn_proto::{DiskId, PgId, SegmentId, Slot};
use cairn_shard_store::{SealedUnit, ShardKey, ShardStoreError, UnitPlace};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::latency::wait_for;
use crate::error::EngineError;
use crate::map::profile_of;
use crate::queues::ShardReport;
use crate::shared::Shared;

/// Where a segment's shards are.
#[derive(Clone, Debug)]
pub(crate) struct SegmentSource {
    pub(crate) pg: PgId,
    pub(crate) segment: SegmentId,
    pub(crate) layout: StripeLayout,
    /// The disk of each slot; none where the slot is known to have nothing.
    pub(crate) disks: Vec<Option<DiskId>>,
    /// Slots recorded as missing, or of a disk that went back in time: asked last, they may be there all the same.
    pub(crate) missing: Vec<Slot>,
}

impl SegmentSource {
    /// By the segment's row and the map.
    pub(crate) fn of_row(shared: &Shared, pg: PgId, segment: SegmentId, row: &SegmentRow) -> Result<Self, EngineError> {
        let layout = StripeLayout::new(profile_of(row.profile)?, row.bytes)?;
        let map = shared.map.load();
        let disks: Vec<Option<DiskId>> = slots(&layout).map(|slot| map.disk_of(pg, slot)).collect();
        let mut missing = row.missing.clone();
        missing.extend(
            slots(&layout)
                .zip(&disks)
                .filter(|(_, disk)| disk.is_some_and(|disk| map.behind(disk)))
                .map(|(slot, _)| slot),
        );
        Ok(Self { pg, segment, layout, disks, missing })
    }
}

fn slots(layout: &StripeLayout) -> impl Iterator<Item = Slot> + use<> {
    (0..layout.profile().data_u8() + layout.profile().parity_u8()).map(Slot)
}

/// Data units of a stripe by slot: those that were wanted are there.
pub(crate) type StripeUnits = Vec<Option<Bytes>>;

/// Reads one segment.
pub(crate) struct SegmentReader {
    shared: Arc<Shared>,
    source: SegmentSource,
    codec: Codec,
    /// Slots that failed: asked last.
    failed: Mutex<Vec<bool>>,
}

impl SegmentReader {
    pub(crate) fn new(shared: Arc<Shared>, source: SegmentSource) -> Self {
        let codec = shared.codecs.get(source.layout.profile());
        let failed = Mutex::new(vec![false; source.layout.profile().slots()]);
        Self { shared, source, codec, failed }
    }

    pub(crate) fn layout(&self) -> &StripeLayout {
        &self.source.layout
    }

    /// The bytes of whole stripes, one piece each.
    pub(crate) async fn read_stripes(&self, stripes: Range<u32>) -> Result<Vec<Bytes>, EngineError> {
        let all = vec![true; self.data()];
        let units = self.read_units(stripes.clone(), &all).await?;
        let join = |(stripe, units): (u32, StripeUnits)| {
            let data: Vec<Bytes> = units.into_iter().take(self.data()).flatten().collect();
            let bytes = usize::try_from(self.source.layout.stripe_bytes(stripe)).unwrap_or(usize::MAX);
            Ok(self.codec.join_stripe(&data, bytes)?)
        };
        stripes.zip(units).map(join).collect()
    }

    /// The pieces of a range of the segment, in order, that lie in `stripes`.
    pub(crate) async fn read_range(&self, range: &Range<u64>, stripes: Range<u32>) -> Result<Vec<Bytes>, EngineError> {
        let wanted: Vec<bool> = (0..self.data())
            .map(|slot| stripes.clone().any(|stripe| self.cut(stripe, slot, range).is_some()))
            .collect();
        let units = self.read_units(stripes.clone(), &wanted).await?;
        let mut pieces = Vec::new();
        for (stripe, units) in stripes.zip(units) {
            for (slot, unit) in units.iter().enumerate().take(self.data()) {
                if let (Some(cut), Some(unit)) = (self.cut(stripe, slot, range), unit) {
                    pieces.push(unit.slice(cut));
                }
            }
        }
        Ok(pieces)
    }

    /// Which bytes of a data unit lie in a range of the segment.
    fn cut(&self, stripe: u32, slot: usize, range: &Range<u64>) -> Option<Range<usize>> {
        let layout = &self.source.layout;
        let unit_bytes = u64::from(layout.unit_bytes(stripe));
        let stripe_start = layout.stripe_offset(stripe);
        let stripe_end = stripe_start + layout.stripe_bytes(stripe);
        let unit_start = stripe_start + u64::try_from(slot).ok()? * unit_bytes;
        let unit_end = (unit_start + unit_bytes).min(stripe_end);
        let (start, end) = (range.start.max(unit_start), range.end.min(unit_end));
        if start >= end {
            return None;
        }
        Some(usize::try_from(start - unit_start).ok()?..usize::try_from(end - unit_start).ok()?)
    }

    fn data(&self) -> usize {
        self.source.layout.profile().data()
    }

    /// Verified data units of some stripes; the slots that are `wanted` are there in every stripe.
    async fn read_units(&self, stripes: Range<u32>, wanted: &[bool]) -> Result<Vec<StripeUnits>, EngineError> {
        let mut gathering = Gathering::new(self, stripes.clone(), wanted);
        gathering.run().await?;
        let mut units = gathering.units;
        let incomplete = |units: &StripeUnits| (0..self.data()).any(|slot| wanted[slot] && units[slot].is_none());
        if units.iter().any(incomplete) {
            let (codec, wanted) = (self.codec.clone(), wanted.to_vec());
            let decode = move || {
                for units in &mut units {
                    codec.reconstruct(units, |slot| wanted.get(slot).copied().unwrap_or(false))?;
                }
                Ok::<_, EngineError>(units)
            };
            units = self.shared.codecs.run(decode).await??;
        }
        Ok(units)
    }

    /// Reads and verifies one slot's units of some stripes. `None` where a unit is bad or missing.
    async fn read_slot(&self, slot: Slot, stripes: Range<u32>) -> Vec<Option<Bytes>> {
        let nothing = vec![None; stripes.len()];
        let Some(disk) = self.source.disks.get(usize::from(slot.0)).copied().flatten() else {
            return nothing;
        };
        let key = ShardKey { segment: self.source.segment, slot };
        let stored = match self.ask(disk, key, stripes.clone()).await {
            Ok(stored) => stored,
            Err(ShardStoreError::NotFound { .. }) => {
                // The slot may have moved since the map was read: refresh it and look once more.
                let moved = self.shared.map.refresh(&self.shared.meta).await.ok();
                let moved = moved.and_then(|map| map.disk_of(self.source.pg, slot)).filter(|now| *now != disk);
                let Some(moved) = moved else { return nothing };
                self.ask(moved, key, stripes.clone()).await.unwrap_or_else(|_| nothing.clone())
            }
            Err(error) => {
                tracing::debug!(%error, %disk, segment = %self.source.segment, slot = slot.0, "a disk failed a read");
                self.shared.disks.note_failure(disk);
                return nothing;
            }
        };
        let profile = self.source.layout.profile();
        let verify = |(stripe, stored): (u32, Option<Bytes>)| {
            let payload = SealedUnit::open(UnitPlace { key, stripe, profile }, &stored?).ok()?;
            let right_length = u32::try_from(payload.len()).ok()? == self.source.layout.unit_bytes(stripe);
            right_length.then_some(payload)
        };
        let count = stripes.len();
        let mut units: Vec<Option<Bytes>> = stripes.zip(stored).map(verify).collect();
        units.resize(count, None);
        units
    }

    async fn ask(
        &self,
        disk: DiskId,
        key: ShardKey,
        stripes: Range<u32>,
    ) -> Result<Vec<Option<Bytes>>, ShardStoreError> {
        let (store, timing) = self.shared.disks.timed(disk).ok_or(ShardStoreError::NotFound { key })?;
        let answer = store.read_units(key, stripes).await;
        timing.end(answer.is_ok());
        answer
    }

    fn note_bad(&self, slot: usize) {
        self.failed.lock().expect("no holder of this lock panics")[slot] = true;
        // A disk that is away is upkeep's business as a whole, not shard by shard.
        if let Some(slot) = u8::try_from(slot).ok().filter(|_| self.is_up(slot)) {
            let (pg, segment) = (self.source.pg, self.source.segment);
            self.shared.reports.push(ShardReport { pg, segment, slot: Slot(slot) });
        }
    }

    fn is_up(&self, slot: usize) -> bool {
        self.source.disks[slot].is_some_and(|disk| self.shared.disks.up(disk))
    }

    /// Whether a slot is best asked first: it did not fail, is not recorded as missing, and its disk is up and not slow.
    fn is_likely(&self, slot: usize) -> bool {
        let failed = self.failed.lock().expect("no holder of this lock panics")[slot];
        let missing = self.source.missing.iter().any(|known| usize::from(known.0) == slot);
        !failed && !missing && self.source.disks[slot].is_some_and(|disk| self.shared.disks.prompt(disk))
    }

    /// Slots in the order they are best asked: data before parity, the unlikely ones last.
    fn order(&self) -> Vec<usize> {
        let (first, last): (Vec<usize>, Vec<usize>) =
            (0..self.source.disks.len()).partition(|slot| self.is_likely(*slot));
        first.into_iter().chain(last).collect()
    }
}

/// How a slot stands within one gathering.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ask {
    /// Not asked.
    No,
    /// Asked, no answer yet.
    Pending,
    /// Asked, no answer, and no longer counted on.
    Late,
    /// Answered.
    Done,
}

type SlotAnswer = (usize, Vec<Option<Bytes>>);

/// Some stripes on their way in.
struct Gathering<'a> {
    reader: &'a SegmentReader,
    stripes: Range<u32>,
    wanted: &'a [bool],
    units: Vec<StripeUnits>,
    asks: Vec<Ask>,
    /// When a slot that was asked is late.
    late_at: Vec<Instant>,
    latencies: Vec<Option<Duration>>,
    order: Vec<usize>,
    running: FuturesUnordered<BoxFuture<'a, SlotAnswer>>,
}

impl<'a> Gathering<'a> {
    fn new(reader: &'a SegmentReader, stripes: Range<u32>, wanted: &'a [bool]) -> Self {
        let slots = reader.source.layout.profile().slots();
        Self {
            units: vec![vec![None; slots]; stripes.len()],
            asks: vec![Ask::No; slots],
            late_at: vec![Instant::now(); slots],
            latencies: reader.shared.disks.latencies(&reader.source.disks),
            order: reader.order(),
            running: FuturesUnordered::new(),
            reader,
            stripes,
            wanted,
        }
    }

    async fn run(&mut self) -> Result<(), EngineError> {
        let give_up_at = Instant::now() + self.reader.shared.options.give_up_after;
        self.ask_wanted();
        while !self.satisfied() {
            self.ask_spares();
            if self.running.is_empty() {
                return Err(self.too_few());
            }
            let wake_at = self.next_late().map_or(give_up_at, |late_at| late_at.min(give_up_at));
            tokio::select! {
                biased;
                Some((slot, units)) = self.running.next() => self.take(slot, units),
                () = tokio::time::sleep_until(wake_at) => {
                    if Instant::now() >= give_up_at {
                        return Err(EngineError::unavailable(format!("disks do not answer for segment {}", self.reader.source.segment)));
                    }
                    self.mark_late();
                }
            }
        }
        Ok(())
    }

    /// First the wanted data slots that are likely there.
    fn ask_wanted(&mut self) {
        let likely = self.order.iter().copied().filter(|slot| self.reader.is_likely(*slot));
        let first: Vec<usize> = likely.filter(|slot| self.wanted.get(*slot).copied().unwrap_or(false)).collect();
        for slot in first {
            self.ask(slot);
        }
    }

    fn ask(&mut self, slot: usize) {
        self.asks[slot] = Ask::Pending;
        let options = &self.reader.shared.options;
        let own = self.latencies.get(slot).copied().flatten();
        let wait = wait_for(own, &self.latencies, options.read_within_min, options.read_within);
        self.late_at[slot] = Instant::now() + wait;
        let (reader, stripes) = (self.reader, self.stripes.clone());
        let Ok(number) = u8::try_from(slot) else { return };
        self.running.push(Box::pin(async move { (slot, reader.read_slot(Slot(number), stripes).await) }));
    }

    fn take(&mut self, slot: usize, answer: Vec<Option<Bytes>>) {
        self.asks[slot] = Ask::Done;
        if answer.iter().any(Option::is_none) {
            self.reader.note_bad(slot);
        }
        for (units, unit) in self.units.iter_mut().zip(answer) {
            units[slot] = unit;
        }
    }

    /// When the next slot that is waited for is late.
    fn next_late(&self) -> Option<Instant> {
        let pending = self.asks.iter().zip(&self.late_at).filter(|(ask, _)| **ask == Ask::Pending);
        pending.map(|(_, late_at)| *late_at).min()
    }

    fn mark_late(&mut self) {
        let now = Instant::now();
        let pending = self.asks.iter_mut().zip(&self.late_at).enumerate();
        for (slot, (ask, late_at)) in pending.filter(|(_, (ask, _))| **ask == Ask::Pending) {
            if *late_at > now {
                continue;
            }
            *ask = Ask::Late;
            if let Some(disk) = self.reader.source.disks[slot] {
                self.reader.shared.disks.note_slow(disk);
            }
        }
    }

    fn satisfied(&self) -> bool {
        self.units.iter().all(|units| self.has_wanted(units) || self.good(units) >= self.reader.data())
    }

    fn has_wanted(&self, units: &StripeUnits) -> bool {
        self.wanted.iter().zip(units).all(|(wanted, unit)| !wanted || unit.is_some())
    }

    fn good(&self, units: &StripeUnits) -> usize {
        units.iter().flatten().count()
    }

    /// Asks as many more slots as the worst stripe needs, counting on those that are not late.
    fn ask_spares(&mut self) {
        let pending = self.asks.iter().filter(|ask| **ask == Ask::Pending).count();
        let coming = |units: &StripeUnits| {
            let covered = |slot: usize| units[slot].is_some() || self.asks[slot] == Ask::Pending;
            (0..self.reader.data()).all(|slot| !self.wanted[slot] || covered(slot))
        };
        let lacking = |units: &StripeUnits| {
            let settled = coming(units) || self.good(units) >= self.reader.data();
            if settled { 0 } else { self.reader.data().saturating_sub(self.good(units) + pending) }
        };
        let lacking = self.units.iter().map(lacking).max().unwrap_or(0);
        let spares: Vec<usize> =
            self.order.iter().copied().filter(|slot| self.asks[*slot] == Ask::No).take(lacking).collect();
        for slot in spares {
            self.ask(slot);
        }
    }

    fn too_few(&self) -> EngineError {
        let (segment, needed) = (self.reader.source.segment, self.reader.data());
        let up = (0..self.asks.len()).filter(|slot| self.reader.is_up(*slot)).count();
        if up < needed {
            return EngineError::unavailable(format!(
                "segment {segment}: {up} of its disks are up, {needed} are needed"
            ));
        }
        let good = self.units.iter().map(|units| self.good(units)).min().unwrap_or(0);
        let detail = format!("{good} good units of a stripe where {needed} are needed, the others are bad or missing");
        EngineError::Corrupt { segment, detail }
    }
}
