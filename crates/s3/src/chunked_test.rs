//! Any split of any body decodes to the input; every truncation and every change is an error.

use http::Method;
use proptest::prelude::*;
use time::macros::datetime;

use super::*;
use crate::{
    PayloadKind, RequestChecksums,
    sigv4::{RequestParts, Signer},
};

const TRAILER: &str = "x-amz-checksum-crc32";

fn chunk_signer() -> ChunkSigner {
    let headers = HeaderMap::new();
    let request = RequestParts { method: &Method::PUT, host: "h", path: "/bucket/k", query: "", headers: &headers };
    let signer = Signer::new("ak", "sk", "r");
    signer.sign(&request, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", datetime!(2026-11-29 12:00 UTC)).unwrap().1
}

#[derive(Debug, Clone, Copy)]
struct Form {
    signed: bool,
    trailer: bool,
}

const FORMS: [Form; 4] = [
    Form { signed: false, trailer: false },
    Form { signed: false, trailer: true },
    Form { signed: true, trailer: false },
    Form { signed: true, trailer: true },
];

fn options(form: Form, decoded_bytes: usize) -> ChunkedOptions {
    ChunkedOptions {
        decoded_bytes: decoded_bytes as u64,
        signer: form.signed.then(chunk_signer),
        trailer_names: if form.trailer { vec![TRAILER.to_owned()] } else { Vec::new() },
        has_trailer: form.trailer,
    }
}

fn encode(form: Form, chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut signer = chunk_signer();
    let mut out = Vec::new();
    let empty = Vec::new();
    for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()).chain([&empty]) {
        out.extend_from_slice(format!("{:x}", chunk.len()).as_bytes());
        if form.signed {
            out.extend_from_slice(format!(";chunk-signature={}", signer.sign_chunk(chunk)).as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(chunk);
        if !chunk.is_empty() {
            out.extend_from_slice(b"\r\n");
        }
    }
    if form.trailer {
        out.extend_from_slice(format!("{TRAILER}:AAAAAA==\r\n").as_bytes());
    }
    if form.signed && form.trailer {
        let signature = signer.sign_trailer(&format!("{TRAILER}:AAAAAA==\n"));
        out.extend_from_slice(format!("{TRAILER_SIGNATURE}:{signature}\r\n").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    out
}

fn decode(options: ChunkedOptions, pieces: &[&[u8]]) -> Result<(Vec<u8>, Trailers), S3Error> {
    let mut decoder = ChunkedDecoder::new(options);
    let mut out = Vec::new();
    for piece in pieces {
        for bytes in decoder.push(Bytes::copy_from_slice(piece))? {
            out.extend_from_slice(&bytes);
        }
    }
    assert_eq!(decoder.decoded_bytes(), out.len() as u64);
    decoder.finish().map(|trailers| (out, trailers))
}

fn unsigned(body: &[u8], decoded_bytes: usize) -> Result<(Vec<u8>, Trailers), S3Error> {
    decode(options(FORMS[1], decoded_bytes), &[body])
}

#[test]
fn the_runners_body() {
    let (body, trailers) = unsigned(b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n", 5).unwrap();
    assert_eq!(body, b"hello");
    assert_eq!(trailers.get(TRAILER), Some("NhCmhg=="));
    assert_eq!(trailers.iter().count(), 1);
}

#[test]
fn forms_of_other_clients() {
    // A line feed alone behind a trailer, an empty line before its signature, one more line end at the end.
    assert!(unsigned(b"1\r\na\r\n0\r\nX-Amz-Checksum-Crc32: AAAAAA==\n\r\n\r\n", 1).is_ok());
    let form = FORMS[3];
    let text = String::from_utf8(encode(form, &[b"a".to_vec()])).unwrap();
    let minio = text.replace("AAAAAA==\r\n", "AAAAAA==\n\r\n");
    assert_ne!(text, minio);
    assert!(decode(options(form, 1), &[minio.as_bytes()]).is_ok());
}

#[test]
fn large_unsigned_chunks_are_not_collected() {
    let mut decoder = ChunkedDecoder::new(options(FORMS[1], 1 << 30));
    decoder.push(Bytes::from_static(b"40000000\r\n")).unwrap();
    let piece = Bytes::from(vec![7; 1 << 20]);
    let given = decoder.push(piece.clone()).unwrap();
    assert_eq!(given, std::slice::from_ref(&piece));
    assert_eq!(given[0].as_ptr(), piece.as_ptr());
}

#[test]
fn large_signed_chunks_are_refused() {
    let header = |size: u64| format!("{size:x};chunk-signature={}\r\n", "0".repeat(64));
    let check = |size: u64| {
        let mut decoder = ChunkedDecoder::new(options(FORMS[2], 1 << 30));
        decoder.push(Bytes::from(header(size))).map_err(|error| error.code)
    };
    assert!(check(SIGNED_CHUNK_BYTES_MAX).is_ok());
    assert_eq!(check(SIGNED_CHUNK_BYTES_MAX + 1), Err(S3ErrorCode::EntityTooLarge));
}

#[test]
fn lengths_must_be_the_announced_ones() {
    let body = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n";
    for decoded_bytes in [0, 4, 6] {
        assert_eq!(unsigned(body, decoded_bytes).unwrap_err().code, S3ErrorCode::IncompleteBody, "{decoded_bytes}");
    }
}

#[test]
fn malformed_bodies() {
    let end = "0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n";
    for (body, expected) in [
        (format!("5\r\nhello\r\n{end}x"), "InvalidRequest"),
        (format!("5\r\nhello\r\n{end}\r\n\r\n"), "InvalidRequest"),
        (format!("5\r\nhello!\r\n{end}"), "InvalidRequest"),
        (format!("5\nhello\r\n{end}"), "InvalidRequest"),
        (format!("5\r\nhello\n{end}"), "InvalidRequest"),
        (format!("-5\r\nhello\r\n{end}"), "InvalidRequest"),
        (format!("+5\r\nhello\r\n{end}"), "InvalidRequest"),
        (format!("\r\nhello\r\n{end}"), "InvalidRequest"),
        (format!("5;x=y\r\nhello\r\n{end}"), "InvalidRequest"),
        (format!("{}5\r\nhello\r\n{end}", "0".repeat(16)), "InvalidRequest"),
        (format!("ffffffffffffffff\r\nhello\r\n{end}"), "IncompleteBody"),
        (format!("5{}\r\nhello\r\n{end}", " ".repeat(LINE_BYTES_MAX)), "InvalidRequest"),
        ("5\r\nhello\r\n0\r\n\r\n".to_owned(), "MalformedTrailerError"),
        ("5\r\nhello\r\n0\r\nx-amz-meta-a:b\r\n\r\n".to_owned(), "MalformedTrailerError"),
        (format!("5\r\nhello\r\n0\r\n{TRAILER}:a\r\n{TRAILER}:a\r\n\r\n"), "MalformedTrailerError"),
        (format!("5\r\nhello\r\n0\r\n{TRAILER_SIGNATURE}:a\r\n\r\n"), "MalformedTrailerError"),
        ("5\r\nhello\r\n0\r\nnonsense\r\n\r\n".to_owned(), "MalformedTrailerError"),
        (format!("5\r\nhello\r\n0\r\n{}\r\n", "x".repeat(LINE_BYTES_MAX)), "InvalidRequest"),
    ] {
        assert_eq!(unsigned(body.as_bytes(), 5).unwrap_err().code.as_str(), expected, "{body}");
    }
    let without = decode(options(FORMS[0], 5), &[b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"]);
    assert_eq!(without.unwrap_err().code, S3ErrorCode::MalformedTrailerError);
}

#[test]
fn signatures_are_checked() {
    let chunks = [b"hello".to_vec(), b"world".to_vec()];
    for form in [FORMS[2], FORMS[3]] {
        let text = String::from_utf8(encode(form, &chunks)).unwrap();
        let check = |text: &str| decode(options(form, 10), &[text.as_bytes()]).map_err(|error| error.code.as_str());
        assert!(check(&text).is_ok());
        assert_eq!(check(&text.replace("world", "World")).unwrap_err(), "SignatureDoesNotMatch");
        let unsigned_end = text.split("0;chunk-signature=").next().unwrap().to_owned() + "0\r\n\r\n";
        assert_eq!(check(&unsigned_end).unwrap_err(), "InvalidRequest");
        // The chunks in another order.
        let (first, rest) =
            text.split_at(text.find("5;chunk").map(|at| at + text[at..].find("hello\r\n").unwrap() + 7).unwrap());
        let (second, end) = rest.split_at(rest.find("world\r\n").unwrap() + 7);
        assert_eq!(check(&format!("{second}{first}{end}")).unwrap_err(), "SignatureDoesNotMatch");
    }
    let text = String::from_utf8(encode(FORMS[3], &chunks)).unwrap();
    let forged = text.replace("AAAAAA==", "BAAAAA==");
    assert_eq!(
        decode(options(FORMS[3], 10), &[forged.as_bytes()]).unwrap_err().code,
        S3ErrorCode::SignatureDoesNotMatch
    );
    let cut = text.find(TRAILER_SIGNATURE).unwrap();
    let unsigned_trailer = format!("{}\r\n\r\n", &text[..cut]);
    let result = decode(options(FORMS[3], 10), &[unsigned_trailer.as_bytes()]);
    assert!(result.is_err());
}

#[test]
fn an_error_is_final() {
    let mut decoder = ChunkedDecoder::new(options(FORMS[0], 5));
    assert!(decoder.push(Bytes::from_static(b"x\r\n")).is_err());
    assert!(decoder.push(Bytes::from_static(b"5\r\nhello\r\n0\r\n\r\n")).is_err());
    assert!(decoder.finish().is_err());
}

#[test]
fn a_request_says_how_its_body_is_framed() {
    let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
        let pair = |&(name, value): &(&'static str, &'static str)| (name.parse().unwrap(), value.parse().unwrap());
        pairs.iter().map(pair).collect()
    };
    let decoder = |kind: PayloadKind, pairs: &[(&'static str, &'static str)]| {
        let headers = headers(pairs);
        let checksums = RequestChecksums::parse(&headers).unwrap();
        ChunkedDecoder::for_request(&headers, kind, None, &checksums).map_err(|error| error.to_string())
    };
    let length = ("x-amz-decoded-content-length", "5");
    let trailer = ("x-amz-trailer", TRAILER);
    assert!(decoder(PayloadKind::Unsigned, &[]).unwrap().is_none());
    let refused = |kind, pairs: &[_], code: &str| {
        let error = decoder(kind, pairs).unwrap_err();
        assert!(error.starts_with(code), "{error}");
    };
    refused(PayloadKind::Unsigned, &[trailer], "InvalidRequest: ");
    refused(PayloadKind::StreamingUnsignedTrailer, &[trailer], "MissingContentLength: ");
    for kind in [PayloadKind::StreamingUnsignedTrailer, PayloadKind::StreamingSigned { trailer: true }] {
        refused(kind, &[length], "InvalidRequest: an x-amz-content-sha256 that ends in -TRAILER needs x-amz-trailer");
    }
    let signed = PayloadKind::StreamingSigned { trailer: false };
    refused(signed, &[length], "InvalidRequest: signed chunks");
    let mut decoder = decoder(PayloadKind::StreamingUnsignedTrailer, &[length, trailer]).unwrap().unwrap();
    decoder.push(Bytes::from_static(b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n")).unwrap();
    assert_eq!(decoder.finish().unwrap().get(TRAILER), Some("NhCmhg=="));
}

#[test]
fn every_truncation_is_an_error() {
    let chunks = [b"hello".to_vec(), vec![b'\n'; 3], b"\r\n0\r\n\r\n".to_vec()];
    for form in FORMS {
        let body = encode(form, &chunks);
        assert!(decode(options(form, 15), &[&body]).is_ok());
        for length in 0..body.len() {
            assert!(decode(options(form, 15), &[&body[..length]]).is_err(), "{form:?} cut to {length}");
        }
    }
}

proptest! {
    #[test]
    fn any_split_gives_the_input(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..6),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
        form in 0_usize..4,
    ) {
        let form = FORMS[form];
        let input = chunks.concat();
        let body = encode(form, &chunks);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len())).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &body[pair[0]..pair[1]]).collect();
        let (output, trailers) = decode(options(form, input.len()), &pieces).unwrap();
        prop_assert_eq!(output, input);
        prop_assert_eq!(trailers.get(TRAILER), form.trailer.then_some("AAAAAA=="));
    }

    #[test]
    fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[0-9a-f;:\\r\\nx-]{0,80}", form in 0_usize..4) {
        let _ = decode(options(FORMS[form], 100), &[&bytes]);
        let _ = decode(options(FORMS[form], 100), &[text.as_bytes(), &bytes]);
    }
}
