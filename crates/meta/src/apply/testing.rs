//! A state machine in memory for tests.

use bytes::Bytes;
use cairn_proto::{
    AttachNumber, BucketId, CommandNumber, DiskId, GroupId, Index, NodeId, PgId, SegmentId, Sequence, UploadId,
    VersionId, WriterId,
};

use super::{apply_entry, decode_entry, encode_entry, invariants};
use crate::command::{
    ChosenPart, Command, CopySource, Envelope, NewBody, NewSegment, Origin, Outcome, Preconditions, Refusal, Reply,
};
use crate::query::Query;
use crate::row::{Attributes, Extent, Garbage, ProfileRow};
use crate::rows::MemoryRows;

pub(crate) const MIB: u64 = 1024 * 1024;
pub(crate) const PROFILE: ProfileRow = ProfileRow { data: 2, parity: 1 };

/// Rows, the next index, and a writer with its counts. Every entry is checked against the invariants.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) rows: MemoryRows,
    pub(crate) index: u64,
    pub(crate) writer: WriterId,
    pub(crate) number: u64,
    pub(crate) sequence: u64,
    /// Rows that the last entry changed.
    pub(crate) changed: usize,
}

impl World {
    /// Four disks (1 to 4), one group on the first three, one writer, the bucket `b`.
    pub(crate) fn ready() -> (Self, BucketId) {
        let mut world = Self::default();
        for disk in 1..=4 {
            world.attach(DiskId(disk), None);
        }
        let groups = vec![vec![DiskId(1), DiskId(2), DiskId(3)]];
        assert_eq!(world.run(Command::CreatePgs { profile: PROFILE, groups }), Ok(Reply::Pgs(vec![PgId(1)])));
        world.writer = world.open_writer(NodeId(1));
        let bucket = world.make_bucket("b");
        (world, bucket)
    }

    pub(crate) fn query(&self) -> Query<'_> {
        Query::new(&self.rows)
    }

    /// Applies one entry, through its written form.
    pub(crate) fn entry(&mut self, envelopes: &[Envelope]) -> Vec<Outcome> {
        self.index += 1;
        let envelopes = decode_entry(&encode_entry(envelopes).unwrap()).unwrap();
        let (changes, outcomes) = apply_entry(&self.rows, Index(self.index), &envelopes).unwrap();
        self.changed = changes.len();
        self.rows.write(changes);
        invariants::check(&self.rows);
        outcomes
    }

    fn single(&mut self, origin: Option<Origin>, command: Command) -> Outcome {
        let now_ms = 1000 * (self.index + 1);
        self.entry(&[Envelope { origin, now_ms, command }]).pop().unwrap()
    }

    /// A command of the leader's own.
    pub(crate) fn run(&mut self, command: Command) -> Outcome {
        self.single(None, command)
    }

    /// A command that must be taken, and has no more to say than the name of what it made.
    pub(crate) fn done(&mut self, command: Command) {
        let outcome = self.run(command);
        assert!(matches!(outcome, Ok(Reply::Done | Reply::Bucket(_))), "{outcome:?}");
    }

    pub(crate) fn run_as(&mut self, origin: Origin, command: Command) -> Outcome {
        self.single(Some(origin), command)
    }

    /// The next command of the world's writer.
    pub(crate) fn write(&mut self, command: Command) -> Outcome {
        let origin = self.next_origin();
        self.run_as(origin, command)
    }

    pub(crate) fn next_origin(&mut self) -> Origin {
        self.number += 1;
        let number = CommandNumber(self.number);
        Origin { writer: self.writer, number, lowest_unanswered: number }
    }

    pub(crate) fn attach(&mut self, disk: DiskId, replaces: Option<DiskId>) -> AttachNumber {
        let folder = format!("disk-{disk}");
        let command =
            Command::AttachDisk { disk, node: NodeId(1), folder, was_mount: false, bytes_total: 1 << 40, replaces };
        match self.run(command) {
            Ok(Reply::Attached(number)) => number,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn open_writer(&mut self, node: NodeId) -> WriterId {
        match self.run(Command::OpenWriter { node }) {
            Ok(Reply::Writer(writer)) => writer,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn make_bucket(&mut self, name: &str) -> BucketId {
        match self.run(Command::CreateBucket { name: name.to_owned() }) {
            Ok(Reply::Bucket(bucket)) => bucket,
            other => panic!("{other:?}"),
        }
    }

    /// A segment of the world's writer in the first group, held by all its disks at their present attach numbers.
    pub(crate) fn segment(&mut self, bytes: u64) -> NewSegment {
        self.sequence += 1;
        let id = SegmentId { group: GroupId::ONLY, writer: self.writer, sequence: Sequence(self.sequence) };
        let group = self.query().pg(PgId(1)).unwrap().unwrap();
        let answered = group.slots.iter().map(|disk| {
            let row = self.query().disk(*disk).unwrap().unwrap();
            Some((*disk, row.attach))
        });
        NewSegment { id, pg: PgId(1), bytes, profile: PROFILE, answered: answered.collect() }
    }

    pub(crate) fn put_body(&mut self, bucket: BucketId, key: &str, body: NewBody) -> Outcome {
        self.write(put_command(bucket, key, body, Preconditions::default()))
    }

    /// Puts an object of one segment; answers its version and its extent.
    pub(crate) fn put(&mut self, bucket: BucketId, key: &str, bytes: u64) -> (VersionId, Extent) {
        let segment = self.segment(bytes);
        let extent = Extent { segment: segment.id, pg: segment.pg, offset: 0, bytes };
        (version_of(&self.put_body(bucket, key, NewBody::Segments(vec![segment]))), extent)
    }

    pub(crate) fn delete(&mut self, bucket: BucketId, key: &str) -> Outcome {
        self.write(Command::DeleteObjects { bucket, keys: vec![(key.to_owned(), Preconditions::default())] })
    }

    pub(crate) fn create_upload(&mut self, bucket: BucketId, key: &str, internal: bool) -> UploadId {
        let outcome = self.write(Command::CreateUpload {
            bucket,
            key: key.to_owned(),
            attributes: Attributes::default(),
            checksum: None,
            initiator: "me".to_owned(),
            internal,
        });
        match outcome {
            Ok(Reply::Upload(upload)) => upload,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn put_part(
        &mut self,
        bucket: BucketId,
        (key, upload): (&str, UploadId),
        number: u16,
        bytes: u64,
    ) -> Outcome {
        let segment = self.segment(bytes);
        self.write(Command::PutPart {
            bucket,
            key: key.to_owned(),
            upload,
            number,
            etag: format!("part{number}"),
            checksum: None,
            segments: vec![segment],
        })
    }

    pub(crate) fn complete(&mut self, bucket: BucketId, (key, upload): (&str, UploadId), numbers: &[u16]) -> Outcome {
        let parts =
            numbers.iter().map(|number| ChosenPart { number: *number, etag: format!("part{number}"), checksum: None });
        self.write(Command::CompleteUpload {
            bucket,
            key: key.to_owned(),
            upload,
            parts: parts.collect(),
            etag: "whole".to_owned(),
            checksum: None,
            preconditions: Preconditions::default(),
        })
    }

    /// Marks and removes all garbage, as the reaper does when nobody reads. Answers the number of commands it took.
    pub(crate) fn reap(&mut self) -> usize {
        let mut commands = 0;
        while self.query().garbage_totals().unwrap().rows > 0 {
            let below = Index(self.index + 1);
            let marked = self.run(Command::MarkFree { from: Index(0), below, held: Vec::new() });
            assert!(matches!(marked, Ok(Reply::Marked { .. })), "{marked:?}");
            let free = self.query().free_garbage(None, 100).unwrap();
            let rows = free.iter().map(|(key, _)| *key).collect();
            let removed = self.run(Command::RemoveGarbage { rows });
            assert!(matches!(removed, Ok(Reply::Marked { .. })), "{removed:?}");
            assert!(self.changed < 2_500, "a step changes {} rows", self.changed);
            commands += 2;
            assert!(commands < 10_000, "the reaper makes no progress");
        }
        commands
    }

    /// Number of waiting and free garbage rows that are whole uploads.
    pub(crate) fn upload_garbage(&self) -> usize {
        let rows = self.query().garbage(None, usize::MAX).unwrap();
        rows.iter().filter(|(_, row)| matches!(row.what, Garbage::Upload(_))).count()
    }
}

pub(crate) fn inline(bytes: &'static [u8]) -> NewBody {
    NewBody::Inline(Bytes::from_static(bytes))
}

pub(crate) fn put_command(bucket: BucketId, key: &str, body: NewBody, preconditions: Preconditions) -> Command {
    Command::PutObject {
        bucket,
        key: key.to_owned(),
        etag: format!("etag-{key}"),
        checksum: None,
        attributes: Attributes::default(),
        body,
        preconditions,
    }
}

pub(crate) fn copy_command(bucket: BucketId, key: &str, source: CopySource) -> Command {
    Command::CopyObject {
        bucket,
        key: key.to_owned(),
        source,
        etag: "copy".to_owned(),
        checksum: None,
        attributes: Attributes::default(),
        preconditions: Preconditions::default(),
    }
}

pub(crate) fn version_of(outcome: &Outcome) -> VersionId {
    match outcome {
        Ok(Reply::Version { version, .. }) => *version,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn refusal(outcome: Outcome) -> Refusal {
    match outcome {
        Err(refusal) => refusal,
        Ok(reply) => panic!("{reply:?}"),
    }
}
