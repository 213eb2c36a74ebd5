//! Ranges of presigned URLs while their object is overwritten, deleted and reaped.

use std::time::Duration;

use cairn_meta::BucketSettings;

use super::testing::{World, check_reader};
use crate::error::EngineError;
use crate::read::{ObjectReader, UrlId, UrlRange};

const OBJECT: usize = 1_500_000;
/// The clock of these worlds stands at 1,000 s: what is written has that time.
const WRITTEN_MS: u64 = 1_000_000;
const BEFORE_MS: u64 = 999_000;
const AFTER_MS: u64 = 1_001_000;
const NOW_MS: u64 = 1_100_000;

/// By the clock, each URL may be from before the process began.
fn range(url: u16, signed_ms: u64, is_first: bool) -> UrlRange {
    let mut id = [0; 32];
    id[..2].copy_from_slice(&url.to_be_bytes());
    let (ahead_ms_max, bucket_created_ms) = (900_000, 0);
    UrlRange { url: UrlId(id), signed_ms, ahead_ms_max, now_ms: NOW_MS, bucket_created_ms, is_first }
}

async fn open(world: &World, range: UrlRange) -> Result<ObjectReader, EngineError> {
    world.engine.open_range(world.bucket, "key", &range).await
}

#[tokio::test]
async fn all_ranges_of_a_url_are_of_the_version_that_the_first_one_saw() {
    let world = World::new(6).await;
    world.put("key", OBJECT).await;
    let version = open(&world, range(1, BEFORE_MS, true)).await.unwrap().row().version;
    world.put("key", OBJECT + 1).await;
    world.put("other", OBJECT).await;
    world.delete("other").await;
    world.settle().await;
    assert_eq!(world.garbage_rows().await, 1, "the version that is read stays, and no other");
    for is_first in [false, true, false] {
        let reader = open(&world, range(1, BEFORE_MS, is_first)).await.unwrap();
        assert_eq!(reader.row().version, version, "a second download of the URL shares what the first one holds");
        check_reader(reader, "key", OBJECT).await;
    }
    let other = open(&world, range(2, AFTER_MS, true)).await.unwrap();
    check_reader(other, "key", OBJECT + 1).await;
    check_reader(world.open("key").await, "key", OBJECT + 1).await;
    world.delete("key").await;
    world.settle().await;
    check_reader(open(&world, range(1, BEFORE_MS, false)).await.unwrap(), "key", OBJECT).await;
    let gone = open(&world, range(3, AFTER_MS, true)).await;
    assert!(matches!(gone, Err(EngineError::NoSuchObject)));
}

/// A bucket that was made anew has the name of the one before, and its URLs.
#[tokio::test]
async fn a_url_of_a_bucket_that_is_gone_sees_nothing_of_the_one_that_came_after() {
    let mut world = World::new(6).await;
    world.put("key", OBJECT).await;
    let reader = open(&world, range(1, BEFORE_MS, true)).await.unwrap();
    world.engine.create_bucket("anew", BucketSettings::default(), None).await.unwrap();
    world.bucket = world.engine.bucket("anew").await.unwrap().id;
    world.put("key", OBJECT + 1).await;
    assert!(matches!(open(&world, range(1, BEFORE_MS, false)).await, Err(EngineError::VersionUnknown)));
    check_reader(reader, "key", OBJECT).await;
    check_reader(open(&world, range(1, BEFORE_MS, true)).await.unwrap(), "key", OBJECT + 1).await;
}

#[tokio::test]
async fn a_version_is_let_go_when_no_range_came_for_some_time() {
    let quiet = Duration::from_millis(300);
    let world = World::with(6, |options| options.url_quiet_max = quiet).await;
    world.put("key", OBJECT).await;
    let reader = open(&world, range(1, BEFORE_MS, true)).await.unwrap();
    world.put("key", OBJECT + 1).await;
    tokio::time::sleep(2 * quiet).await;
    world.settle().await;
    assert_eq!(world.garbage_rows().await, 1, "a range that is being sent holds the version however long it takes");
    check_reader(open(&world, range(1, BEFORE_MS, false)).await.unwrap(), "key", OBJECT).await;
    drop(reader);
    tokio::time::sleep(2 * quiet).await;
    world.settle().await;
    assert_eq!(world.garbage_rows().await, 0);
    assert!(matches!(open(&world, range(1, BEFORE_MS, false)).await, Err(EngineError::VersionUnknown)));
    check_reader(open(&world, range(1, BEFORE_MS, true)).await.unwrap(), "key", OBJECT + 1).await;
}

/// A version that is let go is still known: while it stands, the download goes on whatever the times say.
#[tokio::test]
async fn a_url_whose_version_was_let_go_goes_on_with_it_and_with_no_other() {
    let quiet = Duration::from_millis(100);
    let world = World::with(6, |options| options.url_quiet_max = quiet).await;
    world.put("key", OBJECT).await;
    // The second one's signer has a clock that goes ahead: it hides no overwrite.
    let urls = [(1, BEFORE_MS), (2, NOW_MS + 60_000)];
    for (url, signed_ms) in urls {
        drop(open(&world, range(url, signed_ms, true)).await.unwrap());
    }
    tokio::time::sleep(2 * quiet).await;
    world.settle().await;
    for (url, signed_ms) in urls {
        check_reader(open(&world, range(url, signed_ms, false)).await.unwrap(), "key", OBJECT).await;
    }
    tokio::time::sleep(2 * quiet).await;
    world.put("key", OBJECT + 1).await;
    for (url, signed_ms) in urls {
        let another = open(&world, range(url, signed_ms, false)).await;
        assert!(matches!(another, Err(EngineError::VersionUnknown)), "{url}");
    }
}

#[tokio::test]
async fn a_range_is_served_in_the_second_of_its_upload_where_the_url_is_as_young_as_the_process() {
    let world = World::new(6).await;
    world.put("key", OBJECT).await;
    let young = UrlRange { ahead_ms_max: 0, now_ms: WRITTEN_MS, ..range(1, WRITTEN_MS, false) };
    check_reader(open(&world, young).await.unwrap(), "key", OBJECT).await;
    let in_a_new_bucket = UrlRange { bucket_created_ms: NOW_MS, ..range(2, BEFORE_MS, false) };
    check_reader(open(&world, in_a_new_bucket).await.unwrap(), "key", OBJECT).await;
}

#[tokio::test]
async fn after_a_restart_a_version_that_may_be_newer_than_the_url_is_refused_but_for_the_first_range() {
    let world = World::new(6).await;
    world.put("key", OBJECT).await;
    let seen = open(&world, range(1, BEFORE_MS, true)).await.unwrap();
    drop(seen);
    let world = world.next_life().await;
    // Signed in the second of the upload: nobody can tell which was first.
    for signed_ms in [BEFORE_MS, WRITTEN_MS] {
        let unknown = open(&world, range(1, signed_ms, false)).await;
        assert!(matches!(unknown, Err(EngineError::VersionUnknown)), "{signed_ms}");
    }
    // An older version stood still since the URL was signed. From here on it is held.
    check_reader(open(&world, range(2, AFTER_MS, false)).await.unwrap(), "key", OBJECT).await;
    world.put("key", OBJECT + 1).await;
    check_reader(open(&world, range(2, AFTER_MS, false)).await.unwrap(), "key", OBJECT).await;
    check_reader(open(&world, range(1, BEFORE_MS, true)).await.unwrap(), "key", OBJECT + 1).await;
    check_reader(open(&world, range(1, BEFORE_MS, false)).await.unwrap(), "key", OBJECT + 1).await;
}

#[tokio::test]
async fn of_too_many_urls_the_quietest_is_forgotten() {
    let world = World::new(6).await;
    world.put("key", 100).await;
    for url in 0..=1024 {
        open(&world, range(url, BEFORE_MS, true)).await.unwrap();
        if url > 0 {
            // Asked again and again: never the quietest.
            open(&world, range(1, BEFORE_MS, false)).await.unwrap();
        }
    }
    world.put("key", 101).await;
    assert!(matches!(open(&world, range(0, BEFORE_MS, false)).await, Err(EngineError::VersionUnknown)));
    for url in [1, 2, 1024] {
        assert_eq!(open(&world, range(url, BEFORE_MS, false)).await.unwrap().row().bytes, 100, "{url}");
    }
}
