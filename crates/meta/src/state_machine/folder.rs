//! Which of the `state-<n>` folders is the state machine: a pointer file, switched by one rename.
//!
//! Installing a snapshot makes the next folder whole and durable first, then switches. A crash before the rename
//! leaves the old state and a folder that the next start removes; a crash after it, the new state.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const POINTER: &str = "CURRENT";
const POINTER_NEW: &str = "CURRENT.new";
const HEAD: &str = "cairn-state 1";
const STATE_PREFIX: &str = "state-";
const SNAPSHOTS: &str = "snapshots";

/// What the pointer file says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pointer {
    /// The folder's number.
    pub(crate) number: u64,
    /// The index of the snapshot it was installed from: the log may end before it.
    pub(crate) installed: Option<u64>,
}

/// The folder that holds the pointer and the states.
#[derive(Clone, Debug)]
pub(crate) struct StateFolder(PathBuf);

impl StateFolder {
    pub(crate) fn new(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    pub(crate) fn state(&self, number: u64) -> PathBuf {
        self.0.join(format!("{STATE_PREFIX}{number}"))
    }

    pub(crate) fn snapshot(&self, number: u64) -> PathBuf {
        self.0.join(SNAPSHOTS).join(number.to_string())
    }

    /// The pointer, none in a folder that never had one.
    pub(crate) fn pointer(&self) -> io::Result<Option<Pointer>> {
        let text = match fs::read_to_string(self.0.join(POINTER)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let damaged = || io::Error::new(io::ErrorKind::InvalidData, format!("the file {POINTER} is damaged"));
        let mut lines = text.lines();
        if lines.next() != Some(HEAD) {
            return Err(damaged());
        }
        let number = lines.next().and_then(|line| line.strip_prefix(STATE_PREFIX)).ok_or_else(damaged)?;
        let installed = match lines.next().and_then(|line| line.strip_prefix("installed ")).ok_or_else(damaged)? {
            "none" => None,
            index => Some(index.parse().map_err(|_| damaged())?),
        };
        Ok(Some(Pointer { number: number.parse().map_err(|_| damaged())?, installed }))
    }

    /// Switches to another state; durable on return.
    pub(crate) fn switch(&self, pointer: Pointer) -> io::Result<()> {
        let installed = pointer.installed.map_or_else(|| "none".to_owned(), |index| index.to_string());
        let text = format!("{HEAD}\n{STATE_PREFIX}{}\ninstalled {installed}\n", pointer.number);
        write_synced(&self.0, POINTER_NEW, POINTER, text.as_bytes())
    }

    /// Removes what a crash left: states that are not the current one, and all snapshots, which are built anew.
    pub(crate) fn sweep(&self, current: Option<u64>) -> io::Result<()> {
        for item in fs::read_dir(&self.0)? {
            let item = item?;
            let name = item.file_name();
            let name = name.to_string_lossy();
            let old = match name.strip_prefix(STATE_PREFIX) {
                Some(number) => number.parse::<u64>().is_ok_and(|number| Some(number) != current),
                None => name == SNAPSHOTS,
            };
            if old {
                fs::remove_dir_all(item.path())?;
            } else if name == POINTER_NEW {
                fs::remove_file(item.path())?;
            }
        }
        fs::create_dir_all(self.0.join(SNAPSHOTS))
    }
}

/// Writes a file whole or not at all: under another name, synced, renamed, and the rename synced.
pub(crate) fn write_synced(folder: &Path, new_name: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(folder.join(new_name))?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(folder.join(new_name), folder.join(name))?;
    sync_folder(folder)
}

/// Syncs a folder's entries.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes `to` a durable copy of a checkpoint: table files, which never change, by hard link where that is possible.
pub(crate) fn copy_checkpoint(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for item in fs::read_dir(from)? {
        let item = item?;
        if !item.file_type()?.is_file() {
            continue;
        }
        let target = to.join(item.file_name());
        let table = item.path().extension().is_some_and(|extension| extension == "sst");
        if !table || fs::hard_link(item.path(), &target).is_err() {
            fs::copy(item.path(), &target)?;
        }
        File::open(&target)?.sync_all()?;
    }
    sync_folder(to)?;
    to.parent().map_or(Ok(()), sync_folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pointer_is_read_back_and_damage_is_seen() {
        let temp = tempfile::tempdir().unwrap();
        let folder = StateFolder::new(temp.path());
        assert_eq!(folder.pointer().unwrap(), None);
        for pointer in [Pointer { number: 0, installed: None }, Pointer { number: 7, installed: Some(99) }] {
            folder.switch(pointer).unwrap();
            assert_eq!(folder.pointer().unwrap(), Some(pointer));
        }
        for bad in ["", "cairn-state 2\nstate-1\ninstalled none\n", "cairn-state 1\nstate-x\ninstalled none\n"] {
            fs::write(temp.path().join(POINTER), bad).unwrap();
            assert!(folder.pointer().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_sweep_leaves_the_current_state_alone() {
        let temp = tempfile::tempdir().unwrap();
        let folder = StateFolder::new(temp.path());
        for name in ["state-1", "state-2", "state-other", "snapshots/4", "log"] {
            fs::create_dir_all(temp.path().join(name)).unwrap();
        }
        fs::write(temp.path().join(POINTER_NEW), "half").unwrap();
        folder.sweep(Some(2)).unwrap();
        let mut left: Vec<_> = fs::read_dir(temp.path()).unwrap().map(|item| item.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["log", "snapshots", "state-2", "state-other"]);
        assert_eq!(fs::read_dir(temp.path().join(SNAPSHOTS)).unwrap().count(), 0);
    }
}
