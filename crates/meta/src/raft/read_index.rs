//! Linearizable reads: one round to the other voters serves all the reads that arrived before it began.
//!
//! While a round is on its way, those who come wait for the next one; all of a round share one view of the rows.
//!
//! One voter alone has nobody to ask (ADR 0007): once a round of its term has shown that its rows are as far as its log
//! was, every acknowledged write is in them, and a read takes them as they are.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::LogIdOptionExt;
use openraft::error::RaftError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::member::{Group, fatal};
use super::proposer::WAIT_MAX;
use crate::error::MetaError;
use crate::state_machine::{Rows, StateShared, run as run_on};

/// Most reads that wait.
const QUEUE_MAX: usize = 16_384;
/// Longest that one voter is waited for.
const ROUND_MAX: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(20);

/// Rows as of one index.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) rows: Rows,
    pub(crate) index: u64,
}

type Answer = oneshot::Sender<Result<View, MetaError>>;

/// A handle to the task that makes the rounds.
#[derive(Clone)]
pub(crate) struct ReadIndex {
    queue: mpsc::Sender<Answer>,
    own: Own,
    rounds: Arc<AtomicU64>,
}

/// This member, as far as it may answer alone.
#[derive(Clone)]
struct Own {
    group: Group,
    state: Arc<StateShared>,
    /// The term in which a round went through with this member as its leader; 0 before.
    confirmed: Arc<AtomicU64>,
}

impl Own {
    /// The rows as they are, where no other voter could have acknowledged anything.
    fn view(&self) -> Option<View> {
        if self.group.leads_alone()? != self.confirmed.load(Ordering::Acquire) {
            return None;
        }
        self.state.view_at_once().map(|(rows, index)| View { rows, index })
    }
}

impl ReadIndex {
    /// Starts the task; it ends with the last handle.
    pub(crate) fn start(group: Group, state: Arc<StateShared>) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let rounds = Arc::new(AtomicU64::new(0));
        let own = Own { group, state, confirmed: Arc::default() };
        tokio::spawn(run(own.clone(), waiting, Arc::clone(&rounds)));
        Self { queue, own, rounds }
    }

    /// Rounds so far.
    pub(crate) fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::SeqCst)
    }

    /// A view that has all that was acknowledged before the call.
    pub(crate) async fn read(&self) -> Result<View, MetaError> {
        if let Some(view) = self.own.view() {
            return Ok(view);
        }
        let (answer, answered) = oneshot::channel();
        self.queue.try_send(answer).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => MetaError::unavailable("too many reads wait"),
            mpsc::error::TrySendError::Closed(_) => MetaError::Shutdown,
        })?;
        match timeout(WAIT_MAX + ROUND_MAX, answered).await {
            Ok(Ok(view)) => view,
            Ok(Err(_)) => Err(MetaError::Shutdown),
            Err(_) => Err(MetaError::unavailable("no leader confirmed the read")),
        }
    }
}

async fn run(own: Own, mut waiting: mpsc::Receiver<Answer>, rounds: Arc<AtomicU64>) {
    let mut answers = Vec::new();
    while waiting.recv_many(&mut answers, QUEUE_MAX).await > 0 {
        rounds.fetch_add(1, Ordering::SeqCst);
        let view = match timeout(WAIT_MAX, round(&own)).await {
            Ok(view) => view,
            Err(_) => Err(MetaError::unavailable("no leader confirmed the read")),
        };
        // A caller who has left needs no answer.
        answers.drain(..).for_each(|answer| drop(answer.send(view.clone())));
    }
}

/// One round: the leader's read index, confirmed by a majority; then our own rows, once they are that far.
async fn round(Own { group, state, confirmed }: &Own) -> Result<View, MetaError> {
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        let raft = group.leader(WAIT_MAX).await?;
        let alone = group.leads_alone();
        match timeout_at(deadline.min(Instant::now() + ROUND_MAX), raft.get_read_log_id()).await {
            Ok(Ok((read, _))) => {
                let mut applied = state.applied();
                let reached = applied.wait_for(|applied| *applied >= read.index().unwrap_or(0)).await;
                reached.map_err(|_| MetaError::Shutdown)?;
                if let Some(term) = alone.filter(|term| group.leads_alone() == Some(*term)) {
                    confirmed.store(term, Ordering::Release);
                }
                let view = run_on(state, StateShared::view).await;
                let (rows, index) = view.map_err(|error| MetaError::Damaged { what: error.to_string() })?;
                return Ok(View { rows, index });
            }
            Ok(Err(RaftError::Fatal(error))) if group.is_own(&raft) => return Err(fatal(&error)),
            // No leader any more, or no majority: the next one is told of soon.
            Ok(Err(_)) | Err(_) => sleep(PAUSE).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{member::MemberOptions, network::Network};
    use super::*;
    use crate::{clock::ManualClock, handle::MetaHandle};

    /// A voter that was elected may have to apply yet what it acknowledged in an earlier life.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn who_leads_alone_takes_the_rows_as_they_are_once_a_round_went_through() {
        let temp = tempfile::tempdir().unwrap();
        let options = MemberOptions {
            folder: temp.path().join("voter"),
            cluster_id: 7,
            voter: 1,
            memory: false,
            space: None,
            snapshot_entries: None,
            log_entries_kept: None,
        };
        let handle = MetaHandle::open(options, Arc::new(ManualClock::new(1_000)), Network::default()).await.unwrap();
        let reads = &handle.member().reads;
        assert!(reads.own.view().is_none(), "it does not lead");
        handle.lead(&[1]).await.unwrap();
        let alone = async {
            while reads.own.group.leads_alone().is_none() {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(Duration::from_secs(20), alone).await.expect("it leads alone");
        assert!(reads.own.view().is_none(), "it leads, and no round went through");
        let confirmed = reads.read().await.unwrap();
        assert_eq!((reads.rounds(), reads.own.view().map(|view| view.index)), (1, Some(confirmed.index)));
        handle.shutdown().await.unwrap();
        assert!(reads.own.view().is_none(), "it has stopped");
    }
}
