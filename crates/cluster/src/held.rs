//! What a request holds in memory at most, from the sizes that bound each step: admission counts with it.

use std::collections::HashSet;

use cairn_erasure::{ErasureProfile, StripeLayout, UNIT_BYTES_MAX};
use cairn_meta::{Body, BucketSettings, ObjectRow, ProfileRow};

use crate::engine::Engine;
use crate::map::profile_of;
use crate::read::{BATCH_BYTES, BATCHES_MAX};
use crate::write::LANE_UNITS_MAX;

/// Segments of one body whose units may be on their way at once: one that is written, one that finishes.
const SEGMENTS_AT_ONCE: u64 = 2;

impl Engine {
    /// Most bytes that reading `bytes` of an object holds, by the profiles its bytes lie in.
    #[must_use]
    pub fn held_by_read(&self, row: &ObjectRow, bytes: u64) -> u64 {
        let map = self.shared().map.load();
        let mut profiles: HashSet<ProfileRow> = match &row.body {
            // Sealed, and opened.
            Body::Inline(_) | Body::Sealed(_) => return row.bytes.saturating_mul(2),
            Body::Extents(extents) => {
                extents.iter().filter_map(|extent| map.pg(extent.pg)).map(|group| group.profile).collect()
            }
            // The rows of its parts would tell. Without them it is counted as the dearest there is.
            Body::Parts { .. } => map.pgs.values().map(|group| group.profile).collect(),
        };
        if profiles.is_empty() {
            profiles.extend(self.shared().server_profile());
        }
        let profiles = profiles.into_iter().filter_map(|profile| profile_of(profile).ok());
        profiles.map(|profile| of_read(profile, bytes)).max().unwrap_or(bytes)
    }

    /// Most bytes that writing an object or part of `bytes` holds, by the profile it is coded with while no disk is
    /// away.
    #[must_use]
    pub fn held_by_write(&self, settings: BucketSettings, class: Option<&str>, bytes: u64) -> u64 {
        let want = self.shared().want_by(settings, class);
        let profile = want.and_then(|want| profile_of(want.profile()).ok());
        profile.map_or(bytes, |profile| of_write(profile, bytes))
    }
}

/// Most bytes that writing an object or part holds, whatever its profile.
#[must_use]
pub fn held_by_widest_write() -> u64 {
    of_write(ErasureProfile::WIDEST, u64::MAX)
}

/// Batches that wait or are sent, and all units, parity too, that one more is made of.
fn of_read(profile: ErasureProfile, bytes: u64) -> u64 {
    let batch = BATCH_BYTES.max(stripe_bytes(profile)).min(bytes);
    (BATCHES_MAX - 1) * batch + coded(profile, batch)
}

/// A stripe that is collected and one that is being coded; in each lane the units that wait, the one being written and
/// the one in hand.
fn of_write(profile: ErasureProfile, bytes: u64) -> u64 {
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
    use crate::ops::ObjectCommit;
    use crate::testing::{World, bytes_of};
    use crate::write::WriteTarget;

    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;

    #[test]
    fn what_is_held_follows_from_the_profile_and_the_length() {
        let profile = |data, parity| ErasureProfile::new(data, parity).unwrap();
        for (profile, read, write) in [
            (profile(4, 2), 2 * 3 * MIB + 3 * MIB / 4 * 6, 2 * MIB + 6 * 8 * 256 * KIB),
            (profile(1, 1), 2 * 3 * MIB + 3 * MIB * 2, 512 * KIB + 2 * 8 * 256 * KIB),
            (profile(10, 4), 2 * 3 * MIB + (3 * MIB).div_ceil(10) * 14, 5 * MIB + 14 * 8 * 256 * KIB),
        ] {
            assert_eq!((of_read(profile, u64::MAX), of_write(profile, u64::MAX)), (read, write), "{profile:?}");
        }
        let widest = held_by_widest_write();
        assert_eq!(widest, 8 * MIB + 24 * 8 * 256 * KIB);
        for (data, parity) in (1..=16).flat_map(|data| (0..=8).map(move |parity| (data, parity))) {
            assert!(of_write(profile(data, parity), u64::MAX) <= widest, "{data}+{parity}");
        }
        let small = profile(4, 2);
        assert_eq!((of_read(small, 4 * KIB), of_write(small, 4 * KIB)), (14 * KIB, 14 * KIB));
    }

    #[tokio::test]
    async fn what_is_held_goes_by_the_profile_of_the_bucket_and_of_the_class() {
        let profile = |data, parity| ErasureProfile::new(data, parity).unwrap();
        let mut options = crate::testing::options(6);
        options.storage_classes.insert("WIDE".to_owned(), profile(10, 4));
        let world = World::with(options).await;
        let settings = |profile: Option<(u8, u8)>| BucketSettings {
            profile: profile.map(|(data, parity)| ProfileRow { data, parity }),
            ..BucketSettings::default()
        };
        let held = |settings, class| world.engine.held_by_write(settings, class, u64::MAX);
        let of = |data, parity| of_write(profile(data, parity), u64::MAX);
        assert_eq!(held(settings(None), None), of(4, 2), "the server's");
        assert_eq!(held(settings(Some((1, 0))), None), of(1, 0), "the bucket's");
        assert_eq!(held(settings(Some((1, 0))), Some("WIDE")), of(10, 4), "the class's");
        assert_eq!(held(settings(Some((1, 0))), Some("STANDARD_IA")), of(1, 0), "a class without a profile");

        let narrow = BucketSettings { profile: Some(ProfileRow { data: 1, parity: 2 }), ..BucketSettings::default() };
        world.engine.create_bucket("narrow", narrow, None).await.unwrap();
        let bucket = world.engine.bucket("narrow").await.unwrap().id;
        let target = WriteTarget { bucket, ..world.target("key", Some(4 * MIB)) };
        let stored = world.store(target, &bytes_of(4 << 20, 1)).await.unwrap();
        world.engine.commit_object(stored, ObjectCommit { bucket, ..world.commit("key") }).await.unwrap();
        let reader = world.engine.open_object(bucket, "key").await.unwrap();
        assert_eq!(world.engine.held_by_read(reader.row(), u64::MAX), of_read(profile(1, 2), u64::MAX));
        world.put("small", &bytes_of(100, 2)).await.unwrap();
        assert_eq!(world.engine.held_by_read(world.open("small").await.unwrap().row(), 1), 200);
    }
}
