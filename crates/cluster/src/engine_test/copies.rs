//! Copies: by reference where that can be, with bytes of their own where not.

use cairn_meta::{Attributes, Body, Preconditions};
use cairn_proto::UploadId;

use crate::error::EngineError;
use crate::ops::{ObjectCommit, PartCommit};
use crate::options::EngineOptions;
use crate::testing::{World, bytes_of};

const SEGMENT: usize = 3 << 20;

fn shards(world: &World) -> u64 {
    use cairn_shard_store::ShardStore;
    (0..6).map(|number| world.disk(number).status().shards).sum()
}

/// Rows that list two segments, and small segments.
fn few_extents() -> EngineOptions {
    EngineOptions { extents_max: 2, segment_bytes_max: 1 << 18, ..crate::testing::options(6) }
}

fn part_of(key: &str, world: &World, upload: UploadId, number: u16) -> PartCommit {
    let (bucket, key, etag) = (world.bucket, key.to_owned(), format!("part-{number}"));
    PartCommit { bucket, key, upload, number, etag, checksum: None }
}

#[tokio::test]
async fn a_copy_moves_no_bytes_and_outlives_its_source() {
    let world = World::new(6).await;
    for length in [0, 100, SEGMENT + 9] {
        let bytes = bytes_of(length, 31);
        world.put("source", &bytes).await.unwrap();
        let before = shards(&world);
        let source = world.open("source").await.unwrap();
        let attributes = Attributes { storage_class: Some("other".to_owned()), ..Attributes::default() };
        let to = ObjectCommit { attributes: attributes.clone(), etag: "copied".to_owned(), ..world.commit("copy") };
        world.engine.copy_object(&source, to).await.unwrap();
        assert_eq!(shards(&world), before, "{length} bytes");
        world.engine.delete_objects(world.bucket, vec![("source".to_owned(), Default::default())]).await.unwrap();
        let copy = world.open("copy").await.unwrap();
        assert_eq!((copy.row().attributes.clone(), copy.row().etag.as_str()), (attributes, "copied"));
        assert!(world.get("copy").await.unwrap() == bytes);
    }
}

#[tokio::test]
async fn a_source_that_was_overwritten_is_copied_as_it_was_opened() {
    let world = World::new(6).await;
    let bytes = bytes_of(SEGMENT + 9, 32);
    world.put("source", &bytes).await.unwrap();
    let source = world.open("source").await.unwrap();
    world.put("source", &bytes_of(50, 33)).await.unwrap();
    world.engine.copy_object(&source, world.commit("copy")).await.unwrap();
    assert!(world.get("copy").await.unwrap() == bytes);
}

/// The source is in parts of its own, since a row lists two segments; its 33 segments are read in three windows.
#[tokio::test]
async fn a_copy_of_many_segments_moves_no_bytes_either() {
    let world = World::with(few_extents()).await;
    let bytes = bytes_of((33 << 18) + 7, 34);
    world.put("source", &bytes).await.unwrap();
    let before = shards(&world);
    let source = world.open("source").await.unwrap();
    let to = ObjectCommit { etag: "copied".to_owned(), ..world.commit("copy") };
    world.engine.copy_object(&source, to).await.unwrap();
    assert_eq!(shards(&world), before);
    world.engine.delete_objects(world.bucket, vec![("source".to_owned(), Default::default())]).await.unwrap();
    assert!(world.get("copy").await.unwrap() == bytes);
    assert_eq!(world.open("copy").await.unwrap().row().etag, "copied");
    // A part refers to what its row lists, and has bytes of its own where that is too little.
    let upload = world.engine.create_upload(world.bucket, "parts", Attributes::default(), None, "me").await.unwrap();
    let source = world.open("copy").await.unwrap();
    let part = |number| part_of("parts", &world, upload, number);
    world.engine.copy_part(&source, 7..(2 << 18), part(1)).await.unwrap();
    assert_eq!(shards(&world), before);
    world.engine.copy_part(&source, 7..(2 << 18) + 1, part(2)).await.unwrap();
    assert_eq!(shards(&world), before + 2 * 6);
}

#[tokio::test]
async fn a_large_copy_keeps_its_conditions_and_leaves_nothing_behind() {
    let world = World::with(few_extents()).await;
    let bytes = bytes_of(5 << 18, 37);
    world.put("source", &bytes).await.unwrap();
    let source = world.open("source").await.unwrap();
    let must_be_new = Preconditions { absent: true, etags: None };
    world.put("copy", &bytes_of(10, 38)).await.unwrap();
    let to = ObjectCommit { preconditions: must_be_new, ..world.commit("copy") };
    let refused = world.engine.copy_object(&source, to).await;
    assert!(matches!(refused, Err(EngineError::PreconditionFailed)), "{refused:?}");
    assert_eq!(world.engine.bucket("bucket").await.unwrap().uploads, 0);
    // Overwritten since it was opened: the bytes are written anew.
    world.put("source", &bytes_of(50, 39)).await.unwrap();
    world.engine.copy_object(&source, world.commit("copy")).await.unwrap();
    assert!(world.get("copy").await.unwrap() == bytes);
    assert_eq!(world.engine.bucket("bucket").await.unwrap().uploads, 0);
}

#[tokio::test]
async fn a_part_copies_a_range_by_reference_and_inline_bytes_anew() {
    let world = World::new(6).await;
    let large = bytes_of(2 * SEGMENT, 35);
    let small = bytes_of(1000, 36);
    world.put("large", &large).await.unwrap();
    world.put("small", &small).await.unwrap();
    let upload = world.engine.create_upload(world.bucket, "whole", Attributes::default(), None, "me").await.unwrap();
    let part = |number| part_of("whole", &world, upload, number);
    let before = shards(&world);
    let source = world.open("large").await.unwrap();
    let range = 5..u64::try_from(2 * SEGMENT).unwrap() - 7;
    world.engine.copy_part(&source, range, part(1)).await.unwrap();
    assert_eq!(shards(&world), before);
    let source = world.open("small").await.unwrap();
    assert!(world.engine.copy_part(&source, 10..1001, part(2)).await.is_err(), "beyond the source");
    world.engine.copy_part(&source, 10..1000, part(2)).await.unwrap();
    assert_eq!(shards(&world), before + 6);
    let chosen = |number| cairn_meta::ChosenPart { number, etag: format!("part-{number}"), checksum: None };
    let parts = vec![chosen(1), chosen(2)];
    let completed =
        world.engine.complete_upload(world.bucket, "whole", upload, parts, "e".to_owned(), None, Default::default());
    completed.await.unwrap();
    let expected = [large.slice(5..2 * SEGMENT - 7), small.slice(10..)].concat();
    assert!(world.get("whole").await.unwrap() == expected);
    let row = world.open("whole").await.unwrap().row().clone();
    assert!(matches!(row.body, Body::Parts { .. }));
}
