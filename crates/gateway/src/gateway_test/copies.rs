//! CopyObject.

use std::time::Duration;

use cairn_meta::{ProfileRow, ProfileWish, SettingsChange};

use super::world::{ROOT, World, ask, bytes_of};
use crate::GatewayOptions;

#[tokio::test]
async fn copies_keep_or_replace_metadata() {
    let world = World::new().await;
    for (name, length) in [("small", 100), ("large", 300_000)] {
        let (from, to) = (format!("/bucket/{name} source"), format!("/bucket/{name}-copy"));
        let body = bytes_of(length);
        let path = from.replace(' ', "%20");
        world.send(ROOT, ask("PUT", &path).header("x-amz-meta-a", "b").body(body.clone())).await.expect(200);
        let copied = world.send(ROOT, ask("PUT", &to).header("x-amz-copy-source", &path)).await.expect(200);
        assert!(!copied.element("ETag").is_empty() && !copied.element("LastModified").is_empty());
        let read = world.get(&to).await.expect(200);
        assert_eq!((&read.body, read.header("x-amz-meta-a")), (&body, "b"));

        let replace = ask("PUT", &to)
            .header("x-amz-copy-source", &path)
            .header("x-amz-metadata-directive", "REPLACE")
            .header("x-amz-meta-c", "d")
            .header("x-amz-checksum-algorithm", "SHA256");
        let replaced = world.send(ROOT, replace).await.expect(200);
        assert!(!replaced.element("ChecksumSHA256").is_empty());
        let read = world.get(&to).await.expect(200);
        assert_eq!((read.header("x-amz-meta-a"), read.header("x-amz-meta-c")), ("", "d"));
        world.send(ROOT, ask("DELETE", &path)).await.expect(204);
        assert_eq!(world.get(&to).await.expect(200).body, body, "a copy outlives its source");
    }
}

/// The one change that no header asks for: it would be coded otherwise now.
#[tokio::test]
async fn a_copy_onto_itself_brings_an_object_to_a_new_profile() {
    let world = World::new().await;
    let body = bytes_of(300_000);
    world.put("/bucket/key", body.clone()).await;
    let copy = || ask("PUT", "/bucket/key").header("x-amz-copy-source", "/bucket/key");
    world.send(ROOT, copy()).await.expect_error(400, "InvalidRequest");
    let profile = Some(ProfileWish::Fixed(ProfileRow { data: 1, parity: 1 }));
    world.engine.set_bucket_settings("bucket", SettingsChange { profile, ..Default::default() }).await.unwrap();
    world.send(ROOT, copy()).await.expect(200);
    assert_eq!(world.get("/bucket/key").await.expect(200).body, body);
    world.send(ROOT, copy()).await.expect_error(400, "InvalidRequest");
}

#[tokio::test]
async fn copies_that_are_refused() {
    let world = World::new().await;
    let etag = world.put("/bucket/key", "x").await.header("etag").to_owned();
    let copy = |source| ask("PUT", "/bucket/key").header("x-amz-copy-source", source);
    world.send(ROOT, copy("/bucket/key")).await.expect_error(400, "InvalidRequest");
    world.send(ROOT, copy("/bucket/key").header("x-amz-metadata-directive", "REPLACE")).await.expect(200);
    world.send(ROOT, copy("/bucket/none")).await.expect_error(404, "NoSuchKey");
    world.send(ROOT, copy("/nowhere/key")).await.expect_error(404, "NoSuchBucket");
    let other = |name, value| ask("PUT", "/bucket/other").header("x-amz-copy-source", "bucket/key").header(name, value);
    for (name, value) in
        [("x-amz-copy-source-if-match", "\"other\""), ("x-amz-copy-source-if-none-match", etag.as_str())]
    {
        world.send(ROOT, other(name, value)).await.expect_error(412, "PreconditionFailed");
    }
    world.send(ROOT, other("x-amz-copy-source-if-match", &etag)).await.expect(200);
}

#[tokio::test]
async fn what_a_copy_would_ignore_is_refused() {
    let world = World::new().await;
    world.put("/bucket/source", "bytes in a row").await;
    let begun = world.send(ROOT, ask("POST", "/bucket/parts").query("uploads")).await.expect(200);
    let query = format!("partNumber=1&uploadId={}", begun.element("UploadId"));
    let copy = || ask("PUT", "/bucket/copy").header("x-amz-copy-source", "/bucket/source");
    let part = || ask("PUT", "/bucket/parts").query(&query).header("x-amz-copy-source", "/bucket/source");
    let value = ("x-amz-checksum-crc32", "AAAAAA==");
    for (request, told) in [
        (copy().header("x-amz-copy-source-range", "bytes=0-3"), "belongs to UploadPartCopy"),
        (copy().header(value.0, value.1), "send x-amz-checksum-algorithm"),
        (part().header(value.0, value.1), "send x-amz-checksum-algorithm"),
        (copy().body("x"), "a copy has no body"),
        (part().body("x"), "a copy has no body"),
        (ask("GET", "/bucket/source").header("x-amz-copy-source", "/bucket/source"), "belongs to a copy"),
        (ask("DELETE", "/bucket/source").header("x-amz-copy-source", "/bucket/source"), "belongs to a copy"),
    ] {
        let refused = world.send(ROOT, request).await;
        refused.expect_error(400, "InvalidRequest");
        assert!(refused.element("Message").contains(told), "{}", refused.text());
    }
    world.get("/bucket/copy").await.expect_error(404, "NoSuchKey");
    assert_eq!(world.get("/bucket/source").await.text(), "bytes in a row");
    world.send(ROOT, copy()).await.expect(200);
    world.send(ROOT, part().header("x-amz-copy-source-range", "bytes=0-3")).await.expect(200);
}

/// Hashing the source for the checksum that is asked for takes longer than the gateway's patience here.
#[tokio::test]
async fn a_copy_that_takes_long_is_answered_before_it_is_done() {
    const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
    let world = World::with(GatewayOptions { patience: Duration::from_millis(1), ..Default::default() }).await;
    world.put("/bucket/source", bytes_of(24 << 20)).await;
    let copy = || {
        let copy = ask("PUT", "/bucket/copy").header("x-amz-copy-source", "/bucket/source");
        copy.header("x-amz-checksum-algorithm", "SHA256")
    };
    let copied = world.send(ROOT, copy()).await.expect(200);
    let rest = copied.text().strip_prefix(DECLARATION).unwrap();
    assert!(rest.starts_with(' ') && rest.trim_start().starts_with("<CopyObjectResult"), "{rest}");
    assert_eq!(world.get("/bucket/copy").await.expect(200).body.len(), 24 << 20);
    // An error after that is in the document.
    let refused = world.send(ROOT, copy().header("if-none-match", "*")).await.expect(200);
    assert_eq!(refused.element("Code"), "PreconditionFailed", "{}", refused.text());
    assert_eq!(refused.element("RequestId"), refused.header("x-amz-request-id"));
    // What is wrong at once has its status.
    let world = World::new().await;
    world.send(ROOT, copy()).await.expect_error(404, "NoSuchKey");
}
