//! What a bucket's owner chose, on the disks: profiles, and caches that go on with less parity.

use cairn_erasure::ErasureProfile;
use cairn_meta::{Attributes, Body, BucketSettings, Preconditions, ProfileRow, ProfileWish, SettingsChange};

use super::testing::World;
use crate::error::EngineError;
use crate::ops::{NarrowReport, ObjectCommit};

const OBJECT: usize = 2_500_000;

const fn profile(data: u8, parity: u8) -> ProfileRow {
    ProfileRow { data, parity }
}

async fn use_bucket(world: &mut World, name: &str, settings: BucketSettings) {
    world.engine.create_bucket(name, settings, None).await.unwrap();
    world.bucket = world.engine.bucket(name).await.unwrap().id;
}

/// The profiles an object's bytes are in.
async fn profiles_of(world: &World, key: &str) -> Vec<ProfileRow> {
    let Body::Extents(extents) = world.open(key).await.row().body.clone() else { panic!("no extents") };
    let map = world.engine.shared().map.load();
    let mut found: Vec<ProfileRow> = extents.iter().map(|extent| map.pg(extent.pg).unwrap().profile).collect();
    found.dedup();
    found
}

async fn copy(world: &World, from: &str, to: &str, class: Option<&str>) {
    let commit = ObjectCommit {
        bucket: world.bucket,
        key: to.to_owned(),
        etag: "copied".to_owned(),
        checksum: None,
        attributes: Attributes { storage_class: class.map(str::to_owned), ..Attributes::default() },
        preconditions: Preconditions::default(),
    };
    let source = world.open(from).await;
    world.engine.copy_object(&source, commit).await.unwrap();
}

#[tokio::test]
async fn a_cache_goes_on_with_the_disks_that_are_left_and_tells_what_it_lacks() {
    for (left, narrow) in [(2, profile(1, 1)), (1, profile(1, 0))] {
        let mut world = World::new(6).await;
        for number in left..6 {
            world.disk(number).faults().gone(true);
        }
        let refused = world.try_put("key", OBJECT).await;
        assert!(matches!(refused, Err(EngineError::Unavailable { .. })), "{refused:?}");
        use_bucket(&mut world, "cache", BucketSettings { cache: true, ..BucketSettings::default() }).await;
        world.put("key", OBJECT).await;
        world.check("key", OBJECT).await;
        assert_eq!(profiles_of(&world, "key").await, [narrow]);
        let status = world.engine.status().await.unwrap();
        assert_eq!(status.narrow, [NarrowReport { profile: narrow, segments: 3 }]);
        assert!(!status.writable, "ordinary buckets cannot be written");

        for number in left..6 {
            world.disk(number).faults().gone(false);
        }
        world.settle().await;
        world.check("key", OBJECT).await;
        assert_eq!(world.engine.status().await.unwrap().narrow.len(), 1, "it is told until it is written anew");
        copy(&world, "key", "key", None).await;
        assert_eq!(profiles_of(&world, "key").await, [profile(4, 2)]);
        world.settle().await;
        let status = world.engine.status().await.unwrap();
        assert!(status.writable && status.narrow.is_empty(), "{status:?}");
        world.check("key", OBJECT).await;
        world.assert_clean().await;
    }
}

#[tokio::test]
async fn a_cache_that_loses_disks_amid_a_write_finishes_it_on_those_that_are_left() {
    let mut world = World::new(6).await;
    use_bucket(&mut world, "cache", BucketSettings { cache: true, ..BucketSettings::default() }).await;
    for number in 0..2 {
        world.disk(number).faults().gone(true);
    }
    world.put("before", OBJECT).await;
    assert_eq!(profiles_of(&world, "before").await, [profile(2, 2)], "m is kept as long as it can be");
    for number in 2..5 {
        world.disk(number).faults().gone(true);
    }
    world.put("after", OBJECT).await;
    assert_eq!(profiles_of(&world, "after").await, [profile(1, 0)]);
    world.check("after", OBJECT).await;
}

#[tokio::test]
async fn a_class_goes_before_the_bucket_and_the_bucket_before_the_server() {
    let class: ErasureProfile = "5+1".parse().unwrap();
    let mut world =
        World::with(6, |options| _ = options.storage_classes.insert("REDUCED_REDUNDANCY".to_owned(), class)).await;
    world.put("of-server", OBJECT).await;
    assert_eq!(profiles_of(&world, "of-server").await, [profile(4, 2)]);
    use_bucket(&mut world, "narrow", BucketSettings { profile: Some(profile(2, 1)), ..BucketSettings::default() })
        .await;
    world.put("of-bucket", OBJECT).await;
    assert_eq!(profiles_of(&world, "of-bucket").await, [profile(2, 1)]);

    let shards = world.shards();
    copy(&world, "of-bucket", "same", Some("STANDARD_IA")).await;
    assert_eq!(world.shards(), shards, "a class without a profile means the bucket's: no bytes move");
    copy(&world, "of-bucket", "of-class", Some("REDUCED_REDUNDANCY")).await;
    assert_eq!(profiles_of(&world, "of-class").await, [profile(5, 1)]);
    assert!(world.shards() > shards);

    let change = SettingsChange { profile: Some(ProfileWish::Server), ..SettingsChange::default() };
    world.engine.set_bucket_settings("narrow", change).await.unwrap();
    copy(&world, "of-bucket", "of-server-now", None).await;
    assert_eq!(profiles_of(&world, "of-server-now").await, [profile(4, 2)]);
    assert_eq!(profiles_of(&world, "of-bucket").await, [profile(2, 1)], "what is there stays");
    assert!(world.engine.status().await.unwrap().narrow.iter().all(|report| report.profile != profile(5, 1)));
}

#[tokio::test]
async fn a_chosen_profile_narrows_with_the_disks_and_one_that_is_too_wide_is_refused() {
    let mut world = World::new(6).await;
    let wide = BucketSettings { profile: Some(profile(8, 4)), ..BucketSettings::default() };
    let refused = world.engine.create_bucket("wide", wide, None).await;
    assert!(matches!(&refused, Err(EngineError::Invalid(why)) if why.contains("needs 12 disks")), "{refused:?}");
    use_bucket(&mut world, "wide", BucketSettings { profile: Some(profile(5, 1)), ..BucketSettings::default() }).await;
    let change = SettingsChange { profile: Some(ProfileWish::Fixed(profile(6, 1))), ..SettingsChange::default() };
    assert!(world.engine.set_bucket_settings("wide", change).await.is_err());
    for number in 3..6 {
        world.disk(number).faults().gone(true);
    }
    world.put("key", OBJECT).await;
    assert_eq!(profiles_of(&world, "key").await, [profile(2, 1)]);
    world.check("key", OBJECT).await;
}
