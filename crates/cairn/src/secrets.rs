//! Keys and secrets: how they are drawn, shown, kept in files and sealed for the metadata.
//!
//! The metadata holds secrets sealed only (AES-256-GCM). The key file lies in the data folder with mode 0600; it opens
//! the cluster's key, which lies in the metadata and opens all else. So a copy of the metadata alone gives nothing away.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use cairn_cluster::{ClusterKey, Purpose};
use cairn_gateway::small_file;

use crate::config::check_private;

const KEY_BYTES: usize = 32;
const KEY_TITLE: &str = "cairn secret key 1";
/// First byte of what is sealed: format 1 is nonce, ciphertext, tag.
const SEALED_FORMAT: u8 = 1;
/// First byte of a secret that the cluster's key sealed; what follows is as `cairn_cluster` seals.
const SEALED_BY_CLUSTER: u8 = 2;
/// What the key file sealed in the first release: secrets of access keys.
const SECRET_PURPOSE: &[u8] = b"cairn identity secret";
const CLUSTER_KEY_PURPOSE: &[u8] = b"cairn cluster key";

const ACCESS_KEY_CHARS: usize = 20;
const SECRET_KEY_CHARS: usize = 40;

/// A text that no log shows.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// Takes a text in.
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself: for sealing, and for showing where it was asked for.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// An access key with its secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct KeyPair {
    /// Who.
    pub(crate) access_key: String,
    /// Its secret.
    pub(crate) secret: Secret,
}

const FILE_ACCESS: &str = "CAIRN_ROOT_ACCESS_KEY=";
const FILE_SECRET: &str = "CAIRN_ROOT_SECRET_KEY=";

impl KeyPair {
    /// A key that somebody chose.
    pub(crate) fn given(access_key: String, secret: String) -> Result<Self> {
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if !(3..=128).contains(&access_key.len()) || !plain(&access_key) || access_key.contains(['/', ',', '=']) {
            bail!("an access key has 3 to 128 visible ASCII characters without `/`, `,` and `=`");
        }
        if !(8..=128).contains(&secret.len()) || !plain(&secret) {
            bail!("a secret key has 8 to 128 visible ASCII characters");
        }
        Ok(Self { access_key, secret: Secret::new(secret) })
    }

    /// A new key.
    pub(crate) fn draw() -> Result<Self> {
        let access_key = draw_text(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", ACCESS_KEY_CHARS)?;
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        Ok(Self { access_key, secret: Secret::new(draw_text(letters, SECRET_KEY_CHARS)?) })
    }

    /// As an environment file.
    pub(crate) fn to_file_text(&self) -> String {
        format!("{FILE_ACCESS}{}\n{FILE_SECRET}{}\n", self.access_key, self.secret.reveal())
    }

    /// Reads what [`Self::to_file_text`] wrote. `Ok(None)` where there is no file.
    pub(crate) fn read_file(path: &Path) -> Result<Option<Self>> {
        let text = match small_file::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        check_private(path)?;
        let value = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
        match (value(FILE_ACCESS), value(FILE_SECRET)) {
            (Some(access), Some(secret)) => {
                Self::given(access, secret).map(Some).with_context(|| format!("the root key in {}", path.display()))
            }
            _ => bail!("{} is there and holds no root key: name another file, or move it away", path.display()),
        }
    }
}

/// Draws characters of an alphabet of 32 or 64, so that no character is likelier than another.
fn draw_text(alphabet: &[u8], chars: usize) -> Result<String> {
    debug_assert!(alphabet.len().is_power_of_two() && alphabet.len() <= 256);
    let mut bytes = vec![0; chars];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("{error}")).context("draw random bytes")?;
    Ok(bytes.into_iter().map(|byte| char::from(alphabet[usize::from(byte) % alphabet.len()])).collect())
}

/// The key file's key.
///
/// **Nonce rule**: random, 96 bits. It seals a cluster key or two in its life, so none comes twice.
pub(crate) struct KeyFile {
    key: RandomizedNonceKey,
}

/// Seals secrets for the metadata and opens them again.
pub(crate) struct Sealer {
    file: KeyFile,
    cluster: Arc<ClusterKey>,
}

/// What was sealed cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SealError {
    /// Not ours, or cut short.
    #[error("a sealed secret is damaged")]
    Damaged,
    /// Sealed by a newer program.
    #[error("a sealed secret has format {0}, this program knows {SEALED_BY_CLUSTER}: a newer cairn wrote it")]
    Format(u8),
    /// Another key sealed it, or a byte changed.
    #[error("a sealed secret does not open with this key file")]
    WrongKey,
    /// The cipher refused to work.
    #[error("a secret could not be sealed")]
    Seal,
}

impl Sealer {
    /// Of the key file and the cluster's key.
    pub(crate) fn new(file: KeyFile, cluster: Arc<ClusterKey>) -> Self {
        Self { file, cluster }
    }

    /// The cluster's key.
    pub(crate) fn cluster_key(&self) -> &Arc<ClusterKey> {
        &self.cluster
    }

    /// Seals a secret.
    pub(crate) fn seal(&self, secret: &Secret) -> Result<Vec<u8>, SealError> {
        let sealed = self.cluster.seal(Purpose::Secret, b"", secret.reveal().as_bytes());
        let sealed = sealed.map_err(|_| SealError::Seal)?;
        Ok([&[SEALED_BY_CLUSTER], &sealed[..]].concat())
    }

    /// Opens what [`Self::seal`] made, or the key file alone in the first release.
    pub(crate) fn open(&self, sealed: &[u8]) -> Result<Secret, SealError> {
        let plain = match sealed.split_first() {
            Some((&SEALED_BY_CLUSTER, rest)) => {
                self.cluster.open(Purpose::Secret, b"", rest).map_err(|_| SealError::WrongKey)?.to_vec()
            }
            _ => self.file.open(SECRET_PURPOSE, sealed)?,
        };
        String::from_utf8(plain).map(Secret::new).map_err(|_| SealError::Damaged)
    }
}

/// A cluster's key as the key file sealed it.
pub(crate) struct SealedClusterKey {
    /// The key.
    pub(crate) key: ClusterKey,
    /// As the metadata keeps it.
    pub(crate) sealed: Vec<u8>,
}

impl KeyFile {
    fn new(key: &[u8; KEY_BYTES]) -> Result<Self> {
        let key =
            RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| anyhow::anyhow!("the secret key is unusable"))?;
        Ok(Self { key })
    }

    /// Reads the key file. `Ok(None)` where there is none; one that others may read is refused.
    pub(crate) fn read(path: &Path) -> Result<Option<Self>> {
        let text = match small_file::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("read the key file {}", path.display())),
        };
        check_private(path)?;
        let damaged = || format!("the key file {} is damaged: restore it from a backup", path.display());
        let (title, key) = text.trim_end().split_once('\n').with_context(damaged)?;
        let key: [u8; KEY_BYTES] = hex::decode(key)
            .ok()
            .and_then(|key| key.try_into().ok())
            .filter(|_| title == KEY_TITLE)
            .with_context(damaged)?;
        Self::new(&key).map(Some)
    }

    /// Draws a key and writes its file.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let mut key = [0; KEY_BYTES];
        getrandom::fill(&mut key).map_err(|error| anyhow::anyhow!("{error}")).context("draw random bytes")?;
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)
                .with_context(|| format!("make {}", folder.display()))?;
            // The folder's own name must be as durable as the file in it.
            if let Some(above) = folder.parent() {
                File::open(above)
                    .and_then(|above| above.sync_all())
                    .with_context(|| format!("sync {}", above.display()))?;
            }
        }
        write_private(path, &format!("{KEY_TITLE}\n{}\n", hex::encode(key)))?;
        Self::new(&key)
    }

    /// Draws a key for the cluster and seals it.
    pub(crate) fn draw_cluster_key(&self, number: u32) -> Result<SealedClusterKey> {
        let mut key = [0; ClusterKey::BYTES];
        getrandom::fill(&mut key).map_err(|error| anyhow::anyhow!("{error}")).context("draw random bytes")?;
        Ok(SealedClusterKey { key: ClusterKey::new(number, &key), sealed: self.seal(CLUSTER_KEY_PURPOSE, &key)? })
    }

    /// Opens the cluster's key.
    pub(crate) fn open_cluster_key(&self, number: u32, sealed: &[u8]) -> Result<ClusterKey, SealError> {
        let key = self.open(CLUSTER_KEY_PURPOSE, sealed)?;
        let key: [u8; ClusterKey::BYTES] = key.try_into().map_err(|_| SealError::Damaged)?;
        Ok(ClusterKey::new(number, &key))
    }

    fn seal(&self, purpose: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut bytes = plain.to_vec();
        let nonce = self.key.seal_in_place_append_tag(Aad::from(purpose), &mut bytes).map_err(|_| SealError::Seal)?;
        let mut sealed = vec![SEALED_FORMAT];
        sealed.extend_from_slice(nonce.as_ref());
        sealed.append(&mut bytes);
        Ok(sealed)
    }

    fn open(&self, purpose: &[u8], sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let (&format, rest) = sealed.split_first().ok_or(SealError::Damaged)?;
        if format != SEALED_FORMAT {
            return Err(SealError::Format(format));
        }
        let (nonce, bytes) = rest.split_at_checked(NONCE_LEN).ok_or(SealError::Damaged)?;
        if bytes.len() < AES_256_GCM.tag_len() {
            return Err(SealError::Damaged);
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Damaged)?;
        let mut bytes = bytes.to_vec();
        let plain = self.key.open_in_place(nonce, Aad::from(purpose), &mut bytes).map_err(|_| SealError::WrongKey)?;
        Ok(plain.to_vec())
    }
}

/// Writes a file of mode 0600 that is there whole or not at all, also after a power cut.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<()> {
    let mut passing = path.as_os_str().to_owned();
    passing.push(".new");
    let failed = |what: &str| format!("{what} {}", path.display());
    // A start that was cut off may have left one, perhaps with another mode.
    match fs::remove_file(&passing) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).with_context(|| failed("replace")),
        _ => {}
    }
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&passing).with_context(|| failed("create"))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).with_context(|| failed("write"))?;
    fs::rename(&passing, path).with_context(|| failed("rename"))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).with_context(|| failed("sync the folder of"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(fill: u8) -> KeyFile {
        KeyFile::new(&[fill; KEY_BYTES]).unwrap()
    }

    fn sealer(fill: u8) -> Sealer {
        Sealer::new(file(fill), Arc::new(ClusterKey::new(1, &[fill; ClusterKey::BYTES])))
    }

    #[test]
    fn what_is_sealed_opens_with_its_key_only() {
        let secret = Secret::new("correct horse".to_owned());
        let sealed = sealer(1).seal(&secret).unwrap();
        assert_eq!(sealer(1).open(&sealed).unwrap(), secret);
        assert!(matches!(sealer(2).open(&sealed), Err(SealError::WrongKey)));
        assert!(!sealed.windows(7).any(|window| window == b"correct"));
        assert_ne!(sealed, sealer(1).seal(&secret).unwrap(), "each sealing has a key of its own");
    }

    #[test]
    fn a_secret_of_the_first_release_opens_with_the_key_file_alone() {
        let sealed = file(1).seal(SECRET_PURPOSE, b"correct horse").unwrap();
        assert_eq!(sealer(1).open(&sealed).unwrap().reveal(), "correct horse");
        assert!(matches!(sealer(2).open(&sealed), Err(SealError::WrongKey)));
    }

    #[test]
    fn the_cluster_key_opens_with_its_key_file_only() {
        let drawn = file(1).draw_cluster_key(1).unwrap();
        let sealed = drawn.key.seal(Purpose::Inline, b"", b"bytes").unwrap();
        let opened = file(1).open_cluster_key(1, &drawn.sealed).unwrap();
        assert_eq!(opened.open(Purpose::Inline, b"", &sealed).unwrap(), "bytes");
        assert!(matches!(file(2).open_cluster_key(1, &drawn.sealed), Err(SealError::WrongKey)));
        assert!(file(1).open(SECRET_PURPOSE, &drawn.sealed).is_err(), "sealed for another purpose");
    }

    #[test]
    fn every_cut_and_every_changed_byte_is_noticed() {
        for sealed in
            [file(1).seal(SECRET_PURPOSE, b"secret").unwrap(), sealer(1).seal(&Secret::new("x".to_owned())).unwrap()]
        {
            for length in 0..sealed.len() {
                assert!(sealer(1).open(&sealed[..length]).is_err(), "cut to {length}");
            }
            for at in 0..sealed.len() {
                let mut changed = sealed.clone();
                changed[at] ^= 1;
                assert!(sealer(1).open(&changed).is_err(), "changed at {at}");
            }
        }
        assert!(matches!(sealer(1).open(&[9, 0]), Err(SealError::Format(9))));
    }

    #[test]
    fn the_key_file_is_private_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys/secret.key");
        assert!(KeyFile::read(&path).unwrap().is_none());
        let sealed = KeyFile::create(&path).unwrap().seal(SECRET_PURPOSE, b"x").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(KeyFile::read(&path).unwrap().unwrap().open(SECRET_PURPOSE, &sealed).unwrap(), b"x");

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = KeyFile::read(&path).err().unwrap().to_string();
        assert!(refused.contains("0640") && refused.contains("chmod 600"), "{refused}");

        let text = fs::read_to_string(&path).unwrap();
        for bad in ["", "cairn secret key 1", &text[..text.len() - 3], &text.replace("key 1", "key 2")] {
            write_private(&path, bad).unwrap();
            assert!(KeyFile::read(&path).is_err(), "{bad}");
        }
    }

    #[test]
    fn drawn_keys_have_their_lengths_and_differ() {
        let (one, other) = (KeyPair::draw().unwrap(), KeyPair::draw().unwrap());
        assert_eq!((one.access_key.len(), one.secret.reveal().len()), (ACCESS_KEY_CHARS, SECRET_KEY_CHARS));
        assert_ne!(one.access_key, other.access_key);
        assert!(KeyPair::given(one.access_key, one.secret.reveal().to_owned()).is_ok());
        assert!(!format!("{other:?}").contains(other.secret.reveal()));
    }

    #[test]
    fn a_root_key_file_is_read_back_and_another_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("root.env");
        assert_eq!(KeyPair::read_file(&path).unwrap(), None);
        let key = KeyPair::draw().unwrap();
        write_private(&path, &key.to_file_text()).unwrap();
        assert_eq!(KeyPair::read_file(&path).unwrap(), Some(key));
        write_private(&path, "something else").unwrap();
        assert!(KeyPair::read_file(&path).is_err());
        for (access, secret) in
            [("ab", "long enough"), ("a b c", "long enough"), ("abc", "short"), ("abc", "with a space")]
        {
            assert!(KeyPair::given(access.to_owned(), secret.to_owned()).is_err(), "{access} {secret}");
        }
    }
}
