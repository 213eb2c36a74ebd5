//! Bodies of signed chunks: what our signer wrote comes out whole; changed on the way it never comes out changed.
#![no_main]

use bytes::Bytes;
use cairn_fuzz::{ACCESS_KEY, NOW, SECRET, must};
use cairn_s3::{
    ChecksumAlgorithm, ChunkedDecoder, ChunkedOptions, RequestParts, S3Error,
    sigv4::{ChunkSigner, Signer},
};
use http::{HeaderMap, Method};
use libfuzzer_sys::fuzz_target;

const TRAILER: &str = "x-amz-checksum-crc32";

fn chunk_signer() -> ChunkSigner {
    let headers = HeaderMap::new();
    let request = RequestParts { method: &Method::PUT, host: "h", path: "/b/k", query: "", headers: &headers };
    let payload = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
    let signed = Signer::new(ACCESS_KEY, SECRET, "us-east-1").sign(&request, payload, NOW);
    must(signed, "a plain request cannot be signed").1
}

fn encode(signer: &mut ChunkSigner, chunks: &[&[u8]], trailer: Option<&str>) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in chunks.iter().copied().filter(|chunk| !chunk.is_empty()) {
        out.extend(format!("{:x};chunk-signature={}\r\n", chunk.len(), signer.sign_chunk(chunk)).bytes());
        out.extend(chunk);
        out.extend(b"\r\n");
    }
    out.extend(format!("0;chunk-signature={}\r\n", signer.sign_chunk(b"")).bytes());
    if let Some(value) = trailer {
        let line = format!("{TRAILER}:{value}\n");
        out.extend(format!("{line}x-amz-trailer-signature:{}\r\n", signer.sign_trailer(&line)).bytes());
    }
    out.extend(b"\r\n");
    out
}

fn decode(options: &ChunkedOptions, body: &[u8], piece_bytes: usize) -> Result<(Vec<u8>, Option<String>), S3Error> {
    let mut decoder = ChunkedDecoder::new(options.clone());
    let mut out = Vec::new();
    for piece in body.chunks(piece_bytes.max(1)) {
        decoder.push(Bytes::copy_from_slice(piece))?.iter().for_each(|bytes| out.extend_from_slice(bytes));
    }
    let trailers = decoder.finish()?;
    Ok((out, trailers.get(TRAILER).map(str::to_owned)))
}

fuzz_target!(|input: &[u8]| {
    let Some((plan, data)) = input.split_first_chunk::<6>() else { return };
    let [flags, chunk_bytes, piece_bytes, high, low, byte] = *plan;
    let chunks: Vec<&[u8]> = data.chunks(usize::from(chunk_bytes).max(1)).collect();
    let mut hasher = cairn_s3::ChecksumHasher::new(ChecksumAlgorithm::Crc32);
    hasher.update(data);
    let trailer = (flags & 1 == 1).then(|| hasher.finish().to_string());
    let options = ChunkedOptions {
        decoded_bytes: data.len() as u64,
        signer: Some(chunk_signer()),
        trailer_names: trailer.iter().map(|_| TRAILER.to_owned()).collect(),
        has_trailer: trailer.is_some(),
    };
    let mut body = encode(&mut chunk_signer(), &chunks, trailer.as_deref());
    let expected = (data.to_vec(), trailer);
    assert_eq!(decode(&options, &body, usize::from(piece_bytes)).as_ref(), Ok(&expected));

    let place = (usize::from(high) << 8 | usize::from(low)) % body.len();
    match flags >> 1 & 3 {
        0 => body[place] = byte,
        1 => body.truncate(place),
        2 => drop(body.remove(place)),
        _ => body.insert(place, byte),
    }
    // White space around a signature or a digit's case may differ; bytes and trailer may not.
    if let Ok(decoded) = decode(&options, &body, usize::from(piece_bytes)) {
        assert_eq!(decoded, expected, "a changed body is accepted: {}", String::from_utf8_lossy(&body));
    }
});
