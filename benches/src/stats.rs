//! Medians, spreads and ratios over rounds. Two servers are compared round by round, since what the machine did meanwhile
//! met both.

use serde::Serialize;

/// A value over rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The one in the middle.
    pub median: f64,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

/// Median and spread; `None` without a value.
#[must_use]
pub(crate) fn spread(values: &[f64]) -> Option<Spread> {
    let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (*sorted.first()?, *sorted.last()?);
    let upper = *sorted.get(sorted.len() / 2)?;
    let median = if sorted.len() % 2 == 1 { upper } else { f64::midpoint(upper, *sorted.get(sorted.len() / 2 - 1)?) };
    Some(Spread { median, low, high })
}

/// The spread of `value / base`, each pair of one round. Rounds in which one of them is missing, or the base is zero, do
/// not count.
#[must_use]
pub(crate) fn ratio(values: &[Option<f64>], bases: &[Option<f64>]) -> Option<Spread> {
    let pairs = values.iter().zip(bases).filter_map(|(value, base)| (*value).zip(*base));
    let ratios: Vec<f64> = pairs.filter(|(_, base)| *base != 0.0).map(|(value, base)| value / base).collect();
    spread(&ratios)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, low: 1.0, high: 3.0 }));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), Some(Spread { median: 2.5, low: 1.0, high: 4.0 }));
        assert_eq!(spread(&[7.0]), Some(Spread { median: 7.0, low: 7.0, high: 7.0 }));
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[f64::NAN, 1.0]).map(|found| found.high), Some(1.0));
    }

    /// A machine that gets slower over the rounds changes both servers, not their ratio.
    #[test]
    fn ratios_are_taken_round_by_round() {
        let first = [Some(100.0), Some(50.0), Some(10.0)];
        let second = [Some(200.0), Some(100.0), Some(20.0)];
        assert_eq!(ratio(&second, &first), Some(Spread { median: 2.0, low: 2.0, high: 2.0 }));
        let holes = [None, Some(0.0), Some(5.0)];
        assert_eq!(ratio(&first, &holes), Some(Spread { median: 2.0, low: 2.0, high: 2.0 }));
        assert_eq!(ratio(&first, &[None, None, None]), None);
    }
}
