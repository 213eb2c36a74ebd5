//! What must be signed, when a signature is valid, and everything that is refused.

use http::{HeaderName, HeaderValue};
use proptest::prelude::*;
use time::macros::datetime;

use super::*;

const NOW: OffsetDateTime = datetime!(2026-11-29 12:00:00 UTC);
const SECRET: &str = "secret";

fn signer() -> Signer {
    Signer::new("AK/with=odd", SECRET, "anywhere-9")
}

fn header(name: &'static str, value: &str) -> (HeaderName, HeaderValue) {
    (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap())
}

fn parts<'a>(path: &'a str, query: &'a str, headers: &'a HeaderMap) -> RequestParts<'a> {
    RequestParts { method: &Method::PUT, host: "localhost:9000", path, query, headers }
}

fn authenticate(request: &RequestParts<'_>, now: OffsetDateTime) -> Result<Verified, S3Error> {
    let parsed = Authentication::parse(request, now, &SigV4Options::default())?;
    parsed.signed().ok_or_else(|| S3Error::from(S3ErrorCode::AccessDenied))?.verify(SECRET)
}

fn code(result: Result<Verified, S3Error>) -> &'static str {
    result.map_or_else(|error| error.code.as_str(), |_| "ok")
}

fn presigned_put() -> String {
    let headers: HeaderMap = [header("x-amz-meta-cachekey", "k")].into_iter().collect();
    signer().presign(&parts("/bucket/k", "x-id=PutObject", &headers), 3600, NOW).unwrap()
}

#[test]
fn unsigned_amz_headers_are_refused_and_others_are_not() {
    let query = presigned_put();
    let check = |added: &[(HeaderName, HeaderValue)]| {
        let mut headers: HeaderMap = [header("x-amz-meta-cachekey", "k")].into_iter().collect();
        headers.extend(added.iter().map(|(name, value)| (Some(name.clone()), value.clone())));
        authenticate(&parts("/bucket/k", &query, &headers), NOW)
    };
    assert_eq!(code(check(&[])), "ok");
    let harmless = [
        header("content-type", "application/octet-stream"),
        header("last-modified", "x"),
        header("range", "bytes=0-0"),
    ];
    assert_eq!(code(check(&harmless)), "ok");
    for name in ["x-amz-copy-source", "x-amz-acl", "x-amz-meta-other", "x-amz-content-sha256", "x-amz-security-token"] {
        let error = check(&[header(name, "/other/secret")]).unwrap_err();
        assert_eq!(error.code, S3ErrorCode::AccessDenied);
        assert!(error.message.contains(name) && error.details.contains(&("HeadersNotSigned", name.to_owned())));
    }
    // A signed header that is changed, sent twice or left out.
    assert_eq!(code(check(&[header("x-amz-meta-cachekey", "other")])), "SignatureDoesNotMatch");
    assert_eq!(code(authenticate(&parts("/bucket/k", &query, &HeaderMap::new()), NOW)), "SignatureDoesNotMatch");
}

#[test]
fn unsigned_amz_headers_are_refused_with_a_header_signature_too() {
    let (mut headers, _) = signer().sign(&parts("/bucket/k", "", &HeaderMap::new()), "UNSIGNED-PAYLOAD", NOW).unwrap();
    assert_eq!(code(authenticate(&parts("/bucket/k", "", &headers), NOW)), "ok");
    headers.insert("x-amz-copy-source", HeaderValue::from_static("/other/secret"));
    assert_eq!(code(authenticate(&parts("/bucket/k", "", &headers), NOW)), "AccessDenied");
}

#[test]
fn everything_signed_is_covered() {
    let query = presigned_put();
    let headers: HeaderMap = [header("x-amz-meta-cachekey", "k")].into_iter().collect();
    let request = parts("/bucket/k", &query, &headers);
    assert_eq!(code(authenticate(&RequestParts { method: &Method::GET, ..request }, NOW)), "SignatureDoesNotMatch");
    assert_eq!(code(authenticate(&RequestParts { host: "localhost", ..request }, NOW)), "SignatureDoesNotMatch");
    assert_eq!(code(authenticate(&parts("/bucket/K", &query, &headers), NOW)), "SignatureDoesNotMatch");
    let longer = format!("{query}&uploads");
    assert_eq!(code(authenticate(&parts("/bucket/k", &longer, &headers), NOW)), "SignatureDoesNotMatch");
    let region = query.replace("anywhere-9", "anywhere-8");
    assert_eq!(code(authenticate(&parts("/bucket/k", &region, &headers), NOW)), "SignatureDoesNotMatch");
}

#[test]
fn presigned_times() {
    let query = presigned_put();
    let headers: HeaderMap = [header("x-amz-meta-cachekey", "k")].into_iter().collect();
    let at = |seconds: i64| {
        code(authenticate(&parts("/bucket/k", &query, &headers), NOW + time::Duration::seconds(seconds)))
    };
    assert_eq!((at(0), at(3600), at(3601)), ("ok", "ok", "AccessDenied"));
    assert_eq!((at(-900), at(-901)), ("ok", "AccessDenied"));
}

#[test]
fn presigned_expiry_has_a_limit_that_is_a_setting() {
    let headers = HeaderMap::new();
    let check = |seconds: u64, options: &SigV4Options| {
        let query = signer().presign(&parts("/bucket/k", "", &headers), seconds, NOW).unwrap();
        Authentication::parse(&parts("/bucket/k", &query, &headers), NOW, options).map_err(|error| error.code)
    };
    let default = SigV4Options::default();
    let long = SigV4Options { presigned_expires_max: Duration::from_secs(30 * 24 * 3600), ..SigV4Options::default() };
    let refused = S3ErrorCode::AuthorizationQueryParametersError;
    assert!(check(1, &default).is_ok() && check(604_800, &default).is_ok());
    for seconds in [0, 604_801, u64::MAX] {
        assert_eq!(check(seconds, &default).unwrap_err(), refused);
    }
    assert!(check(604_801, &long).is_ok());
    let endless = SigV4Options { presigned_expires_max: Duration::MAX, ..SigV4Options::default() };
    assert_eq!(check(u64::MAX, &endless).unwrap_err(), refused);
}

#[test]
fn header_clock_skew() {
    let (headers, _) = signer().sign(&parts("/bucket/k", "", &HeaderMap::new()), "UNSIGNED-PAYLOAD", NOW).unwrap();
    for (seconds, expected) in
        [(900, "ok"), (-900, "ok"), (901, "RequestTimeTooSkewed"), (-901, "RequestTimeTooSkewed")]
    {
        let now = NOW + time::Duration::seconds(seconds);
        assert_eq!(code(authenticate(&parts("/bucket/k", "", &headers), now)), expected, "{seconds}");
    }
}

#[test]
fn keys_with_odd_characters() {
    // What a client sends raw or encodes differently from us must not matter.
    for (signed_path, sent_path) in [
        ("/bucket/a%3D", "/bucket/a="),
        ("/bucket/a%2A", "/bucket/a*"),
        ("/bucket/a%2Bb", "/bucket/a+b"),
        ("/bucket/a%20b", "/bucket/a%20b"),
        ("/bucket/%C3%A9", "/bucket/%c3%a9"),
        ("/bucket/%25", "/bucket/%25"),
        ("/bucket/a//../b", "/bucket/a//%2E./b"),
    ] {
        let (headers, _) = signer().sign(&parts(signed_path, "", &HeaderMap::new()), "UNSIGNED-PAYLOAD", NOW).unwrap();
        assert_eq!(code(authenticate(&parts(sent_path, "", &headers), NOW)), "ok", "{sent_path}");
    }
}

#[test]
fn header_values_are_trimmed_and_joined() {
    let sent: HeaderMap = [header("x-amz-meta-a", "a   b")].into_iter().collect();
    let (mut headers, _) = signer().sign(&parts("/bucket/k", "", &sent), "UNSIGNED-PAYLOAD", NOW).unwrap();
    headers.insert("x-amz-meta-a", HeaderValue::from_static("  a b "));
    assert_eq!(code(authenticate(&parts("/bucket/k", "", &headers), NOW)), "ok");
}

#[test]
fn malformed_authorization_headers() {
    let (good, _) = signer().sign(&parts("/bucket/k", "", &HeaderMap::new()), "UNSIGNED-PAYLOAD", NOW).unwrap();
    let authorization = good["authorization"].to_str().unwrap().to_owned();
    let check = |authorization: &str| {
        let mut headers = good.clone();
        headers.insert("authorization", HeaderValue::from_str(authorization).unwrap());
        code(authenticate(&parts("/bucket/k", "", &headers), NOW))
    };
    assert_eq!(check(&authorization), "ok");
    assert_eq!(check(&authorization.replace(',', ", ")), "ok");
    assert_eq!(check("AWS AKIA:c2ln"), "InvalidRequest");
    assert_eq!(check("Bearer x"), "InvalidRequest");
    assert_eq!(check(&authorization.replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256")), "InvalidRequest");
    let malformed = "AuthorizationHeaderMalformed";
    assert_eq!(check("AWS4-HMAC-SHA256 Credential"), malformed);
    assert_eq!(check("AWS4-HMAC-SHA256 Credential=a,Signature=b"), malformed);
    assert_eq!(check(&format!("{authorization},Signature=00")), malformed);
    assert_eq!(check(&format!("{authorization},Extra=00")), malformed);
    assert_eq!(check(&authorization.replace("20261129", "20261128")), malformed);
    assert_eq!(check(&authorization.replace("20261129", "2026112")), malformed);
    assert_eq!(check(&authorization.replace("/s3/", "/sts/")), malformed);
    assert_eq!(check(&authorization.replace("aws4_request", "aws5_request")), malformed);
    assert_eq!(check(&authorization.replace("Signature=", "Signature=zz")), malformed);
    assert_eq!(check(&authorization.replace("SignedHeaders=host;", "SignedHeaders=")), "AccessDenied");
    assert_eq!(check(&authorization.replace("SignedHeaders=host;", "SignedHeaders=Host;")), "AccessDenied");
    assert_eq!(check(&authorization.replace("SignedHeaders=host;", "SignedHeaders=host;host;")), "AccessDenied");
    assert_eq!(
        check(&authorization.replace("SignedHeaders=host;", "SignedHeaders=extra;host;")),
        "SignatureDoesNotMatch"
    );
}

#[test]
fn missing_and_repeated_parts() {
    let (good, _) = signer().sign(&parts("/bucket/k", "", &HeaderMap::new()), "UNSIGNED-PAYLOAD", NOW).unwrap();
    let without = |name: &str| {
        let mut headers = good.clone();
        headers.remove(name);
        code(authenticate(&parts("/bucket/k", "", &headers), NOW))
    };
    assert_eq!(without("x-amz-content-sha256"), "InvalidRequest");
    assert_eq!(without("x-amz-date"), "AccessDenied");
    for name in ["authorization", "x-amz-date", "x-amz-content-sha256"] {
        let mut headers = good.clone();
        headers.append(HeaderName::from_static(name), good[name].clone());
        assert_eq!(code(authenticate(&parts("/bucket/k", "", &headers), NOW)), "InvalidArgument", "{name}");
    }
    let query = presigned_put();
    assert_eq!(code(authenticate(&parts("/bucket/k", &query, &good), NOW)), "InvalidRequest");
    let headers: HeaderMap = [header("x-amz-meta-cachekey", "k")].into_iter().collect();
    for added in ["X-Amz-Expires=9", "x-amz-expires=9", "X-Amz-Signature=00"] {
        let query = format!("{query}&{added}");
        assert_eq!(code(authenticate(&parts("/bucket/k", &query, &headers), NOW)), "AuthorizationQueryParametersError");
    }
    for name in
        ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"]
    {
        let query: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with(&format!("{name}="))).collect();
        let result = authenticate(&parts("/bucket/k", &query.join("&"), &headers), NOW);
        assert_eq!(code(result), "AuthorizationQueryParametersError", "{name}");
    }
}

#[test]
fn other_ways_of_signing() {
    let headers = HeaderMap::new();
    let version_2 = parts("/bucket/k", "AWSAccessKeyId=a&Signature=b&Expires=1", &headers);
    assert_eq!(code(authenticate(&version_2, NOW)), "InvalidRequest");
    let anonymous =
        Authentication::parse(&parts("/bucket/k", "uploads", &headers), NOW, &SigV4Options::default()).unwrap();
    assert!(matches!(anonymous, Authentication::Anonymous) && anonymous.access_key().is_none());
}

#[test]
fn session_tokens_are_handed_on() {
    let sent: HeaderMap = [header("x-amz-security-token", "token")].into_iter().collect();
    let (headers, _) = signer().sign(&parts("/bucket/k", "", &sent), "UNSIGNED-PAYLOAD", NOW).unwrap();
    let options = SigV4Options::default();
    let parsed = Authentication::parse(&parts("/bucket/k", "", &headers), NOW, &options).unwrap();
    assert_eq!(parsed.signed().unwrap().security_token.as_deref(), Some("token"));
    let headers = HeaderMap::new();
    let query = signer().presign(&parts("/bucket/k", "X-Amz-Security-Token=a%2Fb", &headers), 60, NOW).unwrap();
    let parsed = Authentication::parse(&parts("/bucket/k", &query, &headers), NOW, &options).unwrap();
    assert_eq!(parsed.signed().unwrap().security_token.as_deref(), Some("a/b"));
    assert!(parsed.signed().unwrap().verify(SECRET).is_ok());
}

#[test]
fn payload_kinds() {
    assert_eq!(
        PayloadKind::parse("STREAMING-UNSIGNED-PAYLOAD-TRAILER").unwrap(),
        PayloadKind::StreamingUnsignedTrailer
    );
    assert!(PayloadKind::parse(&"aB".repeat(32)).is_ok());
    for value in ["", "unsigned-payload", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", &"0".repeat(62), &"g".repeat(64)]
    {
        assert_eq!(PayloadKind::parse(value).unwrap_err().code, S3ErrorCode::InvalidArgument, "{value}");
    }
    assert_eq!(PayloadKind::of_anonymous(&HeaderMap::new()).unwrap(), PayloadKind::Unsigned);
    let streaming: HeaderMap =
        [header("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")].into_iter().collect();
    assert_eq!(PayloadKind::of_anonymous(&streaming).unwrap_err().code, S3ErrorCode::InvalidRequest);
}

#[test]
fn nothing_secret_is_printed() {
    let query = presigned_put();
    let headers: HeaderMap = [header("x-amz-meta-cachekey", "k")].into_iter().collect();
    let parsed = Authentication::parse(&parts("/bucket/k", &query, &headers), NOW, &SigV4Options::default()).unwrap();
    let signature = parsed.signed().unwrap().signature_hex();
    assert!(query.contains(&signature));
    assert!(!format!("{parsed:?} {:?}", signer()).contains(&signature));
    assert!(!format!("{:?}", signer()).contains(SECRET));
}

proptest! {
    #[test]
    fn signs_and_verifies_any_key_and_query(key in "\\PC{1,40}", value in "\\PC{0,20}", meta in "[ -~]{0,20}") {
        let path = format!("/bucket/{}", crate::uri::aws_encode(key.as_bytes(), true));
        let query = format!("prefix={}", crate::uri::aws_encode(value.as_bytes(), false));
        let headers: HeaderMap = [header("x-amz-meta-m", &meta)].into_iter().collect();
        let (signed, _) = signer().sign(&parts(&path, &query, &headers), "UNSIGNED-PAYLOAD", NOW).unwrap();
        prop_assert!(authenticate(&parts(&path, &query, &signed), NOW).is_ok());
        let presigned = signer().presign(&parts(&path, &query, &headers), 60, NOW).unwrap();
        prop_assert!(authenticate(&parts(&path, &presigned, &headers), NOW).is_ok());
    }

    #[test]
    fn never_panics(path in "\\PC{0,30}", query in "(X-Amz-Algorithm=AWS4-HMAC-SHA256&|X-Amz-Credential=|X-Amz-Date=|[a-zA-Z0-9%&=/+-]){0,30}", authorization in "(AWS4-HMAC-SHA256 )?(Credential=|SignedHeaders=|Signature=|[ -~]){0,12}") {
        let headers: HeaderMap = [header("authorization", &authorization), header("x-amz-date", "20261129T120000Z")].into_iter().collect();
        let _ = authenticate(&parts(&path, &query, &headers), NOW);
        let _ = authenticate(&parts(&path, &query, &HeaderMap::new()), NOW);
    }
}
