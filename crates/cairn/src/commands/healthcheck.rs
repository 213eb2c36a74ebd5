//! `cairn healthcheck`: asks the S3 port itself, over TLS and under the server's own certificate, as a client would.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use cairn_proto::admin::{GetServerRequest, ServerInfo};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};

use crate::{
    admin::{block_on, connect, explain},
    args::HealthcheckArgs,
    output,
};

/// Each step: connect, read, write, and the admin call before them.
const WITHIN: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: u64 = 4096;
const REQUEST: &[u8] =
    b"GET /-/ready HTTP/1.1\r\nHost: localhost\r\nUser-Agent: cairn-healthcheck\r\nConnection: close\r\n\r\n";

/// Runs the command; exit code 0 if requests can be served.
pub(crate) fn run(args: &HealthcheckArgs) -> Result<ExitCode> {
    let server = block_on(async {
        let ask = async {
            let mut client = connect(&args.data).await?;
            let answer = client.get_server(GetServerRequest {}).await.map_err(|status| explain(&status))?;
            Ok(answer.into_inner())
        };
        tokio::time::timeout(WITHIN, ask).await.context("the server does not answer on its admin socket")?
    })?;
    let status = ask_ready(&server)?;
    if status != 200 {
        bail!("not ready: GET /-/ready answered {status}");
    }
    output::line("ready");
    Ok(ExitCode::SUCCESS)
}

fn ask_ready(server: &ServerInfo) -> Result<u16> {
    let address = server.s3_addresses.first().context("the server did not say where it listens")?;
    let address = dial_address(address.parse().with_context(|| format!("address {address}"))?);
    let stream = TcpStream::connect_timeout(&address, WITHIN).with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(WITHIN)).context("set a time limit")?;
    stream.set_write_timeout(Some(WITHIN)).context("set a time limit")?;
    if !server.tls {
        return exchange(stream);
    }
    let name = ServerName::try_from("localhost").context("name the server")?;
    let connection = ClientConnection::new(Arc::new(client_config(server)?), name).context("begin TLS")?;
    exchange(StreamOwned::new(connection, stream))
}

/// Where a wildcard address is reached from its own machine.
fn dial_address(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        });
    }
    address
}

fn exchange(mut stream: impl Read + Write) -> Result<u16> {
    stream.write_all(REQUEST).and_then(|()| stream.flush()).context("ask /-/ready")?;
    let mut answer = Vec::new();
    // A peer that closes without a TLS goodbye after the answer is an error of `read` that does not matter here.
    let read = stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer);
    match status_of(&answer) {
        Some(status) => Ok(status),
        None => {
            read.context("read the answer of /-/ready")?;
            bail!("the answer of /-/ready is no HTTP");
        }
    }
}

fn status_of(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\r').next()?;
    let rest = line.strip_prefix(b"HTTP/1.1 ")?;
    std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok()
}

/// Trusts the server's own CA, or exactly the certificate it was given.
fn client_config(server: &ServerInfo) -> Result<ClientConfig> {
    if server.ca_pem.is_empty() {
        let served = CertificateDer::from_pem_slice(server.certificate_pem.as_bytes())
            .map_err(|error| anyhow::anyhow!("{error}"))
            .context("read the server's certificate")?;
        let provider = CryptoProvider::get_default().context("find the TLS provider")?;
        let verifier = Pinned { served, algorithms: provider.signature_verification_algorithms };
        return Ok(ClientConfig::builder()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth());
    }
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(server.ca_pem.as_bytes()) {
        let certificate = certificate.map_err(|error| anyhow::anyhow!("{error}")).context("read the server's CA")?;
        roots.add(certificate).context("use the server's CA")?;
    }
    Ok(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

/// For a certificate from outside, whose CA and names are not known here: the very one that lies in the server's file.
#[derive(Debug)]
struct Pinned {
    served: CertificateDer<'static>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.served {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General("the server shows another certificate than the one in its file".to_owned()))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read() {
        assert_eq!(status_of(b"HTTP/1.1 200 OK\r\nx: y\r\n\r\n"), Some(200));
        assert_eq!(status_of(b"HTTP/1.1 503 \r\n"), Some(503));
        for bad in [&b""[..], b"HTTP/1.1", b"HTTP/1.1 2", b"SSH-2.0", b"HTTP/1.1 abc"] {
            assert_eq!(status_of(bad), None);
        }
    }

    #[test]
    fn wildcards_are_dialled_at_home() {
        let dial = |text: &str| dial_address(text.parse().unwrap()).to_string();
        assert_eq!(dial("0.0.0.0:9000"), "127.0.0.1:9000");
        assert_eq!(dial("[::]:9000"), "[::1]:9000");
        assert_eq!(dial("10.0.0.5:9000"), "10.0.0.5:9000");
    }
}
