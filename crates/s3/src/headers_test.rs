//! Metadata headers, encryption, storage classes and overrides.

use http::{HeaderName, HeaderValue};

use super::*;

fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn parse(pairs: &[(&'static str, &str)]) -> Result<ObjectHeaders, S3Error> {
    ObjectHeaders::parse(&map(pairs), &["EC_8_4".to_owned()])
}

#[test]
fn metadata_is_kept_as_it_came() {
    let parsed = parse(&[
        ("x-amz-meta-b", "two"),
        ("x-amz-meta-a", "grün"),
        ("x-amz-meta-b", "three"),
        ("content-type", "text/plain"),
        ("expires", "not a date"),
        ("cache-control", "no-store"),
    ])
    .unwrap();
    assert_eq!(parsed.user, [("a".into(), "grün".into()), ("b".into(), "two,three".into())]);
    assert_eq!(parsed.system.content_type.as_deref(), Some("text/plain"));
    assert_eq!(parsed.system.expires.as_deref(), Some("not a date"));
    assert_eq!(parsed.system.cache_control.as_deref(), Some("no-store"));
    assert_eq!(parsed.system.content_language, None);
}

#[test]
fn aws_chunked_is_not_stored() {
    let encoding = |pairs: &[(&'static str, &str)]| parse(pairs).unwrap().system.content_encoding;
    assert_eq!(encoding(&[("content-encoding", "aws-chunked")]), None);
    assert_eq!(encoding(&[("content-encoding", "aws-chunked,gzip")]).as_deref(), Some("gzip"));
    assert_eq!(encoding(&[("content-encoding", "gzip, AWS-Chunked")]).as_deref(), Some("gzip"));
    assert_eq!(encoding(&[("content-encoding", "aws-chunked"), ("content-encoding", "zstd")]).as_deref(), Some("zstd"));
}

#[test]
fn user_metadata_has_a_limit() {
    let fits = "v".repeat(USER_METADATA_BYTES_MAX - 1);
    assert!(parse(&[("x-amz-meta-k", &fits)]).is_ok());
    assert_eq!(
        parse(&[("x-amz-meta-k", &fits), ("x-amz-meta-l", "")]).unwrap_err().code,
        S3ErrorCode::MetadataTooLarge
    );
    let invalid: HeaderMap =
        [(HeaderName::from_static("x-amz-meta-k"), HeaderValue::from_bytes(b"\xff").unwrap())].into_iter().collect();
    assert_eq!(ObjectHeaders::parse(&invalid, &[]).unwrap_err().code, S3ErrorCode::InvalidArgument);
}

#[test]
fn encryption_and_storage_class() {
    assert!(parse(&[("x-amz-server-side-encryption", "AES256")]).unwrap().sse_aes256);
    for kms in ["aws:kms", "aws:kms:dsse"] {
        assert_eq!(parse(&[("x-amz-server-side-encryption", kms)]).unwrap_err().code, S3ErrorCode::NotImplemented);
    }
    let key_id = parse(&[("x-amz-server-side-encryption-aws-kms-key-id", "k")]);
    assert_eq!(key_id.unwrap_err().code, S3ErrorCode::NotImplemented);
    assert_eq!(parse(&[("x-amz-server-side-encryption", "rot13")]).unwrap_err().code, S3ErrorCode::InvalidArgument);
    assert_eq!(parse(&[("x-amz-storage-class", "STANDARD")]).unwrap().storage_class, None);
    assert_eq!(parse(&[("x-amz-storage-class", "EC_8_4")]).unwrap().storage_class.as_deref(), Some("EC_8_4"));
    let of_s3 = parse(&[("x-amz-storage-class", "STANDARD_IA")]).unwrap();
    assert_eq!(of_s3.storage_class.as_deref(), Some("STANDARD_IA"));
    assert_eq!(parse(&[("x-amz-storage-class", "EC_9_9")]).unwrap_err().code, S3ErrorCode::InvalidStorageClass);
}

#[test]
fn directive_and_decoded_length() {
    assert_eq!(parse_metadata_directive(&map(&[])).unwrap(), MetadataDirective::Copy);
    assert_eq!(
        parse_metadata_directive(&map(&[("x-amz-metadata-directive", "REPLACE")])).unwrap(),
        MetadataDirective::Replace
    );
    assert!(parse_metadata_directive(&map(&[("x-amz-metadata-directive", "replace")])).is_err());
    let length = |value: &str| parse_decoded_content_length(&map(&[("x-amz-decoded-content-length", value)]));
    assert_eq!(length("12").unwrap(), 12);
    for value in ["", "-1", "+1", "1a", "99999999999999999999"] {
        assert!(length(value).is_err(), "{value}");
    }
    assert_eq!(parse_mp_object_size(&map(&[])).unwrap(), None);
    assert_eq!(parse_mp_object_size(&map(&[("x-amz-mp-object-size", "7")])).unwrap(), Some(7));
    assert_eq!(parse_decoded_content_length(&map(&[])).unwrap_err().code, S3ErrorCode::MissingContentLength);
}

#[test]
fn overrides() {
    let query = Query::parse("response-content-type=text%2Fplain&response-expires=x&other=1").unwrap();
    let overrides = ResponseOverrides::parse(&query, true).unwrap();
    assert_eq!(overrides.headers.len(), 2);
    assert_eq!(overrides.headers[0], ("content-type", HeaderValue::from_static("text/plain")));
    assert_eq!(ResponseOverrides::parse(&query, false).unwrap_err().code, S3ErrorCode::InvalidRequest);
    let split = Query::parse("response-content-type=a%0d%0aX:%20y").unwrap();
    assert_eq!(ResponseOverrides::parse(&split, true).unwrap_err().code, S3ErrorCode::InvalidArgument);
}

#[test]
fn a_single_header_is_single() {
    let headers = map(&[("if-match", "a"), ("if-match", "b")]);
    assert_eq!(single_header(&headers, "if-match").unwrap_err().code, S3ErrorCode::InvalidArgument);
}
