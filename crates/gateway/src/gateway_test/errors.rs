//! What each operation answers to what is wrong: status and code as S3's documentation has them, in one table.

use std::fmt::Write as _;

use base64::{Engine, engine::general_purpose::STANDARD};
use cairn_s3::{RequestParts, uri::KEY_BYTES_MAX};
use http::HeaderMap;
use md5::{Digest, Md5};
use time::Duration;

use super::world::{Ask, ROOT, Reply, UNSIGNED, World, ask, now, signer};

/// Method and target, headers, body; status and code.
type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str, u16, &'a str);

fn request<'a>(target: &'a str, headers: &[(&'a str, &'a str)], body: &'a str) -> Ask<'a> {
    let (method, target) = target.split_once(' ').unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let plain = ask(method, path).query(query).body(body.to_owned());
    headers.iter().fold(plain, |request, (name, value)| request.header(name, value))
}

async fn check(world: &World, rows: &[Row<'_>]) {
    for (target, headers, body, status, code) in rows {
        let answer = world.send(ROOT, request(target, headers, body)).await;
        let found = (answer.status.as_u16(), answer.element("Code"));
        assert_eq!(found, (*status, *code), "{target} {headers:?}: {}", answer.text());
        assert_error_document(&answer, target);
    }
}

/// What every error carries.
fn assert_error_document(answer: &Reply, target: &str) {
    assert_eq!(answer.header("content-type"), "application/xml", "{target}");
    for element in ["Message", "Resource", "HostId"] {
        assert!(!answer.element(element).is_empty(), "{target}: no {element}");
    }
    assert_eq!(answer.element("RequestId"), answer.header("x-amz-request-id"), "{target}");
}

#[tokio::test]
async fn errors_of_buckets() {
    let world = World::new().await;
    world.put("/bucket/key", "x").await;
    let long = format!("PUT /{}", "a".repeat(64));
    let rows: &[Row<'_>] = &[
        ("PUT /bucket", &[], "", 409, "BucketAlreadyOwnedByYou"),
        ("PUT /ab", &[], "", 400, "InvalidBucketName"),
        (&long, &[], "", 400, "InvalidBucketName"),
        ("PUT /Upper", &[], "", 400, "InvalidBucketName"),
        ("PUT /under_score", &[], "", 400, "InvalidBucketName"),
        ("PUT /two..dots", &[], "", 400, "InvalidBucketName"),
        ("PUT /-hyphen", &[], "", 400, "InvalidBucketName"),
        ("PUT /hyphen-", &[], "", 400, "InvalidBucketName"),
        ("PUT /192.168.5.4", &[], "", 400, "InvalidBucketName"),
        ("PUT /xn--prefix", &[], "", 400, "InvalidBucketName"),
        ("PUT /alias-s3alias", &[], "", 400, "InvalidBucketName"),
        ("PUT /bucket-new", &[], "<CreateBucketConfiguration", 400, "MalformedXML"),
        ("PUT /bucket-new", &[("x-amz-acl", "public-read")], "", 501, "NotImplemented"),
        ("PUT /bucket-new", &[("x-amz-bucket-object-lock-enabled", "true")], "", 501, "NotImplemented"),
        ("DELETE /bucket", &[], "", 409, "BucketNotEmpty"),
        ("DELETE /nowhere", &[], "", 404, "NoSuchBucket"),
        ("GET /nowhere?location", &[], "", 404, "NoSuchBucket"),
        ("GET /nowhere?versioning", &[], "", 404, "NoSuchBucket"),
        ("GET /nowhere?uploads", &[], "", 404, "NoSuchBucket"),
        ("GET /nowhere?list-type=2", &[], "", 404, "NoSuchBucket"),
        ("GET /bucket?list-type=3", &[], "", 400, "InvalidArgument"),
        ("GET /bucket?max-keys=-1", &[], "", 400, "InvalidArgument"),
        ("GET /bucket?max-keys=many", &[], "", 400, "InvalidArgument"),
        ("GET /bucket?encoding-type=xml", &[], "", 400, "InvalidArgument"),
        ("GET /bucket?list-type=2&continuation-token=forged", &[], "", 400, "InvalidArgument"),
        ("GET /bucket?uploads&max-uploads=x", &[], "", 400, "InvalidArgument"),
        ("GET /bucket?versions", &[], "", 501, "NotImplemented"),
        ("GET /?max-buckets=0", &[], "", 400, "InvalidArgument"),
        ("GET /?bucket-region=eu", &[], "", 501, "NotImplemented"),
        ("POST /bucket?delete", &[], "<Delete/>", 400, "InvalidRequest"),
        ("PUT /bucket/%zz", &[], "", 400, "InvalidURI"),
    ];
    // A path that cannot be decoded cannot be signed either.
    let (signable, unsignable) = rows.split_at(rows.len() - 1);
    check(&world, signable).await;
    for (target, ..) in unsignable {
        let answer = world.send_raw(&request(target, &[], ""), world.sign(ROOT, &ask("PUT", "/bucket/x")), "").await;
        answer.expect_error(400, "InvalidURI");
    }
    assert!(world.engine.bucket("bucket-new").await.is_err(), "what was refused changed nothing");
}

#[tokio::test]
async fn errors_of_objects() {
    let world = World::new().await;
    world.put("/bucket/key", "0123456789").await;
    let other_md5 = STANDARD.encode(Md5::digest("other"));
    let large = "x".repeat(2050);
    let copy = |source: &'static str| [("x-amz-copy-source", source)];
    let rows: &[Row<'_>] = &[
        ("GET /bucket/none", &[], "", 404, "NoSuchKey"),
        ("GET /nowhere/key", &[], "", 404, "NoSuchBucket"),
        ("GET /bucket/key", &[("range", "bytes=10-")], "", 416, "InvalidRange"),
        ("GET /bucket/key", &[("range", "bytes=-0")], "", 416, "InvalidRange"),
        ("GET /bucket/key", &[("if-match", "\"x\"")], "", 412, "PreconditionFailed"),
        ("GET /bucket/key?partNumber=0", &[], "", 400, "InvalidArgument"),
        ("GET /bucket/key?partNumber=10001", &[], "", 400, "InvalidArgument"),
        ("GET /bucket/key?versionId=x", &[], "", 404, "NoSuchVersion"),
        ("GET /bucket/key?tagging", &[], "", 501, "NotImplemented"),
        ("GET /bucket/key?uploadId=none", &[], "", 404, "NoSuchUpload"),
        ("PUT /nowhere/key", &[], "x", 404, "NoSuchBucket"),
        ("PUT /bucket/new", &[("content-md5", &other_md5)], "x", 400, "BadDigest"),
        ("PUT /bucket/new", &[("content-md5", "none")], "x", 400, "InvalidDigest"),
        ("PUT /bucket/new", &[("x-amz-checksum-crc32", "AAAAAA==")], "x", 400, "BadDigest"),
        ("PUT /bucket/new", &[("x-amz-checksum-crc32", "short")], "x", 400, "InvalidRequest"),
        ("PUT /bucket/new", &[("x-amz-storage-class", "GLACIER_OF_MINE")], "x", 400, "InvalidStorageClass"),
        ("PUT /bucket/new", &[("x-amz-meta-a", &large)], "x", 400, "MetadataTooLarge"),
        ("PUT /bucket/new", &[("x-amz-server-side-encryption", "aws:kms")], "x", 501, "NotImplemented"),
        ("PUT /bucket/new", &[("x-amz-server-side-encryption", "rot13")], "x", 400, "InvalidArgument"),
        ("PUT /bucket/key", &[("if-none-match", "*")], "x", 412, "PreconditionFailed"),
        ("PUT /bucket/new", &[("if-match", "\"x\"")], "x", 404, "NoSuchKey"),
        ("PUT /bucket/new?acl", &[], "", 501, "NotImplemented"),
        ("PUT /bucket/new?partNumber=1", &[], "x", 400, "InvalidRequest"),
        ("PUT /bucket/new", &copy("none"), "", 400, "InvalidArgument"),
        ("PUT /bucket/new", &copy("/bucket/none"), "", 404, "NoSuchKey"),
        ("PUT /bucket/new", &copy("/nowhere/key"), "", 404, "NoSuchBucket"),
        ("PUT /bucket/key", &copy("/bucket/key"), "", 400, "InvalidRequest"),
        ("DELETE /nowhere/key", &[], "", 404, "NoSuchBucket"),
        ("DELETE /bucket/key?versionId=x", &[], "", 404, "NoSuchVersion"),
        ("POST /bucket/key", &[], "", 405, "MethodNotAllowed"),
    ];
    check(&world, rows).await;
    world.get("/bucket/new").await.expect_error(404, "NoSuchKey");
    assert_eq!(world.get("/bucket/key").await.text(), "0123456789", "what was refused changed nothing");
}

#[tokio::test]
async fn errors_of_uploads() {
    let world = World::new().await;
    let begun = world.send(ROOT, ask("POST", "/bucket/key").query("uploads")).await.expect(200);
    let upload = begun.element("UploadId").to_owned();
    let part = |number: &str| format!("PUT /bucket/key?partNumber={number}&uploadId={upload}");
    let complete = format!("POST /bucket/key?uploadId={upload}");
    let nobody = "0".repeat(24);
    let gone = |method: &str, more: &str| format!("{method} /bucket/key?{more}uploadId={nobody}");
    let twice = "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>a</ETag></Part>\
                 <Part><PartNumber>1</PartNumber><ETag>a</ETag></Part></CompleteMultipartUpload>";
    let unknown = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{}</ETag></Part></CompleteMultipartUpload>",
        "a".repeat(32)
    );
    let rows: &[Row<'_>] = &[
        ("POST /nowhere/key?uploads", &[], "", 404, "NoSuchBucket"),
        ("POST /bucket/key?uploads", &[("x-amz-checksum-algorithm", "MD2")], "", 400, "InvalidRequest"),
        ("POST /bucket/key?uploads", &[("x-amz-object-lock-mode", "GOVERNANCE")], "", 501, "NotImplemented"),
        (&part("0"), &[], "x", 400, "InvalidArgument"),
        (&part("10001"), &[], "x", 400, "InvalidArgument"),
        (&part("one"), &[], "x", 400, "InvalidArgument"),
        (&gone("PUT", "partNumber=1&"), &[], "x", 404, "NoSuchUpload"),
        (&gone("POST", ""), &[], &unknown, 404, "NoSuchUpload"),
        (&gone("GET", ""), &[], "", 404, "NoSuchUpload"),
        (&gone("DELETE", ""), &[], "", 404, "NoSuchUpload"),
        (&complete, &[], "", 400, "MalformedXML"),
        (&complete, &[], "<CompleteMultipartUpload/>", 400, "MalformedXML"),
        (&complete, &[], twice, 400, "InvalidPartOrder"),
        (&complete, &[], &unknown, 400, "InvalidPart"),
        ("GET /bucket?uploads&key-marker=k&upload-id-marker=forged", &[], "", 400, "InvalidArgument"),
    ];
    check(&world, rows).await;
}

#[tokio::test]
async fn errors_of_signatures() {
    let world = World::new().await;
    let wanted = ask("GET", "/bucket");
    let headers = HeaderMap::new();
    let parts =
        RequestParts { method: &wanted.method, host: &world.host, path: wanted.path, query: "", headers: &headers };
    let skewed = signer(ROOT).sign(&parts, UNSIGNED, now() - Duration::minutes(16)).unwrap().0;
    world.send_raw(&wanted, skewed, "").await.expect_error(403, "RequestTimeTooSkewed");
    let signed = || signer(ROOT).sign(&parts, UNSIGNED, now()).unwrap().0;
    for (authorization, status, code) in [
        ("AWS4-HMAC-SHA256 nonsense", 400, "AuthorizationHeaderMalformed"),
        ("AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=00", 400, "AuthorizationHeaderMalformed"),
        ("AWS ROOTKEY:c2lnbmF0dXJl", 400, "InvalidRequest"),
    ] {
        let mut headers = signed();
        headers.insert("authorization", authorization.parse().unwrap());
        world.send_raw(&wanted, headers, "").await.expect_error(status, code);
    }
    let mut bare = signed();
    bare.remove("x-amz-content-sha256");
    world.send_raw(&wanted, bare, "").await.expect_error(400, "InvalidRequest");

    let presign = |seconds, at| signer(ROOT).presign(&parts, seconds, at).unwrap();
    for (query, status, code) in [
        (presign(60, now() - Duration::minutes(2)), 403, "AccessDenied"),
        (presign(60, now() + Duration::minutes(20)), 403, "AccessDenied"),
        (presign(604_801, now()), 400, "AuthorizationQueryParametersError"),
        (presign(60, now()).replace("X-Amz-Date", "X-Amz-Dat"), 400, "AuthorizationQueryParametersError"),
        (presign(60, now()).replace("X-Amz-Expires=60", "X-Amz-Expires=61"), 403, "SignatureDoesNotMatch"),
    ] {
        let answer = world.send_raw(&wanted, HeaderMap::new(), &query).await;
        answer.expect_error(status, code);
    }
}

#[tokio::test]
async fn keys_have_at_most_1024_bytes() {
    let world = World::new().await;
    let longest = format!("/bucket/{}", "ü/".repeat(KEY_BYTES_MAX / 3) + "k").replace('ü', "%C3%BC");
    world.put(&longest, "x").await;
    assert_eq!(world.get(&longest).await.text(), "x");
    let longer = longest + "k";
    for method in ["PUT", "GET", "DELETE"] {
        world.send(ROOT, ask(method, &longer)).await.expect_error(400, "KeyTooLongError");
    }
}

#[tokio::test]
async fn at_most_1000_keys_are_deleted_at_once() {
    let world = World::new().await;
    world.put("/bucket/key-1", "x").await;
    for (count, status) in [(1000, 200), (1001, 400)] {
        let mut document = "<Delete><Quiet>true</Quiet>".to_owned();
        for number in 0..count {
            write!(document, "<Object><Key>key-{number}</Key></Object>").unwrap();
        }
        document.push_str("</Delete>");
        let md5 = STANDARD.encode(Md5::digest(&document));
        let request = ask("POST", "/bucket").query("delete").header("content-md5", &md5).body(document.clone());
        let answer = world.send(ROOT, request).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.element("Code"), if status == 200 { "" } else { "MalformedXML" });
    }
}

#[tokio::test]
async fn lists_at_their_bounds() {
    let world = World::new().await;
    for key in ["a", "b%20c", "d"] {
        world.put(&format!("/bucket/{key}"), "x").await;
    }
    let list = |query: &'static str| world.send(ROOT, ask("GET", "/bucket").query(query));
    let none = list("list-type=2&max-keys=0").await.expect(200);
    assert_eq!((none.element("KeyCount"), none.element("IsTruncated"), none.element("MaxKeys")), ("0", "false", "0"));
    let more = list("list-type=2&max-keys=5000").await.expect(200);
    assert_eq!((more.element("KeyCount"), more.element("MaxKeys")), ("3", "1000"));
    let encoded = list("list-type=2&encoding-type=url&start-after=a&prefix=b%20").await.expect(200);
    assert_eq!((encoded.element("Key"), encoded.element("Prefix")), ("b%20c", "b%20"));
    assert_eq!(encoded.element("StartAfter"), "a");
    let marked = list("marker=b%20c").await.expect(200);
    assert_eq!((marked.element("Key"), marked.element("Marker"), marked.element("IsTruncated")), ("d", "b c", "false"));
}

#[tokio::test]
async fn what_every_answer_carries() {
    let world = World::new().await;
    let etag = world.put("/bucket/key", "x").await.header("etag").to_owned();
    let answers = [
        world.get("/bucket/key").await,
        world.get("/bucket/none").await,
        world.send(ROOT, ask("HEAD", "/bucket/none")).await,
        world.send(ROOT, ask("HEAD", "/nowhere")).await,
        world.send(ROOT, ask("DELETE", "/bucket/none")).await,
        world.send(ROOT, ask("GET", "/bucket/key").header("if-none-match", &etag)).await,
        world.send(ROOT, ask("HEAD", "/bucket/key").header("if-match", "\"x\"")).await,
        world.send_raw(&ask("OPTIONS", "/bucket/key"), HeaderMap::new(), "").await,
        world.send_raw(&ask("GET", "/bucket"), HeaderMap::new(), "").await,
    ];
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    assert_eq!(statuses, [200, 404, 404, 404, 204, 304, 412, 403, 403]);
    for answer in &answers {
        for name in ["date", "x-amz-request-id", "x-amz-id-2", "server"] {
            assert!(!answer.header(name).is_empty(), "{} has no {name}", answer.status);
        }
        assert!(cairn_s3::dates::parse_http(answer.header("date")).is_some());
    }
    let bodies: Vec<bool> = answers.iter().map(|answer| !answer.body.is_empty()).collect();
    assert_eq!(bodies, [true, true, false, false, false, false, false, true, true]);
    assert_eq!(answers[5].header("content-length"), "", "a 304 says nothing of a body");
    let failed = world.send(ROOT, ask("GET", "/bucket/key").header("if-match", "\"x\"")).await;
    assert_eq!(failed.header("content-length"), failed.body.len().to_string());
}

#[tokio::test]
async fn a_method_that_is_not_allowed_names_those_that_are() {
    let world = World::new().await;
    for (method, path, allowed) in [
        ("POST", "/bucket/key", "GET, HEAD, PUT, DELETE"),
        ("PATCH", "/bucket", "GET, HEAD, PUT, DELETE"),
        ("PUT", "/", "GET"),
    ] {
        let answer = world.send(ROOT, ask(method, path)).await;
        answer.expect_error(405, "MethodNotAllowed");
        assert_eq!((answer.header("allow"), answer.element("Method")), (allowed, method), "{method} {path}");
    }
    let answer = world.send(ROOT, ask("GET", "/bucket").query("delete")).await;
    answer.expect_error(405, "MethodNotAllowed");
    assert_eq!(answer.header("allow"), "POST");
}

/// The headers of S3 that ask for something which is not served here, and one that nobody knows.
#[tokio::test]
async fn headers_that_ask_for_what_is_not_there_are_refused() {
    let world = World::new().await;
    for (name, value) in [
        ("x-amz-request-payer", "requester"),
        ("x-amz-expected-bucket-owner", "111122223333"),
        ("x-amz-grant-read", "id=x"),
        ("x-amz-acl", "public-read"),
        ("x-amz-tagging", "a=b"),
        ("x-amz-website-redirect-location", "/x"),
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-object-lock-legal-hold", "ON"),
        ("x-amz-server-side-encryption-customer-algorithm", "AES256"),
        ("x-amz-write-offset-bytes", "1"),
        ("x-amz-checksum-of-tomorrow", "x"),
        ("x-amz-of-tomorrow", "x"),
    ] {
        let answer = world.send(ROOT, ask("PUT", "/bucket/key").header(name, value).body("x")).await;
        answer.expect_error(501, "NotImplemented");
        assert_eq!(answer.element("Header"), name);
    }
    world.get("/bucket/key").await.expect_error(404, "NoSuchKey");
    let harmless = ask("PUT", "/bucket/key")
        .header("x-amz-acl", "private")
        .header("x-amz-user-agent", "sdk/1")
        .header("x-amz-meta-a", "b")
        .header("x-amz-sdk-checksum-algorithm", "CRC32")
        .header("x-amz-checksum-crc32", "jNwWgw==")
        .header("amz-sdk-invocation-id", "1")
        .header("x-amzn-trace-id", "Root=1")
        .body("x");
    world.send(ROOT, harmless).await.expect(200);
}
