//! Published values, combination of parts, and the headers of requests.

use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

fn of(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> Checksum {
    let mut hasher = ChecksumHasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish()
}

fn request(pairs: &[(&'static str, &str)]) -> Result<RequestChecksums, S3Error> {
    let pair =
        |&(name, value): &(&'static str, &str)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    RequestChecksums::parse(&pairs.iter().map(pair).collect())
}

#[test]
fn published_check_values() {
    // The catalogue's check values are of the nine digits.
    for (algorithm, hex_value) in [
        (ChecksumAlgorithm::Crc32, "cbf43926"),
        (ChecksumAlgorithm::Crc32C, "e3069283"),
        (ChecksumAlgorithm::Crc64Nvme, "ae8b14860a799888"),
        (ChecksumAlgorithm::Sha1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
        (ChecksumAlgorithm::Sha256, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
    ] {
        assert_eq!(hex::encode(of(algorithm, b"123456789").digest), hex_value);
    }
    assert_eq!(of(ChecksumAlgorithm::Crc32, b"").to_string(), "AAAAAA==");
}

#[test]
fn values_in_base64() {
    let parsed = Checksum::parse(ChecksumAlgorithm::Crc32, "y/Q5Jg==").unwrap();
    assert_eq!(parsed, of(ChecksumAlgorithm::Crc32, b"123456789"));
    assert_eq!(parsed.checksum_type(), ChecksumType::FullObject);
    let composite = Checksum::parse(ChecksumAlgorithm::Crc32, "y/Q5Jg==-3").unwrap();
    assert_eq!((composite.parts, composite.to_string().as_str()), (Some(3), "y/Q5Jg==-3"));
    for text in ["", "y/Q5Jg", "y/Q5Jg==-0", "y/Q5Jg==-x", "y/Q5Jg==-", "AAAA", "y/Q5Jg==-99999999999"] {
        assert!(Checksum::parse(ChecksumAlgorithm::Crc32, text).is_err(), "{text}");
    }
}

#[test]
fn request_headers() {
    assert_eq!(request(&[]).unwrap(), RequestChecksums::default());
    let parsed = request(&[("x-amz-checksum-crc32", "y/Q5Jg=="), ("x-amz-sdk-checksum-algorithm", "CRC32")]).unwrap();
    assert_eq!(parsed.wanted(), Some(ChecksumAlgorithm::Crc32));
    assert!(request(&[("x-amz-trailer", "x-amz-checksum-crc32"), ("x-amz-sdk-checksum-algorithm", "CRC32")]).is_ok());
    let parsed = request(&[("x-amz-trailer", "x-amz-checksum-crc64nvme")]).unwrap();
    assert_eq!(parsed.trailer, Some(ChecksumAlgorithm::Crc64Nvme));
    let parsed = request(&[("x-amz-checksum-algorithm", "crc32"), ("x-amz-checksum-type", "FULL_OBJECT")]).unwrap();
    assert_eq!(
        (parsed.algorithm, parsed.checksum_type),
        (Some(ChecksumAlgorithm::Crc32), Some(ChecksumType::FullObject))
    );
    assert_eq!(request(&[("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")]).unwrap().content_md5.unwrap()[0], 0xd4);
    assert!(request(&[("x-amz-checksum-mode", "ENABLED")]).is_ok());
    let mode = |value| {
        [(HeaderName::from_static("x-amz-checksum-mode"), HeaderValue::from_static(value))].into_iter().collect()
    };
    assert!(
        is_checksum_wanted(&mode("ENABLED"))
            && !is_checksum_wanted(&mode("off"))
            && !is_checksum_wanted(&HeaderMap::new())
    );
}

#[test]
fn refused_headers() {
    let refused: &[&[(&'static str, &str)]] = &[
        &[("x-amz-checksum-foo", "AAAA")],
        &[("x-amz-checksum-crc32", "AAAA")],
        &[("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-checksum-crc32c", "AAAAAA==")],
        &[("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-sdk-checksum-algorithm", "SHA1")],
        &[("x-amz-sdk-checksum-algorithm", "CRC32")],
        &[("x-amz-sdk-checksum-algorithm", "CRC32"), ("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")],
        &[("x-amz-checksum-crc32", "AAAAAA=="), ("x-amz-trailer", "x-amz-checksum-crc32")],
        &[("x-amz-trailer", "x-amz-meta-x")],
        &[("x-amz-checksum-algorithm", "MD4")],
        &[("x-amz-checksum-type", "WHOLE")],
        &[("x-amz-checksum-algorithm", "SHA256"), ("x-amz-checksum-type", "FULL_OBJECT")],
        &[("x-amz-checksum-algorithm", "CRC64NVME"), ("x-amz-checksum-type", "COMPOSITE")],
    ];
    for pairs in refused {
        assert_eq!(request(pairs).unwrap_err().code, S3ErrorCode::InvalidRequest, "{pairs:?}");
    }
    for value in ["", "AAAA", "not base64", "1B2M2Y8AsgTpgAmY7PhCfg"] {
        assert_eq!(request(&[("content-md5", value)]).unwrap_err().code, S3ErrorCode::InvalidDigest, "{value}");
    }
}

#[test]
fn parts_that_do_not_fit_together() {
    let crc = of(ChecksumAlgorithm::Crc32, b"a");
    let sha = of(ChecksumAlgorithm::Sha256, b"a");
    assert_eq!(Checksum::combine(ChecksumAlgorithm::Crc32, &[]), None);
    assert_eq!(Checksum::combine(ChecksumAlgorithm::Sha256, &[(sha.clone(), 1)]), None);
    assert_eq!(Checksum::combine(ChecksumAlgorithm::Crc32C, &[(crc.clone(), 1)]), None);
    assert_eq!(Checksum::composite(ChecksumAlgorithm::Sha256, &[sha, crc]), None);
    assert_eq!(Checksum::composite(ChecksumAlgorithm::Sha256, &[]), None);
}

proptest! {
    #[test]
    fn combined_parts_equal_the_whole(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 1..6)) {
        for algorithm in [ChecksumAlgorithm::Crc32, ChecksumAlgorithm::Crc32C, ChecksumAlgorithm::Crc64Nvme] {
            let sums: Vec<_> = parts.iter().map(|part| (of(algorithm, part), part.len() as u64)).collect();
            prop_assert_eq!(Checksum::combine(algorithm, &sums).unwrap(), of(algorithm, &parts.concat()));
        }
    }

    #[test]
    fn composite_hashes_the_digests(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 1..6)) {
        for algorithm in ChecksumAlgorithm::ALL {
            let sums: Vec<_> = parts.iter().map(|part| of(algorithm, part)).collect();
            let digests: Vec<u8> = sums.iter().flat_map(|sum| sum.digest.clone()).collect();
            let composite = Checksum::composite(algorithm, &sums).unwrap();
            prop_assert_eq!(&composite.digest, &of(algorithm, &digests).digest);
            prop_assert_eq!(Checksum::parse(algorithm, &composite.to_string()).unwrap(), composite);
        }
    }

    #[test]
    fn never_panics(text in any::<String>()) {
        for algorithm in ChecksumAlgorithm::ALL {
            let _ = Checksum::parse(algorithm, &text);
        }
    }
}
