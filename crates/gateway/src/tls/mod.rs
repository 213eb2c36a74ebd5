//! Where the server's certificate comes from, and the configuration that new connections use.
//!
//! A [`TlsSource`] is polled: new files, a leaf near its end or one that lacks a name the machine has now give a new
//! configuration for connections that come later; running ones keep theirs. Files that cannot be used change nothing and
//! are told to the caller.

mod authority;
mod files;
mod interfaces;
mod names;
mod own_leaf;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, Once, PoisonError},
};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
};

use authority::Authority;
use files::CertificateFiles;
use names::LeafNames;
use own_leaf::OwnLeaf;

use crate::options::GatewayOptions;

/// How the listener is secured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsMode {
    /// Plain HTTP.
    Off,
    /// Certificate chain and key in PEM files, read again when they change.
    Files {
        /// The chain, leaf first.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// An authority of our own, made at first use.
    Authority {
        /// Where `ca.crt` is written, for clients, and `ca.key`, mode 0600.
        folder: PathBuf,
        /// Names and addresses of the leaf, besides localhost, the host's own name and addresses, and the domains of
        /// virtual-hosted buckets.
        names: Vec<String>,
    },
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("{action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path}: {problem}")]
    Content {
        /// Which file.
        path: PathBuf,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A certificate cannot be issued.
    #[error("issue a certificate")]
    Issue(#[from] rcgen::Error),
    /// The certificate and key cannot be served.
    #[error("certificate and key cannot be used together")]
    Unusable(#[from] rustls::Error),
}

enum Kind {
    Files(CertificateFiles),
    Authority(Box<OwnLeaf>),
}

/// Gives each new connection its configuration.
pub(crate) struct TlsSource {
    current: ArcSwap<ServerConfig>,
    kind: Mutex<Kind>,
}

impl TlsSource {
    /// Reads or makes the certificate. `None` for plain HTTP.
    pub(crate) fn open(options: &GatewayOptions, now_ms: u64) -> Result<Option<Self>, TlsError> {
        install_provider();
        let (kind, config) = match &options.tls {
            TlsMode::Off => return Ok(None),
            TlsMode::Files { cert, key } => {
                let (files, config) = CertificateFiles::open(cert.clone(), key.clone())?;
                (Kind::Files(files), config)
            }
            TlsMode::Authority { folder, names } => {
                let (authority, names) = (Authority::open(folder, now_ms)?, LeafNames::new(options, names));
                let (leaf, config) = OwnLeaf::first(authority, names, now_ms)?;
                (Kind::Authority(Box::new(leaf)), config)
            }
        };
        Ok(Some(Self { current: ArcSwap::from_pointee(config), kind: Mutex::new(kind) }))
    }

    /// The configuration of a connection that begins now.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Looks whether there is another certificate to be used. True if there is a new configuration; on an error the old
    /// one stays.
    pub(crate) fn refresh(&self, now_ms: u64) -> Result<bool, TlsError> {
        let mut kind = self.kind.lock().unwrap_or_else(PoisonError::into_inner);
        let config = match &mut *kind {
            Kind::Files(files) => files.reload()?,
            Kind::Authority(leaf) => leaf.renew(now_ms)?,
        };
        let is_new = config.is_some();
        if let Some(config) = config {
            self.current.store(Arc::new(config));
        }
        Ok(is_new)
    }
}

/// Two providers in one process panic at first use, so one is installed, once.
fn install_provider() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // An error means that the program installed one before us, which is as good.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    });
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
