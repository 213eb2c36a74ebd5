//! Geometry of one segment: how its bytes fall into stripes and units.
//!
//! All stripes but the last hold `k` full units. The last holds the rest, in units of `ceil(rest / k)` bytes whose data
//! is padded with zeros at the end. Both follow from profile and length, which are stored; so this is a disk format.

use std::ops::Range;

use crate::{ErasureError, ErasureProfile, SEGMENT_BYTES_MAX, UNIT_BYTES_MAX};

/// How the bytes of one segment fall into stripes and units.
///
/// A stripe number past the end is no error: such a stripe begins at the segment's end and has no bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StripeLayout {
    profile: ErasureProfile,
    segment_bytes: u64,
    stripes: u32,
}

impl StripeLayout {
    /// The layout of a segment of `segment_bytes`, at most [`SEGMENT_BYTES_MAX`]; an empty one has no stripe.
    pub fn new(profile: ErasureProfile, segment_bytes: u64) -> Result<Self, ErasureError> {
        if segment_bytes > SEGMENT_BYTES_MAX {
            return Err(ErasureError::SegmentTooLong { segment_bytes, segment_bytes_max: SEGMENT_BYTES_MAX });
        }
        let stripes = segment_bytes.div_ceil(full_stripe_bytes(profile));
        let stripes = u32::try_from(stripes).expect("a segment has at most 256 stripes");
        Ok(Self { profile, segment_bytes, stripes })
    }

    /// The profile the segment is coded with.
    pub fn profile(&self) -> ErasureProfile {
        self.profile
    }

    /// Bytes of the segment, without padding.
    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// How many stripes the segment has, which is also the number of units of each of its shards.
    pub fn stripes(&self) -> u32 {
        self.stripes
    }

    /// First byte of the stripe within the segment.
    pub fn stripe_offset(&self, stripe: u32) -> u64 {
        (u64::from(stripe) * full_stripe_bytes(self.profile)).min(self.segment_bytes)
    }

    /// Bytes of the segment in the stripe, without padding.
    pub fn stripe_bytes(&self, stripe: u32) -> u64 {
        (self.segment_bytes - self.stripe_offset(stripe)).min(full_stripe_bytes(self.profile))
    }

    /// Bytes of each unit of the stripe, the same in every slot.
    pub fn unit_bytes(&self, stripe: u32) -> u32 {
        let unit_bytes = self.stripe_bytes(stripe).div_ceil(u64::from(self.profile.data_u8()));
        u32::try_from(unit_bytes).expect("a stripe holds at most k units of 256 KiB")
    }

    /// Bytes of one shard: its units together, without checksums and keys.
    pub fn shard_bytes(&self) -> u64 {
        let Some(last) = self.stripes.checked_sub(1) else {
            return 0;
        };
        u64::from(last) * u64::from(UNIT_BYTES_MAX) + u64::from(self.unit_bytes(last))
    }

    /// The stripes that hold the bytes of `range`; what lies past the segment's end is left out.
    pub fn stripes_of(&self, range: Range<u64>) -> Range<u32> {
        let end = range.end.min(self.segment_bytes);
        if range.start >= end {
            return 0..0;
        }
        let first = range.start / full_stripe_bytes(self.profile);
        let after = end.div_ceil(full_stripe_bytes(self.profile));
        let within = "the range was cut to the segment";
        u32::try_from(first).expect(within)..u32::try_from(after).expect(within)
    }

    /// Data bytes of a full stripe of `profile`, the longest that can be coded at once.
    pub fn stripe_data_max(profile: ErasureProfile) -> usize {
        usize::try_from(full_stripe_bytes(profile)).expect("at most 16 units of 256 KiB")
    }
}

fn full_stripe_bytes(profile: ErasureProfile) -> u64 {
    u64::from(profile.data_u8()) * u64::from(UNIT_BYTES_MAX)
}

#[cfg(test)]
#[path = "layout_test.rs"]
mod layout_test;
