//! What keeps the rows: the border between the state machine's rules and its RocksDB or memory form.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::rows::{Change, MemoryRows, RowsRead};

/// Rows as of one moment, for as long as somebody holds them.
pub(crate) type Rows = Arc<dyn RowsRead>;

/// Keeps rows. All calls may block.
pub(crate) trait StateStore: Send + Sync {
    /// The rows as they are now.
    fn rows(&self) -> Rows;

    /// Writes all changes at once. They may be lost until a flush.
    fn write(&self, changes: Vec<Change>) -> io::Result<()>;

    /// Makes durable what was written before the call.
    fn flush(&self) -> io::Result<()>;

    /// A copy of the rows as they are at some moment during the call. Makes durable what was written before.
    fn checkpoint(&self, folder: &Path) -> io::Result<SnapshotData>;

    /// Whether calls wait for a disk.
    fn blocks(&self) -> bool;

    /// The folder goes away with the last that uses it.
    fn retire(&self);
}

/// The content of a snapshot: what openraft hands from one voter to another.
#[derive(Clone, Debug)]
pub(crate) enum SnapshotData {
    /// A RocksDB checkpoint.
    Folder(Arc<CheckpointFolder>),
    /// Rows in memory.
    Memory(MemoryRows),
}

/// A folder that is removed with the last that holds it.
#[derive(Debug)]
pub(crate) struct CheckpointFolder(pub(crate) PathBuf);

impl Drop for CheckpointFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(folder = %self.0.display(), %error, "an old snapshot cannot be removed");
        }
    }
}

/// Rows in memory, for simulation and tests.
#[derive(Default)]
pub(crate) struct MemoryState(Mutex<MemoryRows>);

impl MemoryState {
    pub(crate) fn new(rows: MemoryRows) -> Self {
        Self(Mutex::new(rows))
    }

    fn copy(&self) -> MemoryRows {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl StateStore for MemoryState {
    fn rows(&self) -> Rows {
        Arc::new(self.copy())
    }

    fn write(&self, changes: Vec<Change>) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(changes);
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }

    fn checkpoint(&self, _folder: &Path) -> io::Result<SnapshotData> {
        Ok(SnapshotData::Memory(self.copy()))
    }

    fn blocks(&self) -> bool {
        false
    }

    fn retire(&self) {}
}
