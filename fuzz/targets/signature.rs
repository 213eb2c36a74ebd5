//! Signatures as anyone may send them: by header or by query, whole or broken.
#![no_main]

use cairn_fuzz::{ACCESS_KEY, NOW, Request, SECRET, check};
use cairn_s3::{Authentication, PayloadKind, Query, SigV4Options, parse_target, sigv4};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some(request) = Request::read(bytes) else { return };
    let Some(authentication) = check(Authentication::parse(&request.parts(), NOW, &SigV4Options::default())) else {
        return;
    };
    check(PayloadKind::of_anonymous(&request.headers));
    let Some(signed) = authentication.signed() else { return };
    assert!(!signed.access_key.is_empty());
    // A secret is longer than this, so it verifies nothing.
    assert!(signed.verify("").is_err(), "an empty secret verifies");
    if signed.access_key == ACCESS_KEY {
        check(signed.verify(SECRET));
    }
    check(parse_target(&request.host, &request.path, &[]));
    if let Some(query) = check(Query::parse(&request.query)) {
        let effective = check(sigv4::effective_headers(&request.headers, &query));
        for (name, value) in request.headers.iter().filter(|_| effective.is_some()) {
            let mut kept = effective.iter().flat_map(|effective| effective.get_all(name));
            assert!(kept.any(|kept| kept == value), "the header {name} was lost");
        }
    }
});
