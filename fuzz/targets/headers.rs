//! Headers together: conditions, checksums, metadata. The grammar of single values is the target `values`.
#![no_main]

use cairn_fuzz::{NOW, Request, check, must};
use cairn_s3::{
    BodyTag, BodyVerifier, Checksum, ChunkedDecoder, ObjectHeaders, PayloadKind, ReadConditions, RequestChecksums,
    WriteConditions, checksum, headers,
};
use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(request) = Request::read(bytes) else { return };
    let headers = &request.headers;
    check_conditions(headers);
    check_metadata(headers);
    check_checksums(headers, &request.body);
});

fn check_conditions(headers: &HeaderMap) {
    const ETAG: &str = "d41d8cd98f00b204e9800998ecf8427e";
    for conditions in [ReadConditions::parse(headers), ReadConditions::parse_copy_source(headers)] {
        let Some(conditions) = check(conditions) else { continue };
        check(conditions.check(ETAG, NOW));
        if conditions == ReadConditions::default() {
            assert!(conditions.check(ETAG, NOW).is_ok(), "no condition fails");
        }
    }
    if let Some(conditions) = check(WriteConditions::parse(headers)) {
        check(conditions.check(Some(ETAG)));
        check(conditions.check(None));
        assert!(!conditions.is_empty() || conditions.check(None).is_ok() && conditions.check(Some(ETAG)).is_ok());
        assert!(!conditions.if_none_match_any || conditions.check(Some(ETAG)).is_err());
    }
}

fn check_metadata(map: &HeaderMap) {
    check(headers::parse_metadata_directive(map));
    check(headers::parse_mp_object_size(map));
    let Some(object) = check(ObjectHeaders::parse(map, &["COLD".to_owned()])) else { return };
    let user_bytes: usize = object.user.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(user_bytes <= headers::USER_METADATA_BYTES_MAX);
    assert!(object.user.is_sorted());
    let system = &object.system;
    let kept = [&system.content_type, &system.content_encoding, &system.cache_control, &system.expires];
    for value in kept.into_iter().flatten() {
        assert!(value.len() <= headers::SYSTEM_METADATA_BYTES_MAX);
        assert!(HeaderValue::from_bytes(value.as_bytes()).is_ok(), "{value:?} cannot be sent back");
    }
    for (name, value) in &object.user {
        assert!(HeaderValue::from_bytes(value.as_bytes()).is_ok(), "{name}: {value:?} cannot be sent back");
    }
}

fn check_checksums(headers: &HeaderMap, body: &[u8]) {
    let _ = checksum::is_checksum_wanted(headers);
    let Some(announced) = check(RequestChecksums::parse(headers)) else { return };
    if let Some(value) = &announced.value {
        let written = value.to_string();
        assert_eq!(&must(Checksum::parse(value.algorithm, &written), "our own checksum cannot be read"), value);
    }
    let Some(payload) = check(PayloadKind::parse_header(headers)) else { return };
    let payload = payload.unwrap_or(PayloadKind::Unsigned);
    if let Some(decoder) = check(ChunkedDecoder::for_request(headers, payload, None, &announced)) {
        assert_eq!(decoder.is_some(), payload.is_chunked());
    }
    let mut verifier = BodyVerifier::new(payload, announced.clone(), None);
    verifier.update(body);
    if let Some(verified) = check(verifier.finish(None)) {
        assert_eq!(verified.byte_count, body.len() as u64);
        assert!(announced.content_md5.is_none_or(|md5| BodyTag::Md5(md5) == verified.tag));
        assert!(announced.value.is_none() || announced.value == verified.checksum);
    }
}
