//! The handle that the rest of the program has to the metadata group: commands in, views out.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use cairn_proto::{Index, LogPosition, NodeId};
use tokio::time::{Instant, sleep};

use crate::apply::{apply_entry, begin_term, decode_entry, encode_entry};
use crate::clock::Clock;
use crate::cluster_rows::{CLUSTER_VERSION, FIRST_VERSION};
use crate::command::{Command, Envelope, Origin, Outcome, Reply};
use crate::error::MetaError;
use crate::raft::member::{Member, MemberOptions, Rules};
use crate::raft::meta_view::MetaView;
use crate::raft::network::Network;
use crate::raft::proposer::{Failure, WAIT_MAX};
use crate::raft::read_index::View;
use crate::raft::space::SpaceSource;
use crate::raft::types::EntryData;
use crate::recovery::newer_version;
use crate::rows::{Change, RowsError, RowsRead};
use crate::state_machine::RowRules;

/// How long one attempt of a command with an origin waits before the next.
const ATTEMPT_MAX: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_millis(50);

/// Options of a voter.
#[derive(Clone, Debug)]
pub struct MetaOptions {
    /// Its folder, its own alone.
    pub folder: PathBuf,
    /// The cluster it belongs to; another cluster's folder is refused.
    pub cluster_id: u128,
    /// Its id in the group, counted from 1 and never used again.
    pub voter: u64,
    /// Rows and log in memory: for tests and simulation.
    pub memory: bool,
}

/// What a member knows of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MetaStatus {
    /// Whether it leads.
    pub leader: bool,
    /// Its term.
    pub term: u64,
    /// What it has applied.
    pub applied: Index,
    /// The group's voters.
    pub voters: Vec<u64>,
    /// The index of its last snapshot, 0 without one.
    pub snapshot_index: Index,
    /// Size of its file system.
    pub bytes_total: u64,
    /// What is free of it.
    pub bytes_free: u64,
    /// Whether commands that add are taken.
    pub writable: bool,
    /// Entries it has proposed: each carries all commands that waited.
    pub entries: u64,
    /// Synced writes of its log.
    pub log_syncs: u64,
    /// Rounds that confirmed reads: each serves all reads that waited.
    pub read_rounds: u64,
}

/// A handle to a member of the metadata group. A clone is another handle to the same one.
#[derive(Clone)]
pub struct MetaHandle {
    inner: Arc<Inner>,
}

struct Inner {
    member: Member,
    clock: Arc<dyn Clock>,
    closed: AtomicBool,
    /// The cluster version as this member last saw it. It only rises.
    version: AtomicU32,
}

const RULES: Rules = Rules { rows: RowRules { apply: apply_data, begin_term: begin_term_at }, encode: encode_batch };

fn apply_data(rows: &dyn RowsRead, index: u64, data: &EntryData) -> Result<(Vec<Change>, Vec<Outcome>), RowsError> {
    let damaged = |why: String| RowsError::Damaged { key: format!("log entry {index}"), why };
    let envelopes = decode_entry(&data.0).map_err(|error| damaged(error.to_string()))?;
    apply_entry(rows, Index(index), &envelopes)
}

fn begin_term_at(rows: &dyn RowsRead, term: u64, index: u64) -> Result<Vec<Change>, RowsError> {
    begin_term(rows, term, Index(index))
}

fn encode_batch(envelopes: &[Envelope]) -> Result<Vec<u8>, MetaError> {
    encode_entry(envelopes).map_err(|error| MetaError::Invalid { what: error.to_string() })
}

impl MetaHandle {
    /// Opens a voter's folder, or forms a group of this one voter in an empty one. Returns when it leads.
    ///
    /// # Errors
    /// [`MetaError::Folder`] where the folder is foreign, newer, damaged or open elsewhere.
    pub async fn start(options: MetaOptions, clock: Arc<dyn Clock>) -> Result<Self, MetaError> {
        Self::start_with_space(options, clock, None).await
    }

    /// As [`Self::start`], with another source of free space than the folder's file system.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_with_space(
        options: MetaOptions,
        clock: Arc<dyn Clock>,
        space: Option<Arc<dyn SpaceSource>>,
    ) -> Result<Self, MetaError> {
        let voter = options.voter;
        let options = member_options(options, space);
        let handle = Self::open(options, clock, Network::default()).await?;
        handle.lead(&[voter]).await?;
        let version = handle.read().await?.version()?;
        if version > CLUSTER_VERSION {
            handle.shutdown().await?;
            return Err(MetaError::Invalid { what: newer_version(version) });
        }
        Ok(handle)
    }

    /// Opens several voters of one group in this process, or forms a group of them in empty folders. Returns when
    /// one of them leads. Every handle takes commands and reads; those of the others ask the leader.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn start_group(options: Vec<MetaOptions>, clock: &Arc<dyn Clock>) -> Result<Vec<Self>, MetaError> {
        let network = Network::default();
        let voters: Vec<u64> = options.iter().map(|options| options.voter).collect();
        let mut handles = Vec::with_capacity(voters.len());
        for options in options {
            handles.push(Self::open(member_options(options, None), Arc::clone(clock), network.clone()).await?);
        }
        let Some(first) = handles.first() else {
            return Err(MetaError::Invalid { what: "a group has at least one voter".to_owned() });
        };
        first.lead(&voters).await?;
        first.read().await?;
        Ok(handles)
    }

    pub(crate) async fn open(
        options: MemberOptions,
        clock: Arc<dyn Clock>,
        network: Network,
    ) -> Result<Self, MetaError> {
        let member = Member::open(options, RULES, network).await?;
        Ok(Self {
            inner: Arc::new(Inner { member, clock, closed: AtomicBool::new(false), version: AtomicU32::new(0) }),
        })
    }

    /// Stands for election, in a group of these voters if it belongs to none yet.
    pub(crate) async fn lead(&self, voters: &[u64]) -> Result<(), MetaError> {
        if self.member().is_formed().await? { self.member().stand().await } else { self.member().form(voters).await }
    }

    pub(crate) fn member(&self) -> &Member {
        &self.inner.member
    }

    fn check_open(&self) -> Result<(), MetaError> {
        if self.inner.closed.load(Ordering::SeqCst) { Err(MetaError::Shutdown) } else { Ok(()) }
    }

    /// Refuses a command of a kind that some node of the cluster may not know. The version never falls, so what this
    /// member has applied is enough to know.
    fn check_version(&self, command: &Command) -> Result<(), MetaError> {
        let since = command.since();
        let known = &self.inner.version;
        if since <= FIRST_VERSION || since <= known.load(Ordering::Relaxed) {
            return Ok(());
        }
        let version = self.local().version()?;
        known.store(version, Ordering::Relaxed);
        if since <= version {
            return Ok(());
        }
        let what = format!(
            "this needs cluster version {since}, the cluster is at {version}: it rises when all nodes run a newer cairn"
        );
        Err(MetaError::Invalid { what })
    }

    /// Raises the cluster version to what this program knows, if it is lower and all nodes know it: `known` says what
    /// each node's program knows.
    ///
    /// # Errors
    /// As [`Self::propose`]; [`MetaError::Refused`] where a node does not know it.
    pub async fn raise_version(&self, known: Vec<(NodeId, u32)>) -> Result<(), MetaError> {
        if self.local().version()? >= CLUSTER_VERSION {
            return Ok(());
        }
        self.propose(Command::RaiseVersion { version: CLUSTER_VERSION, known }).await.map(|_| ())
    }

    /// Commits a command of the leader's own, which has no origin: it is tried once.
    ///
    /// # Errors
    /// [`MetaError::Refused`] where it was refused; [`MetaError::Unknown`] where it may have been done.
    pub async fn propose(&self, command: Command) -> Result<Reply, MetaError> {
        self.run(None, command).await
    }

    /// Commits a command with its origin: tried again under the same origin while the answer is unknown, at most
    /// 10 s in all.
    ///
    /// # Errors
    /// As [`Self::propose`].
    pub async fn commit(&self, origin: Origin, command: Command) -> Result<Reply, MetaError> {
        self.run(Some(origin), command).await
    }

    async fn run(&self, origin: Option<Origin>, command: Command) -> Result<Reply, MetaError> {
        self.check_open()?;
        self.check_version(&command)?;
        self.member().space.admit(&command)?;
        let envelope = Envelope { origin, now_ms: self.inner.clock.now_ms(), command };
        let deadline = Instant::now() + WAIT_MAX;
        let mut unknown = false;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = if origin.is_some() { left.min(ATTEMPT_MAX) } else { left };
            let why = match self.member().proposer.propose(envelope.clone(), wait).await {
                Ok(outcome) => return outcome.map_err(MetaError::Refused),
                Err(Failure::Unknown) if origin.is_none() => return Err(MetaError::Unknown),
                Err(Failure::Unknown) => {
                    unknown = true;
                    String::new()
                }
                Err(Failure::NotDone(why)) => {
                    if !unknown {
                        self.member().check_running()?;
                    }
                    why
                }
                Err(Failure::Busy) if !unknown => return Err(MetaError::unavailable("too many commands wait")),
                Err(Failure::Busy) => String::new(),
                Err(Failure::Final(_)) if unknown => return Err(MetaError::Unknown),
                Err(Failure::Final(error)) => return Err(error),
            };
            if Instant::now() + PAUSE >= deadline {
                return Err(if unknown { MetaError::Unknown } else { MetaError::Unavailable { why } });
            }
            sleep(PAUSE).await;
        }
    }

    /// A linearizable view: it has everything that was acknowledged before the call. Reads that come together share
    /// one round and one view.
    ///
    /// # Errors
    /// [`MetaError::Unavailable`] where no leader confirmed it within 10 s.
    pub async fn read(&self) -> Result<MetaView, MetaError> {
        self.check_open()?;
        Ok(MetaView::new(self.member().reads.read().await?))
    }

    /// What this member has applied, without a round: for status and metrics.
    #[must_use]
    pub fn local(&self) -> MetaView {
        let state = &self.member().state;
        let view = state.view().map(|(rows, index)| View { rows, index });
        MetaView::new(view.unwrap_or_else(|error| {
            tracing::error!(%error, "the metadata's rows cannot be read");
            View { rows: Arc::new(Unreadable(error.to_string())), index: *state.applied().borrow() }
        }))
    }

    /// The last entry this member has applied.
    #[must_use]
    pub fn position(&self) -> LogPosition {
        self.member().state.header().position()
    }

    /// The highest index this member has applied.
    #[must_use]
    pub fn applied(&self) -> Index {
        Index(*self.member().state.applied().borrow())
    }

    /// Resolves once the member has stopped: with [`MetaError::Shutdown`] after [`Self::shutdown`], else with what
    /// stopped it. Nothing can be read or written from then on, until another process opens the folder.
    pub async fn stopped(&self) -> MetaError {
        self.member().stopped().await
    }

    /// Stops the member with everything durable. Views stay readable.
    ///
    /// # Errors
    /// Where the rows could not be made durable; nothing is lost, the next start replays the log.
    pub async fn shutdown(&self) -> Result<(), MetaError> {
        if self.inner.closed.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        self.member().shutdown().await
    }

    /// The clock that commands carry, milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.inner.clock.now_ms()
    }

    /// What this member knows of itself.
    #[must_use]
    pub fn status(&self) -> MetaStatus {
        let member = self.member();
        let metrics = member.raft.metrics().borrow().clone();
        let space = member.space.seen();
        MetaStatus {
            leader: metrics.current_leader == Some(member.voter) && metrics.running_state.is_ok(),
            term: metrics.current_term,
            applied: self.applied(),
            voters: metrics.membership_config.membership().voter_ids().collect(),
            snapshot_index: Index(member.state.snapshot_index()),
            bytes_total: space.total_bytes,
            bytes_free: space.free_bytes,
            writable: member.space.writable() && metrics.running_state.is_ok(),
            entries: member.proposer.entries(),
            log_syncs: member.log.syncs(),
            read_rounds: member.reads.rounds(),
        }
    }
}

fn member_options(options: MetaOptions, space: Option<Arc<dyn SpaceSource>>) -> MemberOptions {
    MemberOptions {
        folder: options.folder,
        cluster_id: options.cluster_id,
        voter: options.voter,
        memory: options.memory,
        space,
        snapshot_entries: None,
        log_entries_kept: None,
    }
}

/// Rows that could not be opened: every read says why.
struct Unreadable(String);

impl RowsRead for Unreadable {
    fn get(&self, _key: &[u8]) -> Result<Option<Vec<u8>>, RowsError> {
        Err(RowsError::Storage(self.0.clone()))
    }

    fn scan(&self, _: &[u8], _: &[u8], _: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), RowsError> {
        Err(RowsError::Storage(self.0.clone()))
    }
}
