//! What a client library hides: lengths, `Expect`, TLS, limits and the end.

use std::{sync::Arc, time::Duration};

use cairn_meta::{BucketSettings, ProfileRow};
use cairn_s3::{RequestParts, sigv4::Signer};
use http::HeaderMap;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use super::world::{Ask, ROOT, UNSIGNED, World, ask, bytes_of, now, signer};
use crate::{GatewayOptions, TlsMode};

/// The head of a signed request as it goes over the wire.
fn head(world: &World, signer: &Signer, request: &Ask<'_>, further: &str) -> String {
    let headers = HeaderMap::new();
    let parts = RequestParts {
        method: &request.method,
        host: &world.host,
        path: request.path,
        query: request.query,
        headers: &headers,
    };
    let (signed, _) = signer.sign(&parts, UNSIGNED, now()).unwrap();
    let signed: String =
        signed.iter().map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap())).collect();
    let mark = if request.query.is_empty() { "" } else { "?" };
    let target = format!("{}{mark}{}", request.path, request.query);
    format!("{} {target} HTTP/1.1\r\nhost: {}\r\n{signed}{further}\r\n", request.method, world.host)
}

/// Reads up to the end of the head, and the body if its length is told.
async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        let mut byte = [0; 1024];
        let count = stream.read(&mut byte).await.unwrap();
        if count == 0 {
            return text;
        }
        read.extend_from_slice(&byte[..count]);
    }
}

#[tokio::test]
async fn a_put_without_length_is_refused() {
    let world = World::new().await;
    let request = ask("PUT", "/bucket/key");
    let mut stream = TcpStream::connect(&world.host).await.unwrap();
    let sent = head(&world, &signer(ROOT), &request, "transfer-encoding: chunked\r\n");
    stream.write_all(format!("{sent}3\r\nabc\r\n0\r\n\r\n").as_bytes()).await.unwrap();
    let answered = answer(&mut stream).await;
    assert!(answered.starts_with("HTTP/1.1 411 ") && answered.contains("MissingContentLength"), "{answered}");
    // Its body stands behind a head that does not tell of it.
    let mut stream = TcpStream::connect(&world.host).await.unwrap();
    let sent = head(&world, &signer(ROOT), &request, "connection: close\r\n");
    stream.write_all(format!("{sent}abc").as_bytes()).await.unwrap();
    let answered = answer(&mut stream).await;
    assert!(answered.starts_with("HTTP/1.1 411 ") && answered.contains("MissingContentLength"), "{answered}");
    world.get("/bucket/key").await.expect_error(404, "NoSuchKey");
}

/// Whoever holds all connections and asks for nothing shuts nobody out.
#[tokio::test]
async fn a_connection_that_rests_makes_room_for_another() {
    let world = World::with(GatewayOptions { connections_max: 3, ..Default::default() }).await;
    let mut idle = Vec::new();
    for _ in 0..6 {
        idle.push(TcpStream::connect(&world.host).await.unwrap());
    }
    let sent = head(&world, &signer(ROOT), &ask("GET", "/bucket"), "connection: close\r\n");
    let mut stream = TcpStream::connect(&world.host).await.unwrap();
    stream.write_all(sent.as_bytes()).await.unwrap();
    let answered = tokio::time::timeout(Duration::from_secs(30), answer(&mut stream)).await.unwrap();
    assert!(answered.starts_with("HTTP/1.1 200 "), "{answered}");
}

#[tokio::test]
async fn a_body_is_asked_for_only_from_those_who_may_send_it() {
    let world = World::new().await;
    let request = ask("PUT", "/bucket/key");
    let further = "content-length: 3\r\nexpect: 100-continue\r\n";
    let mut stream = TcpStream::connect(&world.host).await.unwrap();
    stream.write_all(head(&world, &signer(ROOT), &request, further).as_bytes()).await.unwrap();
    let asked = answer(&mut stream).await;
    assert!(asked.starts_with("HTTP/1.1 100 "), "{asked}");
    stream.write_all(b"abc").await.unwrap();
    let stored = answer(&mut stream).await;
    assert!(stored.starts_with("HTTP/1.1 200 "), "{stored}");

    let mut stream = TcpStream::connect(&world.host).await.unwrap();
    let wrong = Signer::new(ROOT, "another secret", "us-east-1");
    stream.write_all(head(&world, &wrong, &request, further).as_bytes()).await.unwrap();
    let refused = answer(&mut stream).await;
    assert!(refused.starts_with("HTTP/1.1 403 ") && refused.contains("SignatureDoesNotMatch"), "{refused}");
}

#[tokio::test]
async fn a_body_that_stands_still_ends_with_its_request() {
    let world = World::with(GatewayOptions { idle_max: Duration::from_millis(100), ..Default::default() }).await;
    let mut stream = TcpStream::connect(&world.host).await.unwrap();
    let sent = head(&world, &signer(ROOT), &ask("PUT", "/bucket/key"), "content-length: 3\r\n");
    stream.write_all(format!("{sent}a").as_bytes()).await.unwrap();
    let answered = answer(&mut stream).await;
    assert!(answered.starts_with("HTTP/1.1 400 ") && answered.contains("RequestTimeout"), "{answered}");
    world.get("/bucket/key").await.expect_error(404, "NoSuchKey");
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_by_its_length() {
    let world = World::new().await;
    let begun = world.send(ROOT, ask("POST", "/bucket/key").query("uploads")).await.expect(200);
    let part = format!("partNumber=1&uploadId={}", begun.element("UploadId"));
    for (request, bytes_max) in
        [(ask("PUT", "/bucket/key").query(&part), 5_u64 << 30), (ask("PUT", "/bucket/key"), 512 << 30)]
    {
        let further = format!("content-length: {}\r\nexpect: 100-continue\r\n", bytes_max + 1);
        let mut stream = TcpStream::connect(&world.host).await.unwrap();
        stream.write_all(head(&world, &signer(ROOT), &request, &further).as_bytes()).await.unwrap();
        let refused = answer(&mut stream).await;
        assert!(refused.starts_with("HTTP/1.1 400 ") && refused.contains("EntityTooLarge"), "{refused}");
        assert!(refused.contains(&format!("<MaxSizeAllowed>{bytes_max}<")), "{refused}");
    }
}

/// Downloads with small buffers in the kernel: `first` reads of a little, a pause apart, then the rest.
async fn download_slowly(world: &World, first: usize, pause: Duration) -> Vec<u8> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 << 10).unwrap();
    let mut stream = socket.connect(world.host.parse().unwrap()).await.unwrap();
    let sent = head(world, &signer(ROOT), &ask("GET", "/bucket/key"), "connection: close\r\n");
    stream.write_all(sent.as_bytes()).await.unwrap();
    let mut read = vec![0; first * 2048];
    for piece in read.chunks_mut(2048) {
        stream.read_exact(piece).await.unwrap();
        tokio::time::sleep(pause).await;
    }
    // Broken off it ends early, or with an error.
    let _ = stream.read_to_end(&mut read).await;
    read
}

#[tokio::test]
async fn a_download_ends_when_it_stands_still_and_not_when_it_is_slow() {
    let idle_max = Duration::from_millis(400);
    let world = World::with(GatewayOptions { idle_max, ..Default::default() }).await;
    let body = bytes_of(12 << 20);
    world.put("/bucket/key", body.clone()).await;
    let slow = download_slowly(&world, 50, idle_max / 10).await;
    assert!(slow.starts_with(b"HTTP/1.1 200 ") && slow.ends_with(&body), "it moved all the time: {}", slow.len());
    let stalled = download_slowly(&world, 1, idle_max * 4).await;
    assert!(stalled.len() < body.len(), "it stood still");
}

#[tokio::test]
async fn without_a_free_slot_a_request_is_told_to_slow_down() {
    let world = World::with(GatewayOptions { requests_max: 1, ..Default::default() }).await;
    let mut stream = TcpStream::connect(&world.host).await.unwrap();
    let further = "content-length: 3\r\nexpect: 100-continue\r\n";
    stream.write_all(head(&world, &signer(ROOT), &ask("PUT", "/bucket/key"), further).as_bytes()).await.unwrap();
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 100 "), "it has the slot");
    let refused = world.get("/bucket/key").await;
    refused.expect_error(503, "SlowDown");
    assert_eq!(refused.header("retry-after"), "1");
    stream.write_all(b"abc").await.unwrap();
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200 "));
}

/// Admission knows what a download may hold: more than a batch, and no more than its object.
#[tokio::test]
async fn a_download_is_admitted_by_what_it_holds() {
    let world = World::with(GatewayOptions { memory_bytes_max: 12 << 20, ..Default::default() }).await;
    world.put("/bucket/key", bytes_of(5 << 19)).await;
    world.get("/bucket/key").await.expect_error(503, "SlowDown");
    world.send(ROOT, ask("GET", "/bucket/key").header("range", "bytes=0-99")).await.expect(206);
    world.send(ROOT, ask("HEAD", "/bucket/key")).await.expect(200);
}

/// What a write holds goes by the profile it is coded with: without parity, and one unit wide, it is little.
#[tokio::test]
async fn an_upload_is_admitted_by_what_its_buckets_profile_holds() {
    // Three quarters for one key.
    let world = World::with(GatewayOptions { memory_bytes_max: (8 << 20) / 3 * 4, ..Default::default() }).await;
    let profile = Some(ProfileRow { data: 1, parity: 0 });
    let narrow = BucketSettings { profile, ..BucketSettings::default() };
    world.engine.create_bucket("narrow", narrow, None).await.unwrap();
    let put = |path| world.send(ROOT, ask("PUT", path).body(bytes_of(5 << 20)));
    put("/bucket/key").await.expect_error(503, "SlowDown");
    put("/narrow/key").await.expect(200);
    for (path, status) in [("/bucket/parts", 503), ("/narrow/parts", 200)] {
        let begun = world.send(ROOT, ask("POST", path).query("uploads")).await.expect(200);
        let query = format!("partNumber=1&uploadId={}", begun.element("UploadId"));
        world.send(ROOT, ask("PUT", path).query(&query).body(bytes_of(5 << 20))).await.expect(status);
    }
}

#[tokio::test]
async fn a_running_request_finishes_at_shutdown() {
    let world = World::new().await;
    let mut stream = TcpStream::connect(&world.host).await.unwrap();
    let further = "content-length: 3\r\nexpect: 100-continue\r\n";
    stream.write_all(head(&world, &signer(ROOT), &ask("PUT", "/bucket/key"), further).as_bytes()).await.unwrap();
    assert!(answer(&mut stream).await.starts_with("HTTP/1.1 100 "));
    let finish = async {
        stream.write_all(b"abc").await.unwrap();
        answer(&mut stream).await
    };
    let ((), answered) = tokio::join!(world.gateway.shutdown(), finish);
    assert!(answered.starts_with("HTTP/1.1 200 "), "{answered}");
    assert!(TcpStream::connect(&world.host).await.is_err(), "nobody listens any more");
    let bucket = world.engine.bucket("bucket").await.unwrap().id;
    assert_eq!(world.engine.open_object(bucket, "key").await.unwrap().row().bytes, 3);
}

#[tokio::test]
async fn what_no_request_waits_for_ends_at_shutdown_at_once() {
    let world = World::new().await;
    let mut idle = TcpStream::connect(&world.host).await.unwrap();
    let get = head(&world, &signer(ROOT), &ask("GET", "/bucket/none"), "");
    idle.write_all(get.as_bytes()).await.unwrap();
    assert!(answer(&mut idle).await.starts_with("HTTP/1.1 404 "));
    let fresh = TcpStream::connect(&world.host).await.unwrap();
    let mut half_head = TcpStream::connect(&world.host).await.unwrap();
    half_head.write_all(&get.as_bytes()[..get.len() / 2]).await.unwrap();
    let mut half_body = TcpStream::connect(&world.host).await.unwrap();
    let put = head(&world, &signer(ROOT), &ask("PUT", "/bucket/key"), "content-length: 3\r\nexpect: 100-continue\r\n");
    half_body.write_all(put.as_bytes()).await.unwrap();
    assert!(answer(&mut half_body).await.starts_with("HTTP/1.1 100 "));
    half_body.write_all(b"a").await.unwrap();

    let begun = std::time::Instant::now();
    world.gateway.shutdown().await;
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    let told = answer(&mut half_body).await;
    assert!(told.starts_with("HTTP/1.1 400 ") && told.contains("RequestTimeout"), "{told}");
    drop((idle, fresh, half_head));
}

/// hyper answers these itself, with a bare status; S3 clients want a document.
#[tokio::test]
async fn a_head_that_cannot_be_read_is_answered_with_a_document() {
    let world = World::new().await;
    let large = format!("GET / HTTP/1.1\r\nhost: x\r\nx-large: {}\r\n\r\n", "a".repeat(1 << 20));
    let long = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(70 << 10));
    let endless = "PUT /bucket/key HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999999999999999\r\n\r\n".to_owned();
    for (sent, code) in [
        ("nonsense\r\n\r\n".to_owned(), "BadRequest"),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n".to_owned(), "BadRequest"),
        (endless, "BadRequest"),
        (large, "RequestHeaderSectionTooLarge"),
        (long, "RequestHeaderSectionTooLarge"),
    ] {
        let mut stream = TcpStream::connect(&world.host).await.unwrap();
        // A request before it on the same connection changes nothing.
        let get = head(&world, &signer(ROOT), &ask("GET", "/bucket/none"), "");
        stream.write_all(get.as_bytes()).await.unwrap();
        assert!(answer(&mut stream).await.starts_with("HTTP/1.1 404 "));
        // It may be refused before all of it was taken.
        let _ = stream.write_all(sent.as_bytes()).await;
        let told = answer(&mut stream).await;
        let what = &sent[..sent.len().min(60)];
        assert!(told.starts_with("HTTP/1.1 400 ") && told.contains(&format!("<Code>{code}</Code>")), "{what}: {told}");
        let id = told.split("x-amz-request-id: ").nth(1).unwrap().split("\r\n").next().unwrap();
        assert!(told.contains(&format!("<RequestId>{id}</RequestId>")) && told.contains("connection: close"), "{told}");
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_is_sent() {
    let world = World::new().await;
    for length in [(512_u64 << 30) + 1, 6 << 40, u64::MAX / 2] {
        for path in ["/bucket/key", "/bucket"] {
            let mut stream = TcpStream::connect(&world.host).await.unwrap();
            let further = format!("content-length: {length}\r\nexpect: 100-continue\r\n");
            let sent = head(&world, &signer(ROOT), &ask("PUT", path), &further);
            stream.write_all(sent.as_bytes()).await.unwrap();
            let told = answer(&mut stream).await;
            assert!(told.starts_with("HTTP/1.1 400 ") && told.contains("<Code>EntityTooLarge</Code>"), "{told}");
        }
    }
}

#[tokio::test]
async fn tls_with_an_authority_of_our_own_in_both_versions_of_http() {
    let folder = tempfile::tempdir().unwrap();
    let tls = TlsMode::Authority { folder: folder.path().to_owned(), names: vec!["cache.test".to_owned()] };
    let world = World::with_tls(GatewayOptions { tls, ..GatewayOptions::default() }).await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.path().join("ca.crt")).unwrap()).unwrap();
    for (protocol, name) in [("h2", "cache.test"), ("http/1.1", "localhost")] {
        let mut config = rustls::ClientConfig::builder().with_root_certificates(roots.clone()).with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = TcpStream::connect(&world.host).await.unwrap();
        let stream = connector.connect(ServerName::try_from(name).unwrap(), stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(protocol.as_bytes()));
        let body = bytes_of(200_000);
        if protocol == "h2" {
            over_http2(&world, stream, body).await;
        } else {
            over_http1(&world, stream, &body).await;
        }
    }
}

async fn over_http1(world: &World, mut stream: impl AsyncRead + AsyncWrite + Unpin, body: &[u8]) {
    let sent = head(world, &signer(ROOT), &ask("GET", "/bucket/key"), "connection: close\r\n");
    stream.write_all(sent.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    // Some clients' closing is not clean; what counts is that all bytes came.
    let _ = stream.read_to_end(&mut read).await;
    assert!(read.starts_with(b"HTTP/1.1 200 ") && read.ends_with(body));
}

async fn over_http2<T>(world: &World, stream: T, body: bytes::Bytes)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(hyper_util::rt::TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request = ask("PUT", "/bucket/key").body(body);
    let mut put = http::Request::put(format!("https://{}/bucket/key", world.host))
        .body(http_body_util::Full::new(request.body.clone()))
        .unwrap();
    put.headers_mut().extend(world.sign(ROOT, &request));
    put.headers_mut().insert("content-length", request.body.len().into());
    assert_eq!(sender.send_request(put).await.unwrap().status(), 200);
}
