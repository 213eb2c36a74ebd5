//! What can be set about the gateway, with the defaults.

use std::{net::SocketAddr, time::Duration};

use crate::tls::TlsMode;

/// What can be set about the gateway.
#[derive(Clone, Debug)]
pub struct GatewayOptions {
    /// Addresses to listen on; port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    /// How the listener is secured.
    pub tls: TlsMode,
    /// How often certificate files, and this machine's addresses, are looked at.
    pub tls_poll: Duration,
    /// Domains whose sub-domains are buckets (virtual-hosted style).
    pub domains: Vec<String>,
    /// Storage classes that are known beside S3's own.
    pub storage_classes: Vec<String>,
    /// The longest `X-Amz-Expires` of a presigned URL.
    pub expires_max: Duration,
    /// Most connections at once; more wait in the kernel's queue.
    pub connections_max: usize,
    /// Most requests served at once; more are told to slow down.
    pub requests_max: usize,
    /// Bytes that the requests being served may buffer together.
    pub memory_bytes_max: u64,
    /// A TLS handshake takes at most so long.
    pub handshake_within: Duration,
    /// A request's headers come within this, and an idle connection is closed after it.
    pub headers_within: Duration,
    /// A body, in either direction, that moves no byte for so long ends.
    pub idle_max: Duration,
    /// An operation that takes longer than this is answered before it is done, and a blank is sent as often until it is.
    pub patience: Duration,
    /// At shutdown running requests get so long.
    pub shutdown_within: Duration,
    /// Whether `GET /-/metrics` is answered on the S3 port, without a signature.
    pub metrics: bool,
    /// How long a known access key is believed before it is read again.
    pub identity_fresh: Duration,
    /// How long it is believed when it cannot be read.
    pub identity_stale_max: Duration,
}

impl GatewayOptions {
    /// Less is of little use as [`memory_bytes_max`](Self::memory_bytes_max): three quarters of it are what a key may hold
    /// beside others, and a write of the widest profile needs nearly as much.
    pub const MEMORY_BYTES_MIN: u64 = 96 << 20;
}

/// The defaults, in one place.
impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 9000))],
            tls: TlsMode::Off,
            tls_poll: Duration::from_secs(30),
            domains: Vec::new(),
            storage_classes: Vec::new(),
            expires_max: Duration::from_secs(7 * 86_400),
            connections_max: 1024,
            requests_max: 256,
            memory_bytes_max: 2 << 30,
            handshake_within: Duration::from_secs(10),
            headers_within: Duration::from_secs(60),
            idle_max: Duration::from_secs(60),
            patience: Duration::from_secs(10),
            shutdown_within: Duration::from_secs(20),
            metrics: true,
            identity_fresh: Duration::from_secs(1),
            identity_stale_max: Duration::from_secs(5),
        }
    }
}
