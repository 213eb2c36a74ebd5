//! The data folder's lock: one server at a time, also after a crash (the system lets go of it with the process).

use std::{
    fs::{DirBuilder, File, OpenOptions},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use anyhow::{Context, Result, bail};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

/// The lock's file, which stays when the server ends.
const NAME: &str = "cairn.lock";

/// Held while the server runs.
#[derive(Debug)]
pub(crate) struct DataLock {
    _file: File,
}

impl DataLock {
    /// Makes the data folder if it is not there, and takes its lock.
    pub(crate) fn take(home: &Path) -> Result<Self> {
        make_private_folder(home)?;
        let path = home.join(NAME);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(Errno::WOULDBLOCK) => {
                bail!("another server runs on {}: stop it first, or name another data folder", home.display())
            }
            Err(error) => Err(error).with_context(|| format!("lock {}", path.display())),
        }
    }
}

/// Whether a server ever ran on a folder.
pub(crate) fn is_data_folder(home: &Path) -> bool {
    home.join(NAME).exists()
}

/// Whether a server holds the lock of a data folder. Makes nothing.
pub(crate) fn is_taken(home: &Path) -> Result<bool> {
    let path = home.join(NAME);
    // As a server opens it: a network file system locks only what can be written.
    let Ok(file) = OpenOptions::new().read(true).write(true).open(&path) else {
        // Not there, or not ours to open: what keeps a server from the folder is told by those who look at it.
        return Ok(false);
    };
    // Shared: two who look do not take each other for a server.
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(error).with_context(|| format!("look at the lock {}", path.display())),
    }
}

/// Makes a folder that its owner alone may enter; one that is there stays as it is. Its name is durable afterwards.
pub(crate) fn make_private_folder(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("make the folder {}", folder.display()))?;
    let above = folder.parent().unwrap_or(folder);
    File::open(above).and_then(|above| above.sync_all()).with_context(|| format!("sync {}", above.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_refused_until_the_first_lets_go() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("new");
        assert!(!is_taken(&home).unwrap() && !home.exists(), "a look makes nothing");
        let first = DataLock::take(&home).unwrap();
        assert!(is_taken(&home).unwrap());
        assert!(DataLock::take(&home).unwrap_err().to_string().contains("another server runs"));
        drop(first);
        assert!(!is_taken(&home).unwrap());
        DataLock::take(&home).unwrap();
    }
}
