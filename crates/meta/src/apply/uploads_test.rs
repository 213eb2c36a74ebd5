//! Uploads: completed, aborted, taken apart in bounded steps.

use std::sync::atomic::{AtomicUsize, Ordering};

use cairn_proto::{Index, NodeId, Sequence, VersionId};

use super::apply_entry;
use super::testing::{MIB, World, refusal, version_of};
use crate::command::{ChosenPart, Command, CopySource, Envelope, Preconditions, Refusal, Reply};
use crate::row::{Body, ChecksumRow, Extent, PartRef};
use crate::rows::{MemoryRows, RowsError, RowsRead};

#[test]
fn completing_adopts_the_chosen_parts_and_drops_the_others() {
    let (mut world, bucket) = World::ready();
    let upload = world.create_upload(bucket, "k", false);
    for (number, bytes) in [(1, 5 * MIB), (2, 6 * MIB), (7, 1)] {
        world.put_part(bucket, ("k", upload), number, bytes).unwrap();
    }
    assert_eq!(world.query().bucket("b").unwrap().unwrap().upload_bytes, 11 * MIB + 1);
    let first = world.complete(bucket, ("k", upload), &[1, 7]);
    let row = world.query().object(bucket, "k").unwrap().unwrap();
    let parts = vec![PartRef { number: 1, bytes: 5 * MIB }, PartRef { number: 7, bytes: 1 }];
    assert_eq!(row.body, Body::Parts { upload, parts });
    assert_eq!(row.bytes, 5 * MIB + 1);
    assert!(world.query().part(upload, 2).unwrap().is_none());
    assert_eq!(world.query().garbage_totals().unwrap().bytes, 6 * MIB);
    assert_eq!(world.complete(bucket, ("k", upload), &[1, 7]), first, "a completion asked for again");
    let cut = world.query().extents(&row.body, 5 * MIB - 1..5 * MIB + 1).unwrap();
    assert_eq!(cut.iter().map(|extent| (extent.offset, extent.bytes)).collect::<Vec<_>>(), [(5 * MIB - 1, 1), (0, 1)]);

    world.delete(bucket, "k").unwrap();
    assert_eq!(refusal(world.complete(bucket, ("k", upload), &[1, 7])), Refusal::NoSuchUpload);
    assert_eq!(world.upload_garbage(), 1);
    world.query().extents(&row.body, 0..row.bytes).expect("a reader still finds the parts");
    world.reap();
    assert!(matches!(world.query().extents(&row.body, 0..row.bytes), Err(RowsError::Gone(_))));
}

#[test]
fn completions_are_refused_as_s3_does() {
    let (mut world, bucket) = World::ready();
    let upload = world.create_upload(bucket, "k", false);
    world.put_part(bucket, ("k", upload), 1, 5 * MIB - 1).unwrap();
    world.put_part(bucket, ("k", upload), 2, 1).unwrap();
    let mut complete = |numbers: &[u16]| refusal(world.complete(bucket, ("k", upload), numbers));
    assert_eq!(complete(&[1, 2]), Refusal::PartTooSmall { number: 1, bytes: 5 * MIB - 1 });
    assert_eq!(complete(&[2, 1]), Refusal::InvalidPartOrder);
    assert_eq!(complete(&[1, 1]), Refusal::InvalidPartOrder);
    assert_eq!(complete(&[3]), Refusal::InvalidPart { number: 3 });
    assert!(matches!(complete(&[]), Refusal::Invalid(_)));
    let mut with = |etag: &str, checksum: Option<&str>| {
        let part = ChosenPart { number: 2, etag: etag.to_owned(), checksum: checksum.map(str::to_owned) };
        world.write(Command::CompleteUpload {
            bucket,
            key: "k".to_owned(),
            upload,
            parts: vec![part],
            etag: String::new(),
            checksum: None,
            preconditions: Preconditions::default(),
        })
    };
    assert_eq!(with("other", None), Err(Refusal::InvalidPart { number: 2 }));
    assert_eq!(with("part2", Some("AAAA")), Err(Refusal::InvalidPart { number: 2 }));
    with("part2", None).unwrap();
}

#[test]
fn a_replaced_part_is_garbage_and_the_counters_follow() {
    let (mut world, bucket) = World::ready();
    let upload = world.create_upload(bucket, "k", false);
    let checksum = ChecksumRow { algorithm: "CRC32".to_owned(), value: "AAAA".to_owned(), kind: String::new() };
    world.put_part(bucket, ("k", upload), 1, 3 * MIB).unwrap();
    let segment = world.segment(2 * MIB);
    let part = Command::PutPart {
        bucket,
        key: "k".to_owned(),
        upload,
        number: 1,
        etag: "new".to_owned(),
        checksum: Some(checksum.clone()),
        segments: vec![segment],
    };
    world.write(part).unwrap();
    let row = world.query().part(upload, 1).unwrap().unwrap();
    assert_eq!((row.bytes, row.etag.as_str(), row.checksum), (2 * MIB, "new", Some(checksum)));
    assert_eq!(world.query().garbage_totals().unwrap().bytes, 3 * MIB);
    for number in [0, 10_001] {
        assert!(matches!(refusal(world.put_part(bucket, ("k", upload), number, 1)), Refusal::Invalid(_)));
    }
    world.write(Command::AbortUpload { bucket, key: "k".to_owned(), upload }).unwrap();
    assert_eq!(world.query().garbage_totals().unwrap().bytes, 5 * MIB);
    assert_eq!(refusal(world.put_part(bucket, ("k", upload), 1, 1)), Refusal::NoSuchUpload);
    let again = world.write(Command::AbortUpload { bucket, key: "k".to_owned(), upload });
    assert_eq!(again, Err(Refusal::NoSuchUpload));
    world.reap();
    assert!(world.query().segments(cairn_proto::PgId(1), None, 9).unwrap().is_empty());
}

#[test]
fn a_part_may_copy_a_range_twice_and_a_copy_may_take_all_parts() {
    let (mut world, bucket) = World::ready();
    let (version, extent) = world.put(bucket, "a", 8 * MIB);
    let upload = world.create_upload(bucket, "k", false);
    let half = Extent { offset: MIB, bytes: 5 * MIB, ..extent };
    for number in 1..=2 {
        let source = CopySource { bucket, key: "a".to_owned(), version, extents: vec![half, half], inline: None };
        let etag = format!("part{number}");
        let part = Command::CopyPart { bucket, key: "k".to_owned(), upload, number, source, etag, checksum: None };
        world.write(part).unwrap();
    }
    world.delete(bucket, "a").unwrap();
    let whole = version_of(&world.complete(bucket, ("k", upload), &[1, 2]));
    let source = |version: VersionId, extents: Vec<Extent>| CopySource {
        bucket,
        key: "k".to_owned(),
        version,
        extents,
        inline: None,
    };
    let copy = super::testing::copy_command(bucket, "c", source(whole, vec![half; 4]));
    world.write(copy).unwrap();
    let wider = vec![Extent { offset: 0, ..half }; 4];
    let wrong = super::testing::copy_command(bucket, "d", source(whole, wider));
    assert!(matches!(refusal(world.write(wrong)), Refusal::Invalid(_)));
    assert_eq!(world.query().segment(extent.pg, extent.segment).unwrap().unwrap().references, 4);
    assert_eq!(world.query().object(bucket, "c").unwrap().unwrap().bytes, 20 * MIB);
    world.delete(bucket, "k").unwrap();
    world.reap();
    assert_eq!(world.query().segment(extent.pg, extent.segment).unwrap().unwrap().references, 1);
}

#[test]
fn an_internal_upload_belongs_to_its_writer_and_dies_with_it() {
    let (mut world, bucket) = World::ready();
    let upload = world.create_upload(bucket, "k", true);
    world.put_part(bucket, ("k", upload), 1, MIB).unwrap();
    let left = |world: &World| world.query().internal_uploads_of_closed_writers(9).unwrap();
    assert_eq!(left(&world), []);
    world.writer = world.open_writer(NodeId(1));
    (world.number, world.sequence) = (0, 0);
    assert_eq!(refusal(world.put_part(bucket, ("k", upload), 2, MIB)), Refusal::NoSuchUpload);
    assert_eq!(left(&world), [(bucket, "k".to_owned(), upload)]);
    world.done(Command::AbortUpload { bucket, key: "k".to_owned(), upload });
    assert_eq!(left(&world), []);

    let upload = world.create_upload(bucket, "k", true);
    world.put_part(bucket, ("k", upload), 1, 1).unwrap();
    world.put_part(bucket, ("k", upload), 2, 1).unwrap();
    world.complete(bucket, ("k", upload), &[1, 2]).expect("parts of a PUT may be small");
    assert_eq!(left(&world), []);
}

#[test]
fn a_deleted_buckets_uploads_go_in_steps() {
    let (mut world, bucket) = World::ready();
    for _ in 0..250 {
        let upload = world.create_upload(bucket, "k", false);
        world.put_part(bucket, ("k", upload), 1, 1).unwrap();
    }
    world.done(Command::DeleteBucket { name: "b".to_owned() });
    assert_eq!(world.upload_garbage(), 100);
    world.make_bucket("b");
    world.reap();
    assert!(world.query().segments(cairn_proto::PgId(1), None, 9).unwrap().is_empty());
    let left = crate::keys::dying_buckets();
    assert!(world.rows.iter().all(|(key, _)| !(left.from.as_slice()..left.end.as_slice()).contains(&key)));
}

#[test]
fn an_upload_is_taken_apart_in_steps_once_nobody_holds_it() {
    let (mut world, bucket) = World::ready();
    let upload = world.create_upload(bucket, "k", false);
    for number in 1..=600 {
        world.put_part(bucket, ("k", upload), number, 5 * MIB).unwrap();
    }
    let version = version_of(&world.complete(bucket, ("k", upload), &(1..=600).collect::<Vec<_>>()));
    world.delete(bucket, "k").unwrap();
    let mark = |world: &World, held| {
        let below = Index(world.index + 1);
        Command::MarkFree { from: Index(0), below, held }
    };
    let held = mark(&world, vec![version]);
    assert_eq!(world.run(held), Ok(Reply::Marked { rows: 0, next: None }));
    let (key, row) = world.query().garbage(None, 9).unwrap()[0].clone();
    assert!(!row.free && row.version == version);
    assert!(matches!(refusal(world.run(Command::RemoveGarbage { rows: vec![key] })), Refusal::Invalid(_)));

    let free = mark(&world, Vec::new());
    assert_eq!(world.run(free), Ok(Reply::Marked { rows: 1, next: None }));
    let step = world.run(Command::RemoveGarbage { rows: vec![key] });
    assert_eq!(step, Ok(Reply::Marked { rows: 1, next: Some(key.index) }));
    let totals = world.query().garbage_totals().unwrap();
    assert!((300..=500).contains(&totals.rows), "{totals:?}");
    assert_eq!(totals.bytes, 600 * 5 * MIB);
    let step = world.run(Command::RemoveGarbage { rows: vec![key] });
    assert_eq!(step, Ok(Reply::Marked { rows: 1, next: None }));
    assert_eq!(world.query().garbage_totals().unwrap().rows, 600);
    let commands = world.reap();
    assert!(commands < 20, "{commands}");
    world.done(Command::RaiseWatermark { writer: world.writer, sequence: Sequence(world.sequence + 1) });
}

#[test]
fn marking_stops_and_goes_on_where_it_stopped() {
    let (mut world, bucket) = World::ready();
    for key in 0..700 {
        world.put(bucket, &format!("{key}"), 1);
    }
    let keys = (0..700).map(|key| (format!("{key}"), Preconditions::default())).collect();
    world.write(Command::DeleteObjects { bucket, keys }).unwrap();
    let below = Index(world.index + 1);
    let at = Index(world.index);
    let mark = |from| Command::MarkFree { from, below, held: Vec::new() };
    assert_eq!(world.run(mark(Index(0))), Ok(Reply::Marked { rows: 500, next: Some(at) }));
    assert_eq!(world.run(mark(at)), Ok(Reply::Marked { rows: 200, next: None }));
    assert_eq!(world.run(mark(at)), Ok(Reply::Marked { rows: 0, next: None }));
}

#[test]
fn ten_thousand_parts_are_completed_in_one_command() {
    let (mut world, bucket) = World::ready();
    let upload = world.create_upload(bucket, "k", false);
    for first in (1..=10_000_u16).step_by(1_000) {
        let envelopes: Vec<_> = (first..first + 1_000)
            .map(|number| {
                let segments = vec![world.segment(5 * MIB)];
                let (key, etag) = ("k".to_owned(), format!("part{number}"));
                let command = Command::PutPart { bucket, key, upload, number, etag, checksum: None, segments };
                Envelope { origin: Some(world.next_origin()), now_ms: 1, command }
            })
            .collect();
        assert!(world.entry(&envelopes).iter().all(Result::is_ok));
    }
    let even: Vec<u16> = (2..=10_000).step_by(2).collect();
    world.complete(bucket, ("k", upload), &even).unwrap();
    assert!(world.changed < 12_000, "parts that are adopted are not written: {}", world.changed);
    assert_eq!(world.query().object(bucket, "k").unwrap().unwrap().bytes, 5_000 * 5 * MIB);
    assert_eq!(world.query().garbage_totals().unwrap().rows, 5_000);
    let row = world.query().object(bucket, "k").unwrap().unwrap();
    assert_eq!(world.query().extents(&row.body, 0..row.bytes).unwrap().len(), 5_000);
}

/// Rows that count how many are read.
struct Counted<'a> {
    rows: &'a MemoryRows,
    read: AtomicUsize,
}

impl RowsRead for Counted<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RowsError> {
        self.read.fetch_add(1, Ordering::Relaxed);
        self.rows.get(key)
    }

    fn scan(&self, from: &[u8], end: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), RowsError> {
        self.rows.scan(from, end, &mut |key, value| {
            self.read.fetch_add(1, Ordering::Relaxed);
            visit(key, value)
        })
    }
}

/// A source of 1,000 parts, whose last one is a copy of bytes that so many other parts refer to as well; one part of it
/// is copied. Answers how many rows that read.
fn rows_read_for_a_copy(others: u16) -> usize {
    const PARTS: u16 = 1_000;
    let (mut world, bucket) = World::ready();
    let (version, extent) = world.put(bucket, "shared", 5 * MIB);
    let shared = CopySource { bucket, key: "shared".to_owned(), version, extents: vec![extent], inline: None };
    let copy_part = |key: &str, upload, number, source| {
        let (key, etag) = (key.to_owned(), format!("part{number}"));
        Command::CopyPart { bucket, key, upload, number, source, etag, checksum: None }
    };
    let upload = world.create_upload(bucket, "k", false);
    let elsewhere = world.create_upload(bucket, "elsewhere", false);
    let put = (1..PARTS).map(|number| {
        let (key, etag, segments) = ("k".to_owned(), format!("part{number}"), vec![world.segment(5 * MIB)]);
        Command::PutPart { bucket, key, upload, number, etag, checksum: None, segments }
    });
    let mut commands: Vec<_> = put.collect();
    // Put twice: a reference of the first form stands until it is reaped.
    commands.extend([1, 2].map(|_| copy_part("k", upload, PARTS, shared.clone())));
    commands.extend((1..=others).map(|number| copy_part("elsewhere", elsewhere, number, shared.clone())));
    let envelope = |world: &mut World, command| Envelope { origin: Some(world.next_origin()), now_ms: 1, command };
    let envelopes: Vec<_> = commands.into_iter().map(|command| envelope(&mut world, command)).collect();
    assert!(world.entry(&envelopes).iter().all(Result::is_ok));
    let version = version_of(&world.complete(bucket, ("k", upload), &(1..=PARTS).collect::<Vec<_>>()));

    let row = world.query().object(bucket, "k").unwrap().unwrap();
    let extents = world.query().extents(&row.body, row.bytes - 9..row.bytes).unwrap();
    let source = CopySource { bucket, key: "k".to_owned(), version, extents, inline: None };
    // Bytes of the segment that are not the source's are refused, however they are looked for.
    let mut wrong = source.clone();
    wrong.extents[0].offset += 1;
    assert!(matches!(refusal(world.write(copy_part("elsewhere", elsewhere, 1, wrong))), Refusal::Invalid(_)));
    let copy = envelope(&mut world, copy_part("elsewhere", elsewhere, 1, source));
    let counted = Counted { rows: &world.rows, read: AtomicUsize::new(0) };
    let (_, outcomes) = apply_entry(&counted, Index(world.index + 1), &[copy]).unwrap();
    assert!(outcomes[0].is_ok(), "{outcomes:?}");
    counted.read.load(Ordering::Relaxed)
}

#[test]
fn copying_a_part_does_not_walk_the_parts_of_its_source() {
    for others in [0, 40] {
        let read = rows_read_for_a_copy(others);
        assert!(read < 100, "{read} rows were read beside {others} other references");
    }
    // Where too many refer to the bytes, the parts are walked.
    let read = rows_read_for_a_copy(150);
    assert!((1_000..1_500).contains(&read), "{read}");
}
