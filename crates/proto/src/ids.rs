//! Newtypes of the ids of DESIGN.md section 2. Two ids never stand side by side as bare numbers.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl $name {
            /// The next one in order.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }
    };
}

number_id!(/// A metadata group. One today; every id names it so that buckets can move to a second one later.
    GroupId(u32));
number_id!(/// A member of the cluster, counted up by the metadata group.
    NodeId(u64));
number_id!(/// A placement group: an ordered list of `k+m` slots.
    PgId(u64));
number_id!(/// Counts the changes of a placement group's slots.
    Epoch(u64));
number_id!(/// Counts how often a disk was taken into service.
    AttachNumber(u64));
number_id!(/// The life of one gateway process as the metadata group knows it.
    WriterId(u64));
number_id!(/// Counts the segments of a writer.
    Sequence(u64));
number_id!(/// Counts the commands of a writer: a line of its own beside the segments'.
    CommandNumber(u64));
number_id!(/// The Raft log index of an apply.
    Index(u64));
number_id!(/// A bucket's life: a bucket deleted and made again has another id.
    BucketId(u64));
number_id!(/// A slot of a placement group, `0..k+m`; slots under `k` hold data.
    Slot(u8));

impl GroupId {
    /// The one group there is. Ids of another are of another cluster, or of a release that has several groups.
    pub const ONLY: Self = Self(0);
}

/// A place in the group's log: an entry's index and the term it was proposed in. Logs that have the same entry there are
/// the same up to it (Raft, section 5.3: log matching).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct LogPosition {
    /// The term.
    pub term: u64,
    /// The index.
    pub index: Index,
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of term {}", self.index, self.term)
    }
}

/// A version of an object: the index of the apply that made it and its place among the changes of that apply.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct VersionId {
    /// Index of the apply.
    pub index: Index,
    /// Place of the command in its entry.
    pub ordinal: u32,
}

impl fmt::Display for VersionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:08x}", self.index.0, self.ordinal)
    }
}

/// A multipart upload, named like a version by the apply that opened it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct UploadId(pub VersionId);

impl fmt::Display for UploadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for UploadId {
    type Err = RecordIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = text.len() == 24 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !plain {
            return Err(RecordIdError);
        }
        let (index, ordinal) = text.split_at(16);
        let index = u64::from_str_radix(index, 16).map_err(|_| RecordIdError)?;
        let ordinal = u32::from_str_radix(ordinal, 16).map_err(|_| RecordIdError)?;
        Ok(Self(VersionId { index: Index(index), ordinal }))
    }
}

/// The text is no id.
#[derive(Debug, thiserror::Error)]
#[error("not an id: 24 lower-case hexadecimal digits are expected")]
pub struct RecordIdError;

/// A segment: used for one placement group and committed once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct SegmentId {
    /// The metadata group that counts the writer.
    pub group: GroupId,
    /// Whose life it belongs to.
    pub writer: WriterId,
    /// Counted up by that writer.
    pub sequence: Sequence,
}

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.group, self.writer, self.sequence)
    }
}

impl SegmentId {
    /// Length of [`Self::to_bytes`].
    pub const BYTES: usize = 20;

    /// Big-endian, so that byte order is id order.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..4].copy_from_slice(&self.group.0.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.writer.0.to_be_bytes());
        bytes[12..].copy_from_slice(&self.sequence.0.to_be_bytes());
        bytes
    }

    /// The reverse of [`Self::to_bytes`].
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let number = |at: usize| {
            let mut eight = [0; 8];
            eight.copy_from_slice(&bytes[at..at + 8]);
            u64::from_be_bytes(eight)
        };
        Self {
            group: GroupId(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
            writer: WriterId(number(4)),
            sequence: Sequence(number(12)),
        }
    }
}

/// A disk: drawn at random when its folder is formatted, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct DiskId(pub u128);

impl fmt::Display for DiskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_u128(self.0).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_bytes_keep_the_order() {
        let id =
            |writer, sequence| SegmentId { group: GroupId(7), writer: WriterId(writer), sequence: Sequence(sequence) };
        let ids = [id(1, 2), id(1, 300), id(2, 0), id(256, 1)];
        assert!(ids.windows(2).all(|pair| pair[0].to_bytes() < pair[1].to_bytes()));
        assert!(ids.iter().all(|id| SegmentId::from_bytes(&id.to_bytes()) == *id));
    }

    #[test]
    fn upload_id_text_is_read_back_and_nothing_else() {
        let id = UploadId(VersionId { index: Index(77), ordinal: 3 });
        assert_eq!(id.to_string().parse::<UploadId>().unwrap(), id);
        for bad in ["", "1", "+00000000000004d00000003", "000000000000004D00000003", &"0".repeat(25)] {
            assert!(bad.parse::<UploadId>().is_err(), "{bad}");
        }
    }
}
