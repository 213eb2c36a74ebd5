//! Sizes of a runner's cache archives: 22 bytes (an empty zip) to 1 GiB.
//!
//! | share | size |
//! |---|---|
//! | 10 % | 22 bytes |
//! | 15 % | 1 KiB to 64 KiB |
//! | 25 % | 64 KiB to 1 MiB |
//! | 35 % | 1 MiB to 16 MiB |
//! | 13 % | 16 MiB to 128 MiB |
//! | 2 % | 128 MiB to 1 GiB |
//!
//! Within a line the logarithm is even. The mean is some 18 MiB. `--size` caps it: what would be larger is drawn as the cap.

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

/// An empty zip.
pub(crate) const EMPTY_ARCHIVE_BYTES: u64 = 22;
/// The largest archive.
pub(crate) const ARCHIVE_BYTES_MAX: u64 = 1 << 30;

/// Share in percent, from, to.
const LINES: [(u32, u64, u64); 6] = [
    (10, EMPTY_ARCHIVE_BYTES, EMPTY_ARCHIVE_BYTES),
    (15, 1 << 10, 64 << 10),
    (25, 64 << 10, 1 << 20),
    (35, 1 << 20, 16 << 20),
    (13, 16 << 20, 128 << 20),
    (2, 128 << 20, ARCHIVE_BYTES_MAX),
];

/// The size that belongs to a number: the same one each time.
#[must_use]
pub(crate) fn archive_bytes(number: u64, bytes_max: u64) -> u64 {
    let mut random = SmallRng::seed_from_u64(number);
    let mut percent = random.random_range(0..100);
    for (share, from, to) in LINES {
        if percent < share {
            return log_even(from, to, random.random()).min(bytes_max);
        }
        percent -= share;
    }
    EMPTY_ARCHIVE_BYTES
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "up to 1 GiB")]
fn log_even(from: u64, to: u64, part: f64) -> u64 {
    let size = (from as f64) * (to as f64 / from as f64).powf(part);
    (size as u64).clamp(from, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_what_is_said() {
        assert_eq!(LINES.iter().map(|(share, ..)| share).sum::<u32>(), 100);
        let sizes: Vec<u64> = (0..20_000).map(|number| archive_bytes(number, ARCHIVE_BYTES_MAX)).collect();
        for (share, from, to) in LINES {
            let found = sizes.iter().filter(|size| (from..=to).contains(*size)).count() as f64 / 200.0;
            assert!((found - f64::from(share)).abs() < 1.5, "{from} to {to}: {found} % instead of {share} %");
        }
        let mean = sizes.iter().sum::<u64>() as f64 / 20_000.0 / f64::from(1 << 20);
        assert!((14.0..24.0).contains(&mean), "the mean is {mean} MiB");
    }

    #[test]
    fn a_number_has_one_size_and_the_cap_holds() {
        for number in 0..500 {
            assert_eq!(archive_bytes(number, ARCHIVE_BYTES_MAX), archive_bytes(number, ARCHIVE_BYTES_MAX));
            assert!(archive_bytes(number, 4096) <= 4096);
        }
    }
}
