//! A voter's folder: whose it is, and that only one process has it open.
//!
//! ```text
//! <folder>/MARKER     format, cluster, and whether forming was finished
//!          LOCK       held by the process that has it open
//!          log/       the log, which alone knows the voter's id
//!          CURRENT    names the state
//!          state-<n>/ the rows
//!          snapshots/ the last snapshot
//! ```

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::error::MetaError;
use crate::state_machine::{sync_folder, write_synced};

const MARKER: &str = "MARKER";
const MARKER_NEW: &str = "MARKER.new";
pub(crate) const LOCK: &str = "LOCK";
const LOG: &str = "log";
const TITLE: &str = "cairn metadata";
const FORMAT: u32 = 1;

/// A folder that this process alone has open.
pub(crate) struct VoterFolder {
    path: PathBuf,
    cluster_id: u128,
    _lock: File,
    /// Whether it must be filled before it is used.
    pub(crate) forming: bool,
}

enum Found {
    Nothing,
    Forming,
    Formed,
}

impl VoterFolder {
    /// Locks a folder and looks whose it is. An empty one becomes a folder of this cluster; a foreign or newer one
    /// is refused.
    pub(crate) fn open(path: &Path, cluster_id: u128) -> Result<Self, MetaError> {
        let failed = |error: io::Error| MetaError::folder(path, error.to_string());
        fs::create_dir_all(path).map_err(failed)?;
        let lock = File::options().create(true).truncate(false).write(true).open(path.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let problem = "another cairn process has it open; stop that one first, or use another folder";
                return Err(MetaError::folder(path, problem));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let found = look(path, cluster_id)?;
        let folder = Self { path: path.to_owned(), cluster_id, _lock: lock, forming: !matches!(found, Found::Formed) };
        match found {
            Found::Nothing => {
                folder.check_empty()?;
                folder.mark("forming").map_err(failed)?;
            }
            Found::Forming => folder.clear().map_err(failed)?,
            Found::Formed => {}
        }
        Ok(folder)
    }

    /// The log's folder.
    pub(crate) fn log(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// Says, durably, that log and state are there.
    pub(crate) fn formed(&mut self) -> io::Result<()> {
        sync_folder(&self.path)?;
        self.mark("formed")?;
        self.forming = false;
        Ok(())
    }

    fn mark(&self, phase: &str) -> io::Result<()> {
        let text = format!("{TITLE}\nformat {FORMAT}\ncluster {:032x}\n{phase}\n", self.cluster_id);
        write_synced(&self.path, MARKER_NEW, MARKER, text.as_bytes())?;
        self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync_folder)
    }

    /// A folder without a marker must hold nothing: it could be a voter's whose marker was lost.
    fn check_empty(&self) -> Result<(), MetaError> {
        let failed = |error: io::Error| MetaError::folder(&self.path, error.to_string());
        for item in fs::read_dir(&self.path).map_err(failed)? {
            let name = item.map_err(failed)?.file_name();
            if name != LOCK && name != MARKER_NEW && name != "lost+found" {
                let problem = format!(
                    "it holds {} but no {MARKER}: it is no metadata folder, or a damaged one; name an empty folder, \
                     or put the folder back whole from a copy",
                    name.to_string_lossy()
                );
                return Err(MetaError::folder(&self.path, problem));
            }
        }
        Ok(())
    }

    /// Removes what a start that never finished left; nobody was ever told of anything in it.
    fn clear(&self) -> io::Result<()> {
        for item in fs::read_dir(&self.path)? {
            let item = item?;
            let name = item.file_name();
            if item.file_type()?.is_dir() && name != "lost+found" {
                fs::remove_dir_all(item.path())?;
            } else if name == "CURRENT" || name == "CURRENT.new" {
                fs::remove_file(item.path())?;
            }
        }
        Ok(())
    }
}

fn look(path: &Path, cluster_id: u128) -> Result<Found, MetaError> {
    let text = match fs::read(path.join(MARKER)) {
        // What is no text is damaged text.
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(MetaError::folder(path, format!("its {MARKER} cannot be read: {error}"))),
    };
    let damaged = || MetaError::damaged_folder(path, format!("its {MARKER} is damaged"));
    let mut lines = text.lines();
    if lines.next() != Some(TITLE) {
        return Err(damaged());
    }
    let format = lines.next().and_then(|line| line.strip_prefix("format ")).ok_or_else(damaged)?;
    let format: u32 = format.parse().map_err(|_| damaged())?;
    if format > FORMAT {
        let problem = format!("it has format {format}, this program reads up to {FORMAT}; use the newer cairn again");
        return Err(MetaError::folder(path, problem));
    }
    let cluster = lines.next().and_then(|line| line.strip_prefix("cluster ")).ok_or_else(damaged)?;
    let cluster = u128::from_str_radix(cluster, 16).map_err(|_| damaged())?;
    if cluster != cluster_id {
        let problem = format!(
            "it belongs to cluster {cluster:032x}, not to {cluster_id:032x}; name this cluster's folder or an empty one"
        );
        return Err(MetaError::folder(path, problem));
    }
    match lines.next() {
        Some("forming") => Ok(Found::Forming),
        Some("formed") => Ok(Found::Formed),
        _ => Err(damaged()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(path: &Path, cluster_id: u128) -> String {
        VoterFolder::open(path, cluster_id).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn foreign_newer_damaged_and_open_folders_are_refused() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("meta");
        let mut folder = VoterFolder::open(&path, 7).unwrap();
        assert!(folder.forming);
        assert!(problem(&path, 7).contains("another cairn process"));
        folder.formed().unwrap();
        drop(folder);
        assert!(!VoterFolder::open(&path, 7).unwrap().forming);
        assert!(problem(&path, 8).contains("belongs to cluster"));
        let text = fs::read_to_string(path.join(MARKER)).unwrap();
        fs::write(path.join(MARKER), text.replace("format 1", "format 2")).unwrap();
        assert!(problem(&path, 7).contains("newer cairn"));
        for damaged in [&text.as_bytes()[..20], b"\xff\xfe"] {
            fs::write(path.join(MARKER), damaged).unwrap();
            assert!(problem(&path, 7).contains("damaged"));
        }
        fs::remove_file(path.join(MARKER)).unwrap();
        fs::create_dir(path.join(LOG)).unwrap();
        assert!(problem(&path, 7).contains("no metadata folder"));
    }

    #[test]
    fn a_start_that_never_finished_begins_again() {
        let temp = tempfile::tempdir().unwrap();
        drop(VoterFolder::open(temp.path(), 7).unwrap());
        for half in [LOG, "state-0"] {
            fs::create_dir(temp.path().join(half)).unwrap();
        }
        fs::write(temp.path().join("CURRENT"), "half").unwrap();
        let folder = VoterFolder::open(temp.path(), 7).unwrap();
        assert!(folder.forming);
        assert!(!temp.path().join(LOG).exists() && !temp.path().join("CURRENT").exists());
    }
}
