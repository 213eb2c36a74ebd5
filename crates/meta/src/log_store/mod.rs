//! The group's log: entries, vote, and what of it may go.
//!
//! ```text
//! openraft -> LogStore -> cache (readable at once) -> writer thread -> backend (one write, one sync) -> callbacks
//! ```
//!
//! Promises: what a callback or a `save_vote` reported is durable; the log has no hole; an entry is purged only when
//! the state machine has it on disk; damage is an error.

mod backend;
mod cache;
mod memory;
mod rocks;
mod writer;

#[cfg(test)]
mod log_store_test;

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{AnyError, LogIdOptionExt, OptionalSend, RaftLogReader, StorageIOError};
use serde::{Deserialize, Serialize};

use self::backend::{Backend, MetaKey, Op};
use self::cache::LogCache;
use self::memory::MemoryLog;
use self::rocks::RocksLog;
use self::writer::{Done, Job, Writer};
use crate::raft::types::{Entry, LogId, StorageError, Types, Vote, decode, encode};

/// Most bytes of entries that one replication message takes.
const READ_BYTES_MAX: usize = 2 << 20;
/// Version of what is in the log.
const FORMAT: u32 = 1;

/// Makes the state machine durable up to an index, if it can, and tells up to where it is now. May block.
pub(crate) type Flushed = Arc<dyn Fn(u64) -> io::Result<u64> + Send + Sync>;

/// Whose log it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct LogIdentity {
    /// The cluster.
    pub(crate) cluster_id: u128,
    /// The voter.
    pub(crate) voter: u64,
}

/// The log of one voter. A clone is another handle to the same log.
#[derive(Clone)]
pub(crate) struct LogStore {
    shared: Arc<Shared>,
}

struct Shared {
    backend: Arc<dyn Backend>,
    writer: Writer,
    cache: Mutex<LogCache>,
    flushed: Flushed,
}

impl LogStore {
    /// Makes the log of a new voter on disk.
    pub(crate) fn create(folder: &Path, identity: LogIdentity, flushed: Flushed) -> io::Result<Self> {
        let backend = RocksLog::open(folder, true)?;
        backend.write(&[Op::Meta(MetaKey::Identity, encode(&(FORMAT, identity))?)], true)?;
        Self::load(Arc::new(backend), identity.voter, flushed)
    }

    /// Makes the log of a voter whose rows were installed up to `last`: it begins, empty, behind it.
    pub(crate) fn create_behind(folder: &Path, identity: LogIdentity, last: LogId) -> io::Result<()> {
        let vote = Vote::new(last.leader_id.term, identity.voter);
        let ops = [
            Op::Meta(MetaKey::Identity, encode(&(FORMAT, identity))?),
            Op::Meta(MetaKey::Vote, encode(&Some(vote))?),
            Op::Meta(MetaKey::Purged, encode(&Some(last))?),
            Op::Meta(MetaKey::Committed, encode(&Some(last))?),
        ];
        RocksLog::open(folder, true)?.write(&ops, true)
    }

    /// Opens the log of a voter. Damage, another cluster's log and another voter's are refused.
    pub(crate) fn open(folder: &Path, identity: LogIdentity, flushed: Flushed) -> io::Result<Self> {
        let refuse = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let backend = RocksLog::open(folder, false)?;
        let bytes =
            backend.meta(MetaKey::Identity)?.ok_or_else(|| refuse("the log does not say whose it is".to_owned()))?;
        let (format, found): (u32, LogIdentity) = decode(&bytes)?;
        if format != FORMAT {
            return Err(refuse(format!("the log has format {format}, this program reads {FORMAT}")));
        }
        if found != identity {
            let (cluster, voter) = (found.cluster_id, found.voter);
            return Err(refuse(format!("the log is that of voter {voter} of cluster {cluster:032x}")));
        }
        Self::load(Arc::new(backend), identity.voter, flushed)
    }

    /// A log in memory.
    pub(crate) fn memory(flushed: Flushed) -> io::Result<Self> {
        Self::load(Arc::new(MemoryLog::default()), 0, flushed)
    }

    fn load(backend: Arc<dyn Backend>, voter: u64, flushed: Flushed) -> io::Result<Self> {
        let damaged = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
        let purged: Option<LogId> = load_meta(&*backend, MetaKey::Purged)?;
        let committed: Option<LogId> = load_meta(&*backend, MetaKey::Committed)?;
        let vote = load_meta(&*backend, MetaKey::Vote)?.map(|vote| resign(&*backend, voter, vote)).transpose()?;
        let mut last = purged;
        if let Some(ends) = backend.ends()? {
            let entry: Entry = decode(&ends.last_bytes)?;
            if entry.log_id.index != ends.last || ends.first != purged.next_index() {
                let (first, expected) = (ends.first, purged.next_index());
                return Err(damaged(format!("the log begins at {first} instead of {expected}, or its end is damaged")));
            }
            last = Some(entry.log_id);
        }
        let writer = Writer::start(Arc::clone(&backend))?;
        let cache = Mutex::new(LogCache::new(last, purged, committed, vote));
        Ok(Self { shared: Arc::new(Shared { backend, writer, cache, flushed }) })
    }

    /// The last entry's id.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.shared.cache().last
    }

    /// The last entry that this voter knew to be committed when it last said so.
    pub(crate) fn committed(&self) -> Option<LogId> {
        self.shared.cache().committed
    }

    /// What openraft knows of the log, without the store.
    pub(crate) fn gauge(&self) -> LogGauge {
        LogGauge { shared: Arc::downgrade(&self.shared), open: self.shared.backend.open() }
    }
}

/// Looks at a log without keeping it open.
#[derive(Clone)]
pub(crate) struct LogGauge {
    shared: Weak<Shared>,
    open: Weak<()>,
}

impl LogGauge {
    /// Bytes appended since this was last asked with `take`.
    pub(crate) fn appended_bytes(&self, take: bool) -> u64 {
        let Some(shared) = self.shared.upgrade() else { return 0 };
        let mut cache = shared.cache();
        if take { std::mem::take(&mut cache.appended_bytes) } else { cache.appended_bytes }
    }

    /// Synced writes so far.
    pub(crate) fn syncs(&self) -> u64 {
        self.shared.upgrade().map_or(0, |shared| shared.writer.syncs())
    }

    /// Whether nobody has the log open any more.
    pub(crate) fn closed(&self) -> bool {
        self.open.strong_count() == 0
    }
}

fn load_meta<T: for<'a> Deserialize<'a>>(backend: &dyn Backend, key: MetaKey) -> io::Result<Option<T>> {
    Ok(match backend.meta(key)? {
        Some(bytes) => decode(&bytes)?,
        None => None,
    })
}

/// A leader that comes back is none until it is elected again: openraft 0.9 would let it go on in its old term, with
/// a read index from before entries that it had committed but not yet applied, and answer reads from the past.
fn resign(backend: &dyn Backend, voter: u64, mut vote: Vote) -> io::Result<Vote> {
    if vote.committed && vote.leader_id.node_id == voter {
        vote.committed = false;
        backend.write(&[Op::Meta(MetaKey::Vote, encode(&Some(vote))?)], true)?;
    }
    Ok(vote)
}

impl Shared {
    fn cache(&self) -> MutexGuard<'_, LogCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entries of a range, without those that are not in the log; stops at `bytes_max`, after at least one.
    async fn read(self: &Arc<Self>, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<Entry>> {
        loop {
            let (range, first) = {
                let cache = self.cache();
                (cache.clamp(range.clone()), cache.first())
            };
            let mut found = Vec::new();
            let mut left = bytes_max;
            if range.start < range.end.min(first) {
                let old = self.read_backend(range.start..range.end.min(first), bytes_max).await?;
                if self.cache().clamp(range.clone()) != range {
                    // Purged or cut while we read.
                    continue;
                }
                for (expected, (index, bytes)) in (range.start..).zip(old) {
                    let entry: Entry = decode(&bytes)?;
                    if index != expected || entry.log_id.index != index {
                        let why = format!("entry {expected} is missing from the log");
                        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                    }
                    left = left.saturating_sub(bytes.len());
                    found.push(entry);
                }
                if found.is_empty() {
                    let why = format!("entry {} is missing from the log", range.start);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, why));
                }
            }
            let cache = self.cache();
            let next = found.last().map_or(range.start, |entry| entry.log_id.index + 1);
            for index in next..range.end {
                let Some((entry, bytes)) = cache.get(index) else { break };
                if !found.is_empty() && *bytes > left {
                    break;
                }
                left = left.saturating_sub(*bytes);
                found.push(entry.clone());
            }
            return Ok(found);
        }
    }

    async fn read_backend(self: &Arc<Self>, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<(u64, Vec<u8>)>> {
        if !self.backend.blocks() {
            return self.backend.read(range, bytes_max);
        }
        let backend = Arc::clone(&self.backend);
        tokio::task::spawn_blocking(move || backend.read(range, bytes_max)).await.map_err(io::Error::other)?
    }

    async fn append(&self, mut entries: Vec<Entry>, callback: LogFlushed<Types>) -> io::Result<()> {
        self.writer.check()?;
        // What was purged is in the rows: it is neither kept again nor a hole.
        let begin = self.cache().purged.next_index();
        entries.retain(|entry| entry.log_id.index >= begin);
        let mut ops = Vec::with_capacity(entries.len());
        for entry in &entries {
            ops.push(Op::Put { index: entry.log_id.index, bytes: encode(entry)? });
        }
        let Some(last) = entries.last().map(|entry| entry.log_id.index) else {
            callback.log_io_completed(Ok(()));
            return Ok(());
        };
        {
            let mut cache = self.cache();
            let written_next = self.writer.written_next();
            for (entry, op) in entries.into_iter().zip(&ops) {
                cache.append(entry, op.bytes(), written_next)?;
            }
        }
        self.writer.submit(Job { ops, sync: true, done: Done::Append(last, callback) }).await
    }

    async fn truncate(self: &Arc<Self>, index: u64) -> io::Result<()> {
        let before = match index.checked_sub(1) {
            Some(before) if Some(before) == self.cache().purged.map(|id| id.index) => self.cache().purged,
            Some(before) => self.read(before..index, usize::MAX).await?.first().map(|entry| entry.log_id),
            None => None,
        };
        self.cache().truncate(index, before);
        self.writer.write(vec![Op::TruncateFrom(index)], true).await
    }

    /// Removes entries up to `upto`, but none that the state machine has only in memory.
    async fn purge(self: &Arc<Self>, mut upto: LogId) -> io::Result<()> {
        let flushed = Arc::clone(&self.flushed);
        let durable = if self.backend.blocks() {
            tokio::task::spawn_blocking(move || flushed(upto.index)).await.map_err(io::Error::other)??
        } else {
            flushed(upto.index)?
        };
        if durable < upto.index {
            let kept = self.read(durable..durable + 1, usize::MAX).await?;
            // Nothing may go, or only entries that are gone.
            let Some(entry) = kept.first() else { return Ok(()) };
            upto = entry.log_id;
        }
        if self.cache().purged >= Some(upto) {
            return Ok(());
        }
        self.cache().purge(upto);
        let ops = vec![Op::Meta(MetaKey::Purged, encode(&Some(upto))?), Op::PurgeBelow(upto.index + 1)];
        self.writer.submit(Job { ops, sync: false, done: Done::Nobody }).await
    }
}

fn write_failed(error: &io::Error) -> StorageError {
    StorageIOError::write_logs(AnyError::new(error)).into()
}

fn read_failed(error: &io::Error) -> StorageError {
    StorageIOError::read_logs(AnyError::new(error)).into()
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        self.shared.read(start..end, usize::MAX).await.map_err(|error| read_failed(&error))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        self.shared.read(start..end, READ_BYTES_MAX).await.map_err(|error| read_failed(&error))
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let cache = self.shared.cache();
        Ok(LogState { last_purged_log_id: cache.purged, last_log_id: cache.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let save = async {
            let ops = vec![Op::Meta(MetaKey::Vote, encode(&Some(*vote))?)];
            self.shared.writer.write(ops, true).await
        };
        save.await.map_err(|error| StorageIOError::write_vote(AnyError::new(&error)))?;
        self.shared.cache().vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.shared.cache().vote)
    }

    /// Not synced: it is a hint that saves a voter from starting further back than it must.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        let save = async {
            let ops = vec![Op::Meta(MetaKey::Committed, encode(&committed)?)];
            self.shared.writer.submit(Job { ops, sync: false, done: Done::Nobody }).await
        };
        save.await.map_err(|error| write_failed(&error))?;
        self.shared.cache().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(self.shared.cache().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        self.shared.append(entries, callback).await.map_err(|error| write_failed(&error))
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.shared.truncate(log_id.index).await.map_err(|error| write_failed(&error))
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.shared.purge(log_id).await.map_err(|error| write_failed(&error))
    }
}
