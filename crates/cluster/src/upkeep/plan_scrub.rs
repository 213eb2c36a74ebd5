//! How fast a disk is re-read: pure arithmetic.

use std::time::Duration;

use cairn_erasure::StripeLayout;
use cairn_shard_store::{SealedUnit, ShardSummary};

/// Longest pause between two shards: a small disk is read more often than it must.
const PAUSE_MAX: Duration = Duration::from_secs(3600);

/// Bytes that reading a shard takes.
pub(crate) fn shard_bytes(shard: &ShardSummary) -> u64 {
    let Ok(layout) = StripeLayout::new(shard.profile, shard.segment_bytes) else { return 0 };
    layout.shard_bytes() + u64::from(layout.stripes()) * SealedUnit::OVERHEAD_BYTES as u64
}

/// The pause after `bytes` were read, so that all `bytes_live` of the disk take `days`.
pub(crate) fn pause_after(bytes: u64, bytes_live: u64, days: u32) -> Duration {
    let period = Duration::from_secs(86_400 * u64::from(days.max(1)));
    let micros = period.as_micros().saturating_mul(u128::from(bytes)) / u128::from(bytes_live.max(1));
    u64::try_from(micros).map_or(PAUSE_MAX, |micros| Duration::from_micros(micros).min(PAUSE_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_covers_the_disk() {
        let shard = 16 << 20;
        let disk = 100_000 * shard;
        let all = pause_after(shard, disk, 30) * 100_000;
        let month = Duration::from_secs(30 * 86_400);
        assert!(all <= month && all > month.mul_f64(0.999), "{all:?}");
        assert_eq!(pause_after(shard, shard, 30), PAUSE_MAX);
        assert_eq!(pause_after(shard, 0, 0), PAUSE_MAX);
        assert_eq!(pause_after(0, disk, 30), Duration::ZERO);
    }
}
