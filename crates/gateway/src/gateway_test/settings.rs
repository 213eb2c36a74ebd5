//! What a bucket's settings change for its clients.

use std::time::Duration;

use cairn_meta::{BucketSettings, EtagKind};
use cairn_s3::{RequestParts, dates};
use md5::{Digest, Md5};
use time::OffsetDateTime;

use super::world::{ROOT, Reply, World, ask, bytes_of, now, signer};
use crate::GatewayOptions;

async fn world() -> World {
    world_that_lets_go_after(Duration::from_secs(30)).await
}

/// A URL's version is let go when no range came for so long.
async fn world_that_lets_go_after(quiet: Duration) -> World {
    let options = GatewayOptions { storage_classes: vec!["EC_5_1".to_owned()], ..GatewayOptions::default() };
    let world = World::with_engine(options, |engine| engine.url_quiet_max = quiet).await;
    let cache = BucketSettings { cache: true, ..BucketSettings::default() };
    let fast = BucketSettings { etag: EtagKind::Fast, ..BucketSettings::default() };
    for (name, settings) in [("cache", cache), ("fast", fast)] {
        world.engine.create_bucket(name, settings, None).await.unwrap();
    }
    world
}

/// A presigned GET, to be sent many times.
struct Url<'a> {
    world: &'a World,
    path: &'a str,
    query: String,
}

impl<'a> Url<'a> {
    fn signed(world: &'a World, path: &'a str, at: OffsetDateTime) -> Self {
        let headers = http::HeaderMap::new();
        let parts = RequestParts { method: &http::Method::GET, host: &world.host, path, query: "", headers: &headers };
        let query = signer(ROOT).presign(&parts, 3600, at).unwrap();
        Self { world, path, query }
    }

    async fn get(&self, range: &str) -> Reply {
        let mut headers = http::HeaderMap::new();
        headers.insert("range", range.parse().unwrap());
        self.world.send_raw(&ask("GET", self.path), headers, &self.query).await
    }
}

#[tokio::test]
async fn ranges_of_one_presigned_url_stay_on_one_version_in_a_cache_alone() {
    let world = world().await;
    for (path, stays) in [("/cache/key", true), ("/bucket/key", false)] {
        let (old, new) = (bytes_of(200_000), vec![7; 250_000]);
        let stored = world.put(path, old.clone()).await;
        let url = Url::signed(&world, path, now());
        let first = url.get("bytes=0-0").await.expect(206);
        assert_eq!(first.header("content-range"), "bytes 0-0/200000");
        world.put(path, new.clone()).await;
        let later = url.get("bytes=100000-100099").await.expect(206);
        assert_eq!(later.header("etag") == stored.header("etag"), stays);
        assert_eq!(later.body == old.slice(100_000..100_100), stays);
        let behind = url.get("bytes=200000-").await;
        assert_eq!(behind.status.as_u16(), if stays { 416 } else { 206 });
        // Another URL, a whole GET of the same one, and a range signed by header see what is there now.
        let another = Url::signed(&world, path, now() - Duration::from_secs(5)).get("bytes=0-0").await.expect(206);
        assert_eq!(another.header("content-range"), "bytes 0-0/250000");
        let whole = world.send_raw(&ask("GET", path), http::HeaderMap::new(), &url.query).await.expect(200);
        assert_eq!(whole.body, new);
        let by_header = world.send(ROOT, ask("GET", path).header("range", "bytes=5-5")).await.expect(206);
        assert_eq!(by_header.header("content-range"), "bytes 5-5/250000");
    }
}

#[tokio::test]
async fn a_range_that_would_be_of_another_version_than_those_before_is_refused_in_a_cache() {
    const QUIET: Duration = Duration::from_millis(100);
    let world = world_that_lets_go_after(QUIET).await;
    for (path, status) in [("/cache/key", 412), ("/bucket/key", 206)] {
        // Signed by a clock that goes ahead: the overwrite lies before that time.
        let url = Url::signed(&world, path, now() + Duration::from_secs(60));
        world.put(path, bytes_of(60_000)).await;
        url.get("bytes=0-0").await.expect(206);
        tokio::time::sleep(2 * QUIET).await;
        url.get("bytes=5-9").await.expect(206);
        tokio::time::sleep(2 * QUIET).await;
        world.put(path, bytes_of(50_000)).await;
        let refused = url.get("bytes=5-9").await;
        assert_eq!(refused.status.as_u16(), status);
        if status == 412 {
            refused.expect_error(412, "PreconditionFailed");
            assert!(refused.element("Message").contains("overwritten after this URL was signed"));
        }
        url.get("bytes=0-0").await.expect(206);
        assert_eq!(url.get("bytes=5-9").await.expect(206).body, bytes_of(50_000).slice(5..10));
    }
}

#[tokio::test]
async fn a_range_in_the_second_of_its_upload_is_served_where_there_was_no_other_version() {
    let world = world().await;
    for path in ["/cache/key", "/bucket/key"] {
        world.put(path, bytes_of(50_000)).await;
        // The URL names the second, so it looks older than the upload.
        let url = Url::signed(&world, path, now() - Duration::from_secs(1));
        assert_eq!(url.get("bytes=5-9").await.expect(206).body, bytes_of(50_000).slice(5..10));
    }
}

#[tokio::test]
async fn a_cache_shows_the_uploaded_files_time_and_never_the_future() {
    let world = world().await;
    let past = "Sun, 06 Nov 1994 08:49:37 GMT";
    let future = dates::format_http(now() + Duration::from_secs(7200));
    let shown = |path: &'static str, sent: String| {
        let world = &world;
        async move {
            world.send(ROOT, ask("PUT", path).body("x").header("last-modified", &sent)).await.expect(200);
            let get = world.get(path).await.expect(200);
            let head = world.send(ROOT, ask("HEAD", path)).await.expect(200);
            assert_eq!(get.header("last-modified"), head.header("last-modified"));
            get.header("last-modified").to_owned()
        }
    };
    assert_eq!(shown("/cache/key", past.to_owned()).await, past);
    let not_later = world.send(ROOT, ask("GET", "/cache/key").header("if-modified-since", past)).await;
    // What is overwritten by a file of the future, or of no time, is as new as its upload.
    assert_eq!(not_later.status.as_u16(), 304);
    for sent in [future, "no date".to_owned()] {
        let moment = dates::parse_http(&shown("/cache/key", sent).await).unwrap();
        assert!(moment <= now() && moment > now() - Duration::from_secs(60), "{moment}");
    }
    assert_ne!(shown("/bucket/key", past.to_owned()).await, past, "an ordinary bucket goes by its own clock");
    shown("/cache/key", past.to_owned()).await;
    world.send(ROOT, ask("PUT", "/cache/copy").header("x-amz-copy-source", "/cache/key")).await.expect(200);
    assert_ne!(world.get("/cache/copy").await.header("last-modified"), past, "a copy is as new as it is");
}

#[tokio::test]
async fn a_fast_etag_is_no_md5_and_content_md5_is_verified_all_the_same() {
    let world = world().await;
    let body = bytes_of(3_000_000);
    let md5 = base64_of(&Md5::digest(&body));
    let etag = world.put("/fast/key", body.clone()).await.header("etag").to_owned();
    assert!(etag.len() == 36 && etag.ends_with("-1\""), "{etag}");
    let again = world.send(ROOT, ask("PUT", "/fast/again").body(body.clone()).header("content-md5", &md5)).await;
    assert_eq!(again.expect(200).header("etag"), etag, "the same bytes have the same ETag");
    let wrong = world.send(ROOT, ask("PUT", "/fast/key").body("other").header("content-md5", &md5)).await;
    wrong.expect_error(400, "BadDigest");
    assert_ne!(world.put("/fast/other", "other").await.header("etag"), etag);
    world.send(ROOT, ask("GET", "/fast/key").header("if-match", &etag)).await.expect(200);
    assert_eq!(world.get("/fast/key").await.body, body);

    let begun = world.send(ROOT, ask("POST", "/fast/parts").query("uploads=")).await.expect(200);
    let query = format!("partNumber=1&uploadId={}", begun.element("UploadId"));
    let part = world.send(ROOT, ask("PUT", "/fast/parts").query(&query).body(body.clone())).await.expect(200);
    let tag = part.header("etag");
    assert!(tag.ends_with("-1\""), "{tag}");
    let document = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{tag}</ETag></Part></CompleteMultipartUpload>"
    );
    let query = format!("uploadId={}", begun.element("UploadId"));
    world.send(ROOT, ask("POST", "/fast/parts").query(&query).body(document)).await.expect(200);
    assert_eq!(world.get("/fast/parts").await.body, body);
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.encode(bytes)
}

#[tokio::test]
async fn storage_classes_of_s3_and_configured_ones_are_kept_and_others_refused() {
    let world = world().await;
    for class in ["STANDARD_IA", "EC_5_1"] {
        world.send(ROOT, ask("PUT", "/bucket/key").body("x").header("x-amz-storage-class", class)).await.expect(200);
        assert_eq!(world.get("/bucket/key").await.header("x-amz-storage-class"), class);
    }
    let unknown = ask("PUT", "/bucket/key").body("y").header("x-amz-storage-class", "EC_9_9");
    world.send(ROOT, unknown).await.expect_error(400, "InvalidStorageClass");
    assert_eq!(world.get("/bucket/key").await.body, "x");
}
