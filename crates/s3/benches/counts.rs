//! What the S3 protocol costs a request: allocations, copies, and CPU time.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

#[path = "../../../benches/counting/mod.rs"]
mod counting;

use std::hint::black_box;

use bytes::Bytes;
use cairn_s3::{
    Authentication, BodyVerifier, ChecksumAlgorithm, ChunkedDecoder, ChunkedOptions, PayloadKind, RequestChecksums,
    RequestParts, SigV4Options,
    sigv4::{ChunkSigner, Signer},
    xml::{ListBucketResultV2, ListedObject},
};
use counting::{Case, Counts};
use http::{HeaderMap, HeaderValue, Method};
use time::{OffsetDateTime, macros::datetime};

const NOW: OffsetDateTime = datetime!(2026-11-29 12:00 UTC);
const SECRET: &str = "bench-secret-0123456789abcdef";
const TRAILER: &str = "x-amz-checksum-crc32";
const BODY_BYTES: usize = 1 << 20;
const CHUNK_BYTES: usize = 64 << 10;
/// What a body comes in: a TLS record.
const PIECE_BYTES: usize = 16 << 10;
const KEYS: usize = 1000;

fn main() {
    let mut counts = Counts::start();
    chunks(&mut counts, false);
    chunks(&mut counts, true);
    digests(&mut counts);
    signatures(&mut counts);
    page(&mut counts);
    counts.end();
}

fn signer() -> Signer {
    Signer::new("BENCHKEY", SECRET, "eu-bench-1")
}

fn chunk_signer() -> ChunkSigner {
    let headers = HeaderMap::new();
    let request = RequestParts { method: &Method::PUT, ..parts("", &headers) };
    signer().sign(&request, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", NOW).expect("a request that can be signed").1
}

fn parts<'a>(query: &'a str, headers: &'a HeaderMap) -> RequestParts<'a> {
    let path = "/cache/project/1234/default-protected/cache.zip";
    RequestParts { method: &Method::GET, host: "cairn.example:9000", path, query, headers }
}

/// An aws-chunked body of 1 MiB with a trailer.
fn body(is_signed: bool) -> Bytes {
    let (mut signer, chunk) = (chunk_signer(), vec![7; CHUNK_BYTES]);
    let mut body = Vec::new();
    let mut header = |body: &mut Vec<u8>, chunk: &[u8]| {
        let signature =
            if is_signed { format!(";chunk-signature={}", signer.sign_chunk(chunk)) } else { String::new() };
        body.extend_from_slice(format!("{:x}{signature}\r\n", chunk.len()).as_bytes());
    };
    for _ in 0..BODY_BYTES / CHUNK_BYTES {
        header(&mut body, &chunk);
        body.extend_from_slice(&chunk);
        body.extend_from_slice(b"\r\n");
    }
    header(&mut body, &[]);
    body.extend_from_slice(format!("{TRAILER}:AAAAAA==\r\n").as_bytes());
    if is_signed {
        let signature = signer.sign_trailer(&format!("{TRAILER}:AAAAAA==\n"));
        body.extend_from_slice(format!("x-amz-trailer-signature:{signature}\r\n").as_bytes());
    }
    body.extend_from_slice(b"\r\n");
    body.into()
}

/// The bytes themselves are passed on where they are: a copy would show as a MiB.
fn chunks(counts: &mut Counts, is_signed: bool) {
    let body = body(is_signed);
    let options = ChunkedOptions {
        decoded_bytes: BODY_BYTES as u64,
        signer: is_signed.then(chunk_signer),
        trailer_names: vec![TRAILER.to_owned()],
        has_trailer: true,
    };
    let kind = if is_signed { "signed" } else { "unsigned" };
    let case = Case {
        name: &format!("aws-chunked, {kind}: parse 1 MiB in chunks of 64 KiB"),
        handled: BODY_BYTES,
        made: 0,
        allocations_max: if is_signed { 300 } else { 130 },
        beyond_max: if is_signed { 36_000 } else { 11_000 },
    };
    counts.case(&case, || {
        let mut decoder = ChunkedDecoder::new(options.clone());
        for start in (0..body.len()).step_by(PIECE_BYTES) {
            let piece = body.slice(start..(start + PIECE_BYTES).min(body.len()));
            black_box(decoder.push(piece).expect("a right body"));
        }
        black_box(decoder.finish().expect("a whole body"));
    });
}

/// The digests that a body of 1 MiB goes through.
fn digests(counts: &mut Counts) {
    let piece = vec![7; PIECE_BYTES];
    let mut digest = |name: &str, algorithm: Option<ChecksumAlgorithm>, is_fast: bool, (times, bytes): (u64, u64)| {
        let case = Case { name, handled: BODY_BYTES, made: 0, allocations_max: times, beyond_max: bytes };
        counts.case(&case, || {
            let none = RequestChecksums::default();
            let verifier = BodyVerifier::new(PayloadKind::Unsigned, none, algorithm);
            let mut verifier = if is_fast { verifier.with_fast_tag() } else { verifier };
            (0..BODY_BYTES / PIECE_BYTES).for_each(|_| verifier.update(&piece));
            black_box(verifier.finish(None).expect("nothing was announced"));
        });
    };
    digest("body of 1 MiB: MD5", None, false, (0, 0));
    digest("body of 1 MiB: MD5 and CRC-32", Some(ChecksumAlgorithm::Crc32), false, (1, 32));
    digest("body of 1 MiB: MD5 and CRC-64/NVME", Some(ChecksumAlgorithm::Crc64Nvme), false, (1, 32));
    digest("body of 1 MiB: MD5 and SHA-256", Some(ChecksumAlgorithm::Sha256), false, (1, 32));
    digest("body of 1 MiB: XXH3 for the ETag", None, true, (1, 640));
}

/// A GET as an SDK sends it, and as a GitLab runner has it presigned.
fn signatures(counts: &mut Counts) {
    let options = SigV4Options::default();
    let check = |request: &RequestParts<'_>| {
        let parsed = Authentication::parse(request, NOW, &options).expect("a request that is signed well");
        black_box(parsed.signed().expect("it is signed").verify(SECRET).expect("its signature is right"));
    };
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("user-agent", "aws-sdk-rust/1.3 os/linux lang/rust"),
        ("amz-sdk-invocation-id", "0f5e6d61-2f66-4d3b-9d5b-93a5f1a6e9ee"),
        ("amz-sdk-request", "attempt=1; max=3"),
        ("x-amz-checksum-mode", "ENABLED"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let signed = signer().sign(&parts("x-id=GetObject", &headers), "UNSIGNED-PAYLOAD", NOW);
    let (signed, _) = signed.expect("a request that can be signed");
    let case = Case { name: "SigV4 by header: verify", handled: 0, made: 0, allocations_max: 65, beyond_max: 3_900 };
    counts.case(&case, || check(&parts("x-id=GetObject", &signed)));
    let none = HeaderMap::new();
    let query = signer().presign(&parts("", &none), 3600, NOW).expect("a request that can be signed");
    let case = Case { name: "SigV4 presigned: verify", handled: 0, made: 0, allocations_max: 82, beyond_max: 4_900 };
    counts.case(&case, || check(&parts(&query, &none)));
}

fn page(counts: &mut Counts) {
    let object = |number: usize| ListedObject {
        key: format!("project/1234/cache/{number:06}/default-protected.zip"),
        last_modified: NOW,
        etag: "d41d8cd98f00b204e9800998ecf8427e".to_owned(),
        size: 4096,
        storage_class: "STANDARD".into(),
        checksum: None,
    };
    let page = ListBucketResultV2 {
        name: "cache".to_owned(),
        max_keys: 1000,
        encode_url: true,
        contents: (0..KEYS).map(object).collect(),
        ..ListBucketResultV2::default()
    };
    let made = page.to_xml().len();
    let case = Case { name: "LIST: XML of 1,000 keys", handled: made, made, allocations_max: 12, beyond_max: 75_000 };
    counts.case(&case, || {
        black_box(page.to_xml());
    });
}
