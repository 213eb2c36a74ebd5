//! Layouts of every profile around every border, and random ones against a count that walks the stripes.

use proptest::prelude::*;

use super::*;

const UNIT: u64 = UNIT_BYTES_MAX as u64;

/// Every promise of the layout, checked by walking all its stripes.
fn check_layout(profile: ErasureProfile, segment_bytes: u64) {
    let layout = StripeLayout::new(profile, segment_bytes).unwrap();
    let k = u64::from(profile.data_u8());
    let context = format!("{profile}, {segment_bytes} bytes");
    let (mut offset, mut shard_bytes) = (0, 0);
    for stripe in 0..layout.stripes() {
        let stripe_bytes = layout.stripe_bytes(stripe);
        let unit_bytes = u64::from(layout.unit_bytes(stripe));
        assert_eq!(layout.stripe_offset(stripe), offset, "{context}: stripes follow each other");
        assert!(stripe_bytes > 0 && unit_bytes <= UNIT, "{context}: no empty stripe, no long unit");
        assert!(k * unit_bytes >= stripe_bytes, "{context}: the units hold the stripe");
        assert!(k * (unit_bytes - 1) < stripe_bytes, "{context}: and are no longer than needed");
        let is_last = stripe + 1 == layout.stripes();
        assert!(is_last || (unit_bytes == UNIT && stripe_bytes == k * UNIT), "{context}: only the last may be short");
        offset += stripe_bytes;
        shard_bytes += unit_bytes;
    }
    assert_eq!(offset, segment_bytes, "{context}: the stripes are the segment");
    assert_eq!(layout.shard_bytes(), shard_bytes, "{context}");
    assert_eq!((layout.profile(), layout.segment_bytes()), (profile, segment_bytes));
    for past in [layout.stripes(), layout.stripes() + 1, u32::MAX] {
        assert_eq!(layout.stripe_offset(past), segment_bytes, "{context}");
        assert_eq!((layout.stripe_bytes(past), layout.unit_bytes(past)), (0, 0), "{context}");
    }
}

fn all_profiles() -> impl Iterator<Item = ErasureProfile> {
    (1..=16).flat_map(|data| (0..=8).map(move |parity| ErasureProfile::new(data, parity).unwrap()))
}

#[test]
fn every_border_of_every_profile() {
    for profile in all_profiles() {
        let k = u64::from(profile.data_u8());
        let borders = [0, 1, k, UNIT, (k - 1) * UNIT, k * UNIT, k * UNIT + k, 2 * k * UNIT, SEGMENT_BYTES_MAX];
        for border in borders {
            for segment_bytes in border.saturating_sub(1)..=(border + 1).min(SEGMENT_BYTES_MAX) {
                check_layout(profile, segment_bytes);
            }
        }
        assert_eq!(StripeLayout::stripe_data_max(profile), profile.data() * 262_144);
    }
}

#[test]
fn known_layouts() {
    let profile = ErasureProfile::new(4, 2).unwrap();
    let layout = StripeLayout::new(profile, 3_000_001).unwrap();
    assert_eq!(layout.stripes(), 3);
    assert_eq!((layout.stripe_offset(2), layout.stripe_bytes(2)), (2_097_152, 902_849));
    assert_eq!((layout.unit_bytes(1), layout.unit_bytes(2)), (262_144, 225_713));
    assert_eq!(layout.shard_bytes(), 750_001);
    assert_eq!(layout.stripes_of(0..1), 0..1);
    assert_eq!(layout.stripes_of(1_048_575..1_048_576), 0..1);
    assert_eq!(layout.stripes_of(1_048_575..1_048_577), 0..2);
    assert_eq!(layout.stripes_of(1_048_576..u64::MAX), 1..3);
    assert!(layout.stripes_of(5..5).is_empty());
    assert!(layout.stripes_of(3_000_001..3_000_002).is_empty());
}

#[test]
fn an_empty_segment_has_no_stripe() {
    for profile in all_profiles() {
        let layout = StripeLayout::new(profile, 0).unwrap();
        assert_eq!((layout.stripes(), layout.shard_bytes()), (0, 0));
        assert!(layout.stripes_of(0..u64::MAX).is_empty());
    }
}

#[test]
fn a_longer_segment_is_refused() {
    let profile = ErasureProfile::new(4, 2).unwrap();
    for segment_bytes in [SEGMENT_BYTES_MAX + 1, u64::MAX] {
        let error = StripeLayout::new(profile, segment_bytes).unwrap_err();
        assert_eq!(error, ErasureError::SegmentTooLong { segment_bytes, segment_bytes_max: SEGMENT_BYTES_MAX });
    }
}

proptest! {
    #[test]
    fn any_length(data in 1..=16u8, parity in 0..=8u8, segment_bytes in 0..=SEGMENT_BYTES_MAX) {
        check_layout(ErasureProfile::new(data, parity).unwrap(), segment_bytes);
    }

    #[test]
    fn stripes_of_are_those_that_overlap(
        data in 1..=16u8, segment_bytes in 0..=SEGMENT_BYTES_MAX, start in 0..=SEGMENT_BYTES_MAX, length in 0..=SEGMENT_BYTES_MAX,
    ) {
        let layout = StripeLayout::new(ErasureProfile::new(data, 0).unwrap(), segment_bytes).unwrap();
        let overlapping: Vec<u32> = (0..layout.stripes())
            .filter(|&stripe| {
                let begin = layout.stripe_offset(stripe);
                length > 0 && begin < start + length && start < begin + layout.stripe_bytes(stripe)
            })
            .collect();
        prop_assert_eq!(layout.stripes_of(start..start + length).collect::<Vec<_>>(), overlapping);
    }
}
