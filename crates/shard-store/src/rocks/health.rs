//! Whether a disk may write or serve at all, and the trace a failed write leaves for the next start.
//!
//! After a failed write or sync the kernel may have dropped what it could not write, and marked it clean: what this
//! process believes to be on disk is not. So the first failure ends writing (the first reason wins), leaves a marker
//! file, and the next start reads back what was written since the last good one. The second failure is final.

use std::{
    fs, io,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::folder::{Paths, marker_identity, replace_file};
use crate::{DiskState, FenceReason};

pub(super) const FAILED: &str = "CAIRN-FAILED";
pub(super) const FAILED_NEW: &str = "CAIRN-FAILED.new";
pub(super) const REBUILD: &str = "CAIRN-REBUILD-INDEX";
pub(super) const REBUILD_NEW: &str = "CAIRN-REBUILD-INDEX.new";

/// What the marker file of failed writes says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Failures {
    /// How many runs of this disk ended with a failed write.
    pub count: u64,
    /// The start number of the last of them.
    pub start: u64,
    /// Whether what it wrote was read back since.
    pub verified: bool,
}

impl Failures {
    /// Reads the marker; a marker that cannot be read counts as the second failure.
    pub(super) fn read(folder: &Path) -> Self {
        let text = match fs::read_to_string(folder.join(FAILED)) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Self::default(),
            Err(_) => return Self { count: 2, ..Self::default() },
        };
        let field =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<u64>().ok());
        match (field("failures"), field("start")) {
            (Some(count), Some(start)) => Self { count, start, verified: field("verified") == Some(1) },
            _ => Self { count: 2, ..Self::default() },
        }
    }

    pub(super) fn write(self, folder: &Path) -> io::Result<()> {
        let Self { count, start, verified } = self;
        let text = format!("failures {count}\nstart {start}\nverified {}\n", u8::from(verified));
        replace_file(folder, FAILED_NEW, FAILED, text.as_bytes())
    }
}

/// The fences of a disk.
#[derive(Debug)]
pub(super) struct Health {
    folder: std::path::PathBuf,
    start: u64,
    failures_before: u64,
    write_failed: Mutex<Option<FenceReason>>,
    /// Mirrors `write_failed`, for the hot path.
    is_write_failed: AtomicBool,
    gone: AtomicBool,
    closed: AtomicBool,
    marker: Option<(u64, u64)>,
    /// When the file system last answered the watch thread.
    answered: Mutex<Instant>,
    hung_after: Duration,
    errors: AtomicU64,
}

impl Health {
    pub(super) fn new(paths: &Paths, start: u64, failures: Failures, hung_after: Duration) -> Self {
        let health = Self {
            folder: paths.folder.clone(),
            start,
            failures_before: failures.count,
            write_failed: Mutex::new(None),
            is_write_failed: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            marker: marker_identity(&paths.root),
            answered: Mutex::new(Instant::now()),
            hung_after,
            errors: AtomicU64::new(0),
        };
        if failures.count >= 2 {
            health.set_write_failed(FenceReason::WriteFailed(format!(
                "writes failed in {} runs: replace the disk, or remove {FAILED} to try it once more",
                failures.count
            )));
        }
        health
    }

    /// Ends writing; the first reason wins, but for want of space. Answers the reason that holds.
    ///
    /// A write that found no space lost nothing that was taken before, so it leaves no marker: the disk is opened anew
    /// when there is space. A sync that finds none may have lost what was taken, and counts as failed.
    pub(super) fn fail_writes(&self, detail: &str) -> FenceReason {
        if is_out_of_space(detail) {
            let (reason, is_first) = self.set_write_failed(FenceReason::NoSpace(detail.to_owned()));
            if is_first {
                self.count_error();
                tracing::error!(folder = %self.folder.display(), detail, "no space: the disk takes no writes until there is");
            }
            return reason;
        }
        let (reason, is_first) = self.set_write_failed(FenceReason::WriteFailed(detail.to_owned()));
        if is_first {
            self.count_error();
            tracing::error!(folder = %self.folder.display(), detail, "a write failed: the disk takes no more writes");
            let failures = Failures { count: self.failures_before + 1, start: self.start, verified: false };
            if let Err(e) = self.leave_trace(|folder| failures.write(folder)) {
                tracing::error!(folder = %self.folder.display(), error = %e, "the failed write left no marker");
            }
        }
        reason
    }

    /// The index was found damaged while serving: no more writes, and the next start rebuilds it.
    pub(super) fn fail_index(&self, detail: &str) -> FenceReason {
        let text = format!("index is damaged, the next start rebuilds it: {detail}");
        let (reason, is_first) = self.set_write_failed(FenceReason::ReadFailed(text));
        if is_first {
            self.count_error();
            tracing::error!(folder = %self.folder.display(), detail, "the index is damaged");
            if let Err(e) = self.leave_trace(|folder| replace_file(folder, REBUILD_NEW, REBUILD, detail.as_bytes())) {
                tracing::error!(folder = %self.folder.display(), error = %e, "the damaged index left no marker");
            }
        }
        reason
    }

    /// A folder that was emptied or replaced is not this disk's any more: nothing is written there.
    fn leave_trace(&self, write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        if self.marker.is_none() || marker_identity(&self.folder) != self.marker {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the folder is gone or was emptied"));
        }
        write(&self.folder)
    }

    fn set_write_failed(&self, reason: FenceReason) -> (FenceReason, bool) {
        let mut held = self.write_failed.lock().unwrap_or_else(PoisonError::into_inner);
        // A write that found no space lost nothing; what failed beside it may have.
        let is_worse = matches!(*held, Some(FenceReason::NoSpace(_))) && !matches!(reason, FenceReason::NoSpace(_));
        let is_first = held.is_none() || is_worse;
        if is_first {
            *held = Some(reason.clone());
        }
        self.is_write_failed.store(true, Relaxed);
        (held.clone().unwrap_or(reason), is_first)
    }

    fn write_failed(&self) -> Option<FenceReason> {
        if !self.is_write_failed.load(Relaxed) {
            return None;
        }
        self.write_failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn count_error(&self) {
        self.errors.fetch_add(1, Relaxed);
    }

    pub(super) fn errors(&self) -> u64 {
        self.errors.load(Relaxed)
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Relaxed);
    }

    /// Looks whether the marker file is still the one of the start.
    pub(super) fn check_folder(&self) {
        if marker_identity(&self.folder) != self.marker && !self.gone.swap(true, Relaxed) {
            tracing::error!(folder = %self.folder.display(), "the folder is gone or was emptied");
            self.count_error();
        }
    }

    /// The file system answered.
    pub(super) fn note_answer(&self) {
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whether the file system's last answer is too old. The disk's own threads do not ask this: what they have begun
    /// they end when it answers again.
    pub(super) fn hung(&self) -> Option<FenceReason> {
        let answered = *self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        (answered.elapsed() > self.hung_after).then_some(FenceReason::Hung)
    }

    /// Why nothing is served, if so.
    pub(super) fn read_fence(&self) -> Option<FenceReason> {
        if self.closed.load(Relaxed) {
            return Some(FenceReason::Closed);
        }
        self.gone.load(Relaxed).then_some(FenceReason::Gone)
    }

    /// Why nothing is written, if so. Space is apart.
    pub(super) fn write_fence(&self) -> Option<FenceReason> {
        self.read_fence().or_else(|| self.write_failed())
    }

    pub(super) fn state(&self) -> DiskState {
        match (self.read_fence().or_else(|| self.hung()), self.write_failed()) {
            (Some(reason), _) => DiskState::Fenced(reason),
            (None, Some(reason)) => DiskState::ReadOnly(reason),
            (None, None) => DiskState::Serving,
        }
    }
}

/// The engine tells this by its text alone.
fn is_out_of_space(detail: &str) -> bool {
    detail.contains("No space left on device") && !detail.to_ascii_lowercase().contains("sync")
}

/// Whether an earlier run found the index damaged.
pub(super) fn wants_rebuild(folder: &Path) -> bool {
    folder.join(REBUILD).exists()
}

/// The index was rebuilt.
pub(super) fn rebuild_done(folder: &Path) -> io::Result<()> {
    match fs::remove_file(folder.join(REBUILD)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::folder::MARKER;
    use super::*;

    const HUNG_AFTER: Duration = Duration::from_secs(60);

    fn paths_of(folder: &Path) -> Paths {
        Paths { folder: folder.to_owned(), root: folder.to_owned() }
    }

    #[test]
    fn the_first_reason_wins_and_leaves_its_trace() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(MARKER), "").unwrap();
        let health = Health::new(&paths_of(folder.path()), 4, Failures::default(), HUNG_AFTER);
        assert_eq!(health.state(), DiskState::Serving);
        let first = health.fail_writes("one");
        assert_eq!(health.fail_writes("two"), first);
        assert_eq!(Failures::read(folder.path()), Failures { count: 1, start: 4, verified: false });
        let again = Health::new(&paths_of(folder.path()), 5, Failures::read(folder.path()), HUNG_AFTER);
        assert_eq!(again.state(), DiskState::Serving, "the first failure is forgiven after a check");
        again.fail_writes("three");
        let last = Health::new(&paths_of(folder.path()), 6, Failures::read(folder.path()), HUNG_AFTER);
        assert!(matches!(last.state(), DiskState::ReadOnly(FenceReason::WriteFailed(_))));
    }

    #[test]
    fn a_sync_that_fails_beside_a_write_without_space_leaves_its_trace() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(MARKER), "").unwrap();
        let health = Health::new(&paths_of(folder.path()), 4, Failures::default(), HUNG_AFTER);
        assert!(matches!(health.fail_writes("IO error: No space left on device"), FenceReason::NoSpace(_)));
        assert_eq!(Failures::read(folder.path()).count, 0);
        let failed = health.fail_writes("sync of the index: IO error");
        assert!(matches!(failed, FenceReason::WriteFailed(_)));
        assert_eq!(health.fail_writes("IO error: No space left on device"), failed);
        assert_eq!(Failures::read(folder.path()).count, 1);
    }

    #[test]
    fn a_folder_that_was_emptied_gets_no_trace() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(MARKER), "").unwrap();
        let health = Health::new(&paths_of(folder.path()), 4, Failures::default(), HUNG_AFTER);
        fs::remove_file(folder.path().join(MARKER)).unwrap();
        health.fail_writes("its files are gone");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_marker_that_cannot_be_read_is_the_worst_case() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FAILED), "?").unwrap();
        assert_eq!(Failures::read(folder.path()).count, 2);
    }
}
