//! The folder of a disk: its marker file, what else may lie there, and what is refused.
//!
//! ```text
//! CAIRN-DISK     who this is: format, id, cluster, and whether formatting was completed
//! CAIRN-FAILED   a write failed here (see `health.rs`)
//! CAIRN-RECOVERY where snapshots of the metadata lie (see `recovery_list.rs`)
//! index/         RocksDB: index rows, WAL lane, state rows
//! log-0/         RocksDB: the group log; a large disk has log-1, log-2, … beside it (see `logs.rs`)
//! staging/       files of the log that are not ingested yet
//! ```

use std::{
    ffi::OsStr,
    fs::{self, File, TryLockError},
    io::{self, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use cairn_proto::DiskId;

use super::health::{FAILED, FAILED_NEW, REBUILD, REBUILD_NEW};
use super::recovery_list::{LIST, LIST_NEW};
use crate::ShardStoreError;

/// The newest layout this program knows.
pub(super) const FORMAT: u32 = 1;

pub(super) const MARKER: &str = "CAIRN-DISK";
const MARKER_NEW: &str = "CAIRN-DISK.new";
/// `O_DIRECTORY` of `open(2)`: a file in the folder's place is refused.
const O_DIRECTORY: i32 = rustix::fs::OFlags::DIRECTORY.bits().cast_signed();
const MARKER_BYTES_MAX: u64 = 4096;
/// What the names of the log's instances begin with.
const LOG: &str = "log-";
const TITLE: &str = "cairn disk";

/// What a folder is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FolderState {
    /// There is none.
    Missing,
    /// It can be formatted.
    Empty,
    /// A disk of ours.
    Disk {
        /// Its id.
        id: DiskId,
        /// The cluster it belongs to.
        cluster_id: u128,
    },
    /// Something else: what, and what to do.
    Foreign(String),
}

/// The marker file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Marker {
    pub format: u32,
    pub id: DiskId,
    pub cluster_id: u128,
    /// False while formatting: nothing was acknowledged yet.
    pub ready: bool,
}

/// What an empty disk may hold: what a fresh file system has, what a formatting cut short at its first step left, and
/// traces of a failed write that were put down just when the folder was emptied.
const LEFT_OVER: &[&str] = &["lost+found", MARKER_NEW, FAILED, FAILED_NEW, REBUILD, REBUILD_NEW, LIST, LIST_NEW];

/// Removes the traces of a disk that was here before.
pub(super) fn remove_left_over(folder: &Path) -> io::Result<()> {
    for name in [FAILED, FAILED_NEW, REBUILD, REBUILD_NEW, LIST, LIST_NEW] {
        match fs::remove_file(folder.join(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// Looks at a folder without changing it.
#[must_use]
pub fn inspect(folder: &Path) -> FolderState {
    match read_marker(folder) {
        Ok(Some(marker)) if marker.format > FORMAT => FolderState::Foreign(newer(marker.format)),
        Ok(Some(marker)) => FolderState::Disk { id: marker.id, cluster_id: marker.cluster_id },
        Ok(None) => inspect_unmarked(folder),
        Err(problem) => FolderState::Foreign(problem),
    }
}

fn inspect_unmarked(folder: &Path) -> FolderState {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return FolderState::Missing,
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
            return FolderState::Foreign("this is a file, a disk is a folder: name another path".to_owned());
        }
        Err(e) => return FolderState::Foreign(format!("cannot be listed: {e}")),
    };
    for entry in entries {
        let name = match entry {
            Ok(entry) => entry.file_name(),
            Err(e) => return FolderState::Foreign(format!("cannot be listed: {e}")),
        };
        if !LEFT_OVER.iter().any(|left_over| name == *left_over) && !is_remains(folder, &name) {
            return FolderState::Foreign(format!(
                "holds {} but no {MARKER} file: it is no disk of cairn, or was damaged; give an empty folder, or move \
                 what is there away",
                name.to_string_lossy()
            ));
        }
    }
    FolderState::Empty
}

/// A part of a disk that was emptied while it served: the last file it put there kept the folder from being removed.
/// Without `CURRENT` nobody can open it.
fn is_remains(folder: &Path, name: &OsStr) -> bool {
    let is_part = ["index", "index.new", "staging"].iter().any(|part| name == *part) || is_log(name);
    let path = folder.join(name);
    is_part && path.is_dir() && !path.join("CURRENT").exists()
}

/// Whether a name is that of an instance of the log.
fn is_log(name: &OsStr) -> bool {
    name.to_str().and_then(|name| name.strip_prefix(LOG)?.parse::<u32>().ok()).is_some()
}

/// The folders of all instances of the log, named or not.
pub(super) fn log_folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if is_log(&entry.file_name()) {
            logs.push(entry.path());
        }
    }
    Ok(logs)
}

/// Whether a folder is the root of a mounted file system.
#[must_use]
pub fn is_mount_point(folder: &Path) -> bool {
    let Ok(folder) = folder.canonicalize() else { return false };
    let Some(parent) = folder.parent() else { return true };
    match (fs::metadata(&folder), fs::metadata(parent)) {
        (Ok(own), Ok(above)) => own.dev() != above.dev() || own.ino() == above.ino(),
        _ => false,
    }
}

/// Device and inode of the marker: how a running disk sees that its folder is still the same.
pub(super) fn marker_identity(folder: &Path) -> Option<(u64, u64)> {
    fs::metadata(folder.join(MARKER)).ok().map(|marker| (marker.dev(), marker.ino()))
}

/// Reads the marker. `Ok(None)` where there is none.
pub(super) fn read_marker(folder: &Path) -> Result<Option<Marker>, String> {
    let path = folder.join(MARKER);
    let file = match fs::symlink_metadata(&path) {
        Ok(file) => file,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => return Ok(None),
        Err(e) => return Err(format!("{MARKER} cannot be read: {e}")),
    };
    if !file.is_file() || file.len() > MARKER_BYTES_MAX {
        return Err(damaged());
    }
    let bytes = fs::read(&path).map_err(|e| format!("{MARKER} cannot be read: {e}"))?;
    // What is no text is damaged text.
    parse_marker(&String::from_utf8_lossy(&bytes)).map(Some)
}

fn parse_marker(text: &str) -> Result<Marker, String> {
    let mut lines = text.lines();
    if lines.next() != Some(TITLE) {
        return Err(damaged());
    }
    let field = |name: &str| {
        let mut values = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        values.next().ok_or_else(damaged)
    };
    // A newer program may write its marker in another way: the format is read first.
    let format: u32 = field("format")?.parse().map_err(|_| damaged())?;
    if format > FORMAT {
        return Err(newer(format));
    }
    let body = text.rsplit_once("check ").ok_or_else(damaged)?;
    if body.1.trim_end() != check_of(body.0) {
        return Err(damaged());
    }
    let number = |name| u128::from_str_radix(field(name)?, 16).map_err(|_| damaged());
    let ready = match field("state")? {
        "ready" => true,
        "forming" => false,
        _ => return Err(damaged()),
    };
    Ok(Marker { format, id: DiskId(number("id")?), cluster_id: number("cluster")?, ready })
}

fn check_of(body: &str) -> String {
    format!("{:016x}", cairn_erasure::unit_checksum(&[body.as_bytes()]))
}

fn damaged() -> String {
    format!("{MARKER} is damaged: restore it, or empty the folder to take it as a new disk")
}

fn newer(format: u32) -> String {
    format!("its format is {format}, this program knows {FORMAT}: a newer cairn wrote it, use that one")
}

/// Writes the marker so that after a power cut there is the old one or the new one.
pub(super) fn write_marker(folder: &Path, marker: &Marker) -> io::Result<()> {
    let state = if marker.ready { "ready" } else { "forming" };
    let body = format!(
        "{TITLE}\nformat {}\nid {:032x}\ncluster {:032x}\nstate {state}\n",
        marker.format, marker.id.0, marker.cluster_id
    );
    let text = format!("{body}check {}\n", check_of(&body));
    replace_file(folder, MARKER_NEW, MARKER, text.as_bytes())
}

/// Writes a small file under a passing name, syncs it, renames it, syncs the folder.
pub(super) fn replace_file(folder: &Path, passing: &str, name: &str, content: &[u8]) -> io::Result<()> {
    let passing = folder.join(passing);
    let mut file = File::create(&passing)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&passing, folder.join(name))?;
    sync_folder(folder)
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Removes a folder with all in it; that there is none is no error.
pub(super) fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// A disk's folder, held open and locked. Whatever is put in its place later, files are opened in this one: two disks
/// that change places while they serve never write into each other.
#[derive(Debug)]
pub(super) struct Pin {
    folder: File,
}

impl Pin {
    /// Opens and locks a folder.
    pub(super) fn take(folder: &Path) -> Result<Self, String> {
        let opened = File::options().read(true).custom_flags(O_DIRECTORY).open(folder);
        let folder = opened.map_err(|e| match inspect(folder) {
            FolderState::Missing => "does not exist: create the folder, or mount the disk".to_owned(),
            FolderState::Foreign(problem) => problem,
            FolderState::Empty | FolderState::Disk { .. } => format!("cannot be opened: {e}"),
        })?;
        match folder.try_lock() {
            Ok(()) => Ok(Self { folder }),
            Err(TryLockError::WouldBlock) => {
                Err("another process, or an earlier use of it that has not ended, has it open: end that one".to_owned())
            }
            Err(TryLockError::Error(e)) => Err(format!("cannot be locked: {e}")),
        }
    }

    /// The folder itself, for calls that take a descriptor.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    /// The folder by its descriptor: valid as long as the pin.
    fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.folder.as_raw_fd()))
    }
}

/// The parts of a folder.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    /// As configured: for people, and to see whether it still is the disk's.
    pub folder: PathBuf,
    /// The pinned folder: where files are opened.
    pub root: PathBuf,
}

impl Paths {
    pub(super) fn new(folder: &Path, pin: &Pin) -> Self {
        Self { folder: folder.to_owned(), root: pin.root() }
    }

    pub(super) fn index(&self) -> PathBuf {
        self.root.join("index")
    }

    /// An index being rebuilt.
    pub(super) fn index_new(&self) -> PathBuf {
        self.root.join("index.new")
    }

    /// The last index that was found damaged, kept for a person to look at.
    pub(super) fn index_damaged(&self) -> PathBuf {
        self.root.join("index.damaged")
    }

    /// An instance of the log.
    pub(super) fn log(&self, number: u32) -> PathBuf {
        self.root.join(Self::log_name(number))
    }

    pub(super) fn log_name(number: u32) -> String {
        format!("{LOG}{number}")
    }

    pub(super) fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    pub(super) fn refused(&self, problem: impl Into<String>) -> ShardStoreError {
        ShardStoreError::Refused { folder: self.folder.display().to_string(), problem: problem.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_read_back_and_every_damage_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let marker = Marker { format: FORMAT, id: DiskId(7), cluster_id: 9, ready: true };
        write_marker(folder.path(), &marker).unwrap();
        assert_eq!(read_marker(folder.path()), Ok(Some(marker)));
        assert_eq!(inspect(folder.path()), FolderState::Disk { id: DiskId(7), cluster_id: 9 });

        let text = fs::read_to_string(folder.path().join(MARKER)).unwrap();
        for cut in 0..text.len() - 1 {
            assert!(parse_marker(&text[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..text.len() - 1 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).unwrap();
            assert_ne!(parse_marker(&changed), Ok(marker), "changed at {at}");
        }
    }

    #[test]
    fn what_is_no_disk_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(inspect(folder.path()), FolderState::Empty);
        assert_eq!(inspect(&folder.path().join("none")), FolderState::Missing);
        fs::create_dir(folder.path().join("lost+found")).unwrap();
        assert_eq!(inspect(folder.path()), FolderState::Empty);
        fs::write(folder.path().join(FAILED), "failures 1").unwrap();
        assert_eq!(inspect(folder.path()), FolderState::Empty, "a trace that came too late is no disk");
        remove_left_over(folder.path()).unwrap();
        assert!(!folder.path().join(FAILED).exists());
        fs::create_dir(folder.path().join("log-0")).unwrap();
        fs::write(folder.path().join("log-0/000033.sst"), "late").unwrap();
        assert_eq!(inspect(folder.path()), FolderState::Empty, "remains of a disk that was emptied");
        fs::write(folder.path().join("log-0/CURRENT"), "").unwrap();
        assert!(matches!(inspect(folder.path()), FolderState::Foreign(text) if text.contains("log-0")));
        fs::remove_dir_all(folder.path().join("log-0")).unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(matches!(inspect(folder.path()), FolderState::Foreign(text) if text.contains("file")));
        assert!(matches!(inspect(&file), FolderState::Foreign(text) if text.contains("is a file")));
    }

    #[test]
    fn mount_points_are_told_from_folders() {
        assert!(is_mount_point(Path::new("/")));
        assert!(is_mount_point(Path::new("/proc")));
        assert!(!is_mount_point(tempfile::tempdir().unwrap().path()));
        assert!(!is_mount_point(Path::new("/no such folder")));
    }
}
