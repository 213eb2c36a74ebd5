//! Makes the missing shards of one segment anew out of any `k` good units of each stripe.
//!
//! ```text
//! sources: k slots ──read, verify──▶ stripe ──decode──▶ units of the targets ──▶ writers (replace)
//!          where a unit is bad or late, further slots are asked for the same stripes
//! ```

use std::ops::Range;

use bytes::Bytes;
use cairn_erasure::{ErasureProfile, StripeLayout};
use cairn_proto::{AttachNumber, DiskId, Slot};
use cairn_shard_store::{SealedUnit, ShardHeader, ShardKey, ShardWriter, SpaceUse, UnitPlace, WriteMode};
use futures_util::future::join_all;
use tracing::debug;

use super::DISK_ANSWERS_WITHIN;
use super::Upkeep;
use super::calls::CallError;
use super::repair::Damaged;
use crate::error::EngineError;
use crate::map::profile_of;
use crate::queues::ShardReport;

/// Stripes in memory at once: with 4+2 some 6 MiB.
const STRIPES_AT_ONCE: u32 = 4;

/// A shard that was made anew and is durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rebuilt {
    pub(super) slot: Slot,
    pub(super) disk: DiskId,
    pub(super) attach: AttachNumber,
}

struct Target {
    slot: Slot,
    disk: DiskId,
    writer: Box<dyn ShardWriter>,
}

/// A shard to read from; one that failed is not asked again.
struct Source {
    slot: Slot,
    disk: DiskId,
    failed: bool,
}

type Stripes = Vec<Vec<Option<Bytes>>>;

impl Upkeep {
    /// Writes the targets that can be written. Fails where some stripe has fewer than `k` good units.
    pub(super) async fn rebuild(&self, damaged: &Damaged) -> Result<Vec<Rebuilt>, EngineError> {
        let layout = StripeLayout::new(profile_of(damaged.row.profile)?, damaged.row.bytes)?;
        let mut sources = self.sources(damaged).await;
        let mut targets = self.begin_targets(damaged, layout.profile(), &sources).await;
        let mut stripe = 0;
        while stripe < layout.stripes() && !targets.is_empty() {
            let stripes = stripe..layout.stripes().min(stripe + STRIPES_AT_ONCE);
            stripe = stripes.end;
            let units = self.read_stripes(damaged, &layout, stripes.clone(), &mut sources).await?;
            let wanted: Vec<usize> = targets.iter().map(|target| usize::from(target.slot.0)).collect();
            let units = self.decode(layout.profile(), units, wanted).await?;
            targets = self.write_targets(damaged, &layout, stripes, &units, targets).await?;
        }
        Ok(self.finish_targets(targets).await)
    }

    /// Shards to read, those that rows call whole first. Others may still hold good units: those recorded as missing,
    /// and those of disks that held a slot before.
    async fn sources(&self, damaged: &Damaged) -> Vec<Source> {
        let disks = &self.shared.disks;
        let holders: Vec<(Slot, DiskId)> =
            (0_u8..=u8::MAX).zip(&damaged.pg.slots).map(|(slot, disk)| (Slot(slot), *disk)).collect();
        let (whole, missing): (Vec<_>, Vec<_>) =
            holders.into_iter().partition(|(slot, _)| !damaged.row.missing.contains(slot));
        let reachable = |(_, disk): &(Slot, DiskId)| self.calls.reachable(disks, *disk);
        let mut found: Vec<(Slot, DiskId)> = whole.into_iter().filter(reachable).collect();
        let enough = found.len() >= usize::from(damaged.row.profile.data);
        let mut others: Vec<(Slot, DiskId)> = missing;
        if !enough {
            let slots = u8::try_from(damaged.pg.slots.len()).unwrap_or(u8::MAX);
            for disk in disks.all() {
                others.extend((0..slots).map(|slot| (Slot(slot), disk.id)));
            }
        }
        others.retain(|other| reachable(other) && !found.contains(other));
        others.sort_unstable();
        others.dedup();
        for (slot, disk) in others {
            let key = ShardKey { segment: damaged.id, slot };
            let header = self.calls.call(disks, disk, |store| async move { store.header(key).await }).await;
            if matches!(header, Ok(Some(_))) {
                found.push((slot, disk));
            }
        }
        found.into_iter().map(|(slot, disk)| Source { slot, disk, failed: false }).collect()
    }

    async fn begin_targets(&self, damaged: &Damaged, profile: ErasureProfile, sources: &[Source]) -> Vec<Target> {
        let label = self.label(damaged, sources).await;
        let mut targets = Vec::new();
        for (slot, disk) in &damaged.targets {
            let header = ShardHeader {
                key: ShardKey { segment: damaged.id, slot: *slot },
                pg: damaged.pg.id,
                epoch: damaged.pg.epoch,
                profile,
                segment_bytes: damaged.row.bytes,
                label: label.clone(),
            };
            let begun = self
                .calls
                .call(&self.shared.disks, *disk, |store| async move {
                    store.begin(header, WriteMode::Replace, SpaceUse::Repair).await
                })
                .await;
            match begun {
                Ok(writer) => targets.push(Target { slot: *slot, disk: *disk, writer }),
                Err(error) => debug!(%disk, segment = %damaged.id, %error, "a disk takes no repaired shard"),
            }
        }
        targets
    }

    /// The label that all shards of a segment carry for recovery.
    async fn label(&self, damaged: &Damaged, sources: &[Source]) -> Bytes {
        for source in sources {
            let key = ShardKey { segment: damaged.id, slot: source.slot };
            let header =
                self.calls.call(&self.shared.disks, source.disk, |store| async move { store.header(key).await }).await;
            if let Ok(Some(header)) = header {
                return header.label;
            }
        }
        Bytes::new()
    }

    /// Reads stripes until each has `k` good units.
    async fn read_stripes(
        &self,
        damaged: &Damaged,
        layout: &StripeLayout,
        stripes: Range<u32>,
        sources: &mut [Source],
    ) -> Result<Stripes, EngineError> {
        let needed = layout.profile().data();
        let mut units: Stripes = stripes.clone().map(|_| vec![None; layout.profile().slots()]).collect();
        let mut left: Vec<usize> = (0..sources.len()).filter(|at| !sources[*at].failed).collect();
        loop {
            let fewest = units.iter().map(|stripe| stripe.iter().flatten().count()).min().unwrap_or(needed);
            if fewest >= needed {
                return Ok(units);
            }
            if left.is_empty() {
                if fewest + self.away_holders(damaged) < needed {
                    self.shared.lost.insert((damaged.pg.id, damaged.id));
                }
                let detail = format!("{fewest} of {needed} units of a stripe are left");
                return Err(EngineError::Corrupt { segment: damaged.id, detail });
            }
            let now: Vec<usize> = left.drain(..left.len().min(needed - fewest)).collect();
            let reads = now.iter().map(|at| self.read_source(damaged, layout, stripes.clone(), &sources[*at]));
            for (at, read) in now.iter().zip(join_all(reads).await) {
                let Some(read) = read else {
                    sources[*at].failed = true;
                    continue;
                };
                let slot = usize::from(sources[*at].slot.0);
                for (stripe, unit) in units.iter_mut().zip(read) {
                    if unit.is_some() {
                        stripe[slot] = unit;
                    }
                }
            }
        }
    }

    /// Disks that are away and may hold a shard: those of the group, and those that hold no slot of any, which another one
    /// replaced before they came back.
    fn away_holders(&self, damaged: &Damaged) -> usize {
        let map = self.shared.map.load();
        let holds = |disk: DiskId| map.pgs.values().any(|group| group.slots.contains(&disk));
        let away = map.standing_disks().filter(|disk| !self.calls.reachable(&self.shared.disks, disk.id));
        away.filter(|disk| damaged.pg.slots.contains(&disk.id) || !holds(disk.id)).count()
    }

    /// Units of one source, verified. None where it does not answer.
    async fn read_source(
        &self,
        damaged: &Damaged,
        layout: &StripeLayout,
        stripes: Range<u32>,
        source: &Source,
    ) -> Option<Vec<Option<Bytes>>> {
        let key = ShardKey { segment: damaged.id, slot: source.slot };
        let range = stripes.clone();
        let read = self
            .calls
            .call(&self.shared.disks, source.disk, |store| async move { store.read_units(key, range).await })
            .await;
        let stored = match read {
            Ok(stored) => stored,
            Err(error) => {
                if matches!(error, CallError::Failed(_)) {
                    self.suspect(damaged, source);
                }
                return None;
            }
        };
        let open = |(stripe, unit): (u32, Option<Bytes>)| {
            let place = UnitPlace { key, stripe, profile: layout.profile() };
            let payload = SealedUnit::open(place, &unit?).ok()?;
            (u32::try_from(payload.len()).ok()? == layout.unit_bytes(stripe)).then_some(payload)
        };
        let units: Vec<Option<Bytes>> = stripes.zip(stored).map(open).collect();
        if units.iter().any(Option::is_none) {
            self.suspect(damaged, source);
        }
        Some(units)
    }

    /// A shard that should be whole and is not becomes a hint for the next round.
    fn suspect(&self, damaged: &Damaged, source: &Source) {
        let holds = damaged.pg.slots.get(usize::from(source.slot.0)) == Some(&source.disk);
        if holds && !damaged.row.missing.contains(&source.slot) {
            self.shared.reports.push(ShardReport { pg: damaged.pg.id, segment: damaged.id, slot: source.slot });
        }
    }

    async fn decode(
        &self,
        profile: ErasureProfile,
        mut units: Stripes,
        wanted: Vec<usize>,
    ) -> Result<Stripes, EngineError> {
        let codec = self.shared.codecs.get(profile);
        let decoded = self.shared.codecs.run(move || {
            for stripe in &mut units {
                // A target's own old unit, if it was read, is right: it passed its checksum.
                codec.reconstruct(stripe, |slot| wanted.contains(&slot))?;
            }
            Ok(units)
        });
        decoded.await?
    }

    /// Adds the units to the targets; a target that fails is left out.
    async fn write_targets(
        &self,
        damaged: &Damaged,
        layout: &StripeLayout,
        stripes: Range<u32>,
        units: &Stripes,
        targets: Vec<Target>,
    ) -> Result<Vec<Target>, EngineError> {
        let writes = targets.into_iter().map(|mut target| {
            let stripes = stripes.clone();
            async move {
                let key = ShardKey { segment: damaged.id, slot: target.slot };
                for (stripe, units) in stripes.zip(units) {
                    let place = UnitPlace { key, stripe, profile: layout.profile() };
                    let payload = units.get(usize::from(target.slot.0)).cloned().flatten()?;
                    let unit = SealedUnit::seal(place, &payload).ok()?;
                    let written = tokio::time::timeout(DISK_ANSWERS_WITHIN, target.writer.write_unit(unit)).await;
                    if !matches!(written, Ok(Ok(()))) {
                        self.shared.disks.note_failure(target.disk);
                        return None;
                    }
                }
                Some(target)
            }
        });
        Ok(join_all(writes).await.into_iter().flatten().collect())
    }

    async fn finish_targets(&self, targets: Vec<Target>) -> Vec<Rebuilt> {
        let finishes = targets.into_iter().map(|target| async move {
            let Target { slot, disk, writer } = target;
            match tokio::time::timeout(DISK_ANSWERS_WITHIN, writer.finish()).await {
                Ok(Ok(finished)) => Some(Rebuilt { slot, disk, attach: finished.attach }),
                Ok(Err(error)) => {
                    debug!(%disk, %error, "a repaired shard was not finished");
                    // A segment that died meanwhile is no failure of its disk.
                    if !error.is_about_the_call() {
                        self.shared.disks.note_failure(disk);
                    }
                    None
                }
                Err(_) => {
                    self.shared.disks.note_failure(disk);
                    None
                }
            }
        });
        join_all(finishes).await.into_iter().flatten().collect()
    }
}
