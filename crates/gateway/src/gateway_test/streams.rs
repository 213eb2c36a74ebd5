//! Streams of HTTP/2 whose client reads one and not another.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::net::TcpStream;

use super::world::{Ask, ROOT, World, ask, bytes_of};
use crate::{GatewayOptions, TlsMode};

const IDLE_MAX: Duration = Duration::from_secs(1);
/// How long a test waits for what must happen.
const SOON: Duration = Duration::from_secs(20);

/// A connection that answers pings by itself, whatever of its streams is read.
pub(super) struct Http2 {
    pub(super) world: World,
    sender: http2::SendRequest<Full<Bytes>>,
    _folder: tempfile::TempDir,
}

impl Http2 {
    /// A server with so many slots, and a client whose streams have so small a window.
    async fn connect(requests_max: usize, window: u32) -> Self {
        let options = GatewayOptions { requests_max, idle_max: IDLE_MAX, ..GatewayOptions::default() };
        Self::with(options, window).await
    }

    /// A server with an authority of its own.
    pub(super) async fn with(options: GatewayOptions, window: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tls = TlsMode::Authority { folder: folder.path().to_owned(), names: Vec::new() };
        let world = World::with_tls(GatewayOptions { tls, ..options }).await;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(folder.path().join("ca.crt")).unwrap()).unwrap();
        let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let stream = TcpStream::connect(&world.host).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(window);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { world, sender, _folder: folder }
    }

    /// Sends, and does not read the answer's body.
    pub(super) async fn send(&mut self, ask: Ask<'_>) -> Response<Incoming> {
        let mark = if ask.query.is_empty() { "" } else { "?" };
        let host = ask.host.unwrap_or(&self.world.host);
        let mut request = Request::builder()
            .method(ask.method.clone())
            .uri(format!("https://{host}{}{mark}{}", ask.path, ask.query))
            .body(Full::new(ask.body.clone()))
            .unwrap();
        request.headers_mut().extend(self.world.sign(ROOT, &ask));
        self.sender.send_request(request).await.unwrap()
    }

    /// Sends until there is a slot for it.
    async fn send_soon(&mut self, ask: impl Fn() -> Ask<'static>) -> Response<Incoming> {
        let served = async {
            loop {
                let answer = self.send(ask()).await;
                if answer.status() != StatusCode::SERVICE_UNAVAILABLE {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(SOON, served).await.expect("the slot comes back")
    }

    async fn put(&mut self, body: &Bytes) {
        let put = || ask("PUT", "/bucket/key").body(body.clone());
        let served = async {
            while self.send(put()).await.status() != StatusCode::OK {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(SOON, served).await.expect("it is stored");
    }
}

fn get() -> Ask<'static> {
    ask("GET", "/bucket/key")
}

fn head() -> Ask<'static> {
    ask("HEAD", "/bucket/key")
}

/// In one piece out of its row, in one out of a stripe, and in many.
#[tokio::test]
async fn a_stream_that_its_client_does_not_read_is_reset_and_gives_back_what_it_held() {
    let mut client = Http2::connect(1, 1000).await;
    for length in [1500, 500_000, 12 << 20] {
        client.put(&bytes_of(length)).await;
        let stalled = client.send_soon(get).await;
        assert_eq!(stalled.status(), 200, "{length} bytes");
        assert_eq!(client.send(head()).await.status(), 503, "the only slot is taken by {length} bytes");
        // The same connection is served on.
        assert_eq!(client.send_soon(head).await.status(), 200);
        let read = stalled.into_body().collect().await;
        assert!(read.is_err(), "{length} bytes came in the end: the stream was not reset");
    }
}

/// A list has no object behind it, and all of it is there at once.
#[tokio::test]
async fn a_document_that_its_client_does_not_read_is_given_up() {
    let mut client = Http2::connect(1, 10).await;
    client.put(&bytes_of(10)).await;
    let stalled = client.send_soon(|| ask("GET", "/bucket")).await;
    assert_eq!(client.send(head()).await.status(), 503);
    assert_eq!(client.send_soon(head).await.status(), 200);
    assert!(stalled.into_body().collect().await.is_err());
}

#[tokio::test]
async fn a_stream_that_is_read_slowly_is_not_reset() {
    let mut client = Http2::connect(4, 65_535).await;
    let object = bytes_of(3 << 20);
    client.put(&object).await;
    let mut body = client.send(get()).await.into_body();
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        read.extend_from_slice(&frame.expect("it moves").into_data().unwrap());
        if read.len() < 1 << 20 {
            tokio::time::sleep(IDLE_MAX / 20).await;
        }
    }
    assert!(read == object);
}
