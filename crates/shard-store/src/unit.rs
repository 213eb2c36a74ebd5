//! A unit as it is stored: a header that says what it is, a checksum over all of it, and the bytes.
//!
//! Sealed by whoever codes the segment, opened by whoever reads it: a disk and a wire in between can lose it, but not
//! change it unnoticed.

use bytes::Bytes;
use cairn_erasure::{ErasureProfile, unit_checksum};
use cairn_proto::SegmentId;
use cairn_proto::Slot;

use crate::ShardKey;

const VERSION: u8 = 1;
/// Version, profile (2), slot, segment id, stripe, payload length, checksum.
const HEADER_BYTES: usize = 4 + SegmentId::BYTES + 4 + 4 + 8;
const CHECKSUM_AT: usize = HEADER_BYTES - 8;
/// What a disk's log puts before a unit: room for it is kept, so that it writes the unit from where it lies.
pub(crate) const MARK: u8 = b'U';

/// Where a unit belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnitPlace {
    /// Its shard.
    pub key: ShardKey,
    /// Its stripe within the segment.
    pub stripe: u32,
    /// The segment's profile.
    pub profile: ErasureProfile,
}

/// A unit that is not what it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UnitError {
    /// Too short, of an unknown version, or its checksum does not fit.
    #[error("unit is damaged")]
    Damaged,
    /// Whole, but another one than asked for.
    #[error("unit is another one than asked for")]
    Misplaced,
    /// Longer than a unit may be.
    #[error("unit is longer than {} bytes", cairn_erasure::UNIT_BYTES_MAX)]
    TooLong,
}

/// A unit with its header and checksum.
#[derive(Clone, Debug)]
pub struct SealedUnit {
    place: UnitPlace,
    /// Mark, header, payload.
    entry: Bytes,
}

impl SealedUnit {
    /// Bytes a stored unit has beside its payload.
    pub const OVERHEAD_BYTES: usize = HEADER_BYTES;

    /// Bytes before a payload that [`Self::seal_in`] fills.
    pub const HEADROOM: usize = 1 + HEADER_BYTES;

    /// Puts header and checksum before a copy of the payload.
    ///
    /// # Errors
    /// [`UnitError::TooLong`] beyond [`cairn_erasure::UNIT_BYTES_MAX`].
    pub fn seal(place: UnitPlace, payload: &[u8]) -> Result<Self, UnitError> {
        let mut buffer = Vec::with_capacity(Self::HEADROOM + payload.len());
        buffer.resize(Self::HEADROOM, 0);
        buffer.extend_from_slice(payload);
        Self::seal_in(place, buffer)
    }

    /// Puts header and checksum into the first [`Self::HEADROOM`] bytes of a buffer, of which the rest is the payload.
    ///
    /// # Errors
    /// [`UnitError::TooLong`] beyond [`cairn_erasure::UNIT_BYTES_MAX`]; [`UnitError::Damaged`] without the headroom.
    pub fn seal_in(place: UnitPlace, mut buffer: Vec<u8>) -> Result<Self, UnitError> {
        let (head, payload) = buffer.split_at_mut_checked(Self::HEADROOM).ok_or(UnitError::Damaged)?;
        let length = u32::try_from(payload.len()).map_err(|_| UnitError::TooLong)?;
        if length > cairn_erasure::UNIT_BYTES_MAX {
            return Err(UnitError::TooLong);
        }
        let mut header = header_of(place, length);
        let checksum = unit_checksum(&[&header[..CHECKSUM_AT], payload]);
        header[CHECKSUM_AT..].copy_from_slice(&checksum.to_be_bytes());
        head[0] = MARK;
        head[1..].copy_from_slice(&header);
        Ok(Self { place, entry: buffer.into() })
    }

    /// Where it belongs.
    #[must_use]
    pub const fn place(&self) -> UnitPlace {
        self.place
    }

    /// The payload alone.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.entry[Self::HEADROOM..]
    }

    /// As stored: header, then payload.
    #[must_use]
    pub fn stored(&self) -> Bytes {
        self.entry.slice(1..)
    }

    /// As the group log has it: marked as a unit.
    pub(crate) fn entry(&self) -> &[u8] {
        &self.entry
    }

    /// Verifies a stored unit and gives its payload.
    ///
    /// # Errors
    /// [`UnitError::Damaged`] where the bytes are not what was sealed, [`UnitError::Misplaced`] where they belong
    /// elsewhere.
    pub fn open(place: UnitPlace, stored: &Bytes) -> Result<Bytes, UnitError> {
        if stored.len() < HEADER_BYTES || stored[0] != VERSION {
            return Err(UnitError::Damaged);
        }
        let payload = stored.slice(HEADER_BYTES..);
        let length = u32::try_from(payload.len()).map_err(|_| UnitError::Damaged)?;
        let mut checksum = [0; 8];
        checksum.copy_from_slice(&stored[CHECKSUM_AT..HEADER_BYTES]);
        if unit_checksum(&[&stored[..CHECKSUM_AT], &payload]) != u64::from_be_bytes(checksum) {
            return Err(UnitError::Damaged);
        }
        if stored[..CHECKSUM_AT] != header_of(place, length)[..CHECKSUM_AT] {
            return Err(UnitError::Misplaced);
        }
        Ok(payload)
    }

    /// Verifies a stored unit by what it says of itself: for a disk that rebuilds its index or scrubs.
    ///
    /// # Errors
    /// [`UnitError::Damaged`].
    pub fn inspect(stored: &[u8]) -> Result<UnitPlace, UnitError> {
        if stored.len() < HEADER_BYTES || stored[0] != VERSION {
            return Err(UnitError::Damaged);
        }
        let mut checksum = [0; 8];
        checksum.copy_from_slice(&stored[CHECKSUM_AT..HEADER_BYTES]);
        if unit_checksum(&[&stored[..CHECKSUM_AT], &stored[HEADER_BYTES..]]) != u64::from_be_bytes(checksum) {
            return Err(UnitError::Damaged);
        }
        let profile = ErasureProfile::new(stored[1], stored[2]).map_err(|_| UnitError::Damaged)?;
        let mut segment = [0; SegmentId::BYTES];
        segment.copy_from_slice(&stored[4..4 + SegmentId::BYTES]);
        let mut stripe = [0; 4];
        stripe.copy_from_slice(&stored[4 + SegmentId::BYTES..8 + SegmentId::BYTES]);
        let key = ShardKey { segment: SegmentId::from_bytes(&segment), slot: Slot(stored[3]) };
        Ok(UnitPlace { key, stripe: u32::from_be_bytes(stripe), profile })
    }
}

fn header_of(place: UnitPlace, length: u32) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[0] = VERSION;
    header[1] = place.profile.data_u8();
    header[2] = place.profile.parity_u8();
    header[3] = place.key.slot.0;
    header[4..4 + SegmentId::BYTES].copy_from_slice(&place.key.segment.to_bytes());
    header[4 + SegmentId::BYTES..8 + SegmentId::BYTES].copy_from_slice(&place.stripe.to_be_bytes());
    header[8 + SegmentId::BYTES..CHECKSUM_AT].copy_from_slice(&length.to_be_bytes());
    header
}

#[cfg(test)]
mod tests {
    use cairn_proto::{GroupId, Sequence, WriterId};

    use super::*;

    fn place(slot: u8, stripe: u32) -> UnitPlace {
        let segment = SegmentId { group: GroupId(1), writer: WriterId(2), sequence: Sequence(3) };
        let profile = ErasureProfile::new(4, 2).unwrap();
        UnitPlace { key: ShardKey { segment, slot: Slot(slot) }, stripe, profile }
    }

    fn stored(place: UnitPlace, payload: &[u8]) -> Vec<u8> {
        SealedUnit::seal(place, payload).unwrap().stored().to_vec()
    }

    #[test]
    fn a_unit_is_read_back_where_it_belongs_and_nowhere_else() {
        let unit = Bytes::from(stored(place(1, 7), b"bytes"));
        assert_eq!(SealedUnit::open(place(1, 7), &unit).unwrap(), "bytes");
        assert_eq!(SealedUnit::inspect(&unit), Ok(place(1, 7)));
        for other in [place(2, 7), place(1, 8)] {
            assert_eq!(SealedUnit::open(other, &unit), Err(UnitError::Misplaced));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_seen() {
        let whole = stored(place(1, 7), b"some bytes of a unit");
        for at in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[at / 8] ^= 1 << (at % 8);
            assert!(SealedUnit::inspect(&bytes).is_err(), "bit {at}");
            assert!(SealedUnit::open(place(1, 7), &bytes.into()).is_err(), "bit {at}");
        }
        for cut in 0..whole.len() {
            assert!(SealedUnit::inspect(&whole[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn a_unit_may_be_as_long_as_the_limit_and_no_longer() {
        let length = cairn_erasure::UNIT_BYTES_MAX as usize;
        assert!(SealedUnit::seal(place(0, 0), &vec![0; length]).is_ok());
        assert_eq!(SealedUnit::seal(place(0, 0), &vec![0; length + 1]).err(), Some(UnitError::TooLong));
    }

    #[test]
    fn a_buffer_with_headroom_is_sealed_where_it_lies() {
        let buffer = [&[0; SealedUnit::HEADROOM][..], b"bytes"].concat();
        let at = buffer.as_ptr();
        let unit = SealedUnit::seal_in(place(1, 7), buffer).unwrap();
        assert_eq!((unit.entry()[0], unit.entry().as_ptr(), unit.payload()), (MARK, at, &b"bytes"[..]));
        assert_eq!(unit.stored(), stored(place(1, 7), b"bytes"));
        let short = vec![0; SealedUnit::HEADROOM - 1];
        assert_eq!(SealedUnit::seal_in(place(1, 7), short).err(), Some(UnitError::Damaged));
    }
}
