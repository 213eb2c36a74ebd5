//! Nothing is stored that is not what the client announced.

use base64::{Engine, engine::general_purpose::STANDARD};
use cairn_s3::{ChecksumAlgorithm, ChecksumHasher};
use md5::{Digest, Md5};

use super::world::{Ask, ROOT, World, ask, bytes_of};

const KEY: &str = "/bucket/key";
const TRAILER: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";

fn checksum(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> String {
    let mut hasher = ChecksumHasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish().to_string()
}

/// One chunk, as SDKs send it.
fn chunked(body: &[u8], trailer: &str) -> Vec<u8> {
    let mut framed = format!("{:x}\r\n", body.len()).into_bytes();
    framed.extend_from_slice(body);
    framed.extend_from_slice(format!("\r\n0\r\n{trailer}\r\n\r\n").as_bytes());
    framed
}

fn with_trailer<'a>(framed: Vec<u8>, length: &'a str, name: &'a str) -> Ask<'a> {
    ask("PUT", KEY)
        .payload(TRAILER)
        .header("content-encoding", "aws-chunked")
        .header("x-amz-decoded-content-length", length)
        .header("x-amz-trailer", name)
        .body(framed)
}

#[tokio::test]
async fn right_bodies_are_stored_with_their_checksum() {
    let world = World::new().await;
    let body = bytes_of(300_000);
    let length = body.len().to_string();
    for algorithm in ChecksumAlgorithm::ALL {
        let (name, value) = (algorithm.header_name(), checksum(algorithm, &body));
        let by_header = ask("PUT", KEY).header(name, &value).body(body.clone());
        let by_trailer = with_trailer(chunked(&body, &format!("{name}:{value}")), &length, name);
        for request in [by_header, by_trailer] {
            let stored = world.send(ROOT, request).await.expect(200);
            assert_eq!(stored.header(name), value);
            assert_eq!(stored.header("x-amz-checksum-type"), "FULL_OBJECT");
            let read = world.send(ROOT, ask("GET", KEY).header("x-amz-checksum-mode", "ENABLED")).await.expect(200);
            assert_eq!((read.header(name), &read.body), (value.as_str(), &body));
            assert_eq!(read.header("content-encoding"), "", "aws-chunked is the transport's");
            let quiet = world.get(KEY).await.expect(200);
            assert_eq!(quiet.header(name), "");
            world.send(ROOT, ask("DELETE", KEY)).await.expect(204);
        }
    }
}

#[tokio::test]
async fn wrong_bodies_are_not_stored() {
    let world = World::new().await;
    let body = bytes_of(300_000);
    let length = body.len().to_string();
    let crc = ChecksumAlgorithm::Crc32.header_name();
    let (right, wrong) = (checksum(ChecksumAlgorithm::Crc32, &body), checksum(ChecksumAlgorithm::Crc32, b"other"));
    let wrong_md5 = STANDARD.encode(Md5::digest(b"other"));
    let wrong_sha = "11".repeat(32);
    let whole = chunked(&body, &format!("{crc}:{right}"));
    let mut cut = whole.clone();
    cut.truncate(body.len() + 5);
    for (request, code) in [
        (ask("PUT", KEY).payload(&wrong_sha).body(body.clone()), "XAmzContentSHA256Mismatch"),
        (ask("PUT", KEY).header("content-md5", &wrong_md5).body(body.clone()), "BadDigest"),
        (ask("PUT", KEY).header("content-md5", "short").body(body.clone()), "InvalidDigest"),
        (ask("PUT", KEY).header(crc, &wrong).body(body.clone()), "BadDigest"),
        (with_trailer(chunked(&body, &format!("{crc}:{wrong}")), &length, crc), "BadDigest"),
        (with_trailer(cut, &length, crc), "IncompleteBody"),
        (with_trailer(whole.clone(), "300001", crc), "IncompleteBody"),
        (with_trailer(whole.clone(), "299999", crc), "IncompleteBody"),
        (with_trailer(chunked(&body, "x-amz-checksum-crc32c:AAAAAA=="), &length, crc), "MalformedTrailerError"),
    ] {
        let refused = world.send(ROOT, request).await;
        refused.expect_error(400, code);
        world.get(KEY).await.expect_error(404, "NoSuchKey");
    }
}

#[tokio::test]
async fn a_trailer_payload_names_its_trailer() {
    let world = World::new().await;
    let request = ask("PUT", KEY).payload(TRAILER).header("x-amz-decoded-content-length", "1");
    let refused = world.send(ROOT, request.body("1\r\nx\r\n0\r\n\r\n")).await;
    refused.expect_error(400, "InvalidRequest");
    assert!(refused.element("Message").contains("needs x-amz-trailer"), "{}", refused.text());
    world.get(KEY).await.expect_error(404, "NoSuchKey");
}

#[tokio::test]
async fn the_runners_presigned_round_trip() {
    let world = World::new().await;
    let path = "/bucket/runner/abc/project/7/main%20deps%C3%BC";
    world.send_presigned(ROOT, ask("HEAD", path), &[]).await.expect(404);
    let body = bytes_of(2_000_000);
    let upload = ask("PUT", path).query("x-id=PutObject").header("x-amz-meta-cachekey", "main").body(body.clone());
    let unsigned = [("content-type", "application/octet-stream"), ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")];
    world.send_presigned(ROOT, upload, &unsigned).await.expect(200);
    world.send_presigned(ROOT, ask("HEAD", path), &[]).await.expect(200);
    let read = world.send_presigned(ROOT, ask("GET", path).query("x-id=GetObject"), &[]).await.expect(200);
    assert_eq!(read.body, body);
    assert_eq!(read.header("x-amz-meta-cachekey"), "main");
    let probe = world.send_presigned(ROOT, ask("GET", path), &[("range", "bytes=0-0")]).await.expect(206);
    assert_eq!(probe.header("content-range"), "bytes 0-0/2000000");
}

#[tokio::test]
async fn a_presigned_put_cannot_be_made_a_copy() {
    let world = World::new().await;
    world.put("/bucket/secret", "not yours").await;
    let stolen = world.send_presigned(ROOT, ask("PUT", KEY), &[("x-amz-copy-source", "/bucket/secret")]).await;
    stolen.expect_error(403, "AccessDenied");
    let marked = world.send_presigned(ROOT, ask("PUT", KEY).body("x"), &[("x-amz-meta-a", "b")]).await;
    marked.expect_error(403, "AccessDenied");
    world.get(KEY).await.expect_error(404, "NoSuchKey");
}
