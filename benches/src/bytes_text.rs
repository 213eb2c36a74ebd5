//! Byte counts as people write and read them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A number of bytes, written as `4KiB`, `10MiB`, `22`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) struct ByteCount(pub u64);

const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl FromStr for ByteCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let wrong = || format!("`{text}` is no size; write a number and B, KiB, MiB or GiB, as in `10MiB`");
        let factor = match unit {
            "" => 1,
            unit => UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(wrong)?.1,
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        number.checked_mul(factor).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = UNITS.into_iter().find(|(_, factor)| self.0 >= *factor).unwrap_or(("B", 1));
        let tenths = u128::from(self.0) * 10 / u128::from(factor);
        match tenths % 10 {
            0 => write!(f, "{} {unit}", tenths / 10),
            tenth => write!(f, "{}.{tenth} {unit}", tenths / 10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_shown() {
        for (text, bytes, shown) in [
            ("22", 22, "22 B"),
            ("4KiB", 4096, "4 KiB"),
            ("10mib", 10 << 20, "10 MiB"),
            ("1GiB", 1 << 30, "1 GiB"),
            ("1536", 1536, "1.5 KiB"),
            ("0", 0, "0 B"),
        ] {
            let size: ByteCount = text.parse().unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, shown));
        }
        for bad in ["", "MiB", "1.5MiB", "-1", "5 apples", "99999999999GiB"] {
            assert!(bad.parse::<ByteCount>().unwrap_err().contains("10MiB"), "{bad}");
        }
    }
}
