//! Bodies whose chunks are signed, each with the one before: what was changed on its way is not stored.

use cairn_s3::{ChecksumAlgorithm, ChecksumHasher, sigv4::ChunkSigner};

use super::world::{Ask, ROOT, Reply, World, ask, bytes_of};

const KEY: &str = "/bucket/key";
const PLAIN: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD";
const WITH_TRAILER: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
const CHUNK_BYTES: usize = 64 << 10;

fn crc(bytes: &[u8]) -> String {
    let mut hasher = ChecksumHasher::new(ChecksumAlgorithm::Crc32);
    hasher.update(bytes);
    hasher.finish().to_string()
}

/// A body as SDKs frame it: its chunks, the empty last one among them, and its trailer with the line end behind it.
struct Framed {
    chunks: Vec<Vec<u8>>,
    trailer: String,
}

impl Framed {
    fn new(signer: &mut ChunkSigner, body: &[u8], checksum: Option<&str>) -> Self {
        let mut chunk = |bytes: &[u8]| {
            let mut framed = format!("{:x};chunk-signature={}\r\n", bytes.len(), signer.sign_chunk(bytes)).into_bytes();
            framed.extend_from_slice(bytes);
            if !bytes.is_empty() {
                framed.extend_from_slice(b"\r\n");
            }
            framed
        };
        let mut chunks: Vec<Vec<u8>> = body.chunks(CHUNK_BYTES).map(&mut chunk).collect();
        chunks.push(chunk(b""));
        let trailer = checksum.map_or_else(
            || "\r\n".to_owned(),
            |checksum| {
                let name = ChecksumAlgorithm::Crc32.header_name();
                let signature = signer.sign_trailer(&format!("{name}:{checksum}\n"));
                format!("{name}:{checksum}\r\nx-amz-trailer-signature:{signature}\r\n\r\n")
            },
        );
        Self { chunks, trailer }
    }

    fn bytes(&self) -> Vec<u8> {
        [self.chunks.concat(), self.trailer.clone().into_bytes()].concat()
    }
}

/// Changes the last letter of the signature that begins behind a mark.
fn forge(text: &mut [u8], mark: &str) {
    let start = text.windows(mark.len()).position(|found| found == mark.as_bytes()).unwrap() + mark.len();
    let last = &mut text[start + 63];
    *last = if *last == b'0' { b'1' } else { b'0' };
}

fn forge_chunk(framed: &mut Framed, number: usize) {
    forge(&mut framed.chunks[number], "chunk-signature=");
}

fn forge_trailer(framed: &mut Framed) {
    let mut bytes = std::mem::take(&mut framed.trailer).into_bytes();
    forge(&mut bytes, "x-amz-trailer-signature:");
    framed.trailer = String::from_utf8(bytes).unwrap();
}

/// Signs, frames, changes and sends.
async fn send(
    world: &World,
    request: Ask<'_>,
    body: &[u8],
    checksum: Option<&str>,
    change: impl FnOnce(&mut Framed),
) -> Reply {
    let length = body.len().to_string();
    let mut request = request
        .payload(PLAIN)
        .header("content-encoding", "aws-chunked")
        .header("x-amz-decoded-content-length", &length);
    if checksum.is_some() {
        request = request.payload(WITH_TRAILER).header("x-amz-trailer", ChecksumAlgorithm::Crc32.header_name());
    }
    let (headers, mut signer) = world.sign_streaming(ROOT, &request);
    let mut framed = Framed::new(&mut signer, body, checksum);
    change(&mut framed);
    let request = request.body(framed.bytes());
    world.send_raw(&request, headers, request.query).await
}

/// One that stays in its row, and one of several chunks.
const LENGTHS: [usize; 3] = [0, 1000, 200_000];

#[tokio::test]
async fn bodies_that_are_signed_right_are_stored() {
    let world = World::new().await;
    for length in LENGTHS {
        let body = bytes_of(length);
        send(&world, ask("PUT", KEY), &body, None, |_| {}).await.expect(200);
        assert_eq!(world.get(KEY).await.expect(200).body, body);
        world.send(ROOT, ask("DELETE", KEY)).await.expect(204);

        let stored = send(&world, ask("PUT", KEY), &body, Some(&crc(&body)), |_| {}).await.expect(200);
        assert_eq!(stored.header("x-amz-checksum-crc32"), crc(&body));
        let read = world.get(KEY).await.expect(200);
        assert_eq!((read.header("content-encoding"), &read.body), ("", &body));
        world.send(ROOT, ask("DELETE", KEY)).await.expect(204);
    }
}

#[tokio::test]
async fn what_was_changed_on_its_way_is_not_stored() {
    let world = World::new().await;
    let refused = async |body: &[u8], checksum: Option<&str>, change: fn(&mut Framed), status, code| {
        send(&world, ask("PUT", KEY), body, checksum, change).await.expect_error(status, code);
        world.get(KEY).await.expect_error(404, "NoSuchKey");
    };
    let forged = "SignatureDoesNotMatch";
    for length in &LENGTHS[1..] {
        let body = bytes_of(*length);
        for checksum in [None, Some(crc(&body))] {
            let checksum = checksum.as_deref();
            refused(&body, checksum, |framed| forge_chunk(framed, 0), 403, forged).await;
            refused(&body, checksum, |framed| forge_chunk(framed, framed.chunks.len() - 1), 403, forged).await;
            let changed = |framed: &mut Framed| framed.chunks[0][100] ^= 1;
            refused(&body, checksum, changed, 403, forged).await;
            let cut = |framed: &mut Framed| {
                framed.chunks.pop();
                framed.trailer.clear();
            };
            refused(&body, checksum, cut, 400, "IncompleteBody").await;
        }
        let crc = crc(&body);
        refused(&body, Some(&crc), forge_trailer, 403, forged).await;
        refused(&body, Some("AAAAAA=="), |_| {}, 400, "BadDigest").await;
        // Neither is a trailer that nobody signed.
        let unsigned = |framed: &mut Framed| {
            let value = framed.trailer.split_once("x-amz-trailer-signature").unwrap().0;
            framed.trailer = format!("{value}\r\n");
        };
        refused(&body, Some(&crc), unsigned, 400, "IncompleteBody").await;
    }
    let body = bytes_of(200_000);
    refused(&body, None, |framed| forge_chunk(framed, 2), 403, forged).await;
    refused(&body, None, |framed| framed.chunks.swap(0, 1), 403, forged).await;
    refused(&body, None, |framed| drop(framed.chunks.remove(1)), 403, forged).await;
}

#[tokio::test]
async fn an_object_stays_as_it_was_when_its_next_version_was_changed_on_its_way() {
    let world = World::new().await;
    world.put(KEY, "one").await;
    let body = bytes_of(200_000);
    let refused = send(&world, ask("PUT", KEY), &body, None, |framed| forge_chunk(framed, 3)).await;
    refused.expect_error(403, "SignatureDoesNotMatch");
    assert_eq!(world.get(KEY).await.text(), "one");

    let begun = world.send(ROOT, ask("POST", KEY).query("uploads")).await.expect(200);
    let upload = format!("uploadId={}", begun.element("UploadId"));
    let part = format!("partNumber=1&{upload}");
    let put = || ask("PUT", KEY).query(&part);
    let refused = send(&world, put(), &body, None, |framed| forge_chunk(framed, 0)).await;
    refused.expect_error(403, "SignatureDoesNotMatch");
    let listed = world.send(ROOT, ask("GET", KEY).query(&upload)).await.expect(200);
    assert_eq!(listed.element("PartNumber"), "", "no part is there");
    send(&world, put(), &body, None, |_| {}).await.expect(200);
    let listed = world.send(ROOT, ask("GET", KEY).query(&upload)).await.expect(200);
    assert_eq!((listed.element("PartNumber"), listed.element("Size")), ("1", "200000"));
}
