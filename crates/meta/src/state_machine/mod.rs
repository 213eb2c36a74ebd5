//! The state machine as openraft sees it: entries go in, rows and outcomes come out; snapshots are checkpoints.
//!
//! The rows have no WAL: the log is it. What a flush made durable is known by [`StateShared::flushed`], and the log
//! keeps everything above. All of this module's own knowledge is one row, the header, which every batch writes
//! together with its changes; so rows, applied index and membership can never disagree.

mod folder;
mod imported;
mod rocks;
mod snapshot;
mod store;

#[cfg(test)]
mod state_machine_test;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cairn_proto::{Index, LogPosition};
use openraft::storage::RaftStateMachine;
use openraft::{AnyError, EntryPayload, LogIdOptionExt, OptionalSend, StorageIOError};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_64_with_seed;

pub(crate) use self::folder::{StateFolder, sync_folder, write_synced};
pub(crate) use self::imported::ImportedState;
use self::rocks::RocksState;
pub(crate) use self::snapshot::{InstallHook, SnapshotBuilder};
pub(crate) use self::store::{MemoryState, Rows, SnapshotData, StateStore};
use crate::command::Outcome;
use crate::raft::types::{
    Applied, Entry, EntryData, LogId, Snapshot, SnapshotMeta, StorageError, StoredMembership, Types, decode,
    decode_front, encode,
};
use crate::rows::{Change, MemoryRows, Overlay, RowsError, RowsRead};

/// The header's key: keys under a first byte of 0 belong to this module.
const HEADER_KEY: [u8; 2] = [0, b'h'];

/// What the group's rules make of an entry: changes and one outcome for each command. Reads nothing but rows.
pub(crate) type ApplyEntry = fn(&dyn RowsRead, u64, &EntryData) -> Result<(Vec<Change>, Vec<Outcome>), RowsError>;

/// What the first entry of a term changes, given the term and its own index; before what is in it.
pub(crate) type BeginTerm = fn(&dyn RowsRead, u64, u64) -> Result<Vec<Change>, RowsError>;

/// The group's rules, as far as rows change by them.
#[derive(Clone, Copy)]
pub(crate) struct RowRules {
    pub(crate) apply: ApplyEntry,
    pub(crate) begin_term: BeginTerm,
}

#[cfg(test)]
impl From<ApplyEntry> for RowRules {
    fn from(apply: ApplyEntry) -> Self {
        Self { apply, begin_term: |_, _, _| Ok(Vec::new()) }
    }
}

/// Where the rows stand.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Header {
    /// The last entry applied.
    pub(crate) last: Option<LogId>,
    /// The last membership applied.
    pub(crate) membership: StoredMembership,
    /// Rolls over all changes ever applied: voters with the same `last` have the same.
    pub(crate) digest: u64,
}

impl Header {
    fn read(rows: &dyn RowsRead) -> io::Result<Self> {
        match rows.get(&HEADER_KEY).map_err(io::Error::other)? {
            Some(bytes) => decode(&bytes),
            None => Ok(Self::default()),
        }
    }

    /// The index alone, its first field.
    fn read_index(header: Result<Option<Vec<u8>>, RowsError>) -> io::Result<u64> {
        let last: Option<LogId> = match header.map_err(io::Error::other)? {
            Some(bytes) => decode_front(&bytes)?,
            None => None,
        };
        Ok(last.index().unwrap_or(0))
    }

    /// The last entry applied.
    pub(crate) fn position(&self) -> LogPosition {
        position_of(self.last)
    }

    fn roll(&mut self, (key, value): &Change) {
        self.digest = xxh3_64_with_seed(key, self.digest);
        if let Some(value) = value {
            self.digest = xxh3_64_with_seed(value, self.digest.wrapping_add(1));
        }
    }
}

/// The rows as one member has them, for openraft, readers and upkeep alike.
pub(crate) struct StateShared {
    store: Mutex<Arc<dyn StateStore>>,
    header: Mutex<Header>,
    applied: watch::Sender<u64>,
    /// Everything up to this index is durable. Only ever too low.
    flushed: AtomicU64,
    snapshot: Mutex<Option<Snapshot>>,
    snapshot_number: AtomicU64,
    folder: Option<StateFolder>,
    rules: RowRules,
    hook: Option<InstallHook>,
    /// Held while a snapshot is built or installed.
    building: tokio::sync::Mutex<()>,
}

/// openraft's handle to the rows: the only one that changes them.
pub(crate) struct StateMachine {
    shared: Arc<StateShared>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl StateShared {
    /// Opens the rows of a folder, or makes them where `create` is set and none are there.
    pub(crate) fn open(
        folder: StateFolder,
        create: bool,
        rules: RowRules,
        hook: Option<InstallHook>,
    ) -> io::Result<Arc<Self>> {
        let pointer = match folder.pointer()? {
            Some(pointer) => pointer,
            None if create => {
                let pointer = folder::Pointer { number: 0, installed: None };
                folder.sweep(None)?;
                drop(RocksState::open(&folder.state(0), true)?);
                folder.switch(pointer)?;
                pointer
            }
            None => return Err(io::Error::new(io::ErrorKind::NotFound, "the file CURRENT is missing")),
        };
        let store = RocksState::open(&folder.state(pointer.number), false)?;
        folder.sweep(Some(pointer.number))?;
        Self::new(Arc::new(store), Some(folder), rules, hook)
    }

    /// Rows in memory.
    pub(crate) fn memory(rules: RowRules) -> io::Result<Arc<Self>> {
        Self::new(Arc::new(MemoryState::new(MemoryRows::default())), None, rules, None)
    }

    fn new(
        store: Arc<dyn StateStore>,
        folder: Option<StateFolder>,
        rules: RowRules,
        hook: Option<InstallHook>,
    ) -> io::Result<Arc<Self>> {
        let header = Header::read(&*store.rows())?;
        let index = header.last.index().unwrap_or(0);
        Ok(Arc::new(Self {
            store: Mutex::new(store),
            header: Mutex::new(header),
            applied: watch::Sender::new(index),
            // Without a WAL, what is there after opening is what was flushed.
            flushed: AtomicU64::new(index),
            snapshot: Mutex::new(None),
            snapshot_number: AtomicU64::new(0),
            folder,
            rules,
            hook,
            building: tokio::sync::Mutex::new(()),
        }))
    }

    fn store(&self) -> Arc<dyn StateStore> {
        Arc::clone(&lock(&self.store))
    }

    /// The rows as they are now, and the index they stand at: read from the rows themselves.
    pub(crate) fn view(&self) -> io::Result<(Rows, u64)> {
        let rows = self.store().rows();
        let index = Header::read_index(rows.get(&HEADER_KEY))?;
        Ok((rows, index))
    }

    /// The same where it waits for nothing: none where the index has to be read from a disk, and none of rows in memory,
    /// of which each view is a copy.
    pub(crate) fn view_at_once(&self) -> Option<(Rows, u64)> {
        let store = self.store();
        if !store.blocks() {
            return None;
        }
        let rows = store.rows();
        let index = Header::read_index(rows.get_in_memory(&HEADER_KEY)).ok()?;
        Some((rows, index))
    }

    /// The last index applied, as it changes.
    pub(crate) fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// Where the rows stand.
    pub(crate) fn header(&self) -> Header {
        lock(&self.header).clone()
    }

    /// Everything up to here is durable.
    pub(crate) fn flushed(&self) -> u64 {
        self.flushed.load(Ordering::SeqCst)
    }

    /// Whether a flush would have something to do.
    pub(crate) fn dirty(&self) -> bool {
        self.flushed() < *self.applied.borrow()
    }

    /// The index of the snapshot that stands for the log's beginning.
    pub(crate) fn snapshot_index(&self) -> u64 {
        lock(&self.snapshot).as_ref().and_then(|snapshot| snapshot.meta.last_log_id).index().unwrap_or(0)
    }

    /// The index of the snapshot that the rows were installed from, if they were.
    pub(crate) fn installed(&self) -> io::Result<Option<u64>> {
        let pointer = self.folder.as_ref().map(StateFolder::pointer).transpose()?.flatten();
        Ok(pointer.and_then(|pointer| pointer.installed))
    }

    /// Makes durable what is applied now. May block.
    pub(crate) fn flush(&self) -> io::Result<u64> {
        // The index first: what is applied while the flush runs may be in it or not.
        let (store, index) = {
            let store = lock(&self.store);
            (Arc::clone(&store), *self.applied.borrow())
        };
        store.flush()?;
        Ok(self.flushed.fetch_max(index, Ordering::SeqCst).max(index))
    }

    /// Lets go of the rows and hands them out, for the caller to close; views keep what they hold.
    pub(crate) fn close(&self) -> Arc<dyn StateStore> {
        *lock(&self.snapshot) = None;
        std::mem::replace(&mut *lock(&self.store), Arc::new(MemoryState::new(MemoryRows::default())))
    }

    /// Makes durable at least this index, if it is applied; tells what is durable now. May block.
    pub(crate) fn flush_upto(&self, index: u64) -> io::Result<u64> {
        let flushed = self.flushed();
        if flushed >= index || !self.dirty() { Ok(flushed) } else { self.flush() }
    }

    /// Applies entries, all in one write.
    fn apply(&self, entries: Vec<Entry>) -> io::Result<Vec<Applied>> {
        let store = self.store();
        let rows = store.rows();
        let mut overlay = Overlay::new(&*rows);
        let mut header = self.header();
        let mut answers = Vec::with_capacity(entries.len());
        for entry in entries {
            let index = entry.log_id.index;
            let mut applied = Applied::default();
            let term = entry.log_id.leader_id.term;
            if term != header.position().term {
                let changes = (self.rules.begin_term)(&overlay, term, index).map_err(io::Error::other)?;
                write(&mut overlay, &mut header, changes);
            }
            match entry.payload {
                EntryPayload::Blank => {}
                EntryPayload::Membership(membership) => {
                    header.membership = StoredMembership::new(Some(entry.log_id), membership);
                }
                EntryPayload::Normal(data) => {
                    let (changes, outcomes) = (self.rules.apply)(&overlay, index, &data).map_err(io::Error::other)?;
                    applied = Applied(outcomes);
                    write(&mut overlay, &mut header, changes);
                }
            }
            header.last = Some(entry.log_id);
            answers.push(applied);
        }
        overlay.put(HEADER_KEY.to_vec(), encode(&header)?);
        let changes = overlay.into_changes();
        drop(rows);
        store.write(changes)?;
        let index = header.last.index().unwrap_or(0);
        *lock(&self.header) = header;
        self.applied.send_replace(index);
        Ok(answers)
    }
}

/// Takes changes over; those that come after see them.
fn write(overlay: &mut Overlay<'_>, header: &mut Header, changes: Vec<Change>) {
    for change in changes {
        header.roll(&change);
        match change {
            (key, Some(value)) => overlay.put(key, value),
            (key, None) => overlay.delete(key),
        }
    }
    overlay.begin();
}

/// The last entry that is in the rows.
pub(crate) fn position(rows: &dyn RowsRead) -> Result<LogPosition, RowsError> {
    let Some(bytes) = rows.get(&HEADER_KEY)? else { return Ok(LogPosition::default()) };
    let last: Option<LogId> =
        decode_front(&bytes).map_err(|error| RowsError::damaged(&HEADER_KEY, error.to_string()))?;
    Ok(position_of(last))
}

fn position_of(last: Option<LogId>) -> LogPosition {
    last.map_or_else(LogPosition::default, |last| LogPosition { term: last.leader_id.term, index: Index(last.index) })
}

impl StateMachine {
    pub(crate) const fn new(shared: Arc<StateShared>) -> Self {
        Self { shared }
    }

    /// Runs what may block where it may.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&StateShared) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        run(&self.shared, work).await
    }
}

/// Runs work on the rows on a thread that may block, where the rows are on a disk.
pub(crate) async fn run<T: Send + 'static>(
    shared: &Arc<StateShared>,
    work: impl FnOnce(&StateShared) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    if !shared.store().blocks() {
        return work(shared);
    }
    let shared = Arc::clone(shared);
    tokio::task::spawn_blocking(move || work(&shared)).await.map_err(io::Error::other)?
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let header = self.shared.header();
        Ok((header.last, header.membership))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Applied>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let applied = self.run(move |shared| shared.apply(entries)).await;
        applied.map_err(|error| StorageIOError::write_state_machine(AnyError::new(&error)).into())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder::new(Arc::clone(&self.shared))
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotData>, StorageError> {
        let data = self.run(StateShared::begin_receiving).await;
        data.map(Box::new).map_err(|error| StorageIOError::write_snapshot(None, AnyError::new(&error)).into())
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, data: Box<SnapshotData>) -> Result<(), StorageError> {
        let _building = self.shared.building.lock().await;
        let signature = meta.signature();
        let meta = meta.clone();
        let installed = self.run(move |shared| shared.install(&meta, &data)).await;
        installed.map_err(|error| StorageIOError::write_snapshot(Some(signature), AnyError::new(&error)).into())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, StorageError> {
        Ok(lock(&self.shared.snapshot).clone())
    }
}

/// What a start would find in a folder that nobody has open.
#[cfg(test)]
pub(crate) fn durable_index(folder: &std::path::Path) -> u64 {
    let folder = StateFolder::new(folder);
    let number = folder.pointer().unwrap().unwrap().number;
    let bytes = RocksState::peek(&folder.state(number), &HEADER_KEY).unwrap();
    let header: Header = bytes.map(|bytes| decode(&bytes).unwrap()).unwrap_or_default();
    header.last.index().unwrap_or(0)
}
