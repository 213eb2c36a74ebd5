//! Objects, buckets, quotas and copies.

use bytes::Bytes;
use cairn_proto::{Index, Record, VersionId};

use super::testing::{MIB, World, copy_command, inline, put_command, refusal, version_of};
use crate::command::{Command, CopySource, NewBody, Preconditions, Refusal, Reply};
use crate::keys;
use crate::row::{Body, DataKey, Extent, ObjectRow, ProfileRow};
use crate::rows::{RowsRead as _, decode, encode};
use crate::settings::{BucketSettings, EtagKind, SettingsChange};

fn etags(etags: &[&str]) -> Preconditions {
    Preconditions { absent: false, etags: Some(etags.iter().map(|etag| (*etag).to_owned()).collect()) }
}

const ABSENT: Preconditions = Preconditions { absent: true, etags: None };

fn source(bucket: cairn_proto::BucketId, key: &str, version: VersionId, extents: Vec<Extent>) -> CopySource {
    CopySource { bucket, key: key.to_owned(), version, extents, inline: None }
}

#[test]
fn conditions_are_checked_against_what_earlier_commands_of_the_entry_left() {
    let (mut world, bucket) = World::ready();
    let put = |preconditions: &Preconditions| put_command(bucket, "k", inline(b"x"), preconditions.clone());
    assert_eq!(world.write(put(&etags(&["*"]))), Err(Refusal::NoSuchObject));
    let envelopes: Vec<_> = [put(&ABSENT), put(&ABSENT), put(&etags(&["etag-k"])), put(&etags(&["other"]))]
        .into_iter()
        .map(|command| crate::Envelope { origin: Some(world.next_origin()), now_ms: 5, command })
        .collect();
    let outcomes = world.entry(&envelopes);
    let version = |ordinal| {
        let version = VersionId { index: Index(world.index), ordinal };
        Ok(Reply::Version { version, modified_ms: 5 })
    };
    let failed = Err(Refusal::PreconditionFailed);
    assert_eq!(outcomes, [version(0), failed.clone(), version(2), failed]);
    assert_eq!(world.query().object(bucket, "k").unwrap().unwrap().version.ordinal, 2);
}

#[test]
fn deletes_answer_per_key() {
    let (mut world, bucket) = World::ready();
    for key in ["a", "b", "c"] {
        world.put(bucket, key, MIB);
    }
    let any = Preconditions::default();
    let keys = [("a", any.clone()), ("a", any.clone()), ("b", etags(&["no"])), ("c", etags(&["etag-c"])), ("d", any)];
    let keys = keys.into_iter().map(|(key, conditions)| (key.to_owned(), conditions)).collect();
    let outcome = world.write(Command::DeleteObjects { bucket, keys });
    let wanted = vec![Ok(true), Ok(false), Err(Refusal::PreconditionFailed), Ok(true), Ok(false)];
    assert_eq!(outcome, Ok(Reply::Deleted(wanted)));
    assert_eq!(world.query().bucket("b").unwrap().unwrap().objects, 1);
    assert_eq!(world.query().garbage_totals().unwrap().rows, 2);
}

#[test]
fn a_quota_counts_objects_and_open_parts_and_a_replacement_its_difference() {
    let (mut world, bucket) = World::ready();
    let quota = |quota_bytes| Command::SetBucketQuota { name: "b".to_owned(), quota_bytes };
    world.done(quota(Some(10 * MIB)));
    world.put(bucket, "a", 6 * MIB);
    let upload = world.create_upload(bucket, "u", false);
    world.put_part(bucket, ("u", upload), 1, 4 * MIB).unwrap();
    let exceeded = Refusal::QuotaExceeded { quota_bytes: 10 * MIB };
    assert_eq!(world.put_body(bucket, "c", inline(b"x")), Err(exceeded.clone()));
    assert_eq!(refusal(world.put_part(bucket, ("u", upload), 2, 1)), exceeded);
    world.put(bucket, "a", 5 * MIB);
    world.put_part(bucket, ("u", upload), 1, 5 * MIB).unwrap();
    // A quota that was lowered lets what is there shrink and complete.
    world.done(quota(Some(MIB)));
    world.put(bucket, "a", 4 * MIB);
    world.complete(bucket, ("u", upload), &[1]).unwrap();
    world.delete(bucket, "a").unwrap();
    let row = world.query().bucket("b").unwrap().unwrap();
    assert_eq!((row.bytes, row.upload_bytes, row.objects, row.uploads), (5 * MIB, 0, 1, 0));
}

#[test]
fn a_bucket_keeps_its_settings_and_one_without_has_the_default() {
    let (mut world, bucket) = World::ready();
    assert_eq!(world.query().bucket("b").unwrap().unwrap().settings, BucketSettings::default());
    let wide = ProfileRow { data: 8, parity: 4 };
    let settings = BucketSettings { cache: true, profile: Some(wide), etag: EtagKind::Fast };
    let make = |name: &str, profile| Command::CreateBucketWith {
        name: name.to_owned(),
        settings: BucketSettings { profile, ..settings },
        quota_bytes: Some(MIB),
    };
    assert!(matches!(world.run(make("set", Some(wide))), Ok(Reply::Bucket(_))));
    let row = world.query().bucket("set").unwrap().unwrap();
    assert_eq!((row.settings, row.quota_bytes), (settings, Some(MIB)));
    assert_eq!(world.run(make("set", None)), Err(Refusal::BucketExists));
    let impossible = ProfileRow { data: 0, parity: 4 };
    assert!(matches!(world.run(make("other", Some(impossible))), Err(Refusal::Invalid(_))));

    // A row of before there were settings: the same bytes without its last fields.
    let key = keys::bucket("b");
    let mut older = world.rows.get(&key).unwrap().unwrap();
    older.truncate(older.len() - 3);
    world.rows.write(vec![(key, Some(older))]);
    assert_eq!(world.query().bucket_by_id(bucket).unwrap().unwrap().settings, BucketSettings::default());
    let change = SettingsChange { cache: Some(true), ..SettingsChange::default() };
    let set = |name: &str| Command::SetBucketSettings { name: name.to_owned(), change };
    world.done(set("b"));
    let row = world.query().bucket("b").unwrap().unwrap();
    assert_eq!(row.settings, BucketSettings { cache: true, ..BucketSettings::default() });
    assert_eq!(world.run(set("none")), Err(Refusal::NoSuchBucket));
}

#[test]
fn buckets_live_once_per_id() {
    let (mut world, bucket) = World::ready();
    assert_eq!(world.run(Command::CreateBucket { name: "b".to_owned() }), Err(Refusal::BucketExists));
    world.put(bucket, "a", MIB);
    let remove = || Command::DeleteBucket { name: "b".to_owned() };
    assert_eq!(world.run(remove()), Err(Refusal::BucketNotEmpty));
    world.delete(bucket, "a").unwrap();
    world.done(remove());
    assert_eq!(world.run(remove()), Err(Refusal::NoSuchBucket));
    let second = world.make_bucket("b");
    assert!(second > bucket);
    assert_eq!(world.put_body(bucket, "a", inline(b"x")), Err(Refusal::NoSuchBucket));
    world.put_body(second, "a", inline(b"x")).unwrap();
    assert_eq!(world.query().bucket_by_id(second).unwrap().unwrap().objects, 1);
    assert!(world.query().bucket_by_id(bucket).unwrap().is_none());
}

#[test]
fn a_copy_refers_to_bytes_that_stand_and_keeps_them() {
    let (mut world, bucket) = World::ready();
    let (version, extent) = world.put(bucket, "a", MIB);
    world.write(copy_command(bucket, "copy", source(bucket, "a", version, vec![extent]))).unwrap();
    // Onto itself, as a change of metadata does.
    let outcome = world.write(copy_command(bucket, "a", source(bucket, "a", version, vec![extent])));
    let renewed = version_of(&outcome);
    let stale = world.write(copy_command(bucket, "late", source(bucket, "a", version, vec![extent])));
    assert_eq!(stale, Err(Refusal::SourceChanged));
    world.delete(bucket, "a").unwrap();
    let gone = world.write(copy_command(bucket, "late", source(bucket, "a", renewed, vec![extent])));
    assert_eq!(gone, Err(Refusal::SourceChanged));
    world.reap();
    assert_eq!(world.query().segment(extent.pg, extent.segment).unwrap().unwrap().references, 1);
    world.delete(bucket, "copy").unwrap();
    world.reap();
    assert!(world.query().segment(extent.pg, extent.segment).unwrap().is_none());
}

#[test]
fn a_copy_cannot_name_bytes_that_are_not_the_sources() {
    let (mut world, bucket) = World::ready();
    let (_, other) = world.put(bucket, "other", MIB);
    let (version, extent) = world.put(bucket, "a", MIB);
    let wrong = [
        vec![other],
        vec![Extent { bytes: MIB + 1, ..extent }],
        vec![Extent { offset: u64::MAX, ..extent }],
        vec![Extent { bytes: MIB - 1, ..extent }],
        vec![Extent { offset: 1, ..extent }],
        vec![Extent { pg: extent.pg.next(), ..extent }],
        vec![],
    ];
    for extents in wrong {
        let outcome = world.write(copy_command(bucket, "c", source(bucket, "a", version, extents)));
        assert!(matches!(refusal(outcome), Refusal::Invalid(_)));
    }
}

#[test]
fn inline_bytes_are_copied_as_they_are() {
    let (mut world, bucket) = World::ready();
    let version = version_of(&world.put_body(bucket, "a", inline(b"x")));
    let copy = |bytes: &'static [u8]| CopySource {
        inline: Some(Bytes::from_static(bytes)),
        ..source(bucket, "a", version, Vec::new())
    };
    assert!(matches!(refusal(world.write(copy_command(bucket, "c", copy(b"y")))), Refusal::Invalid(_)));
    world.write(copy_command(bucket, "c", copy(b"x"))).unwrap();
    let row = world.query().object(bucket, "c").unwrap().unwrap();
    assert_eq!(row.body, Body::Inline(Bytes::from_static(b"x")));
    assert!(world.query().extents(&row.body, 0..1).is_err());
}

#[test]
fn extents_are_cut_to_the_range() {
    let (mut world, bucket) = World::ready();
    let segments = vec![world.segment(10), world.segment(20), world.segment(30)];
    let ids: Vec<_> = segments.iter().map(|segment| segment.id).collect();
    world.put_body(bucket, "a", NewBody::Segments(segments)).unwrap();
    let body = world.query().object(bucket, "a").unwrap().unwrap().body;
    let cut = |range| {
        let extents = world.query().extents(&body, range).unwrap();
        extents.iter().map(|extent| (extent.segment, extent.offset, extent.bytes)).collect::<Vec<_>>()
    };
    assert_eq!(cut(0..60), [(ids[0], 0, 10), (ids[1], 0, 20), (ids[2], 0, 30)]);
    assert_eq!(cut(9..31), [(ids[0], 9, 1), (ids[1], 0, 20), (ids[2], 0, 1)]);
    assert_eq!(cut(12..15), [(ids[1], 2, 3)]);
    assert_eq!(cut(10..10), []);
    assert_eq!(cut(59..99), [(ids[2], 29, 1)]);
}

#[test]
fn rows_have_room_for_a_wrapped_key_and_older_ones_read_as_without() {
    let (mut world, bucket) = World::ready();
    let (version, _) = world.put(bucket, "a", 10);
    let key = keys::object(bucket, "a", version);
    let mut older = world.rows.get(&key).unwrap().unwrap();
    let mut row: Record<ObjectRow> = decode(&key, &older).unwrap();
    older.truncate(older.len() - 1);
    world.rows.write(vec![(key.clone(), Some(older))]);
    assert_eq!(world.query().object(bucket, "a").unwrap().unwrap(), row.value);

    row.value.data_key = Some(DataKey { key_id: "one".to_owned(), wrapped: Bytes::from_static(b"wrapped") });
    let bytes = encode(&key, &row).unwrap();
    world.rows.write(vec![(key, Some(bytes))]);
    assert_eq!(world.query().object(bucket, "a").unwrap().unwrap(), row.value);
}
