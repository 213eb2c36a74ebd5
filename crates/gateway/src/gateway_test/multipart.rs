//! Uploads in parts.

use std::time::Duration;

use bytes::Bytes;
use cairn_s3::{ChecksumAlgorithm, ChecksumHasher};

use super::world::{ROOT, Reply, World, ask, bytes_of};
use crate::GatewayOptions;

const KEY: &str = "/bucket/parts";
const PART: usize = 5 << 20;

async fn begin(world: &World, checksum: Option<&str>) -> String {
    let mut request = ask("POST", KEY).query("uploads").header("x-amz-meta-a", "b");
    if let Some(checksum) = checksum {
        request = request.header("x-amz-checksum-algorithm", checksum);
    }
    world.send(ROOT, request).await.expect(200).element("UploadId").to_owned()
}

async fn part(world: &World, upload: &str, number: u32, body: Bytes) -> Reply {
    let query = format!("partNumber={number}&uploadId={upload}");
    world.send(ROOT, ask("PUT", KEY).query(&query).body(body)).await
}

/// The body of a complete.
pub(super) fn document(parts: &[(u32, &str)]) -> String {
    let parts: String = parts
        .iter()
        .map(|(number, etag)| format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"))
        .collect();
    format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>")
}

async fn complete(world: &World, upload: &str, parts: &[(u32, &str)]) -> Reply {
    let document = document(parts);
    world.send(ROOT, ask("POST", KEY).query(&format!("uploadId={upload}")).body(document)).await
}

#[tokio::test]
async fn parts_become_one_object() {
    let world = World::new().await;
    let upload = begin(&world, Some("CRC32")).await;
    let (first, second) = (bytes_of(PART), bytes_of(1000));
    let second_reply = part(&world, &upload, 7, second.clone()).await.expect(200);
    let first_reply = part(&world, &upload, 2, first.clone()).await.expect(200);
    let crc = |bytes: &[u8]| {
        let mut hasher = ChecksumHasher::new(ChecksumAlgorithm::Crc32);
        hasher.update(bytes);
        hasher.finish().to_string()
    };
    assert_eq!(first_reply.header("x-amz-checksum-crc32"), crc(&first), "the upload's checksum is computed");

    let listed = world.send(ROOT, ask("GET", KEY).query(&format!("uploadId={upload}"))).await.expect(200);
    assert_eq!((listed.element("PartNumber"), listed.element("Size")), ("2", "5242880"));
    let uploads = world.send(ROOT, ask("GET", "/bucket").query("uploads")).await.expect(200);
    assert_eq!(uploads.element("UploadId"), upload);

    let parts = [(2, first_reply.header("etag")), (7, second_reply.header("etag"))];
    let done = complete(&world, &upload, &parts).await.expect(200);
    assert!(done.element("ETag").ends_with("-2&quot;"), "{}", done.text());
    assert!(done.element("ChecksumCRC32").ends_with("-2"));
    let again = complete(&world, &upload, &parts).await.expect(200);
    assert_eq!(again.element("ETag"), done.element("ETag"), "a repeated complete answers as the first did");

    let read = world.get(KEY).await.expect(200);
    assert_eq!(read.body, [first.clone(), second.clone()].concat());
    assert_eq!(read.header("x-amz-meta-a"), "b");
    let one = world.send(ROOT, ask("GET", KEY).query("partNumber=7")).await.expect(206);
    assert_eq!((one.body, one.headers["x-amz-mp-parts-count"].to_str().unwrap()), (second, "2"));
    world.send(ROOT, ask("GET", KEY).query("partNumber=1")).await.expect_error(416, "InvalidPartNumber");
    let across = world.send(ROOT, ask("GET", KEY).header("range", "bytes=5242878-5242881")).await.expect(206);
    assert_eq!(across.body, [&first[PART - 2..], &bytes_of(1000)[..2]].concat());
    let head = world.send(ROOT, ask("HEAD", KEY).header("x-amz-checksum-mode", "ENABLED")).await.expect(200);
    assert_eq!(head.header("x-amz-checksum-type"), "COMPOSITE");
}

#[tokio::test]
async fn what_cannot_be_completed() {
    let world = World::new().await;
    let upload = begin(&world, None).await;
    let etag = part(&world, &upload, 1, bytes_of(1000)).await.expect(200).header("etag").to_owned();
    part(&world, &upload, 2, bytes_of(1000)).await.expect(200);
    complete(&world, &upload, &[(1, &etag), (2, &etag)]).await.expect_error(400, "EntityTooSmall");
    complete(&world, &upload, &[(2, &etag), (1, &etag)]).await.expect_error(400, "InvalidPartOrder");
    complete(&world, &upload, &[(1, &etag), (3, &etag)]).await.expect_error(400, "InvalidPart");
    complete(&world, &upload, &[(1, &"0".repeat(32))]).await.expect_error(400, "InvalidPart");
    complete(&world, &upload, &[]).await.expect_error(400, "MalformedXML");
    complete(&world, &"0".repeat(24), &[(1, &etag)]).await.expect_error(404, "NoSuchUpload");
    complete(&world, "garbage", &[(1, &etag)]).await.expect_error(404, "NoSuchUpload");
    part(&world, &"0".repeat(24), 1, bytes_of(10)).await.expect_error(404, "NoSuchUpload");
    for number in [0, 10_001] {
        part(&world, &upload, number, bytes_of(10)).await.expect_error(400, "InvalidArgument");
    }
    let query = format!("uploadId={upload}");
    world.send(ROOT, ask("DELETE", KEY).query(&query)).await.expect(204);
    world.send(ROOT, ask("DELETE", KEY).query(&query)).await.expect_error(404, "NoSuchUpload");
    complete(&world, &upload, &[(1, &etag)]).await.expect_error(404, "NoSuchUpload");
    world.get(KEY).await.expect_error(404, "NoSuchKey");
}

#[tokio::test]
async fn checksums_that_cannot_be_compared_complete_nothing() {
    let world = World::new().await;
    let upload = begin(&world, Some("CRC32")).await;
    let stored = part(&world, &upload, 1, bytes_of(1000)).await.expect(200);
    let (etag, crc) = (stored.header("etag"), stored.header("x-amz-checksum-crc32"));
    let sha = "AAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let query = format!("uploadId={upload}");
    let send = |checksums: &str, headers: &[(&'static str, &'static str)]| {
        let document = document(&[(1, etag)]).replace("</Part>", &format!("{checksums}</Part>"));
        let request = ask("POST", KEY).query(&query).body(document);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        world.send(ROOT, request)
    };
    let (of_crc, of_sha) =
        (format!("<ChecksumCRC32>{crc}</ChecksumCRC32>"), format!("<ChecksumSHA1>{sha}</ChecksumSHA1>"));
    for listed in [of_sha.clone(), format!("{of_crc}{of_sha}"), format!("{of_sha}{of_crc}")] {
        let refused = send(&listed, &[]).await;
        refused.expect_error(400, "InvalidPart");
        assert!(refused.element("Message").contains("CRC32"), "{}", refused.text());
    }
    for (header, part) in [
        (("x-amz-checksum-sha1", sha), "CRC32 checksums, not with SHA1"),
        (("x-amz-checksum-type", "FULL_OBJECT"), "COMPOSITE checksums, not with FULL_OBJECT"),
    ] {
        let refused = send("", &[header]).await;
        refused.expect_error(400, "InvalidRequest");
        assert!(refused.element("Message").contains(part), "{}", refused.text());
    }
    world.get(KEY).await.expect_error(404, "NoSuchKey");
    send(&of_crc, &[("x-amz-checksum-type", "COMPOSITE")]).await.expect(200);
}

#[tokio::test]
async fn parts_copied_from_an_object() {
    let world = World::new().await;
    let source = bytes_of(PART + 5000);
    world.put("/bucket/source", source.clone()).await;
    let upload = begin(&world, None).await;
    let copy = |number: u32, range: &'static str| {
        let (world, query) = (&world, format!("partNumber={number}&uploadId={upload}"));
        async move {
            let request = ask("PUT", KEY).query(&query).header("x-amz-copy-source", "/bucket/source");
            world.send(ROOT, request.header("x-amz-copy-source-range", range)).await
        }
    };
    let first = copy(1, "bytes=0-5242879").await.expect(200);
    let second = copy(2, "bytes=100-199").await.expect(200);
    copy(3, "bytes=0-99999999").await.expect_error(400, "InvalidArgument");
    let (first, second) = (first.element("ETag").replace("&quot;", ""), second.element("ETag").replace("&quot;", ""));
    complete(&world, &upload, &[(1, &first), (2, &second)]).await.expect(200);
    assert_eq!(world.get(KEY).await.expect(200).body, [&source[..PART], &source[100..200]].concat());
}

#[tokio::test]
async fn work_that_outlives_its_request_keeps_its_slot() {
    let world = World::with(GatewayOptions { requests_max: 1, ..GatewayOptions::default() }).await;
    world.put("/bucket/source", "bytes in a row").await;
    let upload = begin(&world, None).await;
    let hang = |on| world.disks.all().iter().for_each(|disk| disk.faults().hang(on));
    hang(true);
    let query = format!("partNumber=1&uploadId={upload}");
    let copy = ask("PUT", KEY).query(&query).header("x-amz-copy-source", "/bucket/source");
    // The client goes away while the bytes of its part wait for the disks.
    let gone = tokio::time::timeout(Duration::from_millis(100), world.send(ROOT, copy)).await;
    assert!(gone.is_err(), "the disks hang: {gone:?}");
    let head = async || world.send(ROOT, ask("HEAD", "/bucket/source")).await.status.as_u16();
    for _ in 0..10 {
        assert_eq!(head().await, 503, "the work is still being done");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    hang(false);
    let settled = async {
        while head().await != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), settled).await.expect("the slot comes back");
}

/// What came as one object, to its client: it has no part but the first, which is all of it.
async fn expect_no_parts(world: &World, path: &str, body: &Bytes) {
    let refused = world.send(ROOT, ask("GET", path).query("partNumber=2")).await;
    refused.expect_error(416, "InvalidPartNumber");
    assert_eq!((refused.element("PartNumberRequested"), refused.element("ActualPartCount")), ("2", "1"));
    world.send(ROOT, ask("HEAD", path).query("partNumber=2")).await.expect(416);
    for method in ["GET", "HEAD"] {
        let whole = world.send(ROOT, ask(method, path).query("partNumber=1")).await.expect(206);
        assert_eq!(whole.header("content-range"), format!("bytes 0-{}/{}", body.len() - 1, body.len()));
        assert_eq!(whole.header("x-amz-mp-parts-count"), "", "{method} {path}");
        assert!(method == "HEAD" || whole.body == body);
    }
}

/// Rows that list few segments: what has more is put together from parts of our own.
#[tokio::test]
async fn parts_of_our_own_are_not_shown() {
    let few = |options: &mut cairn_cluster::EngineOptions| {
        options.segment_bytes_max = 1 << 18;
        options.extents_max = 24;
    };
    let world = World::with_engine(GatewayOptions::default(), few).await;
    let (small, large) = (bytes_of(300_000), bytes_of(7 << 20));
    world.put("/bucket/small", small.clone()).await;
    expect_no_parts(&world, "/bucket/small", &small).await;
    let etag = world.put("/bucket/large", large.clone()).await.header("etag").to_owned();
    expect_no_parts(&world, "/bucket/large", &large).await;
    let copy = |from| ask("PUT", "/bucket/copy").header("x-amz-copy-source", from);
    world.send(ROOT, copy("/bucket/large")).await.expect(200);
    assert_eq!(world.get("/bucket/copy").await.header("etag"), etag);
    expect_no_parts(&world, "/bucket/copy", &large).await;

    // A copy of what was uploaded in parts has none, as in S3; its source keeps them.
    let upload = begin(&world, None).await;
    let (first, second) = (bytes_of(PART), bytes_of(2 << 20));
    let first_reply = part(&world, &upload, 1, first.clone()).await.expect(200);
    let second_reply = part(&world, &upload, 2, second.clone()).await.expect(200);
    complete(&world, &upload, &[(1, first_reply.header("etag")), (2, second_reply.header("etag"))]).await.expect(200);
    world.send(ROOT, copy(KEY)).await.expect(200);
    expect_no_parts(&world, "/bucket/copy", &[first, second.clone()].concat().into()).await;
    let shown = world.send(ROOT, ask("GET", KEY).query("partNumber=2")).await.expect(206);
    assert_eq!((&shown.body, shown.header("x-amz-mp-parts-count")), (&second, "2"));
}
