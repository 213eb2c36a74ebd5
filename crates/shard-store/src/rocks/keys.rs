//! The keys of a disk, big-endian throughout.
//!
//! | instance | column family | key | value |
//! |---|---|---|---|
//! | index | default | name of a state row | see `rows.rs` |
//! | index | `by_file` | file (16), shard (21) | empty: the shard has bytes in that file |
//! | index | `files` | file (16): key of the file's first entry | `FileRow` |
//! | index | `shards` | segment (20), slot (1) | `ShardRow` |
//! | index | `units` | shard (21), stripe (4) | a sealed unit of the WAL lane |
//! | logs | default | start number (8), counter (8) | kind byte, then a sealed unit, a header or a trailer |
//! | logs | `state` | name of a state row | see `rows.rs` |

use cairn_proto::{SegmentId, Slot};
use serde::{Deserialize, Serialize};

use crate::ShardKey;

pub(super) const CF_BY_FILE: &str = "by_file";
pub(super) const CF_FILES: &str = "files";
pub(super) const CF_SHARDS: &str = "shards";
pub(super) const CF_UNITS: &str = "units";
pub(super) const CF_LOG_STATE: &str = "state";

/// Names of state rows.
pub(super) const STATE_IDENTITY: &[u8] = b"identity";
/// Of `log-0`: the numbers of the other instances.
pub(super) const STATE_INSTANCES: &[u8] = b"instances";
pub(super) const STATE_START: &[u8] = b"start";
pub(super) const STATE_ATTACH: &[u8] = b"attach";
pub(super) const STATE_ANSWERED: &[u8] = b"answered";
pub(super) const STATE_TOLD: &[u8] = b"told";
pub(super) const STATE_COUNTERS: &[u8] = b"counters";

pub(super) const SHARD_KEY_BYTES: usize = SegmentId::BYTES + 1;

/// A place in the group log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub(super) struct LogKey {
    /// Raised at each start of the disk, so that no key is used twice. A run has two: the second is for copies of
    /// cleaning.
    pub start: u64,
    /// Counted up by each entry.
    pub counter: u64,
}

impl LogKey {
    pub(super) const BYTES: usize = 16;

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.start.to_be_bytes());
        bytes[8..].copy_from_slice(&self.counter.to_be_bytes());
        bytes
    }

    pub(super) fn from_slice(bytes: &[u8]) -> Option<Self> {
        let (start, counter) = bytes.split_first_chunk::<8>()?;
        let counter: [u8; 8] = counter.try_into().ok()?;
        Some(Self { start: u64::from_be_bytes(*start), counter: u64::from_be_bytes(counter) })
    }
}

/// A file of the group log, named by the key of its first entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub(super) struct FileId(pub LogKey);

pub(super) fn shard_key(key: ShardKey) -> [u8; SHARD_KEY_BYTES] {
    let mut bytes = [0; SHARD_KEY_BYTES];
    bytes[..SegmentId::BYTES].copy_from_slice(&key.segment.to_bytes());
    bytes[SegmentId::BYTES] = key.slot.0;
    bytes
}

pub(super) fn shard_key_from(bytes: &[u8]) -> Option<ShardKey> {
    let (segment, slot) = bytes.split_first_chunk::<{ SegmentId::BYTES }>()?;
    let [slot] = *slot else { return None };
    Some(ShardKey { segment: SegmentId::from_bytes(segment), slot: Slot(slot) })
}

pub(super) fn unit_key(key: ShardKey, stripe: u32) -> [u8; SHARD_KEY_BYTES + 4] {
    let mut bytes = [0; SHARD_KEY_BYTES + 4];
    bytes[..SHARD_KEY_BYTES].copy_from_slice(&shard_key(key));
    bytes[SHARD_KEY_BYTES..].copy_from_slice(&stripe.to_be_bytes());
    bytes
}

pub(super) fn by_file_key(file: FileId, key: ShardKey) -> [u8; LogKey::BYTES + SHARD_KEY_BYTES] {
    let mut bytes = [0; LogKey::BYTES + SHARD_KEY_BYTES];
    bytes[..LogKey::BYTES].copy_from_slice(&file.0.to_bytes());
    bytes[LogKey::BYTES..].copy_from_slice(&shard_key(key));
    bytes
}

#[cfg(test)]
mod tests {
    use cairn_proto::{GroupId, Sequence, WriterId};

    use super::*;

    #[test]
    fn keys_keep_the_order_and_are_read_back() {
        let keys = [(1, 2), (1, 300), (2, 0), (256, 1)].map(|(start, counter)| LogKey { start, counter });
        assert!(keys.windows(2).all(|pair| pair[0].to_bytes() < pair[1].to_bytes()));
        assert!(keys.iter().all(|key| LogKey::from_slice(&key.to_bytes()) == Some(*key)));
        assert_eq!(LogKey::from_slice(&[0; 15]), None);
        let segment = SegmentId { group: GroupId(1), writer: WriterId(2), sequence: Sequence(3) };
        let key = ShardKey { segment, slot: Slot(5) };
        assert_eq!(shard_key_from(&shard_key(key)), Some(key));
        assert_eq!(shard_key_from(&[0; 22]), None);
        assert_eq!(shard_key_from(&[0; 20]), None);
    }
}
