//! Paths, hosts and queries: where a request points and which operation it is.
#![no_main]

use cairn_fuzz::{Request, check, must};
use cairn_s3::{CopySource, Operation, Query, ResponseOverrides, Target, params, parse_target, uri};
use http::Method;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(request) = Request::read(bytes) else { return };
    check_encoding(&request);
    if let Some(Some(source)) = check(CopySource::parse(&request.headers)) {
        check_names(Some(&source.bucket), Some(&source.key));
    }
    let domains = ["s3.example".to_owned(), "eu.s3.example".to_owned()];
    let target = check(parse_target(&request.host, &request.path, &domains));
    if let Some(target) = &target {
        check_names(target.bucket(), target.key());
        check_written_again(target);
    }
    let Some(query) = check(Query::parse(&request.query)) else { return };
    check_params(&query);
    let Some(target) = target else { return };
    if let Some(operation) = check(Operation::route(&request.method, &target, &query, &request.headers)) {
        check_operation(operation, &request.method, &target);
        check_nothing_ignored(operation, &query);
    }
});

fn check_names(bucket: Option<&str>, key: Option<&str>) {
    if let Some(bucket) = bucket {
        assert!((3..=63).contains(&bucket.len()) && !bucket.contains('/'), "{bucket:?}");
    }
    if let Some(key) = key {
        assert!((1..=uri::KEY_BYTES_MAX).contains(&key.len()) && !key.contains('\0'), "{key:?}");
    }
}

/// A target written as a path by our own encoding is the same target.
fn check_written_again(target: &Target) {
    let path = match target {
        Target::Service => "/".to_owned(),
        Target::Bucket(bucket) => format!("/{bucket}"),
        Target::Object(bucket, key) => format!("/{bucket}/{}", uri::aws_encode(key.as_bytes(), true)),
    };
    assert_eq!(parse_target("localhost", &path, &[]).as_ref(), Ok(target), "{path}");
}

fn check_encoding(request: &Request) {
    let encoded = uri::aws_encode(request.path.as_bytes(), false);
    assert!(encoded.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?&=+".contains(&byte)), "{encoded}");
    assert_eq!(uri::decode_path(&encoded).as_ref(), Ok(&request.path));
    assert_eq!(uri::decode_query_component(&encoded).as_ref(), Ok(&request.path));
    let token = params::encode_token(&request.path);
    assert_eq!(params::decode_token(&token).as_ref(), Ok(&request.path));
}

fn check_params(query: &Query) {
    if let Some(list) = check(params::ListObjectsParams::parse(query)) {
        assert!(list.max_keys <= params::PAGE_ENTRIES_MAX && list.delimiter.as_deref() != Some(""));
    }
    if let Some(list) = check(params::ListBucketsParams::parse(query)) {
        assert!((1..=params::PAGE_BUCKETS_MAX).contains(&list.max_buckets));
    }
    if let Some(list) = check(params::ListPartsParams::parse(query)) {
        assert!(list.max_parts <= params::PAGE_ENTRIES_MAX);
    }
    if let Some(list) = check(params::ListMultipartUploadsParams::parse(query)) {
        assert!(list.max_uploads <= params::PAGE_ENTRIES_MAX);
    }
    if let Some(Some(number)) = check(params::parse_part_number(query)) {
        assert!((1..=10_000).contains(&number));
    }
    check(ResponseOverrides::parse(query, true));
    let anonymous = check(ResponseOverrides::parse(query, false));
    assert!(anonymous.is_none_or(|overrides| overrides.headers.is_empty()), "an anonymous override");
    // Written again by our own encoding it is the same query.
    let pairs: Vec<String> = query
        .iter()
        .map(|(name, value)| {
            format!("{}={}", uri::aws_encode(name.as_bytes(), false), uri::aws_encode(value.as_bytes(), false))
        })
        .collect();
    assert_eq!(&must(Query::parse(&pairs.join("&")), "our own query cannot be read"), query);
}

/// A write whose query names a subresource that is not known is no operation.
fn check_nothing_ignored(operation: Operation, query: &Query) {
    let mut bare = query.iter().filter(|(_, value)| value.is_empty()).map(|(name, _)| name);
    let is_known =
        |name: &str| name.to_ascii_lowercase().starts_with("x-amz-") || ["delete", "uploads", "x-id"].contains(&name);
    assert!(!operation.is_write() || bare.all(is_known), "{operation:?} with {query:?}");
}

fn check_operation(operation: Operation, method: &Method, target: &Target) {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    assert_eq!(operation.is_write(), !reads, "{method} is {operation:?}");
    let level = match target {
        Target::Service => operation == Operation::ListBuckets,
        Target::Bucket(_) => {
            operation.name().contains("Bucket")
                || operation.name().ends_with('s')
                || operation == Operation::ListObjectsV2
        }
        Target::Object(..) => !operation.name().contains("Bucket"),
    };
    assert!(level, "{operation:?} on {target:?}");
}
