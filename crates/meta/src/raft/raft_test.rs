//! One voter and three in a process: sharing of entries and rounds, restart, loss of the leader, snapshots.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cairn_proto::{CommandNumber, NodeId, WriterId};
use openraft::LogIdOptionExt;
use tokio::task::JoinSet;

use super::member::MemberOptions;
use super::network::Network;
use super::space::{Space, SpaceSource};
use crate::clock::{Clock, ManualClock};
use crate::command::{Command, Origin, Refusal, Reply};
use crate::error::MetaError;
use crate::handle::{MetaHandle, MetaOptions};

const LONG: Duration = Duration::from_secs(30);

fn options(folder: &Path, voter: u64, memory: bool) -> MetaOptions {
    MetaOptions { folder: folder.join(voter.to_string()), cluster_id: 7, voter, memory }
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(1_000))
}

fn bucket(name: impl Into<String>) -> Command {
    Command::CreateBucket { name: name.into() }
}

async fn one(folder: &Path, memory: bool) -> MetaHandle {
    MetaHandle::start(options(folder, 1, memory), clock()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_alone_leads_at_once_and_finds_its_rows_again() {
    let temp = tempfile::tempdir().unwrap();
    let mut made: Vec<(String, Reply)> = Vec::new();
    let mut term = 0;
    for round in 0..3 {
        let handle = one(temp.path(), false).await;
        let status = handle.status();
        assert!(status.leader && status.writable && status.term > term, "{status:?}");
        assert_eq!(status.voters, [1]);
        term = status.term;
        let view = handle.read().await.unwrap();
        for (name, reply) in &made {
            let row = view.bucket(name).unwrap().unwrap();
            assert_eq!(*reply, Reply::Bucket(row.id), "{name}");
        }
        for count in 0..5 {
            let name = format!("bucket-{round}-{count}");
            let reply = handle.propose(bucket(&name)).await.unwrap();
            made.push((name, reply));
        }
        handle.shutdown().await.unwrap();
        assert!(matches!(handle.propose(bucket("late")).await, Err(MetaError::Shutdown)));
        assert!(matches!(handle.read().await, Err(MetaError::Shutdown)));
        assert!(view.bucket("bucket-0-0").is_ok(), "views outlive their member");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_is_open_once() {
    let temp = tempfile::tempdir().unwrap();
    let handle = one(temp.path(), false).await;
    let second = MetaHandle::start(options(temp.path(), 1, false), clock()).await;
    let text = second.err().unwrap().to_string();
    assert!(text.contains("another cairn process"), "{text}");
    handle.shutdown().await.unwrap();
    let other = MetaOptions { voter: 2, folder: temp.path().join("1"), ..options(temp.path(), 1, false) };
    let text = MetaHandle::start(other, clock()).await.err().unwrap().to_string();
    assert!(text.contains("voter 1"), "{text}");
    std::fs::remove_dir_all(temp.path().join("1/log")).unwrap();
    let text = MetaHandle::start(options(temp.path(), 1, false), clock()).await.err().unwrap().to_string();
    assert!(text.contains("gone"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_share_entries() {
    let temp = tempfile::tempdir().unwrap();
    for memory in [false, true] {
        let handle = one(temp.path(), memory).await;
        let member = handle.member();
        let (entries, syncs) = (member.proposer.entries(), member.log.syncs());
        let mut callers = JoinSet::new();
        for caller in 0..64 {
            let handle = handle.clone();
            callers.spawn(async move {
                for count in 0..4 {
                    let name = format!("bucket-{caller}-{count}");
                    let reply = handle.propose(bucket(&name)).await.unwrap();
                    let view = handle.read().await.unwrap();
                    // Every caller got the outcome of its own command, and its read sees it.
                    assert_eq!(reply, Reply::Bucket(view.bucket(&name).unwrap().unwrap().id));
                }
            });
        }
        while let Some(caller) = callers.join_next().await {
            caller.unwrap();
        }
        let entries = member.proposer.entries() - entries;
        assert!(entries < 256 / 2, "{entries} entries for 256 commands");
        if !memory {
            assert!(member.log.syncs() - syncs <= entries + 1);
        }
        handle.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_alone_reads_without_a_round_all_that_was_acknowledged() {
    let temp = tempfile::tempdir().unwrap();
    for life in 0..2 {
        let handle = one(temp.path(), false).await;
        let rounds = handle.status().read_rounds;
        assert!(rounds > 0, "the first read of a term is confirmed");
        let mut callers = JoinSet::new();
        for caller in 0..8 {
            let handle = handle.clone();
            callers.spawn(async move {
                for count in 0..50 {
                    let name = format!("bucket-{life}-{caller}-{count}");
                    handle.propose(bucket(&name)).await.unwrap();
                    let view = handle.read().await.unwrap();
                    assert!(view.bucket(&name).unwrap().is_some(), "{name}");
                    assert!(view.index() <= handle.read().await.unwrap().index(), "views go forward");
                }
            });
        }
        while let Some(caller) = callers.join_next().await {
            caller.unwrap();
        }
        assert_eq!(handle.read().await.unwrap().buckets("", None, 10_000).unwrap().len(), (life + 1) * 400);
        assert_eq!(handle.status().read_rounds, rounds);
        handle.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_other_voters_every_read_takes_a_round() {
    let temp = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = clock();
    let options = (1..=3).map(|voter| options(temp.path(), voter, false)).collect();
    let handles = MetaHandle::start_group(options, &clock).await.unwrap();
    for handle in &handles {
        let rounds = handle.status().read_rounds;
        for _ in 0..5 {
            handle.read().await.unwrap();
        }
        assert_eq!(handle.status().read_rounds, rounds + 5);
    }
    for handle in handles {
        handle.shutdown().await.unwrap();
    }
}

/// On one thread the order is known: all reads are there before the task that makes the rounds is woken.
#[tokio::test]
async fn reads_that_come_together_share_a_round() {
    let temp = tempfile::tempdir().unwrap();
    let handle = one(temp.path(), true).await;
    let rounds = handle.status().read_rounds;
    let read = || {
        let handle = handle.clone();
        async move { handle.read().await.unwrap().index() }
    };
    let reads: JoinSet<_> = (0..500).map(|_| read()).collect();
    assert_eq!(reads.join_all().await.len(), 500);
    let rounds = handle.status().read_rounds - rounds;
    assert!(rounds <= 2, "{rounds} rounds for 500 reads");
    handle.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_is_too_large_is_refused_and_one_with_an_origin_is_done_once() {
    let temp = tempfile::tempdir().unwrap();
    let handle = one(temp.path(), true).await;
    let huge = handle.propose(bucket("x".repeat(5 << 20))).await;
    assert!(matches!(huge, Err(MetaError::Invalid { .. })), "{huge:?}");
    let Reply::Writer(writer) = handle.propose(Command::OpenWriter { node: NodeId(1) }).await.unwrap() else {
        panic!("a writer is expected");
    };
    let origin = Origin { writer, number: CommandNumber(1), lowest_unanswered: CommandNumber(1) };
    let first = handle.commit(origin, bucket("bucket")).await.unwrap();
    assert_eq!(handle.commit(origin, bucket("bucket")).await.unwrap(), first);
    let closed = Origin { writer: WriterId(writer.0 + 7), ..origin };
    assert!(matches!(handle.commit(closed, bucket("other")).await, Err(MetaError::Refused(_))));
}

/// A voter whose Raft has died answers at once that it can be tried elsewhere, and says so to who watches it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_failed_says_so() {
    let temp = tempfile::tempdir().unwrap();
    let handle = one(temp.path(), true).await;
    let watched = handle.clone();
    let watch = tokio::spawn(async move { watched.stopped().await });
    handle.member().raft.external_request(|_| panic!("as a bug would"));
    let why = tokio::time::timeout(LONG, watch).await.unwrap().unwrap();
    assert!(matches!(why, MetaError::Stopped { .. }), "{why:?}");
    let read = tokio::time::timeout(LONG, handle.read()).await.unwrap();
    assert!(matches!(read, Err(MetaError::Stopped { .. })), "{:?}", read.err());
    let done = tokio::time::timeout(LONG, handle.propose(bucket("bucket"))).await.unwrap();
    assert!(matches!(done, Err(MetaError::Stopped { .. })), "{done:?}");

    let handle = one(&temp.path().join("other"), true).await;
    handle.shutdown().await.unwrap();
    assert!(matches!(handle.stopped().await, MetaError::Shutdown));
}

struct Full;

impl SpaceSource for Full {
    fn space(&self) -> std::io::Result<Space> {
        Ok(Space { total_bytes: 1 << 30, free_bytes: 100 << 20 })
    }
}

#[tokio::test]
async fn a_full_file_system_takes_deletes_and_no_puts() {
    let temp = tempfile::tempdir().unwrap();
    let options = options(temp.path(), 1, true);
    let handle = MetaHandle::start_with_space(options, clock(), Some(Arc::new(Full))).await.unwrap();
    assert!(!handle.status().writable);
    assert!(matches!(handle.propose(bucket("bucket")).await, Err(MetaError::NoSpace { .. })));
    let delete = handle.propose(Command::DeleteBucket { name: "bucket".to_owned() }).await;
    assert!(matches!(delete, Err(MetaError::Refused(Refusal::NoSuchBucket))), "{delete:?}");
}

async fn leader_of(handles: &[MetaHandle]) -> usize {
    let watched = handles.iter().map(|handle| handle.member().raft.metrics());
    let mut watched: Vec<_> = watched.collect();
    loop {
        if let Some(at) = handles.iter().position(|handle| handle.status().leader) {
            return at;
        }
        tokio::time::timeout(LONG, watched[0].changed()).await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_voters_go_on_without_their_leader() {
    let temp = tempfile::tempdir().unwrap();
    let all = |ids: &[u64]| ids.iter().map(|id| options(temp.path(), *id, false)).collect::<Vec<_>>();
    let shared: Arc<dyn Clock> = clock();
    let mut handles = MetaHandle::start_group(all(&[1, 2, 3]), &shared).await.unwrap();
    let mut made = Vec::new();
    for count in 0..20 {
        // Any of them takes commands.
        let name = format!("bucket-{count}");
        made.push((name.clone(), handles[count % 3].propose(bucket(&name)).await.unwrap()));
    }
    let leader = handles.remove(leader_of(&handles).await);
    leader.shutdown().await.unwrap();
    for handle in &handles {
        let view = handle.read().await.unwrap();
        for (name, reply) in &made {
            assert_eq!(*reply, Reply::Bucket(view.bucket(name).unwrap().unwrap().id), "{name}");
        }
    }
    handles[0].propose(bucket("after")).await.unwrap();
    assert!(handles[1].read().await.unwrap().bucket("after").unwrap().is_some());
    for handle in &handles {
        handle.shutdown().await.unwrap();
    }

    let handles = MetaHandle::start_group(all(&[1, 2, 3]), &shared).await.unwrap();
    handles[2].propose(bucket("again")).await.unwrap();
    let mut digests = Vec::new();
    let applied = handles[0].read().await.unwrap().index().0;
    for handle in &handles {
        let mut seen = handle.member().state.applied();
        tokio::time::timeout(LONG, seen.wait_for(|index| *index >= applied)).await.unwrap().unwrap();
        digests.push(handle.member().state.header());
    }
    assert!(digests.windows(2).all(|pair| pair[0] == pair[1]), "{digests:?}");
}

fn small(folder: &Path, voter: u64, memory: bool) -> MemberOptions {
    MemberOptions {
        folder: folder.join(voter.to_string()),
        cluster_id: 7,
        voter,
        memory,
        space: None,
        snapshot_entries: Some(20),
        log_entries_kept: Some(5),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_was_away_gets_a_snapshot() {
    for memory in [false, true] {
        let temp = tempfile::tempdir().unwrap();
        let network = Network::default();
        let mut handles = Vec::new();
        for voter in [1, 2, 3] {
            handles.push(MetaHandle::open(small(temp.path(), voter, memory), clock(), network.clone()).await.unwrap());
        }
        handles[0].lead(&[1, 2, 3]).await.unwrap();
        handles[0].propose(bucket("bucket-first")).await.unwrap();
        network.cut_off(3, true);
        for count in 0..80 {
            handles[0].propose(bucket(format!("bucket-{count}"))).await.unwrap();
        }
        let purged = handles[0].member().raft.wait(Some(LONG));
        purged.metrics(|metrics| metrics.purged.index() > Some(40), "purged").await.unwrap();
        let member = handles[0].member();
        let gone = member.raft.metrics().borrow().purged.index().unwrap();
        assert!(gone <= member.state.flushed(), "{gone} was purged, {} is durable", member.state.flushed());
        let applied = handles[0].read().await.unwrap().index().0;
        network.cut_off(3, false);
        let mut seen = handles[2].member().state.applied();
        tokio::time::timeout(LONG, seen.wait_for(|index| *index >= applied)).await.unwrap().unwrap();
        assert!(handles[2].local().bucket("bucket-79").unwrap().is_some());
        assert!(handles[2].local().bucket("bucket-first").unwrap().is_some());
        assert!(handles[2].member().state.snapshot_index() > 40);
        for handle in &handles {
            handle.shutdown().await.unwrap();
        }
        if !memory {
            let installed = MetaHandle::open(small(temp.path(), 3, false), clock(), Network::default()).await.unwrap();
            assert!(installed.local().bucket("bucket-79").unwrap().is_some());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_cut_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let handle = one(temp.path(), false).await;
    handle.propose(bucket("bucket-one")).await.unwrap();
    handle.shutdown().await.unwrap();
    let copy = temp.path().join("old-log");
    copy_folder(&temp.path().join("1/log"), &copy);
    let handle = one(temp.path(), false).await;
    for count in 0..5 {
        handle.propose(bucket(format!("bucket-{count}"))).await.unwrap();
    }
    handle.shutdown().await.unwrap();
    std::fs::remove_dir_all(temp.path().join("1/log")).unwrap();
    copy_folder(&copy, &temp.path().join("1/log"));
    let text = MetaHandle::start(options(temp.path(), 1, false), clock()).await.err().unwrap().to_string();
    assert!(text.contains("was cut"), "{text}");
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for item in std::fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        std::fs::copy(item.path(), to.join(item.file_name())).unwrap();
    }
}
