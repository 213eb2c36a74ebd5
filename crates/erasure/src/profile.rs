//! The profile `k+m`: how many data and how many parity units a stripe has.

use std::fmt;
use std::str::FromStr;

use crate::ErasureError;

const DATA_MAX: u8 = 16;
const PARITY_MAX: u8 = 8;
const ERROR_TEXT_CHARS_MAX: usize = 32;

/// How many data and parity units a stripe has; written `4+2`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct ErasureProfile {
    data: u8,
    parity: u8,
}

impl ErasureProfile {
    /// The widest there is: no stripe has more units.
    pub const WIDEST: Self = Self { data: DATA_MAX, parity: PARITY_MAX };

    /// A profile of 1 to 16 data and 0 to 8 parity units.
    pub fn new(data: u8, parity: u8) -> Result<Self, ErasureError> {
        if data == 0 || data > DATA_MAX || parity > PARITY_MAX {
            return Err(ErasureError::UnsupportedProfile { data, parity });
        }
        Ok(Self { data, parity })
    }

    /// Data units of a stripe: `k`, and what is needed to read it.
    pub const fn data(self) -> usize {
        self.data as usize
    }

    /// Parity units of a stripe: `m`, and what may be lost.
    pub const fn parity(self) -> usize {
        self.parity as usize
    }

    /// All units of a stripe, `k+m`. Slots below [`data`](Self::data) hold data, the others parity.
    pub const fn slots(self) -> usize {
        self.data() + self.parity()
    }

    /// [`data`](Self::data) as it is written into rows and headers.
    pub const fn data_u8(self) -> u8 {
        self.data
    }

    /// [`parity`](Self::parity) as it is written into rows and headers.
    pub const fn parity_u8(self) -> u8 {
        self.parity
    }
}

impl fmt::Display for ErasureProfile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}+{}", self.data, self.parity)
    }
}

impl FromStr for ErasureProfile {
    type Err = ErasureError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let counts = text.split_once('+').and_then(|(data, parity)| Some((count(data)?, count(parity)?)));
        let Some((data, parity)) = counts else {
            return Err(ErasureError::ProfileSyntax { text: text.chars().take(ERROR_TEXT_CHARS_MAX).collect() });
        };
        Self::new(data, parity)
    }
}

/// Digits only: the number parser alone would also take a sign.
fn count(text: &str) -> Option<u8> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_exact() {
        for data in 0..=u8::MAX {
            for parity in 0..=u8::MAX {
                let within = (1..=16).contains(&data) && parity <= 8;
                assert_eq!(ErasureProfile::new(data, parity).is_ok(), within, "{data}+{parity}");
            }
        }
    }

    #[test]
    fn text_round_trips() {
        for data in 1..=16 {
            for parity in 0..=8 {
                let profile = ErasureProfile::new(data, parity).unwrap();
                assert_eq!(profile.to_string().parse(), Ok(profile));
                assert_eq!(profile.slots(), usize::from(data) + usize::from(parity));
                assert_eq!((profile.data_u8(), profile.parity_u8()), (data, parity));
            }
        }
    }

    #[test]
    fn other_texts_are_refused_with_the_text() {
        for text in ["", "+", "4", "4+", "+2", "4+2+1", "4 + 2", "+4+2", "4++2", "-4+2", "4-2", "x+y", "256+0", "4+999"]
        {
            let error = text.parse::<ErasureProfile>().unwrap_err();
            assert_eq!(error, ErasureError::ProfileSyntax { text: text.to_owned() });
        }
        let error = "17+2".parse::<ErasureProfile>().unwrap_err();
        assert_eq!(error.to_string(), "profile 17+2 is not supported: 1 to 16 data and 0 to 8 parity units are");
        let error = "€".repeat(5000).parse::<ErasureProfile>().unwrap_err();
        assert_eq!(error, ErasureError::ProfileSyntax { text: "€".repeat(32) });
    }
}
