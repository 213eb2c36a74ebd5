//! One connection of HTTP/1.1 to a server, over TLS if its URL says so.

use std::{fs, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use http::{Request, Response};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{
    CipherSuite, ClientConfig, RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{content::Outgoing, endpoint::Endpoint, failure::Failure};

/// After a connection that could not be made.
const UNREACHABLE_PAUSE: Duration = Duration::from_millis(20);

/// Where systems keep the authorities they trust, in one file.
const SYSTEM_AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Makes connections to one server.
pub(crate) struct Dialer {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Dialer {
    /// For a server.
    ///
    /// # Errors
    /// If there is no authority to trust, or the host is no name.
    pub(crate) fn new(endpoint: &Endpoint) -> Result<Self> {
        let tls = match endpoint.tls() {
            false => None,
            true => {
                let name = ServerName::try_from(endpoint.host().to_owned()).context("read the host's name")?;
                Some((TlsConnector::from(Arc::new(client_config(endpoint.ca.as_deref())?)), name))
            }
        };
        Ok(Self { host: endpoint.host().to_owned(), port: endpoint.port(), tls })
    }

    /// A new connection.
    ///
    /// # Errors
    /// What broke.
    pub(crate) async fn dial(&self) -> Result<Connection, Failure> {
        let tcp = match TcpStream::connect((self.host.as_str(), self.port)).await {
            Ok(tcp) => tcp,
            Err(error) => {
                // Nobody is there: asking without a pause would take the CPU that the server needs to come back.
                tokio::time::sleep(UNREACHABLE_PAUSE).await;
                return Err(Failure::transport("connect", &error));
            }
        };
        tcp.set_nodelay(true).map_err(|error| Failure::transport("connect", &error))?;
        let Some((connector, name)) = &self.tls else { return handshake(TokioIo::new(tcp)).await };
        let stream =
            connector.connect(name.clone(), tcp).await.map_err(|error| Failure::transport("TLS handshake", &error))?;
        handshake(TokioIo::new(stream)).await
    }
}

async fn handshake<T>(io: TokioIo<T>) -> Result<Connection, Failure>
where
    TokioIo<T>: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (sender, driver) = http1::handshake(io).await.map_err(|error| Failure::transport("connect", &error))?;
    // Ends with the connection: when the sender is dropped or the server hangs up. Its error reaches the sender too.
    tokio::spawn(async move { drop(driver.await) });
    Ok(Connection { sender })
}

/// Trusts the authorities of a file, or those of the system.
fn client_config(ca: Option<&Path>) -> Result<ClientConfig> {
    let from_environment = std::env::var_os("SSL_CERT_FILE").map(Into::into);
    let system = || SYSTEM_AUTHORITIES.iter().map(Into::into).find(|path: &std::path::PathBuf| path.exists());
    let Some(path) = ca.map(Into::into).or(from_environment).or_else(system) else {
        bail!("this system has no file of trusted authorities: give --ca FILE");
    };
    let pem = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
        // A system's file may hold some that rustls does not take; one given by name must be good.
        let added = roots.add(certificate);
        if ca.is_some() {
            added.with_context(|| format!("use {}", path.display()))?;
        }
    }
    if roots.is_empty() {
        bail!("{} holds no certificate that can be used", path.display());
    }
    let config = ClientConfig::builder_with_provider(Arc::new(provider())).with_safe_default_protocol_versions()?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Offers ciphers in the order in which a runner does, which is written in Go, on a CPU that has AES. So a server that goes by
/// its client's order works with the same cipher as one that goes by its own.
fn provider() -> CryptoProvider {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|offered| offered.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    provider
}

/// A connection that carries one request at a time.
pub(crate) struct Connection {
    sender: http1::SendRequest<Outgoing>,
}

impl Connection {
    /// Whether a request may be tried on it.
    pub(crate) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Sends a request. If the connection turned out to be closed before a byte was sent, the request comes back.
    pub(crate) async fn send(
        &mut self,
        request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, (Failure, Option<Request<Outgoing>>)> {
        if let Err(error) = self.sender.ready().await {
            return Err((Failure::transport("send", &error), Some(request)));
        }
        self.sender.try_send_request(request).await.map_err(|mut error| {
            let request = error.take_message();
            (Failure::transport("send", error.error()), request)
        })
    }
}
