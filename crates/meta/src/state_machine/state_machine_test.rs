//! Rows and snapshots: what is durable when, and crashes in the middle of an install.

use std::fs;
use std::path::Path;

use openraft::{CommittedLeaderId, Membership, RaftSnapshotBuilder};

use super::snapshot::InstallStep;
use super::*;

fn log_id(index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(1, 1), index)
}

/// Puts the entry's bytes under its index, prefix byte 1.
fn put(_rows: &dyn RowsRead, index: u64, data: &EntryData) -> Result<(Vec<Change>, Vec<Outcome>), RowsError> {
    let mut key = vec![1];
    key.extend_from_slice(&index.to_be_bytes());
    Ok((vec![(key, Some(data.0.to_vec()))], Vec::new()))
}

fn rules() -> RowRules {
    let put: ApplyEntry = put;
    put.into()
}

fn entries(range: std::ops::Range<u64>) -> Vec<Entry> {
    let data = |index: u64| EntryPayload::Normal(EntryData(index.to_string().into_bytes().into()));
    range.map(|index| Entry { log_id: log_id(index), payload: data(index) }).collect()
}

fn membership(index: u64) -> Entry {
    let voters = [1, 2].into_iter().collect();
    Entry { log_id: log_id(index), payload: EntryPayload::Membership(Membership::new(vec![voters], None)) }
}

fn open(folder: &Path, hook: Option<InstallHook>) -> Arc<StateShared> {
    StateShared::open(StateFolder::new(folder), true, rules(), hook).unwrap()
}

fn rows_of(shared: &StateShared) -> (Vec<Vec<u8>>, u64) {
    let (rows, index) = shared.view().unwrap();
    let mut values = Vec::new();
    rows.scan(&[1], &[2], &mut |_, value| {
        values.push(value.to_vec());
        true
    })
    .unwrap();
    (values, index)
}

#[test]
fn a_view_stays_as_it_was_and_a_batch_is_one() {
    for shared in [StateShared::memory(rules()).unwrap(), open(tempfile::tempdir().unwrap().path(), None)] {
        shared.apply(entries(0..3)).unwrap();
        let (before, index) = shared.view().unwrap();
        shared.apply(entries(3..6)).unwrap();
        let mut count = 0;
        before
            .scan(&[1], &[2], &mut |_, _| {
                count += 1;
                true
            })
            .unwrap();
        assert_eq!((count, index), (3, 2));
        assert_eq!(rows_of(&shared).0.len(), 6);
        assert_eq!(rows_of(&shared).1, 5);
    }
}

#[test]
fn what_is_flushed_is_known_and_never_too_much() {
    let temp = tempfile::tempdir().unwrap();
    let shared = open(temp.path(), None);
    shared.apply(entries(0..10)).unwrap();
    assert_eq!((shared.flushed(), shared.dirty()), (0, true));
    // What a crash now would leave.
    let copy = temp.path().join("copy");
    folder::copy_checkpoint(&temp.path().join("state-0"), &copy).unwrap();
    assert_eq!(RocksState::peek(&copy, &HEADER_KEY).unwrap(), None);
    assert_eq!(shared.flush().unwrap(), 9);
    assert!(!shared.dirty());
    fs::remove_dir_all(&copy).unwrap();
    folder::copy_checkpoint(&temp.path().join("state-0"), &copy).unwrap();
    let header: Header = decode(&RocksState::peek(&copy, &HEADER_KEY).unwrap().unwrap()).unwrap();
    assert_eq!(header, shared.header());
}

#[tokio::test]
async fn a_snapshot_says_what_is_in_it() {
    let temp = tempfile::tempdir().unwrap();
    let shared = open(temp.path(), None);
    shared.apply(entries(0..5)).unwrap();
    shared.apply(vec![membership(5)]).unwrap();
    let first = SnapshotBuilder::new(Arc::clone(&shared)).build_snapshot().await.unwrap();
    assert_eq!(first.meta.last_log_id, Some(log_id(5)));
    assert_eq!(*first.meta.last_membership.log_id(), Some(log_id(5)));
    assert_eq!(shared.flushed(), 5);
    shared.apply(entries(6..9)).unwrap();
    let second = SnapshotBuilder::new(Arc::clone(&shared)).build_snapshot().await.unwrap();
    assert_eq!(second.meta.last_log_id, Some(log_id(8)));
    drop(first);
    let kept = fs::read_dir(temp.path().join("snapshots")).unwrap().count();
    assert_eq!(kept, 1, "only the last snapshot is kept");
}

#[tokio::test]
async fn a_crash_amid_an_install_leaves_the_old_or_the_new_rows() {
    let temp = tempfile::tempdir().unwrap();
    let leader = open(&fresh(temp.path(), "leader"), None);
    leader.apply(entries(0..50)).unwrap();
    leader.apply(vec![membership(50)]).unwrap();
    let snapshot = SnapshotBuilder::new(Arc::clone(&leader)).build_snapshot().await.unwrap();
    for crash in InstallStep::ALL {
        let folder = fresh(temp.path(), &format!("{crash:?}"));
        let hook: InstallHook =
            Arc::new(move |step| if step == crash { Err(io::Error::other("crash")) } else { Ok(()) });
        let follower = open(&folder, Some(hook));
        follower.apply(entries(0..10)).unwrap();
        follower.flush().unwrap();
        let mut machine = StateMachine::new(Arc::clone(&follower));
        machine.install_snapshot(&snapshot.meta, snapshot.snapshot.clone()).await.unwrap_err();
        drop((machine, follower));

        let follower = open(&folder, None);
        let switched = crash == InstallStep::Switched;
        assert_eq!(
            rows_of(&follower),
            if switched { rows_of(&leader) } else { (rows_of(&leader).0[..10].to_vec(), 9) }
        );
        assert_eq!(follower.installed().unwrap(), switched.then_some(50));
        let mut machine = StateMachine::new(Arc::clone(&follower));
        machine.install_snapshot(&snapshot.meta, snapshot.snapshot.clone()).await.unwrap();
        assert_eq!(rows_of(&follower), rows_of(&leader));
        assert_eq!((follower.flushed(), follower.header()), (50, leader.header()));
        let current = machine.get_current_snapshot().await.unwrap().unwrap();
        assert_eq!(current.meta, snapshot.meta);
        follower.apply(entries(51..53)).unwrap();
        follower.flush().unwrap();
        drop((machine, follower, current));

        let follower = open(&folder, None);
        assert_eq!(rows_of(&follower).1, 52);
        let states = fs::read_dir(&folder).unwrap();
        let states = states.filter(|item| item.as_ref().unwrap().file_name().to_string_lossy().starts_with("state-"));
        assert_eq!(states.count(), 1, "{crash:?}");
    }
    // The snapshot was copied, not moved.
    let mut again = StateMachine::new(open(&fresh(temp.path(), "again"), None));
    again.install_snapshot(&snapshot.meta, snapshot.snapshot.clone()).await.unwrap();
}

fn fresh(folder: &Path, name: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    fs::create_dir(&path).unwrap();
    path
}

#[tokio::test]
async fn a_snapshot_that_holds_something_else_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let leader = open(&fresh(temp.path(), "leader"), None);
    leader.apply(entries(0..5)).unwrap();
    let mut snapshot = SnapshotBuilder::new(Arc::clone(&leader)).build_snapshot().await.unwrap();
    snapshot.meta.last_log_id = Some(log_id(6));
    let follower = open(&fresh(temp.path(), "follower"), None);
    let mut machine = StateMachine::new(Arc::clone(&follower));
    assert!(machine.install_snapshot(&snapshot.meta, snapshot.snapshot.clone()).await.is_err());
    assert_eq!(rows_of(&follower).0.len(), 0);
}
