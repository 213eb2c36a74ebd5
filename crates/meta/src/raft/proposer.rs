//! Proposals: whatever waits becomes one entry, with one sync, and each caller gets its own outcome.
//!
//! There is no timer. While an entry is on its way others gather behind it, so entries grow with the load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use openraft::error::ClientWriteError;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::member::Group;
use super::types::{Applied, EntryData};
use crate::command::{Envelope, Outcome};
use crate::error::MetaError;

/// Most proposals that wait.
const QUEUE_MAX: usize = 4_096;
/// Most commands in one entry.
const COMMANDS_MAX: usize = 256;
/// Most bytes of commands in one entry, but for one that is larger alone.
const ENTRY_BYTES_MAX: usize = 1 << 20;
/// Most bytes of one command.
const COMMAND_BYTES_MAX: usize = 4 << 20;
/// Most entries on their way.
const IN_FLIGHT_MAX: usize = 2;
/// Longest that anything is waited for.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(10);

/// Turns envelopes into the bytes of an entry.
pub(crate) type EncodeEntry = fn(&[Envelope]) -> Result<Vec<u8>, MetaError>;

/// Why a proposal has no outcome.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Too many wait: nothing happened, and trying again at once makes it worse.
    Busy,
    /// Nothing happened; another attempt may do better.
    NotDone(String),
    /// It may have happened, or may still.
    Unknown,
    /// Another attempt would end the same way; nothing happened.
    Final(MetaError),
}

struct Proposal {
    envelope: Envelope,
    bytes: usize,
    /// Set once, by the caller who gives up or by the proposer who takes it on.
    taken: Arc<AtomicBool>,
    answer: oneshot::Sender<Result<Outcome, Failure>>,
}

impl Proposal {
    fn take(&self) -> bool {
        !self.taken.swap(true, Ordering::SeqCst)
    }
}

/// A handle to the task that proposes.
#[derive(Clone)]
pub(crate) struct Proposer {
    queue: mpsc::Sender<Proposal>,
    entries: Arc<AtomicU64>,
}

impl Proposer {
    /// Starts the task; it ends with the last handle.
    pub(crate) fn start(group: Group, encode: EncodeEntry) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let entries = Arc::new(AtomicU64::new(0));
        tokio::spawn(run(group, encode, waiting, Arc::clone(&entries)));
        Self { queue, entries }
    }

    /// Entries proposed so far.
    pub(crate) fn entries(&self) -> u64 {
        self.entries.load(Ordering::SeqCst)
    }

    /// Proposes once and waits for the outcome, at most `wait`.
    pub(crate) async fn propose(&self, envelope: Envelope, wait: Duration) -> Result<Outcome, Failure> {
        let invalid = |what: String| Failure::Final(MetaError::Invalid { what });
        let bytes = postcard::experimental::serialized_size(&envelope).map_err(|error| invalid(error.to_string()))?;
        if bytes > COMMAND_BYTES_MAX {
            return Err(invalid(format!("a command of {bytes} bytes, over {COMMAND_BYTES_MAX}")));
        }
        let (answer, answered) = oneshot::channel();
        let taken = Arc::new(AtomicBool::new(false));
        let proposal = Proposal { envelope, bytes, taken: Arc::clone(&taken), answer };
        self.queue.try_send(proposal).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Failure::Busy,
            mpsc::error::TrySendError::Closed(_) => Failure::Final(MetaError::Shutdown),
        })?;
        match timeout(wait, answered).await {
            Ok(Ok(answer)) => answer,
            // Given up before it was taken on, nothing happened and nothing will.
            _ if !taken.swap(true, Ordering::SeqCst) => Err(Failure::NotDone("no leader took the command".to_owned())),
            _ => Err(Failure::Unknown),
        }
    }
}

async fn run(group: Group, encode: EncodeEntry, mut waiting: mpsc::Receiver<Proposal>, entries: Arc<AtomicU64>) {
    let in_flight = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    let mut held = None;
    loop {
        let first = match held.take() {
            Some(first) => first,
            None => match waiting.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        let Ok(permit) = Arc::clone(&in_flight).acquire_owned().await else { return };
        let Ok(raft) = group.leader(WAIT_MAX).await else {
            // The callers give up by themselves, each at its own time; the first one has waited longest.
            drop(first);
            continue;
        };
        let batch = gather(first, &mut waiting, &mut held);
        let (envelopes, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(|p| (p.envelope, p.answer)).unzip();
        if envelopes.is_empty() {
            continue;
        }
        let bytes = match encode(&envelopes) {
            Ok(bytes) => bytes,
            Err(error) => {
                answers.into_iter().for_each(|answer| drop(answer.send(Err(Failure::Final(error.clone())))));
                continue;
            }
        };
        entries.fetch_add(1, Ordering::SeqCst);
        // Sent from here, so that entries keep the order of the queue; awaited elsewhere.
        let sent = raft.client_write_ff(EntryData(bytes.into())).await;
        let group = group.clone();
        tokio::spawn(async move {
            let result = match sent {
                Ok(receiver) => match timeout(WAIT_MAX, receiver).await {
                    Ok(Ok(Ok(response))) => Ok(response.data),
                    Ok(Ok(Err(ClientWriteError::ForwardToLeader(_)))) => Err(group.refused_by_follower()),
                    _ => Err(Failure::Unknown),
                },
                Err(fatal) => Err(Failure::Final(super::member::fatal(&fatal))),
            };
            drop(permit);
            hand_back(result, answers);
        });
    }
}

/// The first proposal and what waits behind it, as much as one entry takes. One that does not fit is held.
fn gather(first: Proposal, waiting: &mut mpsc::Receiver<Proposal>, held: &mut Option<Proposal>) -> Vec<Proposal> {
    let mut bytes = 0;
    let mut batch = Vec::new();
    let mut next = Some(first);
    while let Some(proposal) = next.take() {
        if !batch.is_empty() && bytes + proposal.bytes > ENTRY_BYTES_MAX {
            *held = Some(proposal);
            break;
        }
        if proposal.take() {
            bytes += proposal.bytes;
            batch.push(proposal);
        }
        if batch.len() < COMMANDS_MAX {
            next = waiting.try_recv().ok();
        }
    }
    batch
}

fn hand_back(result: Result<Applied, Failure>, answers: Vec<oneshot::Sender<Result<Outcome, Failure>>>) {
    // A caller who has left needs no answer.
    match result {
        Ok(Applied(outcomes)) if outcomes.len() == answers.len() => {
            for (answer, outcome) in answers.into_iter().zip(outcomes) {
                drop(answer.send(Ok(outcome)));
            }
        }
        Ok(Applied(outcomes)) => {
            let what = format!("an entry of {} commands gave {} outcomes", answers.len(), outcomes.len());
            tracing::error!(what, "the metadata group's rules are broken");
            for answer in answers {
                drop(answer.send(Err(Failure::Final(MetaError::Damaged { what: what.clone() }))));
            }
        }
        Err(failure) => {
            for answer in answers {
                let failure = match &failure {
                    Failure::Busy => Failure::Busy,
                    Failure::NotDone(why) => Failure::NotDone(why.clone()),
                    Failure::Unknown => Failure::Unknown,
                    Failure::Final(error) => Failure::Final(error.clone()),
                };
                drop(answer.send(Err(failure)));
            }
        }
    }
}
