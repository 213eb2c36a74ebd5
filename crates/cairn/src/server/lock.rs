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

/// Held while the server runs.
#[derive(Debug)]
pub(crate) struct DataLock {
    _file: File,
}

impl DataLock {
    /// Makes the data folder if it is not there, and takes its lock.
    pub(crate) fn take(home: &Path) -> Result<Self> {
        make_private_folder(home)?;
        let path = home.join("cairn.lock");
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
        let first = DataLock::take(&home).unwrap();
        assert!(DataLock::take(&home).unwrap_err().to_string().contains("another server runs"));
        drop(first);
        DataLock::take(&home).unwrap();
    }
}
