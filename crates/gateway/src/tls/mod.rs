//! Where the server's certificate comes from, and the configuration that new connections use.
//!
//! A [`TlsSource`] is polled: new files or a leaf near its end give a new configuration for connections that come
//! later; running ones keep theirs. Files that cannot be used change nothing and are told to the caller.

mod authority;
mod files;

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
        /// Names and addresses of the leaf, besides localhost and the host's own name.
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
    Authority { authority: Authority, names: Vec<String> },
}

struct State {
    kind: Kind,
    /// When a leaf of our own has to be issued again, milliseconds since 1970.
    renew_at_ms: u64,
}

/// Gives each new connection its configuration.
pub(crate) struct TlsSource {
    current: ArcSwap<ServerConfig>,
    state: Mutex<State>,
}

impl TlsSource {
    /// Reads or makes the certificate. `None` for plain HTTP.
    pub(crate) fn open(mode: &TlsMode, now_ms: u64) -> Result<Option<Self>, TlsError> {
        install_provider();
        let (kind, config, renew_at_ms) = match mode {
            TlsMode::Off => return Ok(None),
            TlsMode::Files { cert, key } => {
                let (files, config) = CertificateFiles::open(cert.clone(), key.clone())?;
                (Kind::Files(files), config, u64::MAX)
            }
            TlsMode::Authority { folder, names } => {
                let authority = Authority::open(folder, now_ms)?;
                let leaf = authority.issue(names, now_ms)?;
                let config = server_config(leaf.chain, leaf.key)?;
                (Kind::Authority { authority, names: names.clone() }, config, leaf.renew_at_ms)
            }
        };
        let state = Mutex::new(State { kind, renew_at_ms });
        Ok(Some(Self { current: ArcSwap::from_pointee(config), state }))
    }

    /// The configuration of a connection that begins now.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Looks for changed files or a leaf near its end. True if there is a new configuration; on an error the old one
    /// stays.
    pub(crate) fn refresh(&self, now_ms: u64) -> Result<bool, TlsError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { kind, renew_at_ms } = &mut *state;
        let config = match kind {
            Kind::Files(files) => match files.reload()? {
                None => return Ok(false),
                Some(config) => config,
            },
            Kind::Authority { .. } if now_ms < *renew_at_ms => return Ok(false),
            Kind::Authority { authority, names } => {
                let leaf = authority.issue(names, now_ms)?;
                let config = server_config(leaf.chain, leaf.key)?;
                *renew_at_ms = leaf.renew_at_ms;
                config
            }
        };
        self.current.store(Arc::new(config));
        Ok(true)
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
