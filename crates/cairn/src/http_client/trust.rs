//! Whom a client trusts: a CA that was named, or the system's store as Go programs find it, since the GitLab runner is
//! one.

use std::{
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

/// Certificates that are trusted, and where they were found.
#[derive(Clone, Debug)]
pub(crate) struct Roots {
    /// The certificates.
    pub(crate) store: Arc<RootCertStore>,
    /// Where from, for people.
    pub(crate) source: String,
}

/// Go's list: the first file that is there counts.
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
const FOLDERS: [&str; 2] = ["/etc/ssl/certs", "/etc/pki/tls/certs"];
/// Files of a folder that are read.
const FILES_MAX: usize = 2000;

/// The certificates of a PEM text.
pub(crate) fn roots_of_pem(pem: &[u8], source: String) -> Result<Roots> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| anyhow::anyhow!("{source} is no PEM file: {error}"))?;
        store.add(certificate).with_context(|| format!("{source} holds a certificate that cannot be used"))?;
    }
    if store.is_empty() {
        bail!("{source} holds no PEM certificate");
    }
    Ok(Roots { store: Arc::new(store), source })
}

/// The system's store, by `SSL_CERT_FILE` and `SSL_CERT_DIR` where they are set.
pub(crate) fn system_roots(look: &dyn Fn(&str) -> Option<std::ffi::OsString>) -> Roots {
    let named = |name: &str| look(name).filter(|value| !value.is_empty());
    let mut store = RootCertStore::empty();
    let mut sources = Vec::new();
    let bundles = named("SSL_CERT_FILE").map_or_else(|| BUNDLES.map(PathBuf::from).to_vec(), |file| vec![file.into()]);
    if let Some((path, pem)) = bundles.into_iter().find_map(|path| fs::read(&path).ok().map(|pem| (path, pem))) {
        store.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
        sources.push(path);
    }
    let folders = match named("SSL_CERT_DIR") {
        Some(list) => std::env::split_paths(&list).collect(),
        // Where a bundle was found, Go's folders hold the same once more.
        None if sources.is_empty() => FOLDERS.map(PathBuf::from).to_vec(),
        None => Vec::new(),
    };
    for folder in folders {
        let Ok(files) = fs::read_dir(&folder) else { continue };
        for pem in files.flatten().take(FILES_MAX).filter_map(|file| fs::read(file.path()).ok()) {
            store.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
        }
        sources.push(folder);
    }
    Roots { source: described(&sources), store: Arc::new(store) }
}

fn described(sources: &[PathBuf]) -> String {
    let shown: Vec<String> = sources.iter().map(|path| path.display().to_string()).collect();
    if shown.is_empty() {
        "the system's store (none found)".to_owned()
    } else {
        format!("the system's store ({})", shown.join(", "))
    }
}

/// A client that trusts these, and speaks HTTP/1.1.
pub(crate) fn client_config(roots: &Roots) -> Arc<ClientConfig> {
    let mut config = ClientConfig::builder().with_root_certificates(Arc::clone(&roots.store)).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// The reason an I/O error hides: rustls's own words where there are some.
pub(crate) fn reason(error: &io::Error) -> String {
    let inner: Option<&(dyn Error + 'static)> = error.get_ref().map(|inner| inner as _);
    inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()).map_or_else(|| error.to_string(), ToString::to_string)
}

/// Reads a file of CA certificates.
pub(crate) fn roots_of_file(path: &Path) -> Result<Roots> {
    let pem = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    roots_of_pem(&pem, path.display().to_string())
}
