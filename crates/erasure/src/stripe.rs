//! The bytes of a stripe, collected where its units will be.

use crate::{ErasureError, ErasureProfile, StripeLayout};

/// Takes the bytes of a stripe piece by piece, each into the data unit it belongs to. Before each unit is room for what
/// its user puts there, so that neither coding nor sealing copies it.
#[derive(Debug)]
pub struct StripeBuffer {
    profile: ErasureProfile,
    stripe_bytes: usize,
    unit_bytes: usize,
    headroom: usize,
    taken: usize,
    /// Those that have begun.
    units: Vec<Vec<u8>>,
}

impl StripeBuffer {
    /// For a stripe of so many bytes, 1 to `k` times [`UNIT_BYTES_MAX`](crate::UNIT_BYTES_MAX), with `headroom` zero
    /// bytes before each unit.
    pub fn new(profile: ErasureProfile, stripe_bytes: usize, headroom: usize) -> Result<Self, ErasureError> {
        let stripe_bytes_max = StripeLayout::stripe_data_max(profile);
        if stripe_bytes == 0 || stripe_bytes > stripe_bytes_max {
            return Err(ErasureError::StripeLength { stripe_bytes, stripe_bytes_max });
        }
        let unit_bytes = stripe_bytes.div_ceil(profile.data());
        let units = Vec::with_capacity(profile.slots());
        Ok(Self { profile, stripe_bytes, unit_bytes, headroom, taken: 0, units })
    }

    /// Bytes it still takes.
    #[must_use]
    pub fn room(&self) -> usize {
        self.stripe_bytes - self.taken
    }

    /// Bytes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.taken
    }

    /// Whether it has none yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// Takes bytes from the front of `bytes`, no more than there is room for; answers how many.
    pub fn extend(&mut self, bytes: &[u8]) -> usize {
        let mut rest = &bytes[..bytes.len().min(self.room())];
        let taken = rest.len();
        while !rest.is_empty() {
            let within = self.taken % self.unit_bytes;
            if within == 0 {
                self.units.push(self.empty_unit());
            }
            let (piece, after) = rest.split_at(rest.len().min(self.unit_bytes - within));
            if let Some(unit) = self.units.last_mut() {
                unit.extend_from_slice(piece);
            }
            self.taken += piece.len();
            rest = after;
        }
        taken
    }

    fn empty_unit(&self) -> Vec<u8> {
        let mut unit = Vec::with_capacity(self.headroom + self.unit_bytes);
        unit.resize(self.headroom, 0);
        unit
    }

    /// The data units, padded with zeros, and for the parity units as many of zeros: in the order of their slots.
    pub(crate) fn into_units(mut self) -> Result<Vec<Vec<u8>>, ErasureError> {
        if self.room() > 0 {
            return Err(ErasureError::StripeLength { stripe_bytes: self.taken, stripe_bytes_max: self.stripe_bytes });
        }
        self.units.resize_with(self.profile.slots(), Vec::new);
        for unit in &mut self.units {
            unit.resize(self.headroom + self.unit_bytes, 0);
        }
        Ok(self.units)
    }

    pub(crate) const fn headroom(&self) -> usize {
        self.headroom
    }

    pub(crate) const fn profile(&self) -> ErasureProfile {
        self.profile
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UNIT_BYTES_MAX;

    fn profile(data: u8, parity: u8) -> ErasureProfile {
        ErasureProfile::new(data, parity).unwrap()
    }

    #[test]
    fn bytes_go_to_their_units_whatever_their_pieces() {
        let bytes: Vec<u8> = (0..=100).collect();
        for cut in [1, 7, 26, 101] {
            let mut buffer = StripeBuffer::new(profile(4, 1), 101, 3).unwrap();
            for piece in bytes.chunks(cut) {
                assert_eq!(buffer.extend(piece), piece.len());
            }
            assert_eq!((buffer.room(), buffer.len(), buffer.extend(b"more")), (0, 101, 0));
            let units = buffer.into_units().unwrap();
            assert_eq!(units.len(), 5);
            assert!(units.iter().all(|unit| unit.len() == 3 + 26 && unit[..3] == [0; 3]));
            assert_eq!(units[1][3..], bytes[26..52]);
            assert_eq!(units[3][3..26], bytes[78..]);
            assert_eq!(units[3][26..], [0; 3]);
        }
    }

    #[test]
    fn fewer_bytes_than_data_slots_leave_units_of_padding() {
        let mut buffer = StripeBuffer::new(profile(4, 2), 2, 0).unwrap();
        assert!(buffer.is_empty());
        assert_eq!(buffer.extend(b"ab"), 2);
        assert_eq!(buffer.into_units().unwrap(), [vec![b'a'], vec![b'b'], vec![0], vec![0], vec![0], vec![0]]);
    }

    #[test]
    fn a_stripe_that_is_not_whole_and_lengths_that_no_stripe_has_are_refused() {
        let mut buffer = StripeBuffer::new(profile(2, 1), 10, 0).unwrap();
        buffer.extend(b"123");
        assert!(buffer.into_units().is_err());
        assert!(StripeBuffer::new(profile(2, 1), 0, 0).is_err());
        assert!(StripeBuffer::new(profile(2, 1), 2 * UNIT_BYTES_MAX as usize + 1, 0).is_err());
    }
}
