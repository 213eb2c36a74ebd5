//! Listings to the element.

use time::macros::datetime;

use super::*;
use crate::xml::{Element, parse_document};

fn read(xml: &str) -> Element {
    assert!(xml.contains("xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""));
    parse_document(xml.as_bytes(), 1 << 20).unwrap()
}

fn names(element: &Element) -> Vec<&str> {
    element.children.iter().map(|child| child.name.as_str()).collect()
}

fn text<'a>(element: &'a Element, path: &[&str]) -> &'a str {
    let found = path.iter().fold(element, |at, name| at.children.iter().find(|child| child.name == *name).unwrap());
    &found.text
}

fn owner() -> Owner {
    Owner { id: "id".into(), display_name: "root".into() }
}

fn object(key: &str) -> ListedObject {
    ListedObject {
        key: key.into(),
        last_modified: datetime!(2026-11-29 12:00:00.5 UTC),
        etag: "abc".into(),
        size: 7,
        storage_class: "STANDARD".into(),
        checksum: Some((ChecksumAlgorithm::Crc32, ChecksumType::FullObject)),
    }
}

#[test]
fn buckets() {
    let bucket = BucketEntry { name: "bucket".into(), creation_date: datetime!(2026-11-29 12:00 UTC) };
    let result = ListAllMyBucketsResult {
        owner: owner(),
        buckets: vec![bucket],
        prefix: String::new(),
        continuation_token: Some("t".into()),
    };
    let root = read(&result.to_xml());
    assert_eq!(root.name, "ListAllMyBucketsResult");
    assert_eq!(names(&root), ["Owner", "Buckets", "ContinuationToken"]);
    assert_eq!(text(&root, &["Buckets", "Bucket", "Name"]), "bucket");
    assert_eq!(text(&root, &["Buckets", "Bucket", "CreationDate"]), "2026-11-29T12:00:00.000Z");
}

#[test]
fn location() {
    assert_eq!(read(&LocationConstraint { region: None }.to_xml()).text, "");
    assert_eq!(read(&LocationConstraint { region: Some("us-east-1".into()) }.to_xml()).text, "");
    assert_eq!(read(&LocationConstraint { region: Some("eu".into()) }.to_xml()).text, "eu");
}

#[test]
fn version_2() {
    let result = ListBucketResultV2 {
        name: "bucket".into(),
        prefix: "a b/".into(),
        delimiter: Some("/".into()),
        max_keys: 2,
        encode_url: true,
        next_continuation_token: Some("next".into()),
        is_truncated: true,
        contents: vec![object("a b/\u{1}+é")],
        common_prefixes: vec!["a b/c/".into()],
        ..ListBucketResultV2::default()
    };
    let root = read(&result.to_xml());
    assert_eq!(text(&root, &["KeyCount"]), "2");
    assert_eq!(text(&root, &["IsTruncated"]), "true");
    assert_eq!(text(&root, &["EncodingType"]), "url");
    assert_eq!(text(&root, &["Prefix"]), "a%20b/");
    assert_eq!(text(&root, &["Contents", "Key"]), "a%20b/%01%2B%C3%A9");
    assert_eq!(text(&root, &["Contents", "ETag"]), "\"abc\"");
    assert_eq!(text(&root, &["Contents", "LastModified"]), "2026-11-29T12:00:00.500Z");
    assert_eq!(text(&root, &["Contents", "ChecksumAlgorithm"]), "CRC32");
    assert_eq!(text(&root, &["CommonPrefixes", "Prefix"]), "a%20b/c/");
    assert_eq!(text(&root, &["NextContinuationToken"]), "next");
}

#[test]
fn version_1_names_owner_and_marker() {
    let result = ListBucketResultV1 {
        name: "bucket".into(),
        marker: "m".into(),
        max_keys: 1000,
        next_marker: Some("n".into()),
        is_truncated: true,
        owner: Some(owner()),
        contents: vec![object("<k>")],
        ..ListBucketResultV1::default()
    };
    let root = read(&result.to_xml());
    let expected = ["Name", "Prefix", "Marker", "NextMarker", "MaxKeys", "IsTruncated", "Contents"];
    assert_eq!(names(&root), expected);
    assert_eq!(text(&root, &["Contents", "Key"]), "<k>");
    assert_eq!(text(&root, &["Contents", "Owner", "ID"]), "id");
    assert_eq!(text(&root, &["NextMarker"]), "n");
}
