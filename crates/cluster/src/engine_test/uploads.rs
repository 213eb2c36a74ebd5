//! Multipart uploads.

use bytes::Bytes;
use cairn_meta::{Attributes, ChosenPart, PartRef, UploadQuery};
use cairn_proto::UploadId;

use crate::error::EngineError;
use crate::ops::PartCommit;
use crate::options::EngineOptions;
use crate::testing::{World, bytes_of, options};
use crate::write::{OwnUpload, WriteKind, WriteTarget};

async fn put_part(world: &World, upload: UploadId, number: u16, bytes: &Bytes) -> Result<(), EngineError> {
    let length = Some(u64::try_from(bytes.len()).unwrap());
    let kind = WriteKind::Part { upload, number };
    let target = WriteTarget { bucket: world.bucket, key: "key".to_owned(), kind, length, class: None };
    let stored = world.store(target, bytes).await?;
    let part = PartCommit {
        bucket: world.bucket,
        key: "key".to_owned(),
        upload,
        number,
        etag: format!("etag-{number}"),
        checksum: None,
    };
    world.engine.commit_part(stored, part).await.map(|_| ())
}

fn chosen(number: u16) -> ChosenPart {
    ChosenPart { number, etag: format!("etag-{number}"), checksum: None }
}

async fn complete(world: &World, upload: UploadId, parts: Vec<ChosenPart>) -> Result<crate::Committed, EngineError> {
    let bucket = world.bucket;
    world.engine.complete_upload(bucket, "key", upload, parts, "etag-2".to_owned(), None, Default::default()).await
}

#[tokio::test]
async fn parts_in_any_order_make_the_object() {
    let world = World::new(6).await;
    let upload = world.engine.create_upload(world.bucket, "key", Attributes::default(), None, "me").await.unwrap();
    let large = bytes_of((5 << 20) + 3, 41);
    let replaced = bytes_of(10, 42);
    let last = bytes_of(77, 43);
    put_part(&world, upload, 9, &last).await.unwrap();
    put_part(&world, upload, 2, &replaced).await.unwrap();
    put_part(&world, upload, 2, &large).await.unwrap();
    put_part(&world, upload, 5, &last).await.unwrap();
    assert_eq!(world.engine.parts(upload, None, 10).await.unwrap().parts.len(), 3);
    assert!(matches!(
        complete(&world, upload, vec![chosen(5), chosen(9)]).await,
        Err(EngineError::PartTooSmall { .. })
    ));
    assert!(matches!(complete(&world, upload, vec![chosen(9), chosen(2)]).await, Err(EngineError::InvalidPartOrder)));
    assert!(matches!(complete(&world, upload, vec![chosen(7)]).await, Err(EngineError::InvalidPart { number: 7 })));
    let first = complete(&world, upload, vec![chosen(2), chosen(9)]).await.unwrap();
    let again = complete(&world, upload, vec![chosen(2), chosen(9)]).await.unwrap();
    assert_eq!(first, again);
    assert!(world.get("key").await.unwrap() == [large.clone(), last.clone()].concat());
    let reader = world.open("key").await.unwrap();
    let split = u64::try_from(large.len()).unwrap();
    let expected = [PartRef { number: 2, bytes: split }, PartRef { number: 9, bytes: 77 }];
    assert_eq!(reader.uploaded_parts().await.unwrap(), expected);
    assert!(
        world.get_range("key", split - 2..split + 2).await.unwrap() == [&large[large.len() - 2..], &last[..2]].concat()
    );
}

#[tokio::test]
async fn a_part_without_bytes_has_no_segments() {
    let world = World::new(6).await;
    let upload = world.engine.create_upload(world.bucket, "key", Attributes::default(), None, "me").await.unwrap();
    put_part(&world, upload, 1, &Bytes::new()).await.unwrap();
    assert!(world.engine.part(upload, 1).await.unwrap().unwrap().extents.is_empty());
    complete(&world, upload, vec![chosen(1)]).await.unwrap();
    assert!(world.get("key").await.unwrap().is_empty());
}

#[tokio::test]
async fn an_aborted_upload_takes_no_more_parts() {
    let world = World::new(6).await;
    let upload = world.engine.create_upload(world.bucket, "key", Attributes::default(), None, "me").await.unwrap();
    put_part(&world, upload, 1, &bytes_of(100, 44)).await.unwrap();
    let query = || UploadQuery { bucket: world.bucket, prefix: String::new(), delimiter: None, after: None, limit: 10 };
    assert_eq!(world.engine.uploads(query()).await.unwrap().uploads.len(), 1);
    assert_eq!(world.engine.upload(world.bucket, "key", upload).await.unwrap().initiator, "me");
    world.engine.abort_upload(world.bucket, "key", upload).await.unwrap();
    assert!(world.engine.uploads(query()).await.unwrap().uploads.is_empty());
    let late = put_part(&world, upload, 2, &bytes_of(100, 45)).await;
    assert!(matches!(late, Err(EngineError::NoSuchUpload)));
    assert!(matches!(world.engine.upload(world.bucket, "key", upload).await, Err(EngineError::NoSuchUpload)));
}

#[tokio::test]
async fn an_own_upload_whose_parts_failed_is_removed_whatever_is_known_of_the_last_one() {
    let world = World::new(6).await;
    for error in [EngineError::Unknown, EngineError::invalid("a part was refused")] {
        let object = world.commit("key");
        let upload = OwnUpload::open(world.engine.shared(), &object).await.unwrap();
        let id = upload.id;
        let unknown = matches!(error, EngineError::Unknown);
        let ended = upload.end(Err(error)).await;
        assert_eq!(matches!(ended, Err(EngineError::Unknown)), unknown, "{ended:?}");
        let gone = world.engine.upload(world.bucket, "key", id).await;
        assert!(matches!(gone, Err(EngineError::NoSuchUpload)), "{gone:?}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_before_it_is_written() {
    let options = EngineOptions { extents_max: 2, segment_bytes_max: 64 << 10, ..options(6) };
    let world = World::with(options).await;
    let target = |kind, length| WriteTarget { bucket: world.bucket, key: "key".to_owned(), kind, length, class: None };
    let upload = world.engine.create_upload(world.bucket, "key", Attributes::default(), None, "me").await.unwrap();
    let part = WriteKind::Part { upload, number: 1 };
    let part_max = 128 << 10;
    for (kind, bytes_max) in [(part, part_max), (WriteKind::Object, 8192 * (64 << 10))] {
        assert!(world.engine.begin_write(target(kind, Some(bytes_max))).await.is_ok());
        let refused = world.engine.begin_write(target(kind, Some(bytes_max + 1))).await.err();
        let told =
            |error: &EngineError| matches!(error, EngineError::TooLarge { bytes_max: told } if *told == bytes_max);
        assert!(refused.as_ref().is_some_and(told), "{refused:?}");
    }
    let refused = world.engine.check_part_bytes(part_max + 1);
    assert!(matches!(refused, Err(EngineError::TooLarge { .. })), "{refused:?}");

    // Of unknown length: at the moment it is passed.
    let mut writer = world.engine.begin_write(target(part, None)).await.unwrap();
    writer.write(bytes_of(128 << 10, 1)).await.unwrap();
    let refused = writer.write(Bytes::from_static(b"x")).await;
    assert!(matches!(refused, Err(EngineError::TooLarge { .. })), "{refused:?}");
    // What fits is stored: as many segments as a row lists.
    put_part(&world, upload, 1, &bytes_of(128 << 10, 2)).await.unwrap();
}
