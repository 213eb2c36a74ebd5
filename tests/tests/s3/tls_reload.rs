//! Certificates in files are renewed while the server runs.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use cairn_tests::{Server, ServerOptions, connect_tls};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{client::TlsStream, rustls::pki_types::CertificateDer};

/// The server looks at its files every 30 s; a loaded machine gets as much again.
const SEEN_WITHIN: Duration = Duration::from_secs(60);

/// A new certificate and its key, in the files.
fn issue(cert: &Path, key: &Path) -> anyhow::Result<CertificateDer<'static>> {
    let CertifiedKey { cert: issued, signing_key } = generate_simple_self_signed(vec!["localhost".to_owned()])?;
    std::fs::write(cert, issued.pem())?;
    std::fs::write(key, signing_key.serialize_pem())?;
    Ok(issued.der().clone())
}

/// A connection that trusts these certificates alone.
async fn connect(server: &Server, trusted: &[&CertificateDer<'static>]) -> anyhow::Result<TlsStream<TcpStream>> {
    let address = server.endpoint().strip_prefix("https://").context("a TLS endpoint")?;
    connect_tls(address, "localhost", trusted).await
}

/// The certificate a new connection is shown.
async fn shown(server: &Server, trusted: &[&CertificateDer<'static>]) -> anyhow::Result<CertificateDer<'static>> {
    let stream = connect(server, trusted).await?;
    let chain = stream.get_ref().1.peer_certificates().context("a certificate")?;
    Ok(chain.first().context("a leaf")?.clone().into_owned())
}

/// A request and its answer, which leave the connection open.
async fn ask(stream: &mut TlsStream<TcpStream>) -> anyhow::Result<()> {
    stream.write_all(b"GET /-/live HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"live\n") {
        let mut piece = [0; 1024];
        let length = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut piece)).await.context("late")??;
        ensure!(length > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..length]);
    }
    ensure!(answer.starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&answer));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn renewed_certificates_are_taken_without_a_restart() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (cert, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    let old = issue(&cert, &key)?;
    let server = Server::start(ServerOptions { tls: Some((cert.clone(), key.clone())), ..ServerOptions::default() })?;
    let mut running = connect(&server, &[&old]).await?;
    ask(&mut running).await?;

    // A file that is no certificate is told, and the old one stays.
    std::fs::write(&cert, "half a certifi")?;
    let mut told = async || {
        while !server.log().contains("not a PEM") && !server.log().contains("holds no PEM") {
            tokio::time::sleep(Duration::from_millis(500)).await;
            ask(&mut running).await?;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(SEEN_WITHIN, told()).await.context("the broken file is told")??;
    ensure!(shown(&server, &[&old]).await? == old, "a broken file changes nothing");

    let new = issue(&cert, &key)?;
    let trusted = [&old, &new];
    let mut taken = async || {
        while shown(&server, &trusted).await? != new {
            tokio::time::sleep(Duration::from_millis(500)).await;
            ask(&mut running).await?;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(SEEN_WITHIN, taken()).await.context("the new certificate is shown")??;
    ensure!(connect(&server, &[&old]).await.is_err(), "who trusts the old one alone is not served any more");
    ask(&mut running).await.context("a connection from before lives on")
}
