//! One segment being written into one placement group.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use cairn_erasure::{Codec, StripeBuffer, StripeLayout};
use cairn_meta::{NewSegment, PgRow};
use cairn_proto::{AttachNumber, DiskId, PgId, SegmentId, Slot};
use cairn_shard_store::{FenceReason, SealedUnit, ShardHeader, ShardKey, ShardStoreError, UnitPlace};

use super::lane::{Lane, LaneFailed};
use super::late::{LateRule, gather};
use super::stored::{SegmentGuard, StoredSegment};
use crate::error::EngineError;
use crate::label::{SegmentLabel, SegmentOwner};
use crate::map::profile_of;
use crate::shared::Shared;
use crate::want::Want;

/// Groups that are tried before a segment is begun with fewer disks than its group has.
const GROUPS_TRIED_MAX: usize = 3;
/// Stripes under this are coded where they are: handing them to another thread costs more.
const CODED_IN_PLACE_MAX: usize = 64 * 1024;
/// Which bytes a segment holds.
#[derive(Clone, Debug)]
pub(super) struct SegmentPlace {
    pub(super) owner: Arc<SegmentOwner>,
    /// First byte within the object or part.
    pub(super) offset: u64,
    pub(super) bytes: u64,
    /// What it is to be coded with.
    pub(super) want: Want,
}

impl SegmentPlace {
    fn label(&self, shared: &Shared, segment: SegmentId) -> Result<Bytes, EngineError> {
        let label = SegmentLabel { owner: SegmentOwner::clone(&self.owner), offset: self.offset };
        label.seal(&shared.key, segment)
    }
}

/// A segment on its way to the disks.
pub(super) struct SegmentWriter {
    shared: Arc<Shared>,
    guard: SegmentGuard,
    group: PgRow,
    codec: Codec,
    layout: StripeLayout,
    offset: u64,
    want: Want,
    rule: LateRule,
    /// By slot; none where the slot is missing.
    lanes: Vec<Option<Lane>>,
    stripe: u32,
    /// None where no stripe has begun.
    collected: Option<StripeBuffer>,
    bytes_left: u64,
}

impl SegmentWriter {
    /// Begins a segment in a writable group that is not in `avoid`. As nothing is coded yet, a group that cannot
    /// begin whole is left for another one; only the last one tried may have slots missing.
    pub(super) async fn begin(shared: &Arc<Shared>, place: &SegmentPlace, avoid: &[PgId]) -> Result<Self, EngineError> {
        let mut avoid = avoid.to_vec();
        let mut last = None;
        for _ in 0..GROUPS_TRIED_MAX {
            let group = match shared.choose_group(place.want, &avoid).await {
                Ok(group) => group,
                Err(error) if last.is_none() => return Err(error),
                Err(_) => break,
            };
            let segment = Self::begin_in(shared, place, group).await?;
            let (begun, slots) = (segment.live(), segment.lanes.len());
            if begun == slots {
                return Ok(segment);
            }
            avoid.push(segment.group.id);
            if begun >= segment.rule.enough {
                last = Some(segment);
            }
        }
        last.ok_or_else(|| EngineError::unavailable("no placement group has enough disks that take writes"))
    }

    async fn begin_in(shared: &Arc<Shared>, place: &SegmentPlace, group: PgRow) -> Result<Self, EngineError> {
        let profile = profile_of(group.profile)?;
        let layout = StripeLayout::new(profile, place.bytes)?;
        let guard = SegmentGuard::new(shared, group.id);
        let label = place.label(shared, guard.id())?;
        let rule = LateRule::new(profile.data(), profile.slots(), &shared.options);
        let mut waits = Vec::with_capacity(profile.slots());
        for (slot, number) in (0..profile.slots()).zip(0..) {
            let key = ShardKey { segment: guard.id(), slot: Slot(number) };
            let header = ShardHeader {
                key,
                pg: group.id,
                epoch: group.epoch,
                profile,
                segment_bytes: place.bytes,
                label: label.clone(),
            };
            let disk = group.slots.get(slot).copied().unwrap_or_default();
            let store = shared.disks.get(disk);
            let away = ShardStoreError::Fenced { disk, reason: FenceReason::Gone };
            waits.push((slot, async move { Lane::begin(store.ok_or(away)?, header).await }));
        }
        let mut lanes: Vec<Option<Lane>> = (0..profile.slots()).map(|_| None).collect();
        let mut refused = vec![false; profile.slots()];
        for (slot, begun) in gather(waits, 0, rule).await {
            match begun {
                Ok(lane) => lanes[slot] = Some(lane),
                Err(error) => {
                    tracing::warn!(%error, pg = %group.id, slot, "a disk does not begin a shard");
                    refused[slot] = error.is_about_the_call();
                }
            }
        }
        for (disk, (lane, refused)) in group.slots.iter().zip(lanes.iter().zip(refused)) {
            if lane.is_none() && !refused {
                shared.disks.note_failure(*disk);
            }
        }
        Ok(Self {
            codec: shared.codecs.get(profile),
            shared: Arc::clone(shared),
            guard,
            group,
            layout,
            offset: place.offset,
            want: place.want,
            rule,
            lanes,
            stripe: 0,
            collected: None,
            bytes_left: place.bytes,
        })
    }

    /// Bytes it still takes.
    pub(super) fn bytes_left(&self) -> u64 {
        self.bytes_left
    }

    fn live(&self) -> usize {
        self.lanes.iter().flatten().count()
    }

    /// Adds bytes, no more than [`Self::bytes_left`].
    pub(super) async fn write(&mut self, mut bytes: Bytes) -> Result<(), EngineError> {
        while !bytes.is_empty() {
            let mut stripe = self.collected.take().map_or_else(|| self.next_stripe(), Ok)?;
            let taken = stripe.extend(&bytes);
            bytes.advance(taken);
            self.bytes_left -= u64::try_from(taken).unwrap_or(u64::MAX).min(self.bytes_left);
            if stripe.room() == 0 {
                self.send_stripe(stripe).await?;
            } else {
                self.collected = Some(stripe);
            }
        }
        Ok(())
    }

    fn next_stripe(&self) -> Result<StripeBuffer, EngineError> {
        if self.bytes_left == 0 {
            return Err(EngineError::invalid("more bytes than the segment has"));
        }
        let bytes = usize::try_from(self.layout.stripe_bytes(self.stripe)).unwrap_or(usize::MAX);
        Ok(StripeBuffer::new(self.codec.profile(), bytes, SealedUnit::HEADROOM)?)
    }

    async fn send_stripe(&mut self, stripe: StripeBuffer) -> Result<(), EngineError> {
        let (codec, segment, number) = (self.codec.clone(), self.guard.id(), self.stripe);
        let in_place = stripe.len() <= CODED_IN_PLACE_MAX;
        let code = move || code_stripe(&codec, segment, number, stripe);
        let units = if in_place { code()? } else { self.shared.codecs.run(code).await?? };
        self.stripe += 1;
        self.hand_out(units).await
    }

    /// Gives each lane its unit. Those that fail or are late are given up.
    async fn hand_out(&mut self, units: Vec<SealedUnit>) -> Result<(), EngineError> {
        let mut good = 0;
        let mut broken = Vec::new();
        let mut full = Vec::new();
        for (slot, (lane, unit)) in self.lanes.iter().zip(units).enumerate() {
            match lane.as_ref().map(|lane| lane.offer(unit)) {
                None => {}
                Some(Ok(None)) => good += 1,
                Some(Ok(Some(unit))) => full.push((slot, unit)),
                Some(Err(LaneFailed)) => broken.push(slot),
            }
        }
        if !full.is_empty() {
            let mut late: Vec<usize> = full.iter().map(|(slot, _)| *slot).collect();
            let lanes = &self.lanes;
            let wait = |(slot, unit): (usize, SealedUnit)| {
                let lane = lanes[slot].as_ref();
                (slot, async move { lane.ok_or(LaneFailed)?.send(unit).await })
            };
            for (slot, sent) in gather(full.into_iter().map(wait).collect(), good, self.rule).await {
                if sent.is_ok() {
                    late.retain(|other| *other != slot);
                }
            }
            broken.extend(late);
        }
        for slot in broken {
            self.give_up(slot).await;
        }
        if self.live() < self.rule.least {
            return Err(self.too_few(self.live()));
        }
        Ok(())
    }

    async fn give_up(&mut self, slot: usize) {
        let Some(lane) = self.lanes[slot].take() else { return };
        let disk = lane.disk;
        self.shared.disks.note_failure(disk);
        let reason = lane.reason().await;
        tracing::warn!(%disk, segment = %self.guard.id(), slot, reason, "a disk failed a write: its slot is missing");
    }

    fn too_few(&self, left: usize) -> EngineError {
        EngineError::unavailable(format!("{left} disks took a segment where {} are needed", self.rule.least))
    }

    /// Makes all shards durable. The answer may have slots missing, but never more than leave `k`.
    pub(super) async fn finish(mut self) -> Result<Written, EngineError> {
        if self.bytes_left > 0 {
            return Err(EngineError::invalid("fewer bytes than the segment has"));
        }
        let mut answered: Vec<Option<(DiskId, AttachNumber)>> = vec![None; self.lanes.len()];
        let waits = self
            .lanes
            .iter_mut()
            .enumerate()
            .filter_map(|(slot, lane)| lane.as_mut().map(|lane| (slot, lane.finish())))
            .collect();
        for (slot, answer) in gather(waits, 0, self.rule).await {
            match answer {
                Ok(place) => answered[slot] = Some(place),
                Err(error) => {
                    tracing::warn!(%error, segment = %self.guard.id(), slot, "a disk failed to finish a shard");
                }
            }
        }
        for (lane, _) in self.lanes.iter().zip(&answered).filter(|(_, answer)| answer.is_none()) {
            if let Some(lane) = lane {
                self.shared.disks.note_failure(lane.disk);
            }
        }
        let present = answered.iter().flatten().count();
        if present < self.rule.least {
            return Err(self.too_few(present));
        }
        let new = NewSegment {
            id: self.guard.id(),
            pg: self.group.id,
            bytes: self.layout.segment_bytes(),
            profile: self.group.profile,
            answered,
        };
        let enough = present >= self.rule.enough;
        Ok(Written { stored: StoredSegment { new, guard: self.guard, offset: self.offset, want: self.want }, enough })
    }
}

/// A finished segment, and whether enough disks have it.
pub(super) struct Written {
    pub(super) stored: StoredSegment,
    pub(super) enough: bool,
}

fn code_stripe(
    codec: &Codec,
    segment: SegmentId,
    stripe: u32,
    bytes: StripeBuffer,
) -> Result<Vec<SealedUnit>, EngineError> {
    let profile = codec.profile();
    let units = codec.encode(bytes)?;
    let seal = |(slot, unit): (u8, Vec<u8>)| {
        let place = UnitPlace { key: ShardKey { segment, slot: Slot(slot) }, stripe, profile };
        SealedUnit::seal_in(place, unit).map_err(|error| EngineError::Disk(error.into()))
    };
    (0..).zip(units).map(seal).collect()
}
