//! Snapshots: built beside `apply` as checkpoints, installed by switching to another folder.
//!
//! Their log id and membership are read from the checkpoint itself, since entries are applied while it is made. One
//! snapshot is kept, the last; after a start there is none, and openraft has one built when it needs it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use openraft::{AnyError, LogIdOptionExt, RaftSnapshotBuilder, StorageIOError};

use super::folder::{Pointer, copy_checkpoint};
use super::rocks::RocksState;
use super::store::CheckpointFolder;
use super::{HEADER_KEY, Header, MemoryState, SnapshotData, StateFolder, StateShared, StateStore, lock, run};
use crate::raft::types::{Snapshot, SnapshotMeta, StorageError, Types, decode};
use crate::rows::RowsRead;

/// The steps of an install after which a crash is tried in tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum InstallStep {
    /// Nothing was done.
    Begun,
    /// The new folder is there, whole and synced.
    Copied,
    /// The new folder was opened and checked.
    Opened,
    /// The pointer names the new folder.
    Switched,
}

impl InstallStep {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 4] = [Self::Begun, Self::Copied, Self::Opened, Self::Switched];
}

/// Called after each step; an error ends the install there, as a crash would.
pub(crate) type InstallHook = Arc<dyn Fn(InstallStep) -> io::Result<()> + Send + Sync>;

/// Builds a snapshot.
pub(crate) struct SnapshotBuilder {
    shared: Arc<StateShared>,
}

impl SnapshotBuilder {
    pub(super) const fn new(shared: Arc<StateShared>) -> Self {
        Self { shared }
    }
}

impl RaftSnapshotBuilder<Types> for SnapshotBuilder {
    async fn build_snapshot(&mut self) -> Result<Snapshot, StorageError> {
        let _building = self.shared.building.lock().await;
        let built = run(&self.shared, StateShared::build).await;
        built.map_err(|error| StorageIOError::write_snapshot(None, AnyError::new(&error)).into())
    }
}

fn header_of(data: &SnapshotData) -> io::Result<Header> {
    match data {
        SnapshotData::Folder(folder) => {
            RocksState::peek(&folder.0, &HEADER_KEY)?.map_or_else(|| Ok(Header::default()), |bytes| decode(&bytes))
        }
        SnapshotData::Memory(rows) => rows
            .get(&HEADER_KEY)
            .map_err(io::Error::other)?
            .map_or_else(|| Ok(Header::default()), |bytes| decode(&bytes)),
    }
}

impl StateShared {
    fn next_number(&self) -> u64 {
        self.snapshot_number.fetch_add(1, Ordering::SeqCst)
    }

    fn copy_of(&self, store: &dyn StateStore) -> io::Result<SnapshotData> {
        let number = self.next_number();
        let folder = self.folder.as_ref().map(|folder| folder.snapshot(number)).unwrap_or_default();
        store.checkpoint(&folder)
    }

    /// A snapshot of the rows as they are at some moment during the call.
    pub(super) fn build(&self) -> io::Result<Snapshot> {
        let data = self.copy_of(&*self.store())?;
        let header = header_of(&data)?;
        let snapshot_id = format!("{}-{:016x}", header.last.index().unwrap_or(0), header.digest);
        let meta = SnapshotMeta { last_log_id: header.last, last_membership: header.membership, snapshot_id };
        let snapshot = Snapshot { meta, snapshot: Box::new(data) };
        // A checkpoint holds durable files alone, and the store has the same ones.
        self.flushed.fetch_max(header.last.index().unwrap_or(0), Ordering::SeqCst);
        *lock(&self.snapshot) = Some(snapshot.clone());
        Ok(snapshot)
    }

    /// An empty place for a snapshot to come.
    pub(super) fn begin_receiving(&self) -> io::Result<SnapshotData> {
        let Some(folder) = &self.folder else { return Ok(SnapshotData::Memory(Default::default())) };
        let path = folder.snapshot(self.next_number());
        std::fs::create_dir_all(&path)?;
        Ok(SnapshotData::Folder(Arc::new(CheckpointFolder(path))))
    }

    fn step(&self, step: InstallStep) -> io::Result<()> {
        self.hook.as_ref().map_or(Ok(()), |hook| hook(step))
    }

    /// Replaces the rows by a snapshot's. Durable on return.
    pub(super) fn install(&self, meta: &SnapshotMeta, data: &SnapshotData) -> io::Result<()> {
        self.step(InstallStep::Begun)?;
        let header = header_of(data)?;
        if header.last != meta.last_log_id || header.membership != meta.last_membership {
            let why = format!("the snapshot {} holds another state than it says", meta.snapshot_id);
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        let index = header.last.index();
        let store: Arc<dyn StateStore> = match (data, &self.folder) {
            (SnapshotData::Memory(rows), None) => Arc::new(MemoryState::new(rows.clone())),
            (SnapshotData::Folder(from), Some(folder)) => self.install_folder(folder, from, index)?,
            _ => return Err(io::Error::other("a snapshot in memory and one on disk do not mix")),
        };
        let copy = self.copy_of(&*store)?;
        {
            let mut current = lock(&self.store);
            current.retire();
            *current = store;
            *lock(&self.header) = header;
            *lock(&self.snapshot) = Some(Snapshot { meta: meta.clone(), snapshot: Box::new(copy) });
            self.flushed.store(index.unwrap_or(0), Ordering::SeqCst);
            // Last: whoever waits for it finds the rest done.
            self.applied.send_replace(index.unwrap_or(0));
        }
        Ok(())
    }

    fn install_folder(
        &self,
        folder: &StateFolder,
        from: &CheckpointFolder,
        index: Option<u64>,
    ) -> io::Result<Arc<dyn StateStore>> {
        let number = folder.pointer()?.map_or(0, |pointer| pointer.number) + 1;
        let state = folder.state(number);
        if state.exists() {
            // Of an install that failed.
            std::fs::remove_dir_all(&state)?;
        }
        copy_checkpoint(&from.0, &state)?;
        self.step(InstallStep::Copied)?;
        let store = RocksState::open(&state, false)?;
        self.step(InstallStep::Opened)?;
        folder.switch(Pointer { number, installed: index })?;
        self.step(InstallStep::Switched)?;
        Ok(Arc::new(store))
    }
}
