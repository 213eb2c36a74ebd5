//! One member of the group: its folder, its log, its rows, its Raft, and the tasks around them.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft::error::Fatal;
use openraft::{Config, EmptyNode, LogIdOptionExt, SnapshotPolicy};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::folder::VoterFolder;
use super::network::{Links, Network};
use super::proposer::{EncodeEntry, Failure, Proposer};
use super::read_index::ReadIndex;
use super::space::{EndlessSpace, FolderSpace, SpaceGuard, SpaceSource};
use super::types::Raft;
use super::upkeep::Upkeep;
use crate::cluster_rows::CLUSTER_VERSION;
use crate::error::MetaError;
use crate::log_store::{Flushed, LogGauge, LogIdentity, LogStore};
use crate::query::Query;
use crate::recovery::newer_version;
use crate::state_machine::{RowRules, StateFolder, StateMachine, StateShared, run};

const HEARTBEAT_MS: u64 = 300;
const ELECTION_MS_MIN: u64 = 1_500;
const ELECTION_MS_MAX: u64 = 3_000;
/// Entries between snapshots.
const SNAPSHOT_ENTRIES: u64 = 50_000;
/// Entries a snapshot leaves in the log, for members that are a little behind.
const LOG_ENTRIES_KEPT: u64 = 2_000;
const SNAPSHOT_SENT_MS_MAX: u64 = 60_000;
/// How long the cut of a log waits for the snapshot that stands for it.
const INSTALL_WAIT_MAX: Duration = Duration::from_secs(120);
const CLOSE_WAIT_MAX: Duration = Duration::from_secs(5);

/// What the group's rules are, as far as Raft has to know.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) rows: RowRules,
    pub(crate) encode: EncodeEntry,
}

/// What a member is made of.
pub(crate) struct MemberOptions {
    pub(crate) folder: PathBuf,
    pub(crate) cluster_id: u128,
    pub(crate) voter: u64,
    pub(crate) memory: bool,
    pub(crate) space: Option<Arc<dyn SpaceSource>>,
    pub(crate) snapshot_entries: Option<u64>,
    pub(crate) log_entries_kept: Option<u64>,
}

/// The voters as one of them sees them.
#[derive(Clone)]
pub(crate) struct Group {
    own: u64,
    raft: Raft,
    network: Network,
}

impl Group {
    /// The leader, waited for.
    pub(crate) async fn leader(&self, wait: Duration) -> Result<Raft, MetaError> {
        let mut metrics = self.raft.metrics();
        let found = async {
            loop {
                let (leader, running) = {
                    let metrics = metrics.borrow_and_update();
                    (metrics.current_leader, metrics.running_state.clone())
                };
                running.map_err(|error| fatal(&error))?;
                match leader {
                    Some(leader) if leader == self.own => return Ok(self.raft.clone()),
                    Some(leader) => {
                        if let Some(raft) = self.network.voter(leader) {
                            return Ok(raft);
                        }
                    }
                    None => {}
                }
                // None yet, or one that has left this process: another is elected soon.
                metrics.changed().await.map_err(|_| MetaError::Shutdown)?;
            }
        };
        timeout(wait, found).await.unwrap_or_else(|_| Err(MetaError::unavailable("the group has no leader")))
    }

    /// The term in which this member leads a group that has no other voter.
    pub(crate) fn leads_alone(&self) -> Option<u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let leads = metrics.running_state.is_ok() && metrics.state.is_leader();
        let alone = || metrics.membership_config.membership().voter_ids().all(|voter| voter == self.own);
        (leads && alone()).then_some(metrics.current_term)
    }

    /// Whether a handle is this member's own.
    pub(crate) fn is_own(&self, raft: &Raft) -> bool {
        raft.metrics().borrow().id == self.own
    }

    /// What it means that a voter did not take an entry because it does not lead. It says the same of an entry it
    /// had taken and lost to another leader, which a third may still commit; but one voter alone never loses one.
    pub(crate) fn refused_by_follower(&self) -> Failure {
        let metrics = self.raft.metrics();
        if metrics.borrow().membership_config.membership().voter_ids().count() == 1 {
            Failure::NotDone("the group has no leader".to_owned())
        } else {
            Failure::Unknown
        }
    }
}

/// What it means that Raft has stopped.
pub(crate) fn fatal(error: &Fatal<u64>) -> MetaError {
    match error {
        Fatal::Stopped => MetaError::Shutdown,
        Fatal::StorageError(_) | Fatal::Panicked => MetaError::Stopped { why: error.to_string() },
    }
}

/// One member of the group.
pub(crate) struct Member {
    pub(crate) voter: u64,
    pub(crate) raft: Raft,
    pub(crate) state: Arc<StateShared>,
    pub(crate) log: LogGauge,
    pub(crate) space: Arc<SpaceGuard>,
    pub(crate) proposer: Proposer,
    pub(crate) reads: ReadIndex,
    network: Network,
    upkeep: JoinHandle<()>,
    folder: Mutex<Option<VoterFolder>>,
}

impl Member {
    /// Opens a member, or makes a new one in an empty folder. It does not stand for election by itself.
    pub(crate) async fn open(options: MemberOptions, rules: Rules, network: Network) -> Result<Self, MetaError> {
        let voter = options.voter;
        let config = config(&options)?;
        let path = options.folder.clone();
        let opened = tokio::task::spawn_blocking(move || Stores::open(&options, rules.rows)).await;
        let stores = opened.map_err(|error| MetaError::Damaged { what: error.to_string() })??;
        let Stores { state, log, space, folder } = stores;
        let gauge = log.gauge();
        let links = Links { network: network.clone(), own: voter };
        let raft = Raft::new(voter, Arc::new(config), links, log, StateMachine::new(Arc::clone(&state))).await;
        let raft = raft
            .map_err(|error| MetaError::damaged_folder(&path, format!("the log and the rows do not fit: {error}")))?;
        network.join(voter, raft.clone());
        let group = Group { own: voter, raft: raft.clone(), network: network.clone() };
        let proposer = Proposer::start(group.clone(), rules.encode);
        let reads = ReadIndex::start(group, Arc::clone(&state));
        let upkeep =
            Upkeep { raft: raft.clone(), state: Arc::clone(&state), log: gauge.clone(), space: Arc::clone(&space) };
        let upkeep = tokio::spawn(upkeep.run());
        let folder = Mutex::new(folder);
        Ok(Self { voter, raft, state, log: gauge, space, proposer, reads, network, upkeep, folder })
    }

    /// Fails once Raft has stopped.
    pub(crate) fn check_running(&self) -> Result<(), MetaError> {
        self.raft.metrics().borrow().running_state.clone().map_err(|error| fatal(&error))
    }

    /// Resolves once Raft has stopped, with the reason.
    pub(crate) async fn stopped(&self) -> MetaError {
        let mut metrics = self.raft.metrics();
        loop {
            if let Err(error) = metrics.borrow_and_update().running_state.clone() {
                return fatal(&error);
            }
            if metrics.changed().await.is_err() {
                // Who ends in order says so before.
                return fatal(&Fatal::Panicked);
            }
        }
    }

    /// Whether the member belongs to a group.
    pub(crate) async fn is_formed(&self) -> Result<bool, MetaError> {
        self.raft.is_initialized().await.map_err(|error| fatal(&error))
    }

    /// Forms a group of these voters and stands for election.
    pub(crate) async fn form(&self, voters: &[u64]) -> Result<(), MetaError> {
        let voters: BTreeMap<u64, EmptyNode> = voters.iter().map(|voter| (*voter, EmptyNode {})).collect();
        self.raft.initialize(voters).await.map_err(|error| MetaError::Damaged { what: error.to_string() })
    }

    /// Stands for election at once.
    pub(crate) async fn stand(&self) -> Result<(), MetaError> {
        self.raft.trigger().elect().await.map_err(|error| fatal(&error))
    }

    /// Stops, with everything durable, and lets go of the folder.
    pub(crate) async fn shutdown(&self) -> Result<(), MetaError> {
        self.network.leave(self.voter);
        self.upkeep.abort();
        let failed = |error: io::Error| MetaError::Damaged { what: error.to_string() };
        self.raft.shutdown().await.map_err(|error| failed(io::Error::other(error)))?;
        run(&self.state, StateShared::flush).await.map_err(failed)?;
        let deadline = Instant::now() + CLOSE_WAIT_MAX;
        while !self.log.closed() && Instant::now() < deadline {
            sleep(Duration::from_millis(2)).await;
        }
        let store = self.state.close();
        while Arc::strong_count(&store) > 1 && Instant::now() < deadline {
            sleep(Duration::from_millis(2)).await;
        }
        drop(store);
        self.folder.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // The network holds a handle to Raft, and Raft one to the network.
        self.network.leave(self.voter);
        self.upkeep.abort();
    }
}

fn config(options: &MemberOptions) -> Result<Config, MetaError> {
    let config = Config {
        cluster_name: format!("{:032x}", options.cluster_id),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: ELECTION_MS_MIN,
        election_timeout_max: ELECTION_MS_MAX,
        install_snapshot_timeout: SNAPSHOT_SENT_MS_MAX,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(options.snapshot_entries.unwrap_or(SNAPSHOT_ENTRIES)),
        max_in_snapshot_log_to_keep: options.log_entries_kept.unwrap_or(LOG_ENTRIES_KEPT),
        ..Config::default()
    };
    config.validate().map_err(|error| MetaError::Invalid { what: error.to_string() })
}

/// What a member keeps.
struct Stores {
    state: Arc<StateShared>,
    log: LogStore,
    space: Arc<SpaceGuard>,
    folder: Option<VoterFolder>,
}

impl Stores {
    fn open(options: &MemberOptions, rules: RowRules) -> Result<Self, MetaError> {
        let path = &options.folder;
        let refuse = |what: &str, error: &io::Error| {
            let problem = format!("{what} cannot be opened: {error}");
            match remedy(&problem) {
                Some(remedy) => {
                    MetaError::folder(path, format!("{problem}: {remedy}, and start again; nothing is damaged"))
                }
                None => MetaError::damaged_folder(path, problem),
            }
        };
        let unseen = |error: io::Error| MetaError::folder(path, format!("its file system cannot be seen: {error}"));
        let space = |source| SpaceGuard::new(source).map(Arc::new).map_err(unseen);
        if options.memory {
            let state = StateShared::memory(rules).map_err(|error| refuse("the rows", &error))?;
            let log = LogStore::memory(Arc::new(|_| Ok(u64::MAX))).map_err(|error| refuse("the log", &error))?;
            let space = space(options.space.clone().unwrap_or_else(|| Arc::new(EndlessSpace)))?;
            return Ok(Self { state, log, space, folder: None });
        }
        let mut folder = VoterFolder::open(path, options.cluster_id)?;
        if !folder.forming && !folder.log().exists() {
            return Err(refuse("the log", &io::Error::new(io::ErrorKind::NotFound, "it is gone")));
        }
        let state = StateShared::open(StateFolder::new(path), folder.forming, rules, None)
            .map_err(|error| refuse("the rows", &error))?;
        // Before the log is replayed: entries of a newer program cannot be read.
        let version = state.view().map_err(|error| refuse("the rows", &error)).map(|(rows, _)| rows)?;
        let version = Query::new(&*version).version()?;
        if version > CLUSTER_VERSION {
            return Err(MetaError::folder(path, newer_version(version)));
        }
        let identity = LogIdentity { cluster_id: options.cluster_id, voter: options.voter };
        let flushed = flushed(&state);
        let log = if folder.forming {
            LogStore::create(&folder.log(), identity, flushed)
        } else {
            LogStore::open(&folder.log(), identity, flushed)
        };
        let log = log.map_err(|error| refuse("the log", &error))?;
        check_reach(&state, &log).map_err(|error| refuse("the log", &error))?;
        if folder.forming {
            folder.formed().map_err(|error| refuse("the marker", &error))?;
        }
        let space = space(options.space.clone().unwrap_or_else(|| Arc::new(FolderSpace(path.clone()))))?;
        Ok(Self { state, log, space, folder: Some(folder) })
    }
}

/// What to do about an error that is the machine's and no damage: RocksDB hands them on as text.
fn remedy(problem: &str) -> Option<&'static str> {
    let known = [
        ("No space left on device", "free space on its file system"),
        ("Disk quota exceeded", "free space, or raise the quota"),
        ("Permission denied", "give the folder, with all that is in it, to the user that cairn runs as"),
        ("Read-only file system", "mount its file system for writing"),
        ("Too many open files", "let cairn open more files (`ulimit -n`, `LimitNOFILE=` of a unit)"),
        ("Cannot allocate memory", "give cairn more memory"),
    ];
    known.iter().find(|(text, _)| problem.contains(text)).map(|(_, remedy)| *remedy)
}

/// Lets the log see what of the rows is durable.
pub(crate) fn flushed(state: &Arc<StateShared>) -> Flushed {
    let state = Arc::downgrade(state);
    Arc::new(move |index| {
        let Some(state) = state.upgrade() else { return Ok(0) };
        // openraft 0.9 cuts a log without waiting for the snapshot that stands for it: a crash in between would
        // leave a voter with neither. So the cut waits. It runs where blocking is allowed.
        let mut applied = state.applied();
        let installed =
            async { timeout(INSTALL_WAIT_MAX, applied.wait_for(|applied| *applied >= index)).await.is_ok() };
        if *state.applied().borrow() < index && !Handle::current().block_on(installed) {
            return Err(io::Error::other(format!("the snapshot up to {index} was not installed in time")));
        }
        state.flush_upto(index)
    })
}

/// A log that ends before what is known to be committed was damaged: openraft would take the hole for one that a
/// snapshot left, and go on. Only right after the install of a snapshot may the rows be ahead.
fn check_reach(state: &StateShared, log: &LogStore) -> io::Result<()> {
    let (applied, committed, last) = (state.header().last, log.committed(), log.last());
    let ahead = applied.max(committed);
    if last >= ahead || (ahead == applied && state.installed()? == applied.index()) {
        return Ok(());
    }
    let why = format!(
        "it ends at {} but {} was committed: it was cut, or is an old copy",
        last.index().unwrap_or(0),
        ahead.index().unwrap_or(0)
    );
    Err(io::Error::new(io::ErrorKind::InvalidData, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_machine_lacks_is_no_damage() {
        for text in
            ["IO error: No space left on device: While open", "…/CURRENT: Permission denied", "Too many open files"]
        {
            assert!(remedy(&format!("the rows cannot be opened: {text}")).is_some(), "{text}");
        }
        assert_eq!(remedy("the rows cannot be opened: Corruption: Sst file size mismatch"), None);
    }
}
