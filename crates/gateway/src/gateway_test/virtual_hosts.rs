//! Buckets that are named by the host: `bucket.domain` in place of a path.

use http::HeaderMap;
use http_body_util::BodyExt;

use super::{
    lists::keys,
    multipart::document,
    streams::Http2,
    world::{Ask, ROOT, Reply, World, ask, bytes_of},
};
use crate::GatewayOptions;

const DOMAIN: &str = "s3.test:9000";
const BUCKET: &str = "bucket.s3.test:9000";

fn options() -> GatewayOptions {
    GatewayOptions { domains: vec!["s3.test".to_owned()], ..GatewayOptions::default() }
}

async fn world() -> World {
    World::with(options()).await
}

#[tokio::test]
async fn a_bucket_named_by_its_host_is_the_one_named_in_a_path() {
    let world = world().await;
    let on = |host, method, path| world.send(ROOT, ask(method, path).host(host));
    let body = bytes_of(100_000);
    world.send(ROOT, ask("PUT", "/dir/a%20key").host(BUCKET).body(body.clone())).await.expect(200);
    assert_eq!(world.get("/bucket/dir/a%20key").await.expect(200).body, body);
    for (host, path) in [
        (BUCKET, "/dir/a%20key"),
        ("Bucket.S3.test", "/dir/a%20key"),
        (DOMAIN, "/bucket/dir/a%20key"),
        ("elsewhere.test", "/bucket/dir/a%20key"),
    ] {
        assert_eq!(on(host, "GET", path).await.expect(200).body, body, "{host}{path}");
    }
    let named_twice = on(BUCKET, "GET", "/bucket/dir/a%20key").await;
    named_twice.expect_error(404, "NoSuchKey");
    assert_eq!(named_twice.element("Key"), "bucket/dir/a key");

    let listed = on(BUCKET, "GET", "/").await.expect(200);
    assert_eq!((listed.element("Name"), keys(listed.text(), "Key")), ("bucket", vec!["dir/a key".to_owned()]));
    on("second.s3.test", "PUT", "/").await.expect(200);
    on("second.s3.test", "HEAD", "/").await.expect(200);
    let buckets = on(DOMAIN, "GET", "/").await.expect(200);
    assert_eq!(keys(buckets.element("Buckets"), "Name"), ["bucket", "second"]);
    on("second.s3.test", "DELETE", "/").await.expect(204);
    on("second.s3.test", "GET", "/").await.expect_error(404, "NoSuchBucket");
    on("Under_Score.s3.test", "GET", "/").await.expect_error(400, "InvalidBucketName");
}

#[tokio::test]
async fn a_signature_is_for_one_bucket() {
    let world = world().await;
    world.put("/bucket/key", "x").await;
    world.send(ROOT, ask("PUT", "/second")).await.expect(200);
    world.put("/second/key", "not meant").await;
    let meant = ask("GET", "/key").host(BUCKET);
    let headers = world.sign(ROOT, &meant);
    assert_eq!(world.send_raw(&meant, headers.clone(), "").await.expect(200).text(), "x");
    let other = ask("GET", "/key").host("second.s3.test:9000");
    world.send_raw(&other, headers, "").await.expect_error(403, "SignatureDoesNotMatch");
}

#[tokio::test]
async fn presigned_urls_name_the_bucket_by_host_too() {
    let world = world().await;
    let put = ask("PUT", "/key").host(BUCKET).body("x");
    world.send_presigned(ROOT, put, &[]).await.expect(200);
    let get = ask("GET", "/key").host(BUCKET);
    assert_eq!(world.send_presigned(ROOT, get, &[]).await.expect(200).text(), "x");
    assert_eq!(world.get("/bucket/key").await.expect(200).text(), "x");
}

/// On a bucket's host `/-/ready` is a key like any other.
#[tokio::test]
async fn pages_are_on_hosts_that_are_no_buckets() {
    let world = world().await;
    let unsigned = async |host| world.send_raw(&ask("GET", "/-/ready").host(host), HeaderMap::new(), "").await;
    for host in [DOMAIN, "elsewhere.test", "127.0.0.1:9000"] {
        assert_eq!(unsigned(host).await.expect(200).text(), "ready\n", "{host}");
    }
    unsigned(BUCKET).await.expect_error(403, "AccessDenied");
    world.send(ROOT, ask("PUT", "/-/ready").host(BUCKET).body("an object")).await.expect(200);
    unsigned(BUCKET).await.expect_error(403, "AccessDenied");
    assert_eq!(world.send(ROOT, ask("GET", "/-/ready").host(BUCKET)).await.expect(200).text(), "an object");
    assert_eq!(world.get("/bucket/-/ready").await.expect(200).text(), "an object");
}

/// An upload of one part through one host, by any way of sending; what the complete answers.
async fn uploaded(host: &str, path: &str, mut send: impl AsyncFnMut(Ask<'_>) -> Reply) -> Reply {
    let begun = send(ask("POST", path).host(host).query("uploads")).await;
    let upload = format!("uploadId={}", begun.element("UploadId"));
    let part = send(ask("PUT", path).host(host).query(&format!("partNumber=1&{upload}")).body(bytes_of(1000))).await;
    let parts = document(&[(1, part.header("etag"))]);
    let complete = || ask("POST", path).host(host).query(&upload).body(parts.clone());
    let first = send(complete()).await;
    let again = send(complete()).await;
    assert_eq!(again.element("Location"), first.element("Location"));
    first
}

#[tokio::test]
async fn a_completed_upload_is_told_where_its_client_finds_it() {
    let world = world().await;
    for (host, path, location) in [
        (BUCKET, "/dir/a%20key", "http://bucket.s3.test:9000/dir/a%20key"),
        ("bucket.s3.test", "/key", "http://bucket.s3.test/key"),
        (DOMAIN, "/bucket/dir/a%20key", "http://s3.test:9000/bucket/dir/a%20key"),
        ("10.0.0.5:9000", "/bucket/key", "http://10.0.0.5:9000/bucket/key"),
    ] {
        let done = uploaded(host, path, async |ask| world.send(ROOT, ask).await.expect(200)).await;
        assert_eq!(done.element("Location"), location);
        assert_eq!(done.element("Bucket"), "bucket");
    }
}

/// HTTP/2 has no Host header: the host is the authority.
#[tokio::test]
async fn a_bucket_named_by_the_authority_of_http2() {
    let mut client = Http2::with(options(), 1 << 20).await;
    let mut send = async |ask: Ask<'_>| {
        let (parts, body) = client.send(ask).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Reply { status: parts.status, headers: parts.headers, body }
    };
    let done = uploaded(BUCKET, "/dir/key", &mut send).await.expect(200);
    assert_eq!(done.element("Location"), "https://bucket.s3.test:9000/dir/key");
    let by_host = send(ask("GET", "/dir/key").host(BUCKET)).await.expect(200);
    assert_eq!(by_host.body, bytes_of(1000));
    let by_path = send(ask("GET", "/bucket/dir/key").host(DOMAIN)).await.expect(200);
    assert_eq!(by_path.body, bytes_of(1000));
    let page = send(ask("GET", "/-/live").host(BUCKET)).await;
    page.expect_error(404, "NoSuchKey");
    assert_eq!(send(ask("GET", "/-/live").host(DOMAIN)).await.expect(200).text(), "live\n");
}
