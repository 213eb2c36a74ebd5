//! The object's ETag and checksum from those of its parts.

use cairn_meta::{Attributes, ChecksumRow};
use cairn_proto::VersionId;
use cairn_s3::ChecksumHasher;

use super::*;

fn checksum(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> Checksum {
    let mut hasher = ChecksumHasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish()
}

fn part(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> PartRow {
    PartRow {
        version: VersionId::default(),
        bytes: bytes.len() as u64,
        etag: "0".repeat(32),
        modified_ms: 0,
        checksum: Some(stored_checksum::to_row(&checksum(algorithm, bytes))),
        extents: Vec::new(),
        data_key: None,
    }
}

fn upload(checksum: Option<ChecksumRow>) -> UploadRow {
    UploadRow {
        id: UploadId::default(),
        opened_ms: 0,
        attributes: Attributes::default(),
        checksum,
        initiator: "key".to_owned(),
        writer: None,
    }
}

#[test]
fn a_full_object_checksum_is_that_of_all_bytes() {
    let algorithm = ChecksumAlgorithm::Crc64Nvme;
    let upload = upload(Some(stored_checksum::announced_row(algorithm, ChecksumType::FullObject)));
    let rows = [part(algorithm, b"first "), part(algorithm, b"second")];
    let whole = checksum(algorithm, b"first second");
    assert_eq!(object_checksum(&upload, &rows, Some(&whole)).unwrap(), Some(whole.clone()));
    let wrong = checksum(algorithm, b"another");
    assert_eq!(object_checksum(&upload, &rows, Some(&wrong)).unwrap_err().code, S3ErrorCode::BadDigest);
}

#[test]
fn a_composite_checksum_counts_its_parts() {
    let algorithm = ChecksumAlgorithm::Crc32;
    let upload = upload(Some(stored_checksum::announced_row(algorithm, ChecksumType::Composite)));
    let rows = [part(algorithm, b"first "), part(algorithm, b"second")];
    let composite = object_checksum(&upload, &rows, None).unwrap().unwrap();
    assert_eq!(composite.parts, Some(2));
    assert!(composite.to_string().ends_with("-2"));
    let bare = Checksum { parts: None, ..composite.clone() };
    assert!(object_checksum(&upload, &rows, Some(&bare)).is_ok());
    let other = Checksum { parts: Some(3), ..composite };
    assert!(object_checksum(&upload, &rows, Some(&other)).is_err());
}

#[test]
fn an_upload_without_checksum_has_none() {
    let rows = [part(ChecksumAlgorithm::Crc32, b"x")];
    assert_eq!(object_checksum(&upload(None), &rows, None).unwrap(), None);
}

#[test]
fn the_etag_is_made_of_the_parts_and_garbage_is_no_part() {
    let named = |etag: &str| CompletedPart { part_number: 1, etag: etag.to_owned(), checksums: Vec::new() };
    let md5 = "d41d8cd98f00b204e9800998ecf8427e";
    assert!(object_etag(&[named(md5), named(md5)]).unwrap().ends_with("-2"));
    for bad in ["", "zz", "d41d8cd98f00b204e9800998ecf8427e00"] {
        assert_eq!(object_etag(&[named(bad)]).unwrap_err().code, S3ErrorCode::InvalidPart, "{bad}");
    }
}

#[test]
fn the_announced_size_is_compared() {
    let rows = [part(ChecksumAlgorithm::Crc32, b"12345")];
    let headers = |size: &str| [("x-amz-mp-object-size".parse().unwrap(), size.parse().unwrap())].into_iter().collect();
    assert!(check_size(&HeaderMap::new(), &rows).is_ok());
    assert!(check_size(&headers("5"), &rows).is_ok());
    assert_eq!(check_size(&headers("6"), &rows).unwrap_err().code, S3ErrorCode::InvalidRequest);
    assert_eq!(check_size(&headers("x"), &rows).unwrap_err().code, S3ErrorCode::InvalidArgument);
}
