//! The keys of the state machine's rows: the one place that knows their layout.
//!
//! | byte | key | value |
//! |---|---|---|
//! | 00 | the storing side's own (applied index, membership) | |
//! | 01 | counter's number | `u64` |
//! | 02 | bucket name | [`crate::BucketRow`] |
//! | 03 | bucket id | name |
//! | 04 | bucket id, key, version newest first | [`crate::ObjectRow`] |
//! | 05 | bucket id, key, upload id | open upload with its part bytes |
//! | 06 | upload id, part number | [`crate::PartRow`] |
//! | 07 | placement group, segment id | [`crate::SegmentRow`] |
//! | 08 | placement group, segment id, slot | missing shard: nothing |
//! | 09 | segment id, version that refers | placement group and [`crate::Referrer`] |
//! | 0a | index, ordinal, counter | [`crate::GarbageRow`] that readers may hold |
//! | 0b | index, ordinal, counter | [`crate::GarbageRow`] that is free |
//! | 0c | segment id | a segment that is gone while its writer could still name it: nothing |
//! | 0d | placement group | [`crate::PgRow`] |
//! | 0e | disk id | [`crate::DiskRow`] |
//! | 0f | writer id | [`crate::WriterRow`] and where its results begin |
//! | 10 | node, writer id | the node's writers: nothing |
//! | 11 | writer id, command number | the command's outcome |
//! | 12 | writer id, upload id | a large PUT's own upload: bucket id and key |
//! | 13 | access key | [`crate::IdentityRow`] |
//! | 14 | bucket id | a deleted bucket that still has open uploads: nothing |
//! | 15 | name of a declared key | [`crate::IdentityNameRow`] |
//! | 16 | | the cluster version |
//! | 17 | key's number | [`crate::ClusterKeyRow`] |
//! | 18 | snapshot, piece | [`crate::SnapshotRow`] |
//! | 19 | life | [`crate::LifeRow`] |
//! | 1a | bucket id, access key | an access key that is limited to the bucket: nothing |
//! | 1b | term | the index of the term's first entry |
//!
//! Numbers are big-endian. Strings end with `00 00` and carry `00 FF` for a zero byte, so that byte order is string
//! order and no string's key lies within another's.

use cairn_proto::{
    BucketId, CommandNumber, DiskId, GroupId, Index, NodeId, PgId, SegmentId, Sequence, Slot, UploadId, VersionId,
    WriterId,
};

use crate::command::GarbageKey;
use crate::rows::RowsError;

const COUNTER: u8 = 0x01;
const BUCKET: u8 = 0x02;
const BUCKET_NAME: u8 = 0x03;
const OBJECT: u8 = 0x04;
const UPLOAD: u8 = 0x05;
const PART: u8 = 0x06;
const SEGMENT: u8 = 0x07;
const MISSING: u8 = 0x08;
const REFERENCE: u8 = 0x09;
const GARBAGE_WAITING: u8 = 0x0a;
const GARBAGE_FREE: u8 = 0x0b;
const SPENT: u8 = 0x0c;
const PG: u8 = 0x0d;
const DISK: u8 = 0x0e;
const WRITER: u8 = 0x0f;
const NODE_WRITER: u8 = 0x10;
const RESULT: u8 = 0x11;
const INTERNAL_UPLOAD: u8 = 0x12;
const IDENTITY: u8 = 0x13;
const DYING_BUCKET: u8 = 0x14;
const IDENTITY_NAME: u8 = 0x15;
const VERSION: u8 = 0x16;
const CLUSTER_KEY: u8 = 0x17;
const SNAPSHOT: u8 = 0x18;
const LIFE: u8 = 0x19;
const BUCKET_IDENTITY: u8 = 0x1a;
const TERM: u8 = 0x1b;

/// Rows from `from` on, up to before `end`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KeyRange {
    pub(crate) from: Vec<u8>,
    pub(crate) end: Vec<u8>,
}

impl KeyRange {
    /// All keys that begin with these bytes.
    pub(crate) fn of_prefix(prefix: Vec<u8>) -> Self {
        let end = after_prefix(prefix.clone());
        Self { from: prefix, end }
    }

    /// The same range behind `key` and all that begins with it.
    pub(crate) fn after(mut self, key: Option<Vec<u8>>) -> Self {
        if let Some(key) = key {
            self.from = self.from.max(after_prefix(key));
        }
        self
    }
}

/// The lowest bytes behind all that begin with `prefix`. Every key begins with a byte far under FF.
pub(crate) fn after_prefix(mut prefix: Vec<u8>) -> Vec<u8> {
    while prefix.last() == Some(&0xff) {
        prefix.pop();
    }
    if let Some(last) = prefix.last_mut() {
        *last += 1;
    }
    prefix
}

/// Builds a key from its prefix byte on.
struct Key(Vec<u8>);

impl Key {
    fn new(prefix: u8) -> Self {
        Self(vec![prefix])
    }

    fn number(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    fn version(mut self, version: VersionId) -> Self {
        self.0.extend_from_slice(&version.index.0.to_be_bytes());
        self.0.extend_from_slice(&version.ordinal.to_be_bytes());
        self
    }

    fn newest_first(self, version: VersionId) -> Self {
        self.version(VersionId { index: Index(!version.index.0), ordinal: !version.ordinal })
    }

    fn segment(mut self, segment: SegmentId) -> Self {
        self.0.extend_from_slice(&segment.to_bytes());
        self
    }

    /// A string's beginning: what every string that begins so has in its key.
    fn beginning(mut self, text: &str) -> Self {
        for byte in text.bytes() {
            self.0.push(byte);
            if byte == 0 {
                self.0.push(0xff);
            }
        }
        self
    }

    fn string(self, text: &str) -> Self {
        let mut key = self.beginning(text);
        key.0.extend_from_slice(&[0, 0]);
        key
    }
}

/// Reads a key back, from behind its prefix byte.
struct KeyReader<'a> {
    key: &'a [u8],
    rest: &'a [u8],
}

impl<'a> KeyReader<'a> {
    fn new(key: &'a [u8]) -> Self {
        Self { key, rest: key.get(1..).unwrap_or_default() }
    }

    fn damaged(&self) -> RowsError {
        RowsError::damaged(self.key, "not a key of this kind")
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], RowsError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or_else(|| self.damaged())?;
        self.rest = rest;
        Ok(*head)
    }

    fn number(&mut self) -> Result<u64, RowsError> {
        Ok(u64::from_be_bytes(self.take()?))
    }

    fn version(&mut self) -> Result<VersionId, RowsError> {
        Ok(VersionId { index: Index(self.number()?), ordinal: u32::from_be_bytes(self.take()?) })
    }

    /// A segment's id, of our group: one of another is no row of ours.
    fn segment(&mut self) -> Result<SegmentId, RowsError> {
        let segment = SegmentId::from_bytes(&self.take()?);
        if segment.group != GroupId::ONLY {
            let why =
                format!("segment {segment} is of group {}, these rows are of group {}", segment.group, GroupId::ONLY);
            return Err(RowsError::damaged(self.key, why));
        }
        Ok(segment)
    }

    fn string(&mut self) -> Result<String, RowsError> {
        let mut text = Vec::new();
        loop {
            let run = self.rest.iter().position(|byte| *byte == 0).ok_or_else(|| self.damaged())?;
            text.extend_from_slice(&self.rest[..run]);
            self.rest = &self.rest[run + 1..];
            match self.take::<1>()?[0] {
                0 => break,
                0xff => text.push(0),
                _ => return Err(self.damaged()),
            }
        }
        String::from_utf8(text).map_err(|_| self.damaged())
    }

    fn end(self) -> Result<(), RowsError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.damaged()) }
    }
}

/// The counters. Their numbers are part of the format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Counter {
    /// The last writer id given out.
    LastWriter = 1,
    /// The last bucket id given out.
    LastBucket = 2,
    /// The last placement group id given out.
    LastPg = 3,
    /// Missing rows.
    Missing = 4,
    /// Garbage rows.
    GarbageRows = 5,
    /// Bytes of what garbage rows stand for.
    GarbageBytes = 6,
    /// Root keys that are switched on.
    RootKeys = 7,
}

pub(crate) fn counter(counter: Counter) -> Vec<u8> {
    vec![COUNTER, counter as u8]
}

pub(crate) fn bucket(name: &str) -> Vec<u8> {
    Key::new(BUCKET).string(name).0
}

pub(crate) fn buckets(prefix: &str) -> KeyRange {
    KeyRange::of_prefix(Key::new(BUCKET).beginning(prefix).0)
}

pub(crate) fn bucket_name(bucket: BucketId) -> Vec<u8> {
    Key::new(BUCKET_NAME).number(bucket.0).0
}

/// Rows named by (bucket id, key): objects and open uploads have the same order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Named {
    Object,
    Upload,
}

impl Named {
    const fn prefix(self) -> u8 {
        match self {
            Self::Object => OBJECT,
            Self::Upload => UPLOAD,
        }
    }

    /// All rows of keys that begin so.
    pub(crate) fn beginning(self, bucket: BucketId, prefix: &str) -> KeyRange {
        KeyRange::of_prefix(Key::new(self.prefix()).number(bucket.0).beginning(prefix).0)
    }

    /// All rows of one key.
    pub(crate) fn of_key(self, bucket: BucketId, key: &str) -> KeyRange {
        KeyRange::of_prefix(Key::new(self.prefix()).number(bucket.0).string(key).0)
    }

    /// The object key of such a row.
    pub(crate) fn read_key(row: &[u8]) -> Result<String, RowsError> {
        let mut reader = KeyReader::new(row);
        reader.number()?;
        reader.string()
    }
}

/// What all rows of one object's versions begin with: bucket id and key. None for another row's key, and for one that ends
/// within the name.
///
/// The filters of the tables on disk know it, so changing it needs another name of the filter ([`OBJECT_NAME_FILTER`]).
pub(crate) fn object_name(row: &[u8]) -> Option<&[u8]> {
    let name = 1 + size_of::<u64>();
    if *row.first()? != OBJECT {
        return None;
    }
    // A zero byte of the name has FF behind it: only the end has two of them.
    let end = row.get(name..)?.windows(2).position(|pair| pair == [0, 0])?;
    row.get(..name + end + 2)
}

/// The name under which tables keep [`object_name`].
pub(crate) const OBJECT_NAME_FILTER: &str = "cairn.object-name.1";

pub(crate) fn object(bucket: BucketId, key: &str, version: VersionId) -> Vec<u8> {
    Key::new(OBJECT).number(bucket.0).string(key).newest_first(version).0
}

pub(crate) fn upload(bucket: BucketId, key: &str, upload: UploadId) -> Vec<u8> {
    Key::new(UPLOAD).number(bucket.0).string(key).version(upload.0).0
}

pub(crate) fn part(upload: UploadId, number: u16) -> Vec<u8> {
    let mut key = Key::new(PART).version(upload.0).0;
    key.extend_from_slice(&number.to_be_bytes());
    key
}

pub(crate) fn parts(upload: UploadId) -> KeyRange {
    KeyRange::of_prefix(Key::new(PART).version(upload.0).0)
}

pub(crate) fn read_part(row: &[u8]) -> Result<(UploadId, u16), RowsError> {
    let mut reader = KeyReader::new(row);
    let upload = UploadId(reader.version()?);
    let number = u16::from_be_bytes(reader.take()?);
    reader.end()?;
    Ok((upload, number))
}

pub(crate) fn segment(pg: PgId, segment: SegmentId) -> Vec<u8> {
    Key::new(SEGMENT).number(pg.0).segment(segment).0
}

pub(crate) fn segments(pg: PgId) -> KeyRange {
    KeyRange::of_prefix(Key::new(SEGMENT).number(pg.0).0)
}

pub(crate) fn read_segment(row: &[u8]) -> Result<(PgId, SegmentId), RowsError> {
    let mut reader = KeyReader::new(row);
    let found = (PgId(reader.number()?), reader.segment()?);
    reader.end()?;
    Ok(found)
}

pub(crate) fn missing(pg: PgId, segment: SegmentId, slot: Slot) -> Vec<u8> {
    let mut key = Key::new(MISSING).number(pg.0).segment(segment).0;
    key.push(slot.0);
    key
}

pub(crate) fn all_missing() -> KeyRange {
    KeyRange::of_prefix(vec![MISSING])
}

pub(crate) fn read_missing(row: &[u8]) -> Result<(PgId, SegmentId, Slot), RowsError> {
    let mut reader = KeyReader::new(row);
    let found = (PgId(reader.number()?), reader.segment()?, Slot(reader.take::<1>()?[0]));
    reader.end()?;
    Ok(found)
}

pub(crate) fn reference(segment: SegmentId, version: VersionId) -> Vec<u8> {
    Key::new(REFERENCE).segment(segment).version(version).0
}

pub(crate) fn references(segment: SegmentId) -> KeyRange {
    KeyRange::of_prefix(Key::new(REFERENCE).segment(segment).0)
}

/// The key of a garbage row, among the free or the waiting ones.
pub(crate) fn garbage(key: GarbageKey, free: bool) -> Vec<u8> {
    let place = VersionId { index: key.index, ordinal: key.ordinal };
    let mut row = Key::new(if free { GARBAGE_FREE } else { GARBAGE_WAITING }).version(place).0;
    row.extend_from_slice(&key.counter.to_be_bytes());
    row
}

pub(crate) fn all_garbage(free: bool) -> KeyRange {
    KeyRange::of_prefix(vec![if free { GARBAGE_FREE } else { GARBAGE_WAITING }])
}

/// Waiting garbage with `from <= index < below`.
pub(crate) fn waiting_garbage(from: Index, below: Index) -> KeyRange {
    let at = |index: Index| Key::new(GARBAGE_WAITING).number(index.0).0;
    KeyRange { from: at(from), end: at(below) }
}

pub(crate) fn read_garbage(row: &[u8]) -> Result<GarbageKey, RowsError> {
    let mut reader = KeyReader::new(row);
    let place = reader.version()?;
    let counter = u32::from_be_bytes(reader.take()?);
    reader.end()?;
    Ok(GarbageKey { index: place.index, ordinal: place.ordinal, counter })
}

pub(crate) fn spent(segment: SegmentId) -> Vec<u8> {
    Key::new(SPENT).segment(segment).0
}

pub(crate) fn all_spent() -> KeyRange {
    KeyRange::of_prefix(vec![SPENT])
}

/// Spent segments of the writer of `segment`, those under `below`, or all.
pub(crate) fn spent_of_writer(segment: SegmentId, below: Option<Sequence>) -> KeyRange {
    let first = spent(SegmentId { sequence: Sequence(0), ..segment });
    let end = match below {
        Some(sequence) => spent(SegmentId { sequence, ..segment }),
        None => after_prefix(spent(SegmentId { sequence: Sequence(u64::MAX), ..segment })),
    };
    KeyRange { from: first, end }
}

pub(crate) fn read_spent(row: &[u8]) -> Result<SegmentId, RowsError> {
    let mut reader = KeyReader::new(row);
    let segment = reader.segment()?;
    reader.end()?;
    Ok(segment)
}

pub(crate) fn pg(pg: PgId) -> Vec<u8> {
    Key::new(PG).number(pg.0).0
}

pub(crate) fn pgs() -> KeyRange {
    KeyRange::of_prefix(vec![PG])
}

pub(crate) fn disk(disk: DiskId) -> Vec<u8> {
    let mut key = vec![DISK];
    key.extend_from_slice(&disk.0.to_be_bytes());
    key
}

pub(crate) fn disks() -> KeyRange {
    KeyRange::of_prefix(vec![DISK])
}

pub(crate) fn writer(writer: WriterId) -> Vec<u8> {
    Key::new(WRITER).number(writer.0).0
}

pub(crate) fn writers() -> KeyRange {
    KeyRange::of_prefix(vec![WRITER])
}

pub(crate) fn node_writer(node: NodeId, writer: WriterId) -> Vec<u8> {
    Key::new(NODE_WRITER).number(node.0).number(writer.0).0
}

pub(crate) fn node_writers(node: NodeId) -> KeyRange {
    KeyRange::of_prefix(Key::new(NODE_WRITER).number(node.0).0)
}

pub(crate) fn read_node_writer(row: &[u8]) -> Result<(NodeId, WriterId), RowsError> {
    let mut reader = KeyReader::new(row);
    let found = (NodeId(reader.number()?), WriterId(reader.number()?));
    reader.end()?;
    Ok(found)
}

pub(crate) fn result(writer: WriterId, number: CommandNumber) -> Vec<u8> {
    Key::new(RESULT).number(writer.0).number(number.0).0
}

pub(crate) fn read_result(row: &[u8]) -> Result<CommandNumber, RowsError> {
    let mut reader = KeyReader::new(row);
    reader.number()?;
    let number = CommandNumber(reader.number()?);
    reader.end()?;
    Ok(number)
}

#[cfg(test)]
pub(crate) fn results(writer: WriterId) -> KeyRange {
    KeyRange::of_prefix(Key::new(RESULT).number(writer.0).0)
}

pub(crate) fn internal_upload(writer: WriterId, upload: UploadId) -> Vec<u8> {
    Key::new(INTERNAL_UPLOAD).number(writer.0).version(upload.0).0
}

pub(crate) fn internal_uploads() -> KeyRange {
    KeyRange::of_prefix(vec![INTERNAL_UPLOAD])
}

/// Internal uploads of this writer.
pub(crate) fn internal_uploads_of(writer: WriterId) -> KeyRange {
    KeyRange::of_prefix(Key::new(INTERNAL_UPLOAD).number(writer.0).0)
}

pub(crate) fn read_internal_upload(row: &[u8]) -> Result<(WriterId, UploadId), RowsError> {
    let mut reader = KeyReader::new(row);
    let found = (WriterId(reader.number()?), UploadId(reader.version()?));
    reader.end()?;
    Ok(found)
}

pub(crate) fn identity(access_key: &str) -> Vec<u8> {
    Key::new(IDENTITY).string(access_key).0
}

pub(crate) fn identities() -> KeyRange {
    KeyRange::of_prefix(vec![IDENTITY])
}

pub(crate) fn identity_name(name: &str) -> Vec<u8> {
    Key::new(IDENTITY_NAME).string(name).0
}

pub(crate) fn identity_names() -> KeyRange {
    KeyRange::of_prefix(vec![IDENTITY_NAME])
}

pub(crate) fn bucket_identity(bucket: BucketId, access_key: &str) -> Vec<u8> {
    Key::new(BUCKET_IDENTITY).number(bucket.0).string(access_key).0
}

/// The access keys of a bucket.
pub(crate) fn bucket_identities(bucket: BucketId) -> KeyRange {
    KeyRange::of_prefix(Key::new(BUCKET_IDENTITY).number(bucket.0).0)
}

pub(crate) fn read_bucket_identity(row: &[u8]) -> Result<(BucketId, String), RowsError> {
    let mut reader = KeyReader::new(row);
    let found = (BucketId(reader.number()?), reader.string()?);
    reader.end()?;
    Ok(found)
}

pub(crate) fn dying_bucket(bucket: BucketId) -> Vec<u8> {
    Key::new(DYING_BUCKET).number(bucket.0).0
}

pub(crate) fn dying_buckets() -> KeyRange {
    KeyRange::of_prefix(vec![DYING_BUCKET])
}

pub(crate) fn read_dying_bucket(row: &[u8]) -> Result<BucketId, RowsError> {
    let mut reader = KeyReader::new(row);
    let bucket = BucketId(reader.number()?);
    reader.end()?;
    Ok(bucket)
}

pub(crate) fn version() -> Vec<u8> {
    vec![VERSION]
}

pub(crate) fn cluster_key(number: u32) -> Vec<u8> {
    let mut key = vec![CLUSTER_KEY];
    key.extend_from_slice(&number.to_be_bytes());
    key
}

pub(crate) fn cluster_keys() -> KeyRange {
    KeyRange::of_prefix(vec![CLUSTER_KEY])
}

pub(crate) fn snapshot(snapshot: Index, piece: u16) -> Vec<u8> {
    let mut key = Key::new(SNAPSHOT).number(snapshot.0).0;
    key.extend_from_slice(&piece.to_be_bytes());
    key
}

/// All pieces of a snapshot.
pub(crate) fn snapshot_pieces(snapshot: Index) -> KeyRange {
    KeyRange::of_prefix(Key::new(SNAPSHOT).number(snapshot.0).0)
}

pub(crate) fn snapshots() -> KeyRange {
    KeyRange::of_prefix(vec![SNAPSHOT])
}

pub(crate) fn life(life: u64) -> Vec<u8> {
    Key::new(LIFE).number(life).0
}

pub(crate) fn lives() -> KeyRange {
    KeyRange::of_prefix(vec![LIFE])
}

pub(crate) fn term(term: u64) -> Vec<u8> {
    Key::new(TERM).number(term).0
}

pub(crate) fn terms() -> KeyRange {
    KeyRange::of_prefix(vec![TERM])
}

pub(crate) fn read_term(row: &[u8]) -> Result<u64, RowsError> {
    let mut reader = KeyReader::new(row);
    let term = reader.number()?;
    reader.end()?;
    Ok(term)
}

/// Terms after this one.
pub(crate) fn terms_after(after: u64) -> KeyRange {
    terms().after(Some(term(after)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text() -> impl Strategy<Value = String> {
        prop::collection::vec(prop::sample::select(vec!['\0', '\u{1}', '/', 'a', 'b', 'ä', '\u{10ffff}']), 0..5)
            .prop_map(|chars| chars.into_iter().collect())
    }

    fn version() -> impl Strategy<Value = VersionId> {
        (any::<u64>(), any::<u32>()).prop_map(|(index, ordinal)| VersionId { index: Index(index), ordinal })
    }

    fn segment_id() -> impl Strategy<Value = SegmentId> {
        (any::<u64>(), any::<u64>()).prop_map(|(writer, sequence)| SegmentId {
            group: GroupId::ONLY,
            writer: WriterId(writer),
            sequence: Sequence(sequence),
        })
    }

    proptest! {
        #[test]
        fn objects_are_in_order_of_bucket_key_and_newest_version(
            left in (0..3_u64, text(), version()), right in (0..3_u64, text(), version()),
        ) {
            let key = |(bucket, key, version): &(u64, String, VersionId)| object(BucketId(*bucket), key, *version);
            let order = left.0.cmp(&right.0).then(left.1.cmp(&right.1)).then(right.2.cmp(&left.2));
            prop_assert_eq!(key(&left).cmp(&key(&right)), order);
            prop_assert_eq!(Named::read_key(&key(&left)).unwrap(), left.1);
        }

        #[test]
        fn a_range_holds_what_begins_so_and_nothing_else(prefix in text(), name in text(), version in version()) {
            let row = object(BucketId(7), &name, version);
            let within = |range: &KeyRange| range.from <= row && row < range.end;
            prop_assert_eq!(within(&Named::Object.beginning(BucketId(7), &prefix)), name.starts_with(&prefix));
            prop_assert_eq!(within(&Named::Object.of_key(BucketId(7), &prefix)), name == prefix);
            prop_assert!(!within(&Named::Object.beginning(BucketId(8), "")));
        }

        #[test]
        fn versions_of_one_object_have_one_name(name in text(), version in version(), other in text()) {
            let range = Named::Object.of_key(BucketId(7), &name);
            let row = object(BucketId(7), &name, version);
            prop_assert_eq!(object_name(&row), Some(&range.from[..]));
            prop_assert_eq!(object_name(&range.from), Some(&range.from[..]));
            prop_assert_eq!(&after_prefix(range.from.clone()), &range.end);
            let of_other = object(BucketId(7), &other, version);
            prop_assert_eq!(object_name(&of_other) == object_name(&row), name == other);
            prop_assert_eq!(object_name(&range.from[..range.from.len() - 1]), None);
            let of_upload = upload(BucketId(7), &name, UploadId(version));
            prop_assert_eq!(object_name(&of_upload), None);
        }

        #[test]
        fn keys_are_read_back(version in version(), segment_id in segment_id(), number: u16, pg_id: u64, slot: u8) {
            prop_assert_eq!(read_part(&part(UploadId(version), number)).unwrap(), (UploadId(version), number));
            prop_assert_eq!(read_segment(&segment(PgId(pg_id), segment_id)).unwrap(), (PgId(pg_id), segment_id));
            let row = missing(PgId(pg_id), segment_id, Slot(slot));
            prop_assert_eq!(read_missing(&row).unwrap(), (PgId(pg_id), segment_id, Slot(slot)));
            prop_assert!(read_missing(&row[..row.len() - 1]).is_err());
            let key = GarbageKey { index: version.index, ordinal: version.ordinal, counter: u32::from(number) };
            prop_assert_eq!(read_garbage(&garbage(key, true)).unwrap(), key);
            let row = spent(segment_id);
            let range = spent_of_writer(segment_id, None);
            prop_assert!(range.from <= row && row < range.end);
        }

        #[test]
        fn a_buckets_access_keys_lie_together(bucket: u32, access_key in text()) {
            let bucket = BucketId(u64::from(bucket));
            let row = bucket_identity(bucket, &access_key);
            prop_assert_eq!(read_bucket_identity(&row).unwrap(), (bucket, access_key));
            let within = |range: KeyRange| range.from <= row && row < range.end;
            prop_assert!(within(bucket_identities(bucket)) && !within(bucket_identities(BucketId(bucket.0 + 1))));
        }

        #[test]
        fn garbage_is_in_order_of_time(left in version(), right in version(), counters in (0..3_u32, 0..3_u32)) {
            let key = |version: VersionId, counter| GarbageKey { index: version.index, ordinal: version.ordinal, counter };
            let (left, right) = (key(left, counters.0), key(right, counters.1));
            prop_assert_eq!(garbage(left, false).cmp(&garbage(right, false)), left.cmp(&right));
        }
    }

    #[test]
    fn a_segment_of_another_group_is_no_row_of_ours() {
        let foreign = SegmentId { group: GroupId(7), writer: WriterId(1), sequence: Sequence(2) };
        for error in [
            read_segment(&segment(PgId(1), foreign)).unwrap_err(),
            read_missing(&missing(PgId(1), foreign, Slot(0))).unwrap_err(),
            read_spent(&spent(foreign)).unwrap_err(),
        ] {
            assert!(error.to_string().contains("is of group 7, these rows are of group 0"), "{error}");
        }
    }
}
