//! The label in a shard's header: whose bytes it holds, sealed, so that they can be told apart without the metadata.
//!
//! All shards of a segment carry the same one; it is bound to the segment.

use std::fmt;

use bytes::Bytes;
use cairn_proto::{BucketId, Index, Record, SegmentId, UploadId, decode_record, encode_record};
use serde::{Deserialize, Serialize};

use crate::error::EngineError;
use crate::sealing::{ClusterKey, Purpose};

/// First byte of a label in the clear, as the first release wrote it: bucket id, offset, key.
const CLEAR: u8 = 1;
/// First byte of a sealed label.
const SEALED: u8 = 2;
/// Version of what is sealed.
const VERSION: u8 = 1;

/// Whose bytes a segment holds.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum SegmentOwner {
    /// An object, or a part of one.
    Object {
        /// The bucket.
        bucket: BucketId,
        /// The key.
        key: String,
        /// The part.
        part: Option<(UploadId, u16)>,
        /// The length of the object or part, where it was known.
        bytes: Option<u64>,
    },
    /// A snapshot of the metadata.
    Snapshot(Index),
}

/// What a shard's label says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SegmentLabel {
    /// Whose bytes they are.
    pub owner: SegmentOwner,
    /// The first one's place in the object or part.
    pub offset: u64,
}

impl fmt::Display for SegmentLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.owner {
            SegmentOwner::Object { bucket, key, part, .. } => {
                write!(f, "object {key} (bucket {bucket}) from byte {}", self.offset)?;
                part.map_or(Ok(()), |(upload, number)| write!(f, ", part {number} of upload {upload}"))
            }
            SegmentOwner::Snapshot(snapshot) => write!(f, "snapshot of index {snapshot} from byte {}", self.offset),
        }
    }
}

impl SegmentLabel {
    /// Seals the label for a segment.
    pub(crate) fn seal(&self, key: &ClusterKey, segment: SegmentId) -> Result<Bytes, EngineError> {
        let failed = |why: String| EngineError::unavailable(format!("a label cannot be sealed: {why}"));
        let plain = encode_record(VERSION, &Record::new(self)).map_err(|error| failed(error.to_string()))?;
        let sealed =
            key.seal(Purpose::Label, &segment.to_bytes(), &plain).map_err(|error| failed(error.to_string()))?;
        Ok([&[SEALED], &sealed[..]].concat().into())
    }

    /// Reads a label; none where there is none, or where it cannot be read.
    #[must_use]
    pub fn open(key: &ClusterKey, segment: SegmentId, label: &[u8]) -> Option<Self> {
        let (&kind, rest) = label.split_first()?;
        match kind {
            SEALED => {
                let plain = key.open(Purpose::Label, &segment.to_bytes(), rest).ok()?;
                decode_record(VERSION, &plain).ok().map(|record: Record<Self>| record.value)
            }
            CLEAR => {
                let (bucket, rest) = rest.split_first_chunk()?;
                let (offset, key) = rest.split_first_chunk()?;
                let bucket = BucketId(u64::from_be_bytes(*bucket));
                let key = String::from_utf8_lossy(key).into_owned();
                let owner = SegmentOwner::Object { bucket, key, part: None, bytes: None };
                Some(Self { owner, offset: u64::from_be_bytes(*offset) })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use cairn_proto::{GroupId, Sequence, VersionId, WriterId};

    use super::*;

    #[test]
    fn a_label_is_read_back_for_its_segment_alone_and_shows_nothing() {
        let key = ClusterKey::new(1, &[3; ClusterKey::BYTES]);
        let segment = SegmentId { group: GroupId::ONLY, writer: WriterId(2), sequence: Sequence(3) };
        let part = Some((UploadId(VersionId { index: Index(4), ordinal: 1 }), 9));
        let longest = "k".repeat(1024);
        let owner = SegmentOwner::Object { bucket: BucketId(7), key: longest, part, bytes: Some(5 << 30) };
        let label = SegmentLabel { owner, offset: 64 << 20 };
        let sealed = label.seal(&key, segment).unwrap();
        assert!(sealed.len() <= 2048 && !sealed.windows(3).any(|window| window == b"kkk"), "{}", sealed.len());
        assert_eq!(SegmentLabel::open(&key, segment, &sealed), Some(label));
        let other = SegmentId { sequence: Sequence(4), ..segment };
        assert_eq!(SegmentLabel::open(&key, other, &sealed), None);
        assert_eq!(SegmentLabel::open(&key, segment, b""), None);
        let clear = [&[1][..], &7_u64.to_be_bytes(), &11_u64.to_be_bytes(), b"old"].concat();
        let owner = SegmentOwner::Object { bucket: BucketId(7), key: "old".to_owned(), part: None, bytes: None };
        assert_eq!(SegmentLabel::open(&key, segment, &clear), Some(SegmentLabel { owner, offset: 11 }));
    }
}
