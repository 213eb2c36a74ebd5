//! Reads a snapshot's segments from any `k` disks. A shard is looked for on every disk: the list says where they were.

use std::sync::Arc;

use bytes::Bytes;
use cairn_erasure::{Codec, ErasureProfile, StripeLayout};
use cairn_meta::MetaError;
use cairn_proto::Slot;
use cairn_shard_store::{SealedUnit, ShardKey, ShardStore, UnitPlace};

use super::{RecoveryDisks, SnapshotFound};
use crate::error::EngineError;
use crate::sealing::ClusterKey;
use crate::snapshot::{FrameReader, ListedSegment};

/// A shard of a segment, where one was found.
type Shards = Vec<Option<Arc<dyn ShardStore>>>;

impl RecoveryDisks {
    /// Reads a snapshot; hands its pieces of rows on in order.
    ///
    /// # Errors
    /// [`EngineError::Corrupt`] where fewer than `k` shards of a segment are good, [`EngineError::Meta`] where the bytes
    /// are not what was sealed, or where `take` fails.
    pub async fn read_snapshot(
        &self,
        found: &SnapshotFound,
        key: &ClusterKey,
        take: &mut (dyn FnMut(&[u8]) -> Result<(), MetaError> + Send),
    ) -> Result<(), EngineError> {
        let damaged = |error: crate::snapshot::FrameError| MetaError::Damaged { what: error.to_string() };
        let mut frames = FrameReader::new(key, found.index());
        for segment in &found.listed.segments {
            let profile = ErasureProfile::new(segment.data, segment.parity)?;
            let layout = StripeLayout::new(profile, segment.bytes)?;
            let codec = Codec::new(profile);
            let shards = self.shards(segment, profile).await?;
            for stripe in 0..layout.stripes() {
                let bytes = read_stripe(segment, &layout, &codec, &shards, stripe).await?;
                for piece in frames.take(&bytes).map_err(damaged)? {
                    take(&piece)?;
                }
            }
        }
        Ok(frames.finish().map_err(damaged)?)
    }

    /// The shards of a segment, on the disk that should hold them or on another one.
    async fn shards(&self, segment: &ListedSegment, profile: ErasureProfile) -> Result<Shards, EngineError> {
        let mut shards: Shards = Vec::with_capacity(profile.slots());
        for (number, listed) in (0_u8..).zip(&segment.slots) {
            let key = ShardKey { segment: segment.segment, slot: Slot(number) };
            let first = self.get(*listed).into_iter();
            let mut holder = None;
            for disk in first.chain(&self.disks) {
                if matches!(disk.header(key).await, Ok(Some(_))) {
                    holder = Some(Arc::clone(disk));
                    break;
                }
            }
            shards.push(holder);
        }
        let good = shards.iter().flatten().count();
        if good >= profile.data() {
            return Ok(shards);
        }
        let away = segment.slots.iter().filter(|disk| self.get(**disk).is_none());
        let away: Vec<String> = away.map(ToString::to_string).collect();
        let detail = format!(
            "{good} shards are left, {} are needed; disks that held some and are not here: {}",
            profile.data(),
            if away.is_empty() { "none".to_owned() } else { away.join(", ") }
        );
        Err(EngineError::Corrupt { segment: segment.segment, detail })
    }
}

/// The bytes of one stripe, out of the first `k` units that are good.
async fn read_stripe(
    segment: &ListedSegment,
    layout: &StripeLayout,
    codec: &Codec,
    shards: &Shards,
    stripe: u32,
) -> Result<Bytes, EngineError> {
    let profile = layout.profile();
    let mut units: Vec<Option<Bytes>> = vec![None; profile.slots()];
    for ((number, store), unit) in (0_u8..).zip(shards).zip(&mut units) {
        let Some(store) = store else { continue };
        let key = ShardKey { segment: segment.segment, slot: Slot(number) };
        let stored = store.read_units(key, stripe..stripe + 1).await.ok().and_then(|mut units| units.pop().flatten());
        let place = UnitPlace { key, stripe, profile };
        *unit = stored.and_then(|stored| SealedUnit::open(place, &stored).ok());
    }
    let good = units.iter().flatten().count();
    if good < profile.data() {
        let detail = format!("{good} units of stripe {stripe} are good, {} are needed", profile.data());
        return Err(EngineError::Corrupt { segment: segment.segment, detail });
    }
    codec.reconstruct(&mut units, |slot| slot < profile.data())?;
    let data: Vec<Bytes> = units.into_iter().take(profile.data()).flatten().collect();
    let bytes = usize::try_from(layout.stripe_bytes(stripe)).unwrap_or(usize::MAX);
    Ok(codec.join_stripe(&data, bytes)?)
}
