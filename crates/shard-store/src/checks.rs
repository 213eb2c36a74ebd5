//! The rules of a write, the same for every implementation.

use bytes::Bytes;
use cairn_erasure::StripeLayout;

use crate::{SealedUnit, ShardHeader, ShardStoreError, UnitError, UnitPlace, WriteMode};

/// Longest label of a shard's header.
pub(crate) const LABEL_BYTES_MAX: usize = 2048;

/// Whether the shard that is to be written stands already. One of another header is another segment's.
pub(crate) fn check_standing(
    standing: Option<ShardHeader>,
    wanted: &ShardHeader,
    mode: WriteMode,
) -> Result<bool, ShardStoreError> {
    match (mode, standing) {
        (WriteMode::Replace, _) | (WriteMode::New, None) => Ok(false),
        (WriteMode::New, Some(standing)) if standing == *wanted => Ok(true),
        (WriteMode::New, Some(_)) => Err(ShardStoreError::Conflict { key: wanted.key }),
    }
}

/// Checks a header and gives the layout of its shard.
pub(crate) fn check_header(header: &ShardHeader) -> Result<StripeLayout, ShardStoreError> {
    if header.label.len() > LABEL_BYTES_MAX {
        return Err(ShardStoreError::Invalid("label is longer than 2 KiB"));
    }
    if usize::from(header.key.slot.0) >= header.profile.slots() {
        return Err(ShardStoreError::Invalid("slot is beyond the profile"));
    }
    StripeLayout::new(header.profile, header.segment_bytes)
        .map_err(|_| ShardStoreError::Invalid("segment is longer than a segment may be"))
}

/// Follows the units of one shard: in order, of the right length, all of them.
#[derive(Debug)]
pub(crate) struct Progress {
    layout: StripeLayout,
    place: UnitPlace,
}

impl Progress {
    pub(crate) const fn new(header: &ShardHeader, layout: StripeLayout) -> Self {
        Self { layout, place: UnitPlace { key: header.key, stripe: 0, profile: header.profile } }
    }

    /// Takes the next unit's place; refuses any other.
    pub(crate) fn take(&mut self, unit: &SealedUnit) -> Result<(), ShardStoreError> {
        let place = unit.place();
        if (place.key, place.profile) != (self.place.key, self.place.profile) {
            return Err(ShardStoreError::Unit(UnitError::Misplaced));
        }
        if place.stripe != self.place.stripe || place.stripe >= self.layout.stripes() {
            return Err(ShardStoreError::Invalid("units come in order of stripe, each once"));
        }
        if u32::try_from(unit.payload().len()) != Ok(self.layout.unit_bytes(place.stripe)) {
            return Err(ShardStoreError::Invalid("unit is not as long as the layout says"));
        }
        self.place.stripe += 1;
        Ok(())
    }

    /// Refuses a shard that lacks units.
    pub(crate) fn check_whole(&self) -> Result<(), ShardStoreError> {
        if self.place.stripe == self.layout.stripes() {
            return Ok(());
        }
        Err(ShardStoreError::Invalid("not all units were written"))
    }
}

/// Whether a stored unit is what its place says.
pub(crate) fn is_sound(header: &ShardHeader, stripe: u32, stored: &Bytes) -> bool {
    SealedUnit::open(UnitPlace { key: header.key, stripe, profile: header.profile }, stored).is_ok()
}
