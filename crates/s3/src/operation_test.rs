//! Every request is one operation or is refused by name.

use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

fn route_with(method: &str, path: &str, pairs: &[(&'static str, &'static str)]) -> Result<Operation, S3Error> {
    let (path, raw_query) = path.split_once('?').unwrap_or((path, ""));
    let target = crate::parse_target("localhost", path, &[]).unwrap();
    let headers =
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect();
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    Operation::route(&method, &target, &Query::parse(raw_query).unwrap(), &headers)
}

fn route(request: &str) -> Result<Operation, S3ErrorCode> {
    let (method, path) = request.split_once(' ').unwrap();
    route_with(method, path, &[]).map_err(|error| error.code)
}

#[test]
fn operations_of_ours() {
    use Operation::*;
    for (request, operation) in [
        ("GET /", ListBuckets),
        ("GET /?x-id=ListBuckets", ListBuckets),
        ("PUT /bucket", CreateBucket),
        ("HEAD /bucket", HeadBucket),
        ("DELETE /bucket/", DeleteBucket),
        ("GET /bucket?location=", GetBucketLocation),
        ("GET /bucket?location", GetBucketLocation),
        ("GET /bucket?versioning", GetBucketVersioning),
        ("GET /bucket", ListObjects),
        ("GET /bucket?prefix=acl&unknown=1", ListObjects),
        ("GET /bucket?list-type=2&delimiter=/", ListObjectsV2),
        ("GET /bucket?uploads", ListMultipartUploads),
        ("POST /bucket?delete", DeleteObjects),
        ("PUT /bucket/k?x-id=PutObject&X-Amz-Signature=1", PutObject),
        ("GET /bucket/k?response-content-type=a", GetObject),
        ("GET /bucket/k?partNumber=1", GetObject),
        ("GET /bucket/k?versionId=null", GetObject),
        ("HEAD /bucket/k", HeadObject),
        ("DELETE /bucket/k", DeleteObject),
        ("POST /bucket/k?uploads=", CreateMultipartUpload),
        ("PUT /bucket/k?partNumber=1&uploadId=u&x-id=UploadPart", UploadPart),
        ("POST /bucket/k?uploadId=u", CompleteMultipartUpload),
        ("DELETE /bucket/k?uploadId=u", AbortMultipartUpload),
        ("GET /bucket/k?uploadId=u&max-parts=1", ListParts),
    ] {
        assert_eq!(route(request), Ok(operation), "{request}");
    }
    let source = [("x-amz-copy-source", "/bucket/s")];
    assert_eq!(route_with("PUT", "/bucket/k", &source).unwrap(), CopyObject);
    assert_eq!(route_with("PUT", "/bucket/k?partNumber=1&uploadId=u", &source).unwrap(), UploadPartCopy);
}

#[test]
fn a_subresource_never_falls_through_to_the_bucket_or_object() {
    for subresource in SUBRESOURCES_MISSING.iter().chain(SUBRESOURCES_SERVED) {
        for method in ["DELETE", "PUT"] {
            for path in ["/bucket", "/bucket/k"] {
                let result = route(&format!("{method} {path}?{subresource}=x"));
                let aborts = *subresource == "uploadId" && method == "DELETE" && path == "/bucket/k";
                assert_eq!(result.is_ok(), aborts, "{method} {path}?{subresource}");
            }
        }
    }
    assert_eq!(route("DELETE /bucket?uploads"), Err(S3ErrorCode::MethodNotAllowed));
    assert_eq!(route("DELETE /bucket?uploadId=u"), Err(S3ErrorCode::InvalidRequest));
    assert_eq!(route("DELETE /bucket?lifecycle"), Err(S3ErrorCode::NotImplemented));
}

/// What S3 may get yet: read it would be a list, written it would be this operation without it.
#[test]
fn a_subresource_of_tomorrow_is_refused_on_a_write() {
    for request in [
        "PUT /bucket?of-tomorrow",
        "DELETE /bucket?of-tomorrow",
        "DELETE /bucket?of-tomorrow=",
        "DELETE /bucket?x-id=DeleteBucket&of-tomorrow",
        "POST /bucket?delete&of-tomorrow",
        "PUT /bucket/k?of-tomorrow",
        "PUT /bucket/k?Tagging",
        "PUT /bucket/k?partNumber=1&uploadId=u&of-tomorrow",
        "POST /bucket/k?uploads&of-tomorrow",
        "POST /bucket/k?uploadId=u&of-tomorrow",
        "DELETE /bucket/k?of-tomorrow&versionId=null",
        "DELETE /bucket/k?=",
        "DELETE /bucket/k?%C3%BCber",
    ] {
        assert_eq!(route(request), Err(S3ErrorCode::NotImplemented), "{request}");
    }
    let message = route_with("DELETE", &format!("/bucket?{}", "ü".repeat(200)), &[]).unwrap_err().message;
    assert!(message.contains(&"ü".repeat(80)) && !message.contains(&"ü".repeat(81)), "{message}");
}

/// Clients send parameters of their own, which have a value; and presigned URLs carry headers, which may have none.
#[test]
fn parameters_that_ask_for_nothing_are_taken() {
    use Operation::*;
    for (request, operation) in [
        ("PUT /bucket/k?x-id=", PutObject),
        ("PUT /bucket/k?x-id", PutObject),
        ("PUT /bucket/k?own=1", PutObject),
        ("PUT /bucket/k?&&", PutObject),
        ("PUT /bucket/k?X-Amz-Security-Token=&x-amz-meta-a=&X-Amz-Signature=1", PutObject),
        ("DELETE /bucket/k?versionId=null&own=1", DeleteObject),
        ("DELETE /bucket?x-id=DeleteBucket", DeleteBucket),
        ("GET /bucket?of-tomorrow", ListObjects),
        ("GET /bucket?prefix=&delimiter=&marker=", ListObjects),
        ("HEAD /bucket/k?of-tomorrow", HeadObject),
    ] {
        assert_eq!(route(request), Ok(operation), "{request}");
    }
    assert_eq!(route("DELETE /bucket/k?versionId"), Err(S3ErrorCode::InvalidArgument));
    assert_eq!(route("PUT /bucket/k?partNumber="), Err(S3ErrorCode::InvalidArgument));
}

/// An upload's conditions are those of its completion.
#[test]
fn conditions_are_met_or_refused() {
    for name in ["if-match", "if-none-match", "if-unmodified-since", "if-modified-since"] {
        let headers = [(name, "x")];
        for refused in [
            ("POST", "/bucket/k?uploads"),
            ("PUT", "/bucket/k?partNumber=1&uploadId=u"),
            ("DELETE", "/bucket/k?uploadId=u"),
            ("POST", "/bucket?delete"),
            ("PUT", "/bucket"),
            ("DELETE", "/bucket"),
        ] {
            let error = route_with(refused.0, refused.1, &headers).unwrap_err();
            assert_eq!(error.code, S3ErrorCode::NotImplemented, "{refused:?}");
        }
        for taken in
            [("PUT", "/bucket/k"), ("DELETE", "/bucket/k"), ("POST", "/bucket/k?uploadId=u"), ("GET", "/bucket")]
        {
            assert!(route_with(taken.0, taken.1, &headers).is_ok(), "{taken:?}");
        }
    }
}

#[test]
fn requests_that_fit_nothing() {
    use S3ErrorCode::*;
    for (request, code) in [
        ("PUT /", MethodNotAllowed),
        ("POST /", NotImplemented),
        ("OPTIONS /bucket/k", AccessForbidden),
        ("PATCH /bucket/k", MethodNotAllowed),
        ("POST /bucket", MethodNotAllowed),
        ("POST /bucket/k", MethodNotAllowed),
        ("PUT /bucket?versioning", NotImplemented),
        ("GET /bucket?versions", NotImplemented),
        ("GET /bucket?list-type=3", InvalidArgument),
        ("GET /bucket?location&uploads", InvalidArgument),
        ("GET /bucket/k?attributes", NotImplemented),
        ("GET /bucket/k?uploads", MethodNotAllowed),
        ("HEAD /bucket/k?uploadId=u", MethodNotAllowed),
        ("PUT /bucket/k?uploadId=u", InvalidRequest),
        ("PUT /bucket/k?partNumber=1", InvalidRequest),
        ("DELETE /bucket/k?partNumber=1", InvalidRequest),
        ("PUT /bucket/k?partNumber=0&uploadId=u", InvalidArgument),
        ("DELETE /bucket/k?uploadId=", InvalidArgument),
        ("DELETE /bucket/k?uploadId=a&uploadId=b", InvalidArgument),
        ("PUT /bucket/k?partNumber=1&partNumber=2&uploadId=u", InvalidArgument),
        ("DELETE /bucket/k?versionId=null&versionId=other", InvalidArgument),
        ("DELETE /bucket/k?versionId=abc", NoSuchVersion),
        ("GET /bucket/k?versionId=", InvalidArgument),
        ("DELETE /bucket?versionId", InvalidArgument),
        ("DELETE /bucket?versionId=null", InvalidArgument),
        ("PUT /bucket?partNumber", InvalidArgument),
        ("GET /bucket?versionId=null", InvalidArgument),
    ] {
        assert_eq!(route(request), Err(code), "{request}");
    }
    for request in ["GET /?acl", "GET /?tagging"] {
        assert_eq!(route(request), Err(NotImplemented), "{request}");
    }
    for request in ["GET /?location", "POST /?delete"] {
        assert_eq!(route(request), Err(InvalidRequest), "{request}");
    }
    let range = [("range", "bytes=0-0")];
    assert_eq!(route_with("GET", "/bucket/k?partNumber=1", &range).unwrap_err().code, InvalidRequest);
    let form = [("content-type", "multipart/form-data; boundary=x")];
    assert_eq!(route_with("POST", "/bucket", &form).unwrap_err().code, NotImplemented);
}

/// Request headers of S3's documentation that ask for what is not here, and two that nobody has made up yet.
const HEADERS_MISSING: &[&str] = &[
    "x-amz-checksum-md7",
    "x-amz-confirm-remove-self-bucket-access",
    "x-amz-copy-source-server-side-encryption-customer-algorithm",
    "x-amz-copy-source-server-side-encryption-customer-key",
    "x-amz-copy-source-server-side-encryption-customer-key-md5",
    "x-amz-create-session-mode",
    "x-amz-expected-bucket-owner",
    "x-amz-grant-full-control",
    "x-amz-grant-read",
    "x-amz-grant-read-acp",
    "x-amz-grant-write",
    "x-amz-grant-write-acp",
    "x-amz-if-match-initiated-time",
    "x-amz-if-match-last-modified-time",
    "x-amz-if-match-size",
    "x-amz-mfa",
    "x-amz-object-attributes",
    "x-amz-object-lock-legal-hold",
    "x-amz-object-lock-mode",
    "x-amz-object-lock-retain-until-date",
    "x-amz-of-tomorrow",
    "x-amz-rename-source",
    "x-amz-request-payer",
    "x-amz-server-side-encryption-customer-algorithm",
    "x-amz-server-side-encryption-customer-key",
    "x-amz-server-side-encryption-customer-key-md5",
    "x-amz-skip-destination-validation",
    "x-amz-source-expected-bucket-owner",
    "x-amz-tagging",
    "x-amz-website-redirect-location",
    "x-amz-write-offset-bytes",
];

#[test]
fn headers_that_change_the_meaning_are_refused() {
    let refused = HEADERS_MISSING.iter().map(|name| (*name, "x"));
    let limited = HEADERS_LIMITED.iter().map(|(name, _)| (*name, "other"));
    for header in refused.chain(limited) {
        let error = route_with("PUT", "/bucket/k", &[header]).unwrap_err();
        assert_eq!(error.code, S3ErrorCode::NotImplemented, "{header:?}");
        assert!(error.message.contains(header.0));
    }
}

#[test]
fn headers_of_a_copy_are_refused_elsewhere() {
    const SOURCE: (&str, &str) = ("x-amz-copy-source", "/bucket/s");
    const RANGE: (&str, &str) = ("x-amz-copy-source-range", "bytes=0-1");
    const CONDITION: (&str, &str) = ("x-amz-copy-source-if-match", "x");
    let code = |request: &str, headers: &[(&'static str, &'static str)]| {
        let (method, path) = request.split_once(' ').unwrap();
        route_with(method, path, headers).map_err(|error| error.code).err()
    };
    let part = "PUT /bucket/k?partNumber=1&uploadId=u";
    assert_eq!(code(part, &[SOURCE, RANGE, CONDITION]), None);
    assert_eq!(code("PUT /bucket/k", &[SOURCE, CONDITION]), None);
    assert_eq!(code("PUT /bucket/k", &[SOURCE, RANGE]), Some(S3ErrorCode::InvalidRequest));
    for request in ["GET /bucket/k", "HEAD /bucket/k", "DELETE /bucket/k", "GET /bucket", "POST /bucket/k?uploads"] {
        assert_eq!(code(request, &[SOURCE]), Some(S3ErrorCode::InvalidRequest), "{request}");
    }
    for request in ["GET /bucket/k", "PUT /bucket/k", part] {
        for header in [RANGE, CONDITION] {
            assert_eq!(code(request, &[header]), Some(S3ErrorCode::InvalidRequest), "{request} {header:?}");
        }
    }
}

#[test]
fn headers_that_ask_for_nothing_are_taken() {
    let checksums = ChecksumAlgorithm::ALL.iter().map(|algorithm| (algorithm.header_name(), "x"));
    let known = HEADERS_KNOWN.iter().filter(|name| !name.starts_with("x-amz-copy-source")).map(|name| (*name, "x"));
    let others = [
        ("x-amz-acl", "private"),
        ("x-amz-acl", "bucket-owner-full-control"),
        ("x-amz-tagging-directive", "COPY"),
        ("x-amz-bucket-object-lock-enabled", "False"),
        ("x-amz-meta-anything", "x"),
        ("x-amzn-trace-id", "Root=1"),
        ("amz-sdk-invocation-id", "x"),
        ("amz-sdk-request", "attempt=1; max=3"),
        ("user-agent", "x"),
    ];
    for header in checksums.chain(known).chain(others) {
        assert!(route_with("PUT", "/bucket/k", &[header]).is_ok(), "{header:?}");
    }
}

#[test]
fn a_405_names_what_is_allowed() {
    for (method, path, allowed) in [
        ("PATCH", "/", "GET"),
        ("POST", "/bucket", "GET, HEAD, PUT, DELETE"),
        ("GET", "/bucket?delete", "POST"),
        ("PUT", "/bucket?location", "GET"),
        ("GET", "/bucket/k?uploads", "POST"),
        ("HEAD", "/bucket/k?uploadId=u", "GET, PUT, POST, DELETE"),
        ("PATCH", "/bucket/k", "GET, HEAD, PUT, DELETE"),
        ("GET", "/bucket/k?versioning", ""),
    ] {
        let error = route_with(method, path, &[]).unwrap_err();
        assert_eq!(error.code, S3ErrorCode::MethodNotAllowed, "{method} {path}");
        assert!(error.details.contains(&(ALLOWED_METHODS, allowed.to_owned())), "{method} {path}: {error:?}");
    }
}

proptest! {
    #[test]
    fn never_panics(method in "(GET|PUT|POST|DELETE|HEAD|X)", raw in "[a-zA-Z=&%0-9-]{0,40}", object: bool) {
        let target = if object { Target::Object("bucket".into(), "k".into()) } else { Target::Bucket("bucket".into()) };
        if let Ok(query) = Query::parse(&raw) {
            let _ = Operation::route(&Method::from_bytes(method.as_bytes()).unwrap(), &target, &query, &HeaderMap::new());
        }
    }
}
