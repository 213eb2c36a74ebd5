//! What a first start needs of the machine, looked at before anything is made: a start that fails half-way leaves
//! folders behind and names a consequence instead of the cause.

use std::path::Path;

use anyhow::{Context, Result, bail};
use cairn_meta::ADD_BYTES_MIN;
use rustix::fs::statvfs;

use super::cluster_id::MetaFolder;
use crate::{
    config::{ByteCount, Config, check_usable, existing},
    secrets::KeyPair,
};

/// What the metadata's file system must have free: what is always kept free of it, and room for the first rows.
const META_BYTES_MIN: u64 = ADD_BYTES_MIN + (8 << 20);

/// Looks, and changes nothing. A store that was started before is not held up: it may have lost a disk.
pub(crate) fn check_first_start(config: &Config) -> Result<()> {
    if !MetaFolder::is_new(&config.meta) {
        return Ok(());
    }
    for disk in &config.disks {
        check_usable("disk", disk)?;
    }
    let key_file = config.key_file();
    if let Some(folder) = key_file.parent().filter(|_| !key_file.exists()) {
        check_usable("data", folder)?;
    }
    if let Some(file) = config.root_key_file.as_deref().filter(|_| config.root_key.is_none()) {
        check_root_key_file(file)?;
    }
    check_meta_space(&config.meta)
}

/// A root key that lies there is taken; else its file must be one that can be written.
fn check_root_key_file(file: &Path) -> Result<()> {
    if KeyPair::read_file(file).context("root-key-file")?.is_some() {
        return Ok(());
    }
    let folder = file.parent().unwrap_or(Path::new("/"));
    if !folder.is_dir() {
        bail!("root-key-file: the folder {} is not there", folder.display());
    }
    check_usable("root-key-file", folder)
}

fn check_meta_space(meta: &Path) -> Result<()> {
    let there = existing(meta);
    let found = statvfs(there).with_context(|| format!("look at the file system of {}", there.display()))?;
    check_free(meta, found.f_bavail.saturating_mul(found.f_frsize))
}

fn check_free(meta: &Path, free_bytes: u64) -> Result<()> {
    if free_bytes < META_BYTES_MIN {
        bail!(
            "meta: the file system of {} has {} free; a first start needs {}: {} of them stay free, so that objects can \
             always be deleted. Make room there, or name another folder with --meta",
            meta.display(),
            ByteCount(free_bytes),
            ByteCount(META_BYTES_MIN),
            ByteCount(ADD_BYTES_MIN),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_file_system_is_named_with_its_numbers() {
        let meta = Path::new("/srv/meta");
        check_free(meta, META_BYTES_MIN).unwrap();
        let told = check_free(meta, META_BYTES_MIN - 1).unwrap_err().to_string();
        for part in ["meta: ", "needs 200.0 MiB", "192.0 MiB of them stay free"] {
            assert!(told.contains(part), "{part} in {told}");
        }
    }
}
