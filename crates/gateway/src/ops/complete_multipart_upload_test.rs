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
fn checksums_of_another_kind_than_the_uploads_are_refused() {
    use ChecksumType::{Composite, FullObject};
    let kind = |own, sent: &RequestChecksums| {
        check_kind(&upload(Some(stored_checksum::announced_row(ChecksumAlgorithm::Crc32, own))), sent)
            .map_err(|error| (error.code, error.message.into_owned()))
    };
    let of_type = |checksum_type| RequestChecksums { checksum_type, ..RequestChecksums::default() };
    let of = |algorithm| RequestChecksums { value: Some(checksum(algorithm, b"x")), ..RequestChecksums::default() };
    for (own, other) in [(Composite, FullObject), (FullObject, Composite)] {
        assert_eq!(kind(own, &of_type(None)), Ok(()));
        assert_eq!(kind(own, &of_type(Some(own))), Ok(()));
        assert_eq!(kind(own, &of(ChecksumAlgorithm::Crc32)), Ok(()));
        let (code, message) = kind(own, &of_type(Some(other))).unwrap_err();
        assert_eq!(code, S3ErrorCode::InvalidRequest);
        assert!(message.contains(&format!("send x-amz-checksum-type: {}", own.as_str())), "{message}");
        let (code, message) = kind(own, &of(ChecksumAlgorithm::Sha1)).unwrap_err();
        assert_eq!(code, S3ErrorCode::InvalidRequest);
        assert!(message.contains("begun with CRC32 checksums, not with SHA1"), "{message}");
    }
    assert!(check_kind(&upload(None), &of_type(None)).is_ok());
    assert_eq!(check_kind(&upload(None), &of_type(Some(Composite))).unwrap_err().code, S3ErrorCode::InvalidRequest);
    let error = check_kind(&upload(None), &of(ChecksumAlgorithm::Crc32)).unwrap_err();
    assert_eq!(error.code, S3ErrorCode::InvalidRequest);
    assert!(error.message.contains("begun without checksums, so that x-amz-checksum-crc32"), "{}", error.message);
}

#[test]
fn listed_checksums_must_be_of_the_parts_algorithm() {
    let (crc, sha) = (ChecksumAlgorithm::Crc32, ChecksumAlgorithm::Sha1);
    let rows = [part(crc, b"x"), PartRow { checksum: None, ..part(crc, b"y") }];
    let check = |first: &[ChecksumAlgorithm], second: &[ChecksumAlgorithm]| {
        let named = |part_number, algorithms: &[ChecksumAlgorithm]| CompletedPart {
            part_number,
            etag: "0".repeat(32),
            checksums: algorithms.iter().map(|algorithm| checksum(*algorithm, b"x")).collect(),
        };
        check_part_checksums(&[named(1, first), named(2, second)], &rows)
    };
    assert!(check(&[], &[]).is_ok() && check(&[crc], &[]).is_ok());
    for (first, second, stored, number) in
        [(&[sha][..], &[][..], "CRC32", "1"), (&[crc, sha], &[], "CRC32", "1"), (&[], &[crc], "no checksum", "2")]
    {
        let error = check(first, second).unwrap_err();
        assert_eq!(error.code, S3ErrorCode::InvalidPart);
        assert!(error.message.contains(&format!("stored with {stored};")), "{error}");
        assert_eq!(error.details, [("PartNumber", number.to_owned())]);
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
