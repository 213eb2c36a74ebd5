//! The log store by openraft's own suite, and what the suite does not ask for.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use openraft::storage::{RaftLogStorageExt, RaftStateMachine};
use openraft::testing::{StoreBuilder, Suite};
use openraft::{CommittedLeaderId, EntryPayload, RaftSnapshotBuilder};
use tempfile::TempDir;

use super::*;
use crate::raft::member::flushed;
use crate::raft::types::EntryData;
use crate::state_machine::{ApplyEntry, RowRules, StateFolder, StateMachine, StateShared};

const IDENTITY: LogIdentity = LogIdentity { cluster_id: 7, voter: 1 };

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term, 1), index)
}

fn entry(index: u64, bytes: usize) -> Entry {
    Entry { log_id: log_id(1, index), payload: EntryPayload::Normal(EntryData(vec![7; bytes].into())) }
}

fn rules() -> RowRules {
    let nothing: ApplyEntry = |_, _, _| Ok(Default::default());
    nothing.into()
}

fn everything() -> Flushed {
    Arc::new(|_| Ok(u64::MAX))
}

fn refused(folder: &Path, identity: LogIdentity) -> String {
    LogStore::open(folder, identity, everything()).err().map(|error| error.to_string()).unwrap_or_default()
}

struct OnDisk;

impl StoreBuilder<Types, LogStore, StateMachine, TempDir> for OnDisk {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError> {
        let temp = tempfile::tempdir().unwrap();
        let state = StateShared::open(StateFolder::new(temp.path()), true, rules(), None);
        let log = LogStore::create(&temp.path().join("log"), IDENTITY, everything()).unwrap();
        Ok((temp, log, StateMachine::new(state.unwrap())))
    }
}

struct InMemory;

impl StoreBuilder<Types, LogStore, StateMachine> for InMemory {
    async fn build(&self) -> Result<((), LogStore, StateMachine), StorageError> {
        let state = StateShared::memory(rules()).unwrap();
        Ok(((), LogStore::memory(everything()).unwrap(), StateMachine::new(state)))
    }
}

#[test]
fn passes_the_suite_of_openraft_on_disk() {
    Suite::test_all(OnDisk).unwrap();
}

#[test]
fn passes_the_suite_of_openraft_in_memory() {
    Suite::test_all(InMemory).unwrap();
}

#[tokio::test]
async fn a_leader_that_comes_back_has_resigned_and_a_voter_has_not() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("log");
    let mut log = LogStore::create(&folder, IDENTITY, everything()).unwrap();
    for (vote, expected) in [
        (Vote::new_committed(5, 1), Vote::new(5, 1)),
        (Vote::new(6, 1), Vote::new(6, 1)),
        (Vote::new_committed(7, 2), Vote::new_committed(7, 2)),
    ] {
        log.save_vote(&vote).await.unwrap();
        let gauge = log.gauge();
        drop(log);
        wait_closed(&gauge);
        log = LogStore::open(&folder, IDENTITY, everything()).unwrap();
        assert_eq!(log.read_vote().await.unwrap(), Some(expected));
    }
}

/// The writer's thread ends by itself once the store is gone.
fn wait_closed(gauge: &LogGauge) {
    while !gauge.closed() {
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn purges_nothing_that_the_rows_have_only_in_memory() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("log");
    let durable = Arc::new(AtomicU64::new(5));
    let known = Arc::clone(&durable);
    let mut log = LogStore::create(&folder, IDENTITY, Arc::new(move |_| Ok(known.load(Ordering::SeqCst)))).unwrap();
    log.blocking_append((0..10).map(|index| entry(index, 1))).await.unwrap();
    log.purge(log_id(1, 8)).await.unwrap();
    assert_eq!(log.get_log_state().await.unwrap().last_purged_log_id, Some(log_id(1, 5)));
    assert_eq!(log.try_get_log_entries(..).await.unwrap().first().unwrap().log_id.index, 6);
    durable.store(7, Ordering::SeqCst);
    log.purge(log_id(1, 8)).await.unwrap();
    assert_eq!(log.get_log_state().await.unwrap().last_purged_log_id, Some(log_id(1, 7)));
    let gauge = log.gauge();
    drop(log);
    wait_closed(&gauge);
    let mut log = LogStore::open(&folder, IDENTITY, everything()).unwrap();
    let indexes: Vec<_> = log.try_get_log_entries(..).await.unwrap().iter().map(|entry| entry.log_id.index).collect();
    assert_eq!(indexes, [8, 9]);
    log.purge(log_id(1, 30)).await.unwrap();
    assert_eq!(log.get_log_state().await.unwrap().last_log_id, Some(log_id(1, 30)));
    log.blocking_append([entry(31, 1)]).await.unwrap();
}

#[tokio::test]
async fn a_purge_makes_the_rows_durable_first() {
    let temp = tempfile::tempdir().unwrap();
    let state = StateShared::open(StateFolder::new(temp.path()), true, rules(), None).unwrap();
    let mut machine = StateMachine::new(Arc::clone(&state));
    let mut log = LogStore::create(&temp.path().join("log"), IDENTITY, flushed(&state)).unwrap();
    let entries: Vec<_> = (0..10).map(|index| entry(index, 1)).collect();
    log.blocking_append(entries.clone()).await.unwrap();
    machine.apply(entries).await.unwrap();
    assert_eq!(state.flushed(), 0);
    log.purge(log_id(1, 8)).await.unwrap();
    assert!(state.flushed() >= 8);
    assert_eq!(log.get_log_state().await.unwrap().last_purged_log_id, Some(log_id(1, 8)));
}

#[tokio::test]
async fn a_purge_waits_for_the_snapshot_that_stands_for_the_log() {
    let temp = tempfile::tempdir().unwrap();
    let state = |name: &str| {
        let folder = temp.path().join(name);
        fs::create_dir(&folder).unwrap();
        StateShared::open(StateFolder::new(&folder), true, rules(), None).unwrap()
    };
    let mut leader = StateMachine::new(state("leader"));
    leader.apply((0..=50).map(|index| entry(index, 1))).await.unwrap();
    let snapshot = leader.get_snapshot_builder().await.build_snapshot().await.unwrap();

    let rows = state("follower");
    let mut follower = StateMachine::new(Arc::clone(&rows));
    let mut log = LogStore::create(&temp.path().join("log"), IDENTITY, flushed(&rows)).unwrap();
    let entries: Vec<_> = (0..10).map(|index| entry(index, 1)).collect();
    log.blocking_append(entries.clone()).await.unwrap();
    follower.apply(entries).await.unwrap();
    let mut purging = log.clone();
    let (purged, installed) =
        tokio::join!(purging.purge(log_id(1, 50)), follower.install_snapshot(&snapshot.meta, snapshot.snapshot));
    purged.unwrap();
    installed.unwrap();
    assert_eq!(rows.flushed(), 50);
    assert_eq!(log.get_log_state().await.unwrap().last_purged_log_id, Some(log_id(1, 50)));
    log.blocking_append([entry(51, 1)]).await.unwrap();
}

#[tokio::test]
async fn long_reads_stop_but_never_at_nothing() {
    for log in [memory_log(), disk_log()] {
        let (_temp, mut log) = log;
        log.blocking_append((0..6).map(|index| entry(index, 900 << 10))).await.unwrap();
        log.blocking_append([entry(6, 3 << 20), entry(7, 1)]).await.unwrap();
        assert_eq!(log.limited_get_log_entries(0, 8).await.unwrap().len(), 2);
        assert_eq!(log.limited_get_log_entries(6, 8).await.unwrap().len(), 1);
        assert_eq!(log.try_get_log_entries(0..8).await.unwrap().len(), 8);
    }
}

fn memory_log() -> (Option<TempDir>, LogStore) {
    (None, LogStore::memory(everything()).unwrap())
}

fn disk_log() -> (Option<TempDir>, LogStore) {
    let temp = tempfile::tempdir().unwrap();
    let log = LogStore::create(&temp.path().join("log"), IDENTITY, everything()).unwrap();
    (Some(temp), log)
}

#[tokio::test]
async fn more_entries_than_are_kept_decoded_are_read_without_a_hole() {
    let (_temp, mut log) = disk_log();
    for start in (0..5_000).step_by(500) {
        log.blocking_append((start..start + 500).map(|index| entry(index, 10))).await.unwrap();
    }
    assert!(log.shared.cache().first() > 0);
    let all = log.try_get_log_entries(..).await.unwrap();
    assert!(all.iter().map(|entry| entry.log_id.index).eq(0..5_000));
    log.truncate(log_id(1, 300)).await.unwrap();
    assert_eq!(log.get_log_state().await.unwrap().last_log_id, Some(log_id(1, 299)));
    log.blocking_append([entry(300, 10)]).await.unwrap();
    assert_eq!(log.try_get_log_entries(298..).await.unwrap().len(), 3);
    assert!(log.blocking_append([entry(302, 10)]).await.is_err());
}

#[tokio::test]
async fn another_voters_or_clusters_log_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("log");
    assert!(!refused(&folder, IDENTITY).is_empty());
    let log = LogStore::create(&folder, IDENTITY, everything()).unwrap();
    let gauge = log.gauge();
    drop(log);
    wait_closed(&gauge);
    assert!(refused(&folder, LogIdentity { cluster_id: 8, ..IDENTITY }).contains("of cluster"));
    assert!(refused(&folder, LogIdentity { voter: 2, ..IDENTITY }).contains("voter 1"));
    assert_eq!(refused(&folder, IDENTITY), "");
}

/// The log's files as they are while it is open: what a crash would leave.
fn crashed_copy(folder: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for item in fs::read_dir(folder).unwrap() {
        let item = item.unwrap();
        fs::copy(item.path(), to.join(item.file_name())).unwrap();
    }
}

fn newest_wal(folder: &Path) -> std::path::PathBuf {
    let files = fs::read_dir(folder).unwrap().map(|item| item.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "log")).max().unwrap()
}

#[tokio::test]
async fn damage_is_an_error_and_only_the_write_under_way_may_be_missing() {
    let (temp, mut log) = disk_log();
    let temp = temp.unwrap();
    for index in 0..20 {
        log.blocking_append([entry(index, 1_000)]).await.unwrap();
    }
    let whole = temp.path().join("whole");
    crashed_copy(&temp.path().join("log"), &whole);
    let wal = newest_wal(&whole);
    let bytes = fs::read(&wal).unwrap();
    assert!(bytes.len() > 20_000);
    for at in (50..bytes.len()).step_by(997) {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        fs::write(&wal, bad).unwrap();
        assert_ne!(refused(&whole, IDENTITY), "", "byte {at}");
    }
    fs::write(&wal, &bytes[..bytes.len() - 100]).unwrap();
    let mut cut = LogStore::open(&whole, IDENTITY, everything()).unwrap();
    assert_eq!(cut.get_log_state().await.unwrap().last_log_id, Some(log_id(1, 18)));
}

/// A log whose writes begin to fail.
struct Failing {
    inner: MemoryLog,
    fails: Arc<AtomicBool>,
}

impl Backend for Failing {
    fn write(&self, ops: &[Op], sync: bool) -> io::Result<()> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("the disk is gone"));
        }
        self.inner.write(ops, sync)
    }

    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<(u64, Vec<u8>)>> {
        self.inner.read(range, bytes_max)
    }

    fn meta(&self, key: MetaKey) -> io::Result<Option<Vec<u8>>> {
        self.inner.meta(key)
    }

    fn ends(&self) -> io::Result<Option<backend::Ends>> {
        self.inner.ends()
    }

    fn open(&self) -> Weak<()> {
        self.inner.open()
    }

    fn blocks(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn after_a_failed_write_nothing_is_taken() {
    let fails = Arc::new(AtomicBool::new(false));
    let backend = Arc::new(Failing { inner: MemoryLog::default(), fails: Arc::clone(&fails) });
    let mut log = LogStore::load(backend.clone(), 1, everything()).unwrap();
    log.blocking_append([entry(0, 1)]).await.unwrap();
    fails.store(true, Ordering::SeqCst);
    assert!(log.blocking_append([entry(1, 1)]).await.is_err());
    fails.store(false, Ordering::SeqCst);
    assert!(log.save_vote(&Vote::new(3, 1)).await.is_err());
    assert!(log.blocking_append([entry(2, 1)]).await.is_err());
    assert!(log.truncate(log_id(1, 0)).await.is_err());
    assert_eq!(backend.inner.ends().unwrap().unwrap().last, 0);
    assert_eq!(backend.inner.meta(MetaKey::Vote).unwrap(), None);
}
