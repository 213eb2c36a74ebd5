//! Segments come in once, are missing where nobody answered, and die for ever.

use cairn_proto::{AttachNumber, CommandNumber, DiskId, Epoch, NodeId, PgId, Sequence, Slot};

use super::testing::{MIB, World, inline, put_command, refusal};
use crate::command::{Command, NewBody, NewSegment, Origin, Preconditions, Refusal};
use crate::view::Verdict;

fn verdict(world: &World, segment: &NewSegment) -> Verdict {
    world.query().verdicts(cairn_proto::Index(1), &[segment.id]).unwrap().verdicts[0].1
}

#[test]
fn a_segment_that_all_disks_answered_misses_nothing() {
    let (mut world, bucket) = World::ready();
    let whole = world.segment(MIB);
    world.put_body(bucket, "whole", NewBody::Segments(vec![whole.clone()])).unwrap();
    assert!(world.query().segment(PgId(1), whole.id).unwrap().unwrap().missing.is_empty());
}

#[test]
fn below_k_plus_one_a_commit_is_refused_and_leaves_nothing() {
    let (mut world, bucket) = World::ready();
    let mut segment = world.segment(MIB);
    segment.answered[2] = None;
    let before = world.query().missing_count().unwrap();
    let outcome = world.put_body(bucket, "a", NewBody::Segments(vec![segment.clone()]));
    assert_eq!(refusal(outcome), Refusal::TooFewShards { segment: segment.id, present: 2, needed: 3 });
    assert_eq!(world.query().missing_count().unwrap(), before);
    assert!(world.query().object(bucket, "a").unwrap().is_none());
    // The same segment may be committed once the disk answered.
    segment.answered[2] = Some((DiskId(3), AttachNumber(1)));
    world.put_body(bucket, "a", NewBody::Segments(vec![segment])).unwrap();
}

#[test]
fn with_two_parities_one_silent_disk_is_recorded_and_repaired() {
    let (mut world, bucket) = World::ready();
    let profile = crate::row::ProfileRow { data: 2, parity: 2 };
    let groups = vec![(1..=4).map(DiskId).collect()];
    world.run(Command::CreatePgs { profile, groups }).unwrap();
    let attach = world.attach(DiskId(2), None);
    assert_eq!(attach, AttachNumber(2));
    let mut segment = world.segment(MIB);
    segment.pg = PgId(2);
    segment.profile = profile;
    // The second disk answered before it was attached again.
    segment.answered = (1..=4).map(|disk| Some((DiskId(disk), AttachNumber(1)))).collect();
    world.put_body(bucket, "a", NewBody::Segments(vec![segment.clone()])).unwrap();
    assert_eq!(world.query().missing(None, 9).unwrap(), [(PgId(2), segment.id, Slot(1))]);

    let repair = |disk, attach| Command::FinishRepair {
        pg: PgId(2),
        epoch: Epoch(1),
        slot: Slot(1),
        segment: segment.id,
        disk: DiskId(disk),
        attach: AttachNumber(attach),
    };
    assert_eq!(world.run(repair(2, 1)), Err(Refusal::StaleEpoch));
    assert_eq!(world.run(repair(1, 1)), Err(Refusal::StaleEpoch));
    world.done(repair(2, 2));
    world.done(repair(2, 2));
    assert_eq!(world.query().missing_count().unwrap(), 0);
}

#[test]
fn only_the_writers_own_new_segments_over_its_watermark_come_in() {
    let (mut world, bucket) = World::ready();
    let segments: Vec<NewSegment> = (0..4).map(|_| world.segment(MIB)).collect();
    let put = |segment: &NewSegment| NewBody::Segments(vec![segment.clone()]);
    let is_refused = |outcome| matches!(refusal(outcome), Refusal::SegmentRefused { .. });

    world.put_body(bucket, "a", put(&segments[0])).unwrap();
    assert!(is_refused(world.put_body(bucket, "b", put(&segments[0]))), "committed before");
    let mut elsewhere = segments[0].clone();
    elsewhere.pg = PgId(2);
    assert!(is_refused(world.put_body(bucket, "b", put(&elsewhere))), "committed before, into another group");
    assert!(is_refused(world.run(put_command(bucket, "b", put(&segments[1]), Preconditions::default()))), "no writer");

    world.done(Command::RaiseWatermark { writer: world.writer, sequence: Sequence(3) });
    assert!(is_refused(world.put_body(bucket, "b", put(&segments[1]))), "under the watermark");
    world.put_body(bucket, "b", put(&segments[2])).unwrap();

    let former = world.writer;
    world.writer = world.open_writer(NodeId(1));
    assert!(is_refused(world.put_body(bucket, "c", put(&segments[3]))), "another writer's");
    let origin = Origin { writer: former, number: CommandNumber(100), lowest_unanswered: CommandNumber(100) };
    let outcome = world.run_as(origin, put_command(bucket, "c", put(&segments[3]), Preconditions::default()));
    assert_eq!(outcome, Err(Refusal::WriterClosed));
}

#[test]
fn a_segment_twice_in_one_commit_is_refused() {
    let (mut world, bucket) = World::ready();
    let segment = world.segment(MIB);
    let outcome = world.put_body(bucket, "a", NewBody::Segments(vec![segment.clone(), segment]));
    assert!(matches!(refusal(outcome), Refusal::SegmentRefused { .. }));
}

#[test]
fn verdicts_follow_the_life_of_a_segment() {
    let (mut world, bucket) = World::ready();
    let segment = world.segment(MIB);
    assert_eq!(verdict(&world, &segment), Verdict::Pending);
    world.put_body(bucket, "a", NewBody::Segments(vec![segment.clone()])).unwrap();
    assert_eq!(verdict(&world, &segment), Verdict::Alive);
    world.delete(bucket, "a").unwrap();
    assert_eq!(verdict(&world, &segment), Verdict::Alive, "a reader may need it");
    let below = cairn_proto::Index(world.index + 1);
    world.run(Command::MarkFree { from: cairn_proto::Index(0), below, held: Vec::new() }).unwrap();
    assert_eq!(verdict(&world, &segment), Verdict::Dead);
    world.reap();
    assert_eq!(verdict(&world, &segment), Verdict::Dead, "its writer is open and it is over the watermark");
    let again = world.put_body(bucket, "a", NewBody::Segments(vec![segment.clone()]));
    assert!(matches!(refusal(again), Refusal::SegmentRefused { .. }));

    let abandoned = world.segment(MIB);
    let last = world.segment(MIB);
    world.done(Command::RaiseWatermark { writer: world.writer, sequence: last.id.sequence });
    assert_eq!(verdict(&world, &segment), Verdict::Dead);
    assert_eq!(verdict(&world, &abandoned), Verdict::Dead);
    assert_eq!(verdict(&world, &last), Verdict::Pending);
    let marks = crate::keys::all_spent();
    assert!(world.rows.iter().all(|(key, _)| !(marks.from.as_slice()..marks.end.as_slice()).contains(&key)));
    world.done(Command::CloseWriter { writer: world.writer });
    assert_eq!(verdict(&world, &last), Verdict::Dead);
    let mut unknown = last;
    unknown.id.writer = unknown.id.writer.next();
    assert_eq!(verdict(&world, &unknown), Verdict::Unknown);
}

#[test]
fn bodies_over_their_bounds_are_refused() {
    let (mut world, bucket) = World::ready();
    let segments = (0..81).map(|_| world.segment(MIB)).collect();
    assert!(matches!(refusal(world.put_body(bucket, "a", NewBody::Segments(segments))), Refusal::Invalid(_)));
    let outcome = world.put_body(bucket, "a", NewBody::Inline(vec![0; 16 * 1024 + 1].into()));
    assert!(matches!(refusal(outcome), Refusal::Invalid(_)));
    let large = world.segment(64 * MIB + 1);
    assert!(matches!(refusal(world.put_body(bucket, "a", NewBody::Segments(vec![large]))), Refusal::Invalid(_)));
    world.put_body(bucket, "a", inline(b"")).unwrap();
}
