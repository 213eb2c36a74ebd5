//! Random commands against a simple oracle, with all invariants recomputed after each entry (see `testing`).

use std::collections::{BTreeMap, BTreeSet};

use cairn_proto::{BucketId, DiskId, Index, NodeId, PgId, SegmentId, Sequence, Slot, UploadId};
use proptest::prelude::*;

use super::testing::{MIB, World, copy_command, inline, put_command};
use crate::command::{ChosenPart, Command, CopySource, Envelope, NewBody, Outcome, Preconditions, Refusal, Reply};
use crate::row::{Attributes, Body, Extent, ObjectRow, ProfileRow};
use crate::view::{ListEntry, ListQuery, Verdict};

#[derive(Clone, Debug)]
enum Action {
    Put { key: u8, segments: u8, lost: Option<u8>, condition: u8 },
    Delete { keys: Vec<u8> },
    Copy { from: u8, to: u8, stale: bool },
    CreateUpload { key: u8, internal: bool },
    PutPart { upload: u8, number: u16, segments: u8 },
    CopyPart { upload: u8, number: u16, from: u8 },
    Complete { upload: u8, mask: u8 },
    Abort { upload: u8 },
    Retry { back: u8 },
    MarkFree,
    RemoveGarbage,
    BeginRead { key: u8 },
    EndRead,
    NewWriter,
    RaiseWatermark,
    ReportMissing { slot: u8 },
    Repair,
    Attach { disk: u8 },
}

fn action() -> impl Strategy<Value = Action> {
    let key = || 0..3_u8;
    prop_oneof![
        6 => (key(), 0..3_u8, prop::option::weighted(0.3, 0..4_u8), 0..6_u8)
            .prop_map(|(key, segments, lost, condition)| Action::Put { key, segments, lost, condition }),
        3 => prop::collection::vec(key(), 1..3).prop_map(|keys| Action::Delete { keys }),
        4 => (key(), key(), prop::bool::weighted(0.2))
            .prop_map(|(from, to, stale)| Action::Copy { from, to, stale }),
        3 => (key(), prop::bool::weighted(0.3)).prop_map(|(key, internal)| Action::CreateUpload { key, internal }),
        5 => (any::<u8>(), 1..4_u16, 0..3_u8)
            .prop_map(|(upload, number, segments)| Action::PutPart { upload, number, segments }),
        3 => (any::<u8>(), 1..4_u16, key()).prop_map(|(upload, number, from)| Action::CopyPart { upload, number, from }),
        4 => (any::<u8>(), 1..8_u8).prop_map(|(upload, mask)| Action::Complete { upload, mask }),
        1 => any::<u8>().prop_map(|upload| Action::Abort { upload }),
        2 => (0..4_u8).prop_map(|back| Action::Retry { back }),
        4 => Just(Action::MarkFree),
        4 => Just(Action::RemoveGarbage),
        2 => key().prop_map(|key| Action::BeginRead { key }),
        1 => Just(Action::EndRead),
        1 => Just(Action::NewWriter),
        1 => Just(Action::RaiseWatermark),
        1 => (0..4_u8).prop_map(|slot| Action::ReportMissing { slot }),
        1 => Just(Action::Repair),
        1 => (1..5_u8).prop_map(|disk| Action::Attach { disk }),
    ]
}

/// What bytes a row stands for: inline ones by their number, else where they are.
#[derive(Clone, PartialEq, Debug, Default)]
struct Content {
    inline: Option<u64>,
    extents: Vec<Extent>,
}

impl Content {
    fn bytes(&self) -> u64 {
        self.extents.iter().map(|extent| extent.bytes).sum::<u64>() + self.inline.unwrap_or(0)
    }
}

struct Upload {
    id: UploadId,
    key: String,
    internal: bool,
    parts: BTreeMap<u16, Content>,
}

struct Read {
    row: ObjectRow,
    content: Content,
    pin: Index,
}

struct Model {
    world: World,
    bucket: BucketId,
    objects: BTreeMap<String, Content>,
    uploads: Vec<Upload>,
    reads: Vec<Read>,
    sent: Vec<(Envelope, Outcome)>,
    verdicts: BTreeMap<SegmentId, (PgId, Verdict)>,
}

fn name(key: u8) -> String {
    format!("key{key}")
}

impl Model {
    fn new() -> Self {
        let (mut world, bucket) = World::ready();
        let profile = ProfileRow { data: 2, parity: 2 };
        world.run(Command::CreatePgs { profile, groups: vec![(1..=4).map(DiskId).collect()] }).unwrap();
        let (objects, verdicts) = (BTreeMap::new(), BTreeMap::new());
        Self { world, bucket, objects, uploads: Vec::new(), reads: Vec::new(), sent: Vec::new(), verdicts }
    }

    fn send(&mut self, command: Command) -> Outcome {
        let envelope = Envelope { origin: Some(self.next_origin()), now_ms: 1000 + self.world.index, command };
        let outcome = self.world.entry(std::slice::from_ref(&envelope)).pop().unwrap();
        self.sent.push((envelope, outcome.clone()));
        outcome
    }

    /// The last four commands count as not answered yet, so that they can be sent again.
    fn next_origin(&mut self) -> crate::Origin {
        let mut origin = self.world.next_origin();
        origin.lowest_unanswered.0 = origin.number.0.saturating_sub(4);
        origin
    }

    /// New segments in the wide group; answers them as the body they make.
    fn segments(&mut self, count: u8, lost: Option<u8>) -> (Vec<crate::NewSegment>, Content) {
        let mut content = Content::default();
        let mut segments = Vec::new();
        for _ in 0..count {
            let mut segment = self.world.segment(3 * MIB);
            segment.pg = PgId(2);
            segment.profile = ProfileRow { data: 2, parity: 2 };
            let disks = self.world.query().disks().unwrap();
            segment.answered = disks.iter().map(|disk| Some((disk.id, disk.attach))).collect();
            if let Some(lost) = lost {
                segment.answered[usize::from(lost)] = None;
            }
            let extent = Extent { segment: segment.id, pg: segment.pg, offset: 0, bytes: segment.bytes };
            content.extents.push(extent);
            segments.push(segment);
        }
        (segments, content)
    }

    fn put(&mut self, key: u8, segments: u8, lost: Option<u8>, condition: u8) {
        let key = name(key);
        let (segments, mut content) = self.segments(segments, lost);
        let body = if segments.is_empty() {
            content.inline = Some(1);
            inline(b"x")
        } else {
            NewBody::Segments(segments)
        };
        let there = self.objects.contains_key(&key);
        let (preconditions, wanted) = match condition {
            0 => (Preconditions { absent: true, etags: None }, there.then_some(Refusal::PreconditionFailed)),
            1 => {
                let any = Preconditions { absent: false, etags: Some(vec!["*".to_owned()]) };
                (any, (!there).then_some(Refusal::NoSuchObject))
            }
            _ => (Preconditions::default(), None),
        };
        let outcome = self.send(put_command(self.bucket, &key, body, preconditions));
        assert_eq!(outcome.clone().err(), wanted);
        if outcome.is_ok() {
            self.note_commit(&content);
            self.objects.insert(key, content);
        }
    }

    fn note_commit(&mut self, content: &Content) {
        for extent in &content.extents {
            self.verdicts.entry(extent.segment).or_insert((extent.pg, Verdict::Alive));
        }
    }

    fn delete(&mut self, keys: &[u8]) {
        let wanted = keys.iter().map(|key| Ok(self.objects.remove(&name(*key)).is_some())).collect();
        let keys = keys.iter().map(|key| (name(*key), Preconditions::default())).collect();
        assert_eq!(self.send(Command::DeleteObjects { bucket: self.bucket, keys }), Ok(Reply::Deleted(wanted)));
    }

    /// A source as an engine makes it from the present row, or from none.
    fn source(&self, from: u8) -> Option<(CopySource, Content)> {
        let key = name(from);
        let row = self.world.query().object(self.bucket, &key).unwrap()?;
        let content = self.objects[&key].clone();
        let inline = if let Body::Inline(bytes) = &row.body { Some(bytes.clone()) } else { None };
        let extents = content.extents.clone();
        Some((CopySource { bucket: self.bucket, key, version: row.version, extents, inline }, content))
    }

    fn copy(&mut self, from: u8, to: u8, stale: bool) {
        let Some((source, content)) = self.source(from) else { return };
        if stale {
            self.put(from, 1, None, 2);
        }
        let outcome = self.send(copy_command(self.bucket, &name(to), source));
        if stale {
            assert_eq!(outcome, Err(Refusal::SourceChanged));
        } else {
            outcome.unwrap();
            self.objects.insert(name(to), content);
        }
    }

    fn create_upload(&mut self, key: u8, internal: bool) {
        let key = name(key);
        let command = Command::CreateUpload {
            bucket: self.bucket,
            key: key.clone(),
            attributes: Attributes::default(),
            checksum: None,
            initiator: String::new(),
            internal,
        };
        let Ok(Reply::Upload(id)) = self.send(command) else { panic!("an upload is opened") };
        self.uploads.push(Upload { id, key, internal, parts: BTreeMap::new() });
    }

    fn pick(&self, upload: u8) -> Option<usize> {
        (!self.uploads.is_empty()).then(|| usize::from(upload) % self.uploads.len())
    }

    fn put_part(&mut self, upload: u8, number: u16, segments: u8) {
        let Some(at) = self.pick(upload) else { return };
        let (segments, content) = self.segments(segments, None);
        let (key, upload) = (self.uploads[at].key.clone(), self.uploads[at].id);
        let etag = format!("part{number}");
        let bucket = self.bucket;
        self.send(Command::PutPart { bucket, key, upload, number, etag, checksum: None, segments }).unwrap();
        self.note_commit(&content);
        self.uploads[at].parts.insert(number, content);
    }

    fn copy_part(&mut self, upload: u8, number: u16, from: u8) {
        let (Some(at), Some((mut source, mut content))) = (self.pick(upload), self.source(from)) else { return };
        let is_inline = source.inline.is_some();
        for extents in [&mut source.extents, &mut content.extents] {
            extents.truncate(1);
            extents.iter_mut().for_each(|extent| (extent.offset, extent.bytes) = (extent.offset + 1, extent.bytes - 1));
        }
        // An extent of one byte has no shorter range.
        if content.extents.iter().any(|extent| extent.bytes == 0) {
            return;
        }
        let (key, upload) = (self.uploads[at].key.clone(), self.uploads[at].id);
        let etag = format!("part{number}");
        let outcome =
            self.send(Command::CopyPart { bucket: self.bucket, key, upload, number, source, etag, checksum: None });
        assert_eq!(outcome.is_err(), is_inline, "{outcome:?}");
        if outcome.is_ok() {
            self.uploads[at].parts.insert(number, content);
        }
    }

    fn complete(&mut self, upload: u8, mask: u8) {
        let Some(at) = self.pick(upload) else { return };
        let numbers: Vec<u16> = (1..4).filter(|number| mask & (1 << (number - 1)) != 0).collect();
        let parts = numbers
            .iter()
            .map(|number| ChosenPart { number: *number, etag: format!("part{number}"), checksum: None })
            .collect();
        let chosen: Vec<Option<&Content>> = numbers.iter().map(|number| self.uploads[at].parts.get(number)).collect();
        let all_there = chosen.iter().all(Option::is_some);
        let large = |part: &&Option<&Content>| part.is_some_and(|part| part.bytes() < 5 * MIB);
        let small = chosen.iter().rev().skip(1).filter(large).count() > 0 && !self.uploads[at].internal;
        let extents = chosen.iter().flatten().flat_map(|part| part.extents.clone()).collect();
        let outcome = self.send(Command::CompleteUpload {
            bucket: self.bucket,
            key: self.uploads[at].key.clone(),
            upload: self.uploads[at].id,
            parts,
            etag: String::new(),
            checksum: None,
            preconditions: Preconditions::default(),
        });
        assert_eq!(outcome.is_ok(), all_there && !small, "{outcome:?}");
        if outcome.is_ok() {
            let upload = self.uploads.remove(at);
            self.objects.insert(upload.key, Content { inline: None, extents });
        }
    }

    fn abort(&mut self, at: usize) {
        let upload = self.uploads.remove(at);
        self.world.done(Command::AbortUpload { bucket: self.bucket, key: upload.key, upload: upload.id });
    }

    fn retry(&mut self, back: u8) {
        let Some((envelope, outcome)) = self.sent.iter().rev().nth(usize::from(back)) else { return };
        if envelope.origin.unwrap().writer == self.world.writer {
            let rows = self.world.rows.clone();
            assert_eq!(self.world.entry(std::slice::from_ref(envelope)), std::slice::from_ref(outcome));
            assert_eq!(self.world.rows, rows, "a retry changes nothing");
        }
    }

    fn mark_free(&mut self) {
        // The first read is old: it is held by name and does not hold the watermark.
        let held = self.reads.first().map(|read| read.row.version).into_iter().collect();
        let pins = self.reads.iter().skip(1).map(|read| read.pin);
        let watermark = pins.min().unwrap_or(Index(self.world.index));
        let command = Command::MarkFree { from: Index(0), below: watermark.next(), held };
        assert!(matches!(self.world.run(command), Ok(Reply::Marked { next: None, .. })));
    }

    fn remove_garbage(&mut self) {
        let free = self.world.query().free_garbage(None, 5).unwrap();
        let rows = free.iter().map(|(key, _)| *key).collect();
        assert!(matches!(self.world.run(Command::RemoveGarbage { rows }), Ok(Reply::Marked { next: None, .. })));
    }

    fn begin_read(&mut self, key: u8) {
        let key = name(key);
        let Some(row) = self.world.query().object(self.bucket, &key).unwrap() else { return };
        self.reads.push(Read { row, content: self.objects[&key].clone(), pin: Index(self.world.index) });
    }

    fn new_writer(&mut self) {
        self.world.writer = self.world.open_writer(NodeId(1));
        (self.world.number, self.world.sequence) = (0, 0);
        let left = self.world.query().internal_uploads_of_closed_writers(99).unwrap();
        let internal: BTreeSet<UploadId> =
            self.uploads.iter().filter(|upload| upload.internal).map(|upload| upload.id).collect();
        assert_eq!(left.iter().map(|(_, _, upload)| *upload).collect::<BTreeSet<_>>(), internal);
        while let Some(at) = self.uploads.iter().position(|upload| upload.internal) {
            self.abort(at);
        }
    }

    fn run(&mut self, action: Action) {
        match action {
            Action::Put { key, segments, lost, condition } => self.put(key, segments, lost, condition),
            Action::Delete { keys } => self.delete(&keys),
            Action::Copy { from, to, stale } => self.copy(from, to, stale),
            Action::CreateUpload { key, internal } => self.create_upload(key, internal),
            Action::PutPart { upload, number, segments } => self.put_part(upload, number, segments),
            Action::CopyPart { upload, number, from } => self.copy_part(upload, number, from),
            Action::Complete { upload, mask } => self.complete(upload, mask),
            Action::Abort { upload } => {
                if let Some(at) = self.pick(upload) {
                    self.abort(at);
                }
            }
            Action::Retry { back } => self.retry(back),
            Action::MarkFree => self.mark_free(),
            Action::RemoveGarbage => self.remove_garbage(),
            Action::BeginRead { key } => self.begin_read(key),
            Action::EndRead => drop(self.reads.pop()),
            Action::NewWriter => self.new_writer(),
            Action::RaiseWatermark => {
                let sequence = Sequence(self.world.sequence + 1);
                self.world.done(Command::RaiseWatermark { writer: self.world.writer, sequence });
            }
            Action::ReportMissing { slot } => {
                let all = self.world.query().segments(PgId(2), None, 500).unwrap();
                let segments = all.iter().map(|(segment, _)| *segment).collect();
                let epoch = self.world.query().pg(PgId(2)).unwrap().unwrap().epoch;
                self.world.done(Command::ReportMissing { pg: PgId(2), epoch, slot: Slot(slot), segments });
            }
            Action::Repair => self.repair(),
            Action::Attach { disk } => drop(self.world.attach(DiskId(u128::from(disk)), None)),
        }
    }

    fn repair(&mut self) {
        let first = self.world.query().missing(None, 1).unwrap();
        let Some((pg, segment, slot)) = first.first().copied() else { return };
        let group = self.world.query().pg(pg).unwrap().unwrap();
        let disk = group.slots[usize::from(slot.0)];
        let attach = self.world.query().disk(disk).unwrap().unwrap().attach;
        self.world.done(Command::FinishRepair { pg, epoch: group.epoch, slot, segment, disk, attach });
    }

    /// What the rows show is what the oracle says, and what anybody needs is alive.
    fn check(&mut self) {
        let query = self.world.query();
        let list = ListQuery { bucket: self.bucket, prefix: String::new(), delimiter: None, after: None, limit: 99 };
        let listed: Vec<(String, u64)> = query
            .list(&list)
            .unwrap()
            .entries
            .into_iter()
            .filter_map(
                |entry| if let ListEntry::Object { key, bytes, .. } = entry { Some((key, bytes)) } else { None },
            )
            .collect();
        let wanted: Vec<_> = self.objects.iter().map(|(key, content)| (key.clone(), content.bytes())).collect();
        assert_eq!(listed, wanted);
        for (key, content) in &self.objects {
            self.check_readable(&query.object(self.bucket, key).unwrap().unwrap(), content);
        }
        for read in &self.reads {
            self.check_readable(&read.row, &read.content);
        }
        for upload in &self.uploads {
            let parts = query.parts(upload.id, None, 9).unwrap().parts;
            let found = parts.into_iter().map(|(number, part)| (number, part.extents));
            let wanted = upload.parts.iter().map(|(number, content)| (*number, content.extents.clone()));
            assert!(found.eq(wanted));
        }
        self.check_verdicts();
    }

    fn check_readable(&self, row: &ObjectRow, content: &Content) {
        if content.inline.is_some() {
            assert!(matches!(row.body, Body::Inline(_)));
            return;
        }
        assert_eq!(self.world.query().extents(&row.body, 0..row.bytes).unwrap(), content.extents);
        let segments: Vec<SegmentId> = content.extents.iter().map(|extent| extent.segment).collect();
        let verdicts = self.world.query().verdicts(Index(0), &segments).unwrap().verdicts;
        assert!(verdicts.iter().all(|(_, verdict)| *verdict == Verdict::Alive), "{verdicts:?}");
    }

    /// Dead is for ever, and no row of a segment goes before it was dead.
    fn check_verdicts(&mut self) {
        let query = self.world.query();
        for (segment, (pg, before)) in &mut self.verdicts {
            let now = query.verdicts(Index(0), &[*segment]).unwrap().verdicts[0].1;
            assert!(matches!(now, Verdict::Alive | Verdict::Dead), "{segment}: {now:?}");
            assert!(*before != Verdict::Dead || now == Verdict::Dead, "{segment} came back");
            let gone = query.segment(*pg, *segment).unwrap().is_none();
            assert!(!gone || *before == Verdict::Dead, "{segment} went before it was dead");
            *before = now;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_rows_agree_with_the_oracle(actions in prop::collection::vec(action(), 1..80)) {
        let mut model = Model::new();
        for action in actions {
            model.run(action);
            model.check();
        }
        // Nobody reads, nothing stands: nothing is left.
        model.reads.clear();
        while !model.uploads.is_empty() {
            model.abort(0);
        }
        model.delete(&[0, 1, 2]);
        model.world.reap();
        let query = model.world.query();
        prop_assert!(query.segments(PgId(2), None, 1).unwrap().is_empty());
        prop_assert_eq!(query.missing_count().unwrap(), 0);
        model.world.done(Command::DeleteBucket { name: "b".to_owned() });
        model.world.done(Command::CloseWriter { writer: model.world.writer });
        // The cluster map, two writers with their last results, and counters.
        prop_assert!(model.world.rows.len() < 40, "{}", model.world.rows.len());
    }
}
