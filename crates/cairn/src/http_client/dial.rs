//! From a name to a connection: each step alone, each with a limit.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Looking a name up.
const RESOLVE_WITHIN: Duration = Duration::from_secs(10);
/// One address.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// As the GitLab runner has it.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// Addresses of a name that are tried, one after the other.
const ADDRESSES_MAX: usize = 8;

/// The addresses of a name, at least one.
pub(crate) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let found = timeout(RESOLVE_WITHIN, lookup_host((host, port))).await.map_err(|_| late("the name service"))??;
    let addresses: Vec<SocketAddr> = found.take(ADDRESSES_MAX).collect();
    if addresses.is_empty() {
        return Err(io::Error::other("the name has no address"));
    }
    Ok(addresses)
}

/// A connection to the first address that takes one, and which it was.
pub(crate) async fn connect(addresses: &[SocketAddr]) -> io::Result<(TcpStream, SocketAddr)> {
    let mut last = io::Error::other("there is no address");
    for address in addresses {
        match timeout(CONNECT_WITHIN, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok((stream, *address));
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = late("the address"),
        }
    }
    Err(last)
}

/// TLS over a connection. The error's source is rustls's where the peer's TLS is at fault.
pub(crate) async fn tls_handshake(
    stream: TcpStream,
    config: Arc<ClientConfig>,
    host: &str,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("`{host}` is no host name")))?;
    let handshake = TlsConnector::from(config).connect(name, stream);
    timeout(HANDSHAKE_WITHIN, handshake).await.map_err(|_| late("the TLS handshake"))?
}

fn late(who: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{who} does not answer"))
}
