//! The aws-chunked decoder without signatures: what comes out does not depend on how the bytes came in.
#![no_main]

use bytes::Bytes;
use cairn_fuzz::check_document;
use cairn_s3::{ChunkedDecoder, ChunkedOptions, S3Error, Trailers};
use libfuzzer_sys::fuzz_target;

const PLAN_BYTES: usize = 12;
const TRAILERS: [&str; 2] = ["x-amz-checksum-crc32", "x-amz-checksum-sha256"];

/// What is said of a body: its bytes as far as they came out without an error, and how it ended.
#[derive(Debug)]
struct Outcome {
    bytes: Vec<u8>,
    decoded: u64,
    end: Result<Trailers, S3Error>,
}

fn decode(options: &ChunkedOptions, body: &Bytes, lengths: &[u8]) -> Outcome {
    let mut decoder = ChunkedDecoder::new(options.clone());
    let mut bytes = Vec::new();
    let mut rest = body.clone();
    let mut lengths = lengths.iter().cycle();
    while !rest.is_empty() {
        // A zero is the rest at once: long pieces must be tried as well.
        let length = lengths.next().copied().map_or(0, usize::from);
        let piece = rest.split_to(if length == 0 { rest.len() } else { length.min(rest.len()) });
        let piece_bytes = piece.len();
        match decoder.push(piece) {
            Ok(pieces) => {
                let before = bytes.len();
                pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
                assert!(bytes.len() - before <= piece_bytes, "more came out than went in");
            }
            Err(error) => {
                let decoded = decoder.decoded_bytes();
                assert!(decoder.push(Bytes::from_static(b"0\r\n\r\n")).is_err(), "a failed body goes on");
                assert!(decoder.finish().is_err(), "a failed body is whole");
                return Outcome { bytes, decoded, end: Err(error) };
            }
        }
        assert_eq!(decoder.decoded_bytes(), bytes.len() as u64);
    }
    Outcome { bytes, decoded: decoder.decoded_bytes(), end: decoder.finish() }
}

fuzz_target!(|input: &[u8]| {
    let Some((plan, body)) = input.split_first_chunk::<PLAN_BYTES>() else { return };
    let [flags, length_high, length_low, pieces @ ..] = *plan;
    let has_trailer = flags & 1 == 1;
    let announced = if has_trailer { &TRAILERS[..usize::from(flags >> 1).min(TRAILERS.len())] } else { &[] };
    let options = ChunkedOptions {
        decoded_bytes: u64::from(length_high) << 8 | u64::from(length_low),
        signer: None,
        trailer_names: announced.iter().map(|name| (*name).to_owned()).collect(),
        has_trailer,
    };
    let body = Bytes::copy_from_slice(body);
    let whole = decode(&options, &body, &[0]);
    if let Err(error) = &whole.end {
        check_document(&error.to_xml("/", "id", "host"));
    }
    for lengths in [&[1][..], &pieces] {
        let split = decode(&options, &body, lengths);
        assert_eq!(split.end, whole.end, "another end in pieces of {lengths:?}");
        assert_eq!(split.decoded, whole.decoded, "another length in pieces of {lengths:?}");
        // A refused push gives nothing, so fewer bytes may have left in larger pieces.
        assert!(split.bytes.starts_with(&whole.bytes), "other bytes in pieces of {lengths:?}");
    }
    if let Ok(trailers) = &whole.end {
        assert_eq!(whole.bytes.len() as u64, options.decoded_bytes);
        assert_eq!(trailers.iter().count(), options.trailer_names.len());
    }
});
