//! A certificate authority of our own: its key and certificate live in files, its leaves in memory.
//!
//! Clients install `ca.crt` once. A leaf is issued at each start, so changed names take effect, when the machine got a
//! further name or address, and before the leaf ends. The key is written before the certificate: a certificate without its
//! key is an error that a person solves, because clients may trust it already.

use std::{
    fs,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use time::{Duration, OffsetDateTime};

use super::{TlsError, files::read};

/// How long the authority is good for.
const AUTHORITY_DAYS: i64 = 20 * 365;
/// How long a leaf is good for: what the strictest clients still take.
const LEAF_DAYS: i64 = 397;
/// A leaf is issued again so long before its end.
const RENEW_BEFORE_DAYS: i64 = 60;
/// Certificates begin in the past, for clients whose clock is behind.
const BACKDATED: Duration = Duration::days(2);

/// Issues leaves.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// A leaf with its chain.
pub(super) struct Leaf {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) renew_at_ms: u64,
}

impl Authority {
    /// Opens the authority in a folder, or makes it if there is none. An error if a file cannot be read or written,
    /// holds something else, can be read by others, or its partner is missing.
    pub(super) fn open(folder: &Path, now_ms: u64) -> Result<Self, TlsError> {
        let (certificate, key) = (&folder.join("ca.crt"), &folder.join("ca.key"));
        let key_pair = match (key.exists(), certificate.exists()) {
            (true, _) => read_key(key)?,
            (false, false) => make_key(key)?,
            (false, true) => {
                let problem = format!(
                    "the key {} of this authority is missing: restore it, or remove this file to make a new authority \
                     that clients must be given again",
                    key.display()
                );
                return Err(TlsError::Content { path: certificate.to_owned(), problem });
            }
        };
        if !certificate.exists() {
            let issued = authority_params(now_ms).self_signed(&key_pair)?;
            write_new(certificate, issued.pem().as_bytes(), 0o644)?;
        }
        let bad = |problem: String| TlsError::Content {
            path: certificate.to_owned(),
            problem: format!("{problem}: put it back from a copy, or remove it; it is made anew from its key"),
        };
        let pem = String::from_utf8(read(certificate)?).map_err(|_| bad("no PEM file".to_owned()))?;
        let der = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|error| bad(format!("no PEM certificate ({error})")))?;
        let own = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key_pair.serialize_der()));
        check_pair(&der, &own).map_err(|error| bad(format!("no certificate of {} ({error})", key.display())))?;
        let issuer =
            Issuer::from_ca_cert_pem(&pem, key_pair).map_err(|error| bad(format!("no certificate ({error})")))?;
        Ok(Self { issuer, certificate: der })
    }

    /// Issues a leaf for these names and addresses.
    pub(super) fn issue(&self, names: Vec<String>, now_ms: u64) -> Result<Leaf, TlsError> {
        let now = moment(now_ms);
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "cairn");
        params.not_before = now - BACKDATED;
        params.not_after = now + Duration::days(LEAF_DAYS) - BACKDATED;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let leaf = params.signed_by(&key, &self.issuer)?;
        let renew_at = params.not_after - Duration::days(RENEW_BEFORE_DAYS);
        Ok(Leaf {
            chain: vec![leaf.der().clone(), self.certificate.clone()],
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            renew_at_ms: u64::try_from(renew_at.unix_timestamp()).unwrap_or(0).saturating_mul(1000),
        })
    }
}

/// Whether a certificate is one of this key.
fn check_pair(certificate: &CertificateDer<'static>, key: &PrivateKeyDer<'static>) -> Result<(), rustls::Error> {
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(key)?;
    rustls::sign::CertifiedKey::new(vec![certificate.clone()], key).keys_match()
}

fn authority_params(now_ms: u64) -> CertificateParams {
    let now = moment(now_ms);
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "cairn certificate authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = now - BACKDATED;
    params.not_after = now + Duration::days(AUTHORITY_DAYS);
    params
}

/// Certificates know no milliseconds.
fn moment(now_ms: u64) -> OffsetDateTime {
    let seconds = i64::try_from(now_ms / 1000).unwrap_or(0);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn read_key(path: &Path) -> Result<KeyPair, TlsError> {
    let bad = |problem: String| TlsError::Content { path: path.to_owned(), problem };
    let mode = fs::metadata(path)
        .map_err(|source| TlsError::File { action: "look at", path: path.to_owned(), source })?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        return Err(bad(format!("others can read this key (mode {:o}): chmod 600 it", mode & 0o777)));
    }
    let lost = |what: String| {
        bad(format!(
            "{what}: put it back from a copy, or remove it and ca.crt beside it to make a new authority that clients must be \
             given again"
        ))
    };
    let pem = String::from_utf8(read(path)?).map_err(|_| lost("no PEM file".to_owned()))?;
    KeyPair::from_pem(&pem).map_err(|error| lost(format!("no PEM private key ({error})")))
}

fn make_key(path: &Path) -> Result<KeyPair, TlsError> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    write_new(path, key.serialize_pem().as_bytes(), 0o600)?;
    Ok(key)
}

/// Writes a file that appears whole or not at all.
fn write_new(path: &Path, bytes: &[u8], mode: u32) -> Result<(), TlsError> {
    let failed = |action| move |source| TlsError::File { action, path: path.to_owned(), source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).map_or(Path::new("."), |folder| folder);
    fs::create_dir_all(folder).map_err(failed("make the folder of"))?;
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = PathBuf::from(unfinished);
    // One of a start that was cut off may lie there.
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed("replace")(error)),
        _ => {}
    }
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&unfinished).map_err(failed("create"))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed("write"))?;
    fs::rename(&unfinished, path).map_err(failed("rename"))?;
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync the folder of"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_790_000_000_000;
    const NAMES: [&str; 5] = ["localhost", "10.0.0.5", "::1", "cache.example.org", "fd00::1"];

    fn open(folder: &Path) -> Result<Authority, TlsError> {
        Authority::open(folder, NOW_MS)
    }

    #[test]
    fn the_authority_is_kept_and_its_key_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(folder.path()).unwrap();
        let again = open(folder.path()).unwrap();
        assert_eq!(first.certificate, again.certificate);
        let key = folder.path().join("ca.key");
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(open(folder.path()).is_err(), "a key that others can read is refused");
    }

    #[test]
    fn a_certificate_without_its_key_is_refused_and_a_key_without_certificate_gets_one() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path()).unwrap();
        fs::remove_file(folder.path().join("ca.crt")).unwrap();
        open(folder.path()).unwrap();
        fs::remove_file(folder.path().join("ca.key")).unwrap();
        assert!(matches!(open(folder.path()), Err(TlsError::Content { .. })));
    }

    #[test]
    fn a_leaf_is_trusted_under_its_names_and_ends_after_its_renewal() {
        let folder = tempfile::tempdir().unwrap();
        let authority = open(folder.path()).unwrap();
        let leaf = authority.issue(NAMES.map(str::to_owned).to_vec(), NOW_MS).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.certificate.clone()).unwrap();
        super::super::install_provider();
        let verifier = rustls::client::WebPkiServerVerifier::builder(std::sync::Arc::new(roots)).build().unwrap();
        let verify = |name: &str, now_ms: u64| {
            rustls::client::danger::ServerCertVerifier::verify_server_cert(
                verifier.as_ref(),
                &leaf.chain[0],
                &leaf.chain[1..],
                &name.to_owned().try_into().unwrap(),
                &[],
                rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_millis(now_ms)),
            )
        };
        for name in NAMES {
            verify(name, NOW_MS).unwrap();
            verify(name, leaf.renew_at_ms).unwrap();
        }
        for name in ["elsewhere.example.org", "10.0.0.6"] {
            assert!(verify(name, NOW_MS).is_err(), "{name}");
        }
        assert!(verify("localhost", NOW_MS + 400 * 86_400_000).is_err());
    }
}
