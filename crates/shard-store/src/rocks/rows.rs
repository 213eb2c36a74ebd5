//! The rows of the index and the entries of the group log. Each is a record: a version, fields, room for more.

use cairn_erasure::ErasureProfile;
use cairn_proto::{Epoch, PgId, Record, RecordError, decode_record, encode_record};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::keys::{FileId, LogKey};
use crate::{ShardHeader, ShardKey, ShardSummary};

/// Version of every row and entry of this release.
const VERSION: u8 = 1;

/// First byte of an entry of the group log.
pub(super) const KIND_UNIT: u8 = crate::unit::MARK;
pub(super) const KIND_HEADER: u8 = b'H';
pub(super) const KIND_TRAILER: u8 = b'T';

/// A shard's header in a form that is written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct HeaderFields {
    pub key: ShardKey,
    pub pg: PgId,
    pub epoch: Epoch,
    pub data: u8,
    pub parity: u8,
    pub segment_bytes: u64,
    pub label: Vec<u8>,
}

impl From<&ShardHeader> for HeaderFields {
    fn from(header: &ShardHeader) -> Self {
        Self {
            key: header.key,
            pg: header.pg,
            epoch: header.epoch,
            data: header.profile.data_u8(),
            parity: header.profile.parity_u8(),
            segment_bytes: header.segment_bytes,
            label: header.label.to_vec(),
        }
    }
}

impl HeaderFields {
    pub(super) fn to_header(&self) -> Result<ShardHeader, RecordError> {
        Ok(ShardHeader {
            key: self.key,
            pg: self.pg,
            epoch: self.epoch,
            profile: self.profile()?,
            segment_bytes: self.segment_bytes,
            label: self.label.clone().into(),
        })
    }

    pub(super) fn to_summary(&self) -> Result<ShardSummary, RecordError> {
        Ok(ShardSummary { key: self.key, pg: self.pg, profile: self.profile()?, segment_bytes: self.segment_bytes })
    }

    fn profile(&self) -> Result<ErasureProfile, RecordError> {
        ErasureProfile::new(self.data, self.parity).map_err(|_| RecordError::Damaged(None))
    }
}

/// Units that lie one after another in one file of the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Run {
    pub start: u64,
    /// Counter of the file's first entry.
    pub file: u64,
    /// Counter of the first unit.
    pub counter: u64,
    pub count: u32,
    /// What the entries weigh in the file's balance.
    pub bytes: u64,
}

impl Run {
    pub(super) const fn file_id(&self) -> FileId {
        FileId(LogKey { start: self.start, counter: self.file })
    }

    pub(super) fn key(&self, at: u32) -> LogKey {
        LogKey { start: self.start, counter: self.counter.saturating_add(u64::from(at)) }
    }
}

/// Where one entry of the log lies and what it weighs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Place {
    pub file: FileId,
    pub key: LogKey,
    pub bytes: u64,
}

/// Puts places, in order of stripe, into runs.
pub(super) fn runs_of(places: &[Place]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for place in places {
        match runs.last_mut() {
            Some(run) if run.file_id() == place.file && run.key(run.count) == place.key => {
                run.count += 1;
                run.bytes += place.bytes;
            }
            _ => runs.push(Run {
                start: place.key.start,
                file: place.file.0.counter,
                counter: place.key.counter,
                count: 1,
                bytes: place.bytes,
            }),
        }
    }
    runs
}

/// What a shard of the group log has there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct LogPlace {
    /// Its units in order of stripe.
    pub runs: Vec<Run>,
    /// Its header; the key is the identity that compare-and-swap compares.
    pub header: Place,
    /// Where the header stood when the shard was written: cleaning moves the header, not this.
    pub origin: LogKey,
}

/// Where a shard's units are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) enum Lane {
    /// In the column family `units`, so many of them.
    Wal(u32),
    /// In the group log.
    Log(LogPlace),
}

/// A shard that exists.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct ShardRow {
    pub header: HeaderFields,
    pub payload_bytes: u64,
    pub lane: Lane,
}

impl ShardRow {
    /// What it weighs in which file.
    pub(super) fn weights(&self) -> Vec<(FileId, u64)> {
        let Lane::Log(place) = &self.lane else { return Vec::new() };
        let units = place.runs.iter().map(|run| (run.file_id(), run.bytes));
        units.chain([(place.header.file, place.header.bytes)]).collect()
    }

    pub(super) fn unit_count(&self) -> u32 {
        match &self.lane {
            Lane::Wal(count) => *count,
            Lane::Log(place) => place.runs.iter().fold(0, |sum, run| sum.saturating_add(run.count)),
        }
    }
}

/// A file of the group log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct FileRow {
    pub last: LogKey,
    /// What all its entries weigh.
    pub bytes: u64,
    /// What the entries of shards that exist weigh.
    pub live: u64,
}

/// A shard's last entry in the log. With its units before it, it makes the shard exist even without an index.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct LogHeader {
    pub header: HeaderFields,
    pub payload_bytes: u64,
    pub runs: Vec<Run>,
    /// Set by cleaning: where the shard was first written.
    pub origin: Option<LogKey>,
    /// Set by cleaning: the header this one replaces. It counts only while the index still names that one.
    pub moved_from: Option<LogKey>,
}

/// A file's last entry: where its headers are, so that a rebuild need not read the units.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Trailer {
    pub headers: Vec<u64>,
}

/// Who a folder is; in every instance.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Identity {
    pub format: u32,
    pub id: u128,
    pub cluster_id: u128,
}

/// Shards and their payload, kept in the batch that changes them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Counters {
    pub shards: u64,
    pub bytes_live: u64,
    /// Payload of the WAL lane that died since the lane was last compacted.
    #[serde(deserialize_with = "cairn_proto::appended")]
    pub wal_dead: u64,
}

pub(super) fn encode<T: Serialize>(value: T) -> Result<Vec<u8>, RecordError> {
    encode_record(VERSION, &Record::new(value))
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RecordError> {
    decode_record(VERSION, bytes).map(|record| record.value)
}

/// An entry of the log with its kind before it.
pub(super) fn encode_entry<T: Serialize>(kind: u8, value: T) -> Result<Vec<u8>, RecordError> {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&encode(value)?);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(file: u64, counter: u64) -> Place {
        let key = |counter| LogKey { start: 3, counter };
        Place { file: FileId(key(file)), key: key(counter), bytes: 10 }
    }

    #[test]
    fn runs_end_at_gaps_and_at_files() {
        let runs = runs_of(&[place(0, 4), place(0, 5), place(0, 7), place(8, 8), place(8, 9)]);
        let short: Vec<_> = runs.iter().map(|run| (run.file, run.counter, run.count, run.bytes)).collect();
        assert_eq!(short, [(0, 4, 2, 20), (0, 7, 1, 10), (8, 8, 2, 20)]);
        assert!(runs_of(&[]).is_empty());
    }

    #[test]
    fn counters_that_did_not_count_the_dead_are_read() {
        let counters = Counters { shards: 3, bytes_live: 700, wal_dead: 0 };
        assert_eq!(decode::<Counters>(&encode((3_u64, 700_u64)).unwrap()).unwrap(), counters);
        let counters = Counters { wal_dead: 9, ..counters };
        assert_eq!(decode::<Counters>(&encode(counters).unwrap()).unwrap(), counters);
    }

    #[test]
    fn bytes_that_are_no_row_are_an_error() {
        assert!(decode::<ShardRow>(&[]).is_err());
        assert!(decode::<ShardRow>(&[VERSION + 1, 0]).is_err());
        assert!(decode::<FileRow>(&[VERSION, 255]).is_err());
    }
}
