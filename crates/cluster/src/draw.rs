//! A draw by weight: a pure decision over a number that is given.

/// Weights are taken in whole MiB: so the sum of a million million of them cannot overflow.
const WEIGHT_SHIFT: u32 = 20;

/// Draws one of several by a random number, each as likely as its weight; where none weighs anything, each as likely as
/// any other. None where there is nothing to draw.
pub(crate) fn draw_by_weight(weights: &[u64], random: u64) -> Option<usize> {
    let none_weighs = weights.iter().all(|weight| weight >> WEIGHT_SHIFT == 0);
    let of = |weight: u64| if none_weighs { 1 } else { u128::from(weight >> WEIGHT_SHIFT) };
    let sum: u128 = weights.iter().copied().map(of).sum();
    // The random number as a share of all there are, taken of the sum.
    let mut point = (u128::from(random) * sum) >> u64::BITS;
    weights.iter().position(|weight| {
        let weight = of(*weight);
        let is_within = point < weight;
        point = point.saturating_sub(weight);
        is_within
    })
}

#[cfg(test)]
mod tests {
    use rand::{RngCore as _, SeedableRng as _, rngs::StdRng};

    use super::*;

    const DRAWS: u32 = 100_000;

    /// How often each was drawn, in shares of all draws.
    fn shares(weights: &[u64]) -> Vec<f64> {
        let mut random = StdRng::seed_from_u64(5);
        let mut drawn = vec![0; weights.len()];
        for _ in 0..DRAWS {
            drawn[draw_by_weight(weights, random.next_u64()).unwrap()] += 1;
        }
        drawn.into_iter().map(|times| f64::from(times) / f64::from(DRAWS)).collect()
    }

    #[test]
    fn each_is_drawn_as_often_as_it_weighs() {
        const GIB: u64 = 1 << 30;
        let cases: [(&[u64], &[f64]); 5] = [
            (&[GIB, 3 * GIB, 0, 4 * GIB], &[0.125, 0.375, 0.0, 0.5]),
            (&[GIB, GIB, GIB, GIB], &[0.25; 4]),
            (&[u64::MAX, u64::MAX >> 1], &[2.0 / 3.0, 1.0 / 3.0]),
            // Nobody has room: the disks will say so.
            (&[0, 0, 1000], &[1.0 / 3.0; 3]),
            (&[7 * GIB], &[1.0]),
        ];
        for (weights, wanted) in cases {
            for (share, wanted) in shares(weights).into_iter().zip(wanted) {
                assert!((share - wanted).abs() < 0.01, "{weights:?}: {share} instead of {wanted}");
                assert!(*wanted > 0.0 || share == 0.0, "{weights:?}: what weighs nothing was drawn");
            }
        }
    }

    #[test]
    fn the_ends_are_drawn() {
        assert_eq!(draw_by_weight(&[], 5), None);
        let weights = [0, 1 << 30, 2 << 30, 0];
        assert_eq!(draw_by_weight(&weights, 0), Some(1));
        assert_eq!(draw_by_weight(&weights, u64::MAX), Some(2));
    }
}
