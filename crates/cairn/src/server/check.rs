//! `cairn server --check`: what a start would stumble over later, found before, without making anything.

use std::path::Path;

use anyhow::{Context, Result, bail};
use cairn_shard_store::{FolderState, inspect};

use super::{cluster_id::MetaFolder, declared::check_key_destination, identities::key_file_is_gone};
use crate::config::{Config, TlsChoice, check_certificate, check_private};

/// Looks at what every start looks at only once it is under way. Answers with what would not keep the server from
/// serving, and is wrong all the same.
pub(super) fn check_more(config: &Config) -> Result<Vec<String>> {
    check_key_file_is_there(config)?;
    MetaFolder::check(&config.meta)?;
    if config.tls == TlsChoice::Auto {
        check_authority(&config.home)?;
    }
    let files = config.declared.keys.iter().filter_map(|key| Some((&key.name, key.file.as_deref()?)));
    let troubles = files.filter_map(|(name, file)| {
        let error = check_key_destination(file).err()?;
        Some(format!("key {name}: {error:#}; the server would start, and this key would not get to its file"))
    });
    let disks = config.disks.iter().filter_map(|disk| match inspect(disk) {
        FolderState::Foreign(what) => {
            Some(format!("disk {}: {what}; the server would start and leave it out", disk.display()))
        }
        FolderState::Missing | FolderState::Empty | FolderState::Disk { .. } => None,
    });
    Ok(troubles.chain(disks).collect())
}

/// A store that has a disk has had a key file: it was there before the first disk was made.
fn check_key_file_is_there(config: &Config) -> Result<()> {
    let path = config.key_file();
    let is_disk = |disk: &std::path::PathBuf| matches!(inspect(disk), FolderState::Disk { .. });
    if !MetaFolder::is_new(&config.meta) && !path.exists() && config.disks.iter().any(is_disk) {
        return Err(key_file_is_gone(&path));
    }
    Ok(())
}

/// The CA of our own, as the gateway opens it.
fn check_authority(home: &Path) -> Result<()> {
    let (cert, key) = (home.join("ca.crt"), home.join("ca.key"));
    match (cert.exists(), key.exists()) {
        (true, false) => bail!(
            "tls: {} is there and its key {} is gone: restore the key, or remove the certificate to make a new authority, \
             which clients must be given again",
            cert.display(),
            key.display()
        ),
        (_, true) => check_private(&key).context("tls")?,
        (false, false) => {}
    }
    if cert.exists() { check_certificate(&cert, &key) } else { Ok(()) }
}
