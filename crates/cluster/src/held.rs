//! What a request holds in memory at most, from the sizes that bound each step: admission counts with it.

use cairn_erasure::{ErasureProfile, StripeLayout, UNIT_BYTES_MAX};

use crate::engine::Engine;
use crate::read::{BATCH_BYTES, BATCHES_MAX};
use crate::write::LANE_UNITS_MAX;

/// Segments of one body whose units may be on their way at once: one that is written, one that finishes.
const SEGMENTS_AT_ONCE: u64 = 2;

impl Engine {
    /// Most bytes that reading `bytes` of an object holds.
    #[must_use]
    pub fn held_by_read(&self, bytes: u64) -> u64 {
        of_read(self.profile(), bytes)
    }

    /// Most bytes that writing an object or part of `bytes` holds.
    #[must_use]
    pub fn held_by_write(&self, bytes: u64) -> u64 {
        of_write(self.profile(), bytes)
    }

    /// The profile of new groups while no disk is away.
    fn profile(&self) -> Option<ErasureProfile> {
        let options = &self.shared().options;
        options.profile.for_disks(options.folders.len())
    }
}

/// Batches that wait or are sent, and all units, parity too, that one more is made of.
fn of_read(profile: Option<ErasureProfile>, bytes: u64) -> u64 {
    let Some(profile) = profile else { return 0 };
    let batch = BATCH_BYTES.max(stripe_bytes(profile)).min(bytes);
    (BATCHES_MAX - 1) * batch + coded(profile, batch)
}

/// A stripe that is collected and one that is being coded; in each lane the units that wait, the one being written and
/// the one in hand.
fn of_write(profile: Option<ErasureProfile>, bytes: u64) -> u64 {
    let Some(profile) = profile else { return bytes };
    let stripe = stripe_bytes(profile).min(bytes);
    let unit = u64::from(UNIT_BYTES_MAX);
    let units = u64::try_from(profile.slots()).unwrap_or(u64::MAX) * SEGMENTS_AT_ONCE * LANE_UNITS_MAX;
    2 * stripe + (units * unit).min(coded(profile, bytes))
}

fn stripe_bytes(profile: ErasureProfile) -> u64 {
    u64::try_from(StripeLayout::stripe_data_max(profile)).unwrap_or(u64::MAX)
}

/// What bytes are with their parity.
fn coded(profile: ErasureProfile, bytes: u64) -> u64 {
    bytes.div_ceil(u64::from(profile.data_u8())).saturating_mul(u64::try_from(profile.slots()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;

    #[test]
    fn what_is_held_follows_from_the_profile_and_the_length() {
        let profile = |data, parity| ErasureProfile::new(data, parity).ok();
        for (profile, read, write) in [
            (profile(4, 2), 2 * 3 * MIB + 3 * MIB / 4 * 6, 2 * MIB + 6 * 8 * 256 * KIB),
            (profile(1, 1), 2 * 3 * MIB + 3 * MIB * 2, 512 * KIB + 2 * 8 * 256 * KIB),
            (profile(10, 4), 2 * 3 * MIB + (3 * MIB).div_ceil(10) * 14, 5 * MIB + 14 * 8 * 256 * KIB),
            (None, 0, u64::MAX),
        ] {
            assert_eq!((of_read(profile, u64::MAX), of_write(profile, u64::MAX)), (read, write), "{profile:?}");
        }
        let small = profile(4, 2);
        assert_eq!((of_read(small, 4 * KIB), of_write(small, 4 * KIB)), (14 * KIB, 14 * KIB));
    }
}
