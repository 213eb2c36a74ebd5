//! Ranges of presigned URLs while their object is overwritten, deleted and reaped.

use std::time::Duration;

use super::testing::{World, check_reader};
use crate::error::EngineError;
use crate::read::{ObjectReader, UrlId, UrlRange};

const OBJECT: usize = 1_500_000;
/// The clock of these worlds stands at 1,000 s.
const BEFORE_MS: u64 = 999_000;
const AFTER_MS: u64 = 1_001_000;

fn range(url: u16, signed_ms: u64, is_first: bool) -> UrlRange {
    let mut id = [0; 32];
    id[..2].copy_from_slice(&url.to_be_bytes());
    UrlRange { url: UrlId(id), signed_ms, is_first }
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

#[tokio::test]
async fn after_a_restart_a_version_that_may_be_newer_than_the_url_is_refused_but_for_the_first_range() {
    let world = World::new(6).await;
    world.put("key", OBJECT).await;
    let seen = open(&world, range(1, BEFORE_MS, true)).await.unwrap();
    drop(seen);
    let world = world.next_life().await;
    // Signed in the second of the upload: nobody can tell which was first.
    for signed_ms in [BEFORE_MS, 1_000_000] {
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
