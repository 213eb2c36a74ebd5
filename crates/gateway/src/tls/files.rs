//! A certificate in files that somebody else renews.
//!
//! The bytes are compared, not the times: a Kubernetes secret changes by a swapped link.

use std::path::{Path, PathBuf};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::{TlsError, server_config};
use crate::small_file;

/// The two files as they were read last.
pub(super) struct CertificateFiles {
    cert: PathBuf,
    key: PathBuf,
    seen: (Vec<u8>, Vec<u8>),
}

impl CertificateFiles {
    /// Reads both files.
    pub(super) fn open(cert: PathBuf, key: PathBuf) -> Result<(Self, ServerConfig), TlsError> {
        let mut files = Self { cert, key, seen: (Vec::new(), Vec::new()) };
        let bytes = files.read()?;
        let config = files.parse(&bytes)?;
        files.seen = bytes;
        Ok((files, config))
    }

    /// A configuration if the files changed. Files that cannot be used are tried again at the next call.
    pub(super) fn reload(&mut self) -> Result<Option<ServerConfig>, TlsError> {
        let bytes = self.read()?;
        if bytes == self.seen {
            return Ok(None);
        }
        let config = self.parse(&bytes)?;
        self.seen = bytes;
        Ok(Some(config))
    }

    fn read(&self) -> Result<(Vec<u8>, Vec<u8>), TlsError> {
        Ok((read(&self.cert)?, read(&self.key)?))
    }

    fn parse(&self, (cert, key): &(Vec<u8>, Vec<u8>)) -> Result<ServerConfig, TlsError> {
        let bad = |path: &Path, problem: String| TlsError::Content { path: path.to_owned(), problem };
        let chain = CertificateDer::pem_slice_iter(cert)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| bad(&self.cert, format!("not a PEM certificate chain: {error}")))?;
        if chain.is_empty() {
            return Err(bad(&self.cert, "holds no PEM certificate".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| bad(&self.key, format!("not a PEM private key: {error}")))?;
        Ok(server_config(chain, key)?)
    }
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    small_file::read_bytes(path).map_err(|source| TlsError::File { action: "read", path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        GatewayOptions,
        tls::{TlsMode, TlsSource},
    };

    fn write_pair(folder: &Path) {
        let issued = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(folder.join("tls.crt"), issued.cert.pem()).unwrap();
        std::fs::write(folder.join("tls.key"), issued.signing_key.serialize_pem()).unwrap();
    }

    fn serving_from(folder: &Path) -> GatewayOptions {
        let tls = TlsMode::Files { cert: folder.join("tls.crt"), key: folder.join("tls.key") };
        GatewayOptions { tls, ..GatewayOptions::default() }
    }

    #[test]
    fn changed_files_are_taken_and_bad_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        write_pair(folder.path());
        let options = serving_from(folder.path());
        let source = TlsSource::open(&options, 0).unwrap().unwrap();
        let first = source.current();
        assert!(!source.refresh(0).unwrap());

        std::fs::write(folder.path().join("tls.crt"), "garbage").unwrap();
        assert!(source.refresh(0).is_err());
        assert!(source.refresh(0).is_err(), "a bad file is told again");
        assert!(Arc::ptr_eq(&first, &source.current()), "the old one stays");

        write_pair(folder.path());
        assert!(source.refresh(0).unwrap());
        assert!(!Arc::ptr_eq(&first, &source.current()));
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        write_pair(folder.path());
        let cert = std::fs::read(folder.path().join("tls.crt")).unwrap();
        write_pair(folder.path());
        std::fs::write(folder.path().join("tls.crt"), cert).unwrap();
        let options = serving_from(folder.path());
        assert!(matches!(TlsSource::open(&options, 0), Err(TlsError::Unusable(_))));
    }
}
