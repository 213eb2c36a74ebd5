//! What the certificate of `--tls auto` is good for.

use std::net::{IpAddr, UdpSocket};

use anyhow::{Context as _, ensure};
use cairn_tests::{Server, ServerOptions, connect_tls};
use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject as _};

/// The address by which this machine reaches others, if it has a network. Nothing is sent for the answer.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_address_of_the_server_is_in_its_certificate() -> anyhow::Result<()> {
    let args = ["--s3-listen", "127.0.0.2:0", "--s3-domain", "s3.test", "--tls-name", "cache.test"];
    let args = args.map(str::to_owned).to_vec();
    let mut server = Server::start(ServerOptions { args, ..ServerOptions::default() })?;
    let ca = CertificateDer::from_pem_file(server.ca())?;
    let names = ["localhost", "127.0.0.1", "127.0.0.2", "::1", "cache.test", "s3.test", "bucket.s3.test"];
    let names: Vec<String> =
        names.map(str::to_owned).into_iter().chain(own_address().map(|ip| ip.to_string())).collect();
    for start in ["the first", "the second"] {
        let second = server.endpoint().split_once(" https://").context("two addresses")?.1.to_owned();
        ensure!(second.starts_with("127.0.0.2:"), "{second}");
        for name in &names {
            connect_tls(&second, name, &[&ca]).await.with_context(|| format!("{name} after {start} start"))?;
        }
        for name in ["127.0.0.3", "other.test"] {
            ensure!(connect_tls(&second, name, &[&ca]).await.is_err(), "nobody said {name}");
        }
        if start == "the first" {
            server.stop()?;
            server.restart()?;
        }
    }
    Ok(())
}
