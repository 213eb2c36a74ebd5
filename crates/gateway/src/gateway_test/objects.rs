//! Objects: up, down, in part, under conditions, away.

use md5::{Digest, Md5};

use super::world::{ROOT, World, ask, bytes_of, now};

#[tokio::test]
async fn bytes_and_metadata_come_back_as_they_came() {
    let world = World::new().await;
    for (key, length) in [("/bucket/empty", 0), ("/bucket/small", 22), ("/bucket/large", 5_000_001)] {
        let body = bytes_of(length);
        let request = ask("PUT", key)
            .body(body.clone())
            .header("content-type", "application/zip")
            .header("x-amz-meta-cachekey", "main/deps")
            .header("x-amz-server-side-encryption", "AES256");
        let stored = world.send(ROOT, request).await.expect(200);
        let etag = format!("\"{}\"", hex::encode(Md5::digest(&body)));
        assert_eq!(stored.header("etag"), etag);
        assert_eq!(stored.header("x-amz-server-side-encryption"), "", "nothing is encrypted yet, so nothing says so");
        for method in ["GET", "HEAD"] {
            let read = world.send(ROOT, ask(method, key)).await.expect(200);
            assert_eq!(read.header("content-length"), length.to_string(), "{method} {key}");
            assert_eq!(read.header("etag"), etag);
            assert_eq!(read.header("content-type"), "application/zip");
            assert_eq!(read.header("x-amz-meta-cachekey"), "main/deps");
            assert_eq!(read.header("x-amz-server-side-encryption"), "");
            assert_eq!(read.header("accept-ranges"), "bytes");
            assert!(read.header("last-modified").ends_with(" GMT"));
            assert!(!read.header("date").is_empty());
            assert_eq!(read.body, if method == "GET" { body.clone() } else { bytes_of(0) });
        }
    }
    world.gateway.shutdown().await;
}

#[tokio::test]
async fn ranges() {
    let world = World::new().await;
    let body = bytes_of(300_000);
    world.put("/bucket/key", body.clone()).await;
    for (range, bytes) in [
        ("bytes=0-0", 0..1),
        ("bytes=262143-262145", 262_143..262_146),
        ("bytes=299990-", 299_990..300_000),
        ("bytes=299990-400000", 299_990..300_000),
        ("bytes=-7", 299_993..300_000),
    ] {
        let read = world.send(ROOT, ask("GET", "/bucket/key").header("range", range)).await.expect(206);
        assert_eq!(read.header("content-range"), format!("bytes {}-{}/300000", bytes.start, bytes.end - 1));
        assert_eq!(read.body, body.slice(bytes), "{range}");
    }
    let behind = world.send(ROOT, ask("GET", "/bucket/key").header("range", "bytes=300000-")).await;
    behind.expect_error(416, "InvalidRange");
    assert_eq!(behind.header("content-range"), "bytes */300000");
    let two = world.send(ROOT, ask("GET", "/bucket/key").header("range", "bytes=0-1,3-4")).await.expect(200);
    assert_eq!(two.body, body);
}

#[tokio::test]
async fn conditions_on_reads_and_writes() {
    let world = World::new().await;
    let etag = world.put("/bucket/key", "one").await.header("etag").to_owned();
    let get = |name, value| world.send(ROOT, ask("GET", "/bucket/key").header(name, value));
    let unchanged = get("if-none-match", &etag).await.expect(304);
    assert!(unchanged.body.is_empty());
    assert_eq!(unchanged.header("etag"), etag);
    let other = get("if-match", "\"other\"").await;
    other.expect_error(412, "PreconditionFailed");
    assert!(!other.text().contains("changed"), "it was a read: {}", other.text());
    let weak = format!("W/{etag}");
    get("if-match", &weak).await.expect_error(412, "PreconditionFailed");
    get("if-none-match", &weak).await.expect(304);
    get("if-match", &etag).await.expect(200);

    let put = |name, value| world.send(ROOT, ask("PUT", "/bucket/key").header(name, value).body("two"));
    put("if-none-match", "*").await.expect_error(412, "PreconditionFailed");
    put("if-match", &weak).await.expect_error(412, "PreconditionFailed");
    put("if-match", "\"00000000000000000000000000000000\"").await.expect_error(412, "PreconditionFailed");
    assert_eq!(world.get("/bucket/key").await.text(), "one");
    put("if-match", &etag).await.expect(200);
    assert_eq!(world.get("/bucket/key").await.text(), "two");
    world.send(ROOT, ask("PUT", "/bucket/new").header("if-none-match", "*").body("x")).await.expect(200);
    let missing = world.send(ROOT, ask("PUT", "/bucket/none").header("if-match", "*").body("x")).await;
    assert_eq!(missing.status, 404, "{}", missing.text());
}

#[tokio::test]
async fn a_miss_is_a_404_and_a_head_has_no_body() {
    let world = World::new().await;
    let missing = world.get("/bucket/none").await;
    missing.expect_error(404, "NoSuchKey");
    assert_eq!(missing.element("Key"), "none");
    let head = world.send(ROOT, ask("HEAD", "/bucket/none")).await.expect(404);
    assert!(head.body.is_empty());
    world.get("/nowhere/none").await.expect_error(404, "NoSuchBucket");
    world.send(ROOT, ask("DELETE", "/bucket/none")).await.expect(204);
    world.put("/bucket/key", "x").await;
    world.send(ROOT, ask("DELETE", "/bucket/key")).await.expect(204);
    world.get("/bucket/key").await.expect_error(404, "NoSuchKey");
}

#[tokio::test]
async fn response_overrides() {
    let world = World::new().await;
    world.put("/bucket/key", "x").await;
    let query = "response-content-disposition=attachment&response-content-type=text%2Fplain";
    let read = world.send(ROOT, ask("GET", "/bucket/key").query(query)).await.expect(200);
    assert_eq!(read.header("content-disposition"), "attachment");
    assert_eq!(read.header("content-type"), "text/plain");
}

#[tokio::test]
async fn too_few_disks_are_a_503() {
    let world = World::new().await;
    world.put("/bucket/key", bytes_of(100_000)).await;
    for disk in world.disks.all() {
        disk.faults().gone(true);
    }
    let refused = world.send(ROOT, ask("PUT", "/bucket/key").body(bytes_of(100_000))).await;
    assert_eq!(refused.status, 503, "{}", refused.text());
    let unreadable = world.get("/bucket/key").await;
    assert!(unreadable.status.is_server_error(), "{}", unreadable.status);
}

#[tokio::test]
async fn buckets() {
    let world = World::new().await;
    world.send(ROOT, ask("PUT", "/bucket")).await.expect_error(409, "BucketAlreadyOwnedByYou");
    world.send(ROOT, ask("PUT", "/Bad_Name")).await.expect_error(400, "InvalidBucketName");
    let made = world.send(ROOT, ask("PUT", "/second")).await.expect(200);
    assert_eq!(made.header("location"), "/second");
    world.send(ROOT, ask("HEAD", "/second")).await.expect(200);
    let location = world.send(ROOT, ask("GET", "/second").query("location")).await.expect(200);
    assert!(location.text().contains("LocationConstraint"));
    world.put("/second/key", "x").await;
    world.send(ROOT, ask("DELETE", "/second")).await.expect_error(409, "BucketNotEmpty");
    world.send(ROOT, ask("DELETE", "/second/key")).await.expect(204);
    world.send(ROOT, ask("DELETE", "/second")).await.expect(204);
    world.send(ROOT, ask("HEAD", "/second")).await.expect(404);
}

#[tokio::test]
async fn last_modified_is_never_in_the_future() {
    let world = World::with_leader_ahead().await;
    world.put("/bucket/key", "x").await;
    let read = world.get("/bucket/key").await.expect(200);
    let modified = cairn_s3::dates::parse_http(read.header("last-modified")).unwrap();
    assert!(modified <= now(), "{modified}");
}
