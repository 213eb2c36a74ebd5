//! The one place that writes to the log: a thread that makes one write, and one sync, of all that wait.
//!
//! Votes, appends and truncations pass through the same queue, so the disk sees them in the order Raft gave them.
//! After the first failed write or sync nothing is written any more: what the disk holds is not known then.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use openraft::storage::LogFlushed;
use tokio::sync::{mpsc, oneshot};

use super::backend::{Backend, Op};
use crate::raft::types::Types;

/// Most jobs that wait.
const QUEUE_MAX: usize = 256;
/// Most jobs in one write.
const JOBS_MAX: usize = 64;
/// Most bytes in one write, but for the last job's.
const BYTES_MAX: usize = 4 << 20;

/// Whom to tell when a job is written.
pub(crate) enum Done {
    /// openraft, of an append up to this index.
    Append(u64, LogFlushed<Types>),
    /// A caller who waits.
    Caller(oneshot::Sender<io::Result<()>>),
    /// Nobody.
    Nobody,
}

/// Changes to be written.
pub(crate) struct Job {
    pub(crate) ops: Vec<Op>,
    pub(crate) sync: bool,
    pub(crate) done: Done,
}

/// State that the writer shares with the store.
#[derive(Default)]
struct Progress {
    /// First reason why nothing is written any more.
    poison: OnceLock<String>,
    /// One more than the highest index that was written.
    written_next: AtomicU64,
    /// Synced writes so far.
    syncs: AtomicU64,
}

/// Writes jobs in order.
pub(crate) struct Writer {
    backend: Arc<dyn Backend>,
    progress: Arc<Progress>,
    queue: Option<mpsc::Sender<Job>>,
}

impl Writer {
    /// A writer with a thread of its own where the backend blocks, else without.
    pub(crate) fn start(backend: Arc<dyn Backend>) -> io::Result<Self> {
        let progress = Arc::new(Progress::default());
        let queue = if backend.blocks() {
            let (sender, receiver) = mpsc::channel(QUEUE_MAX);
            let (backend, progress) = (Arc::clone(&backend), Arc::clone(&progress));
            std::thread::Builder::new()
                .name("meta-log".to_owned())
                .spawn(move || run(&*backend, &progress, receiver))?;
            Some(sender)
        } else {
            None
        };
        Ok(Self { backend, progress, queue })
    }

    /// Takes a job; it is written in order. What is told to `done` says how it went.
    pub(crate) async fn submit(&self, job: Job) -> io::Result<()> {
        self.check()?;
        match &self.queue {
            Some(queue) => queue.send(job).await.map_err(|_| io::Error::other("the log's writer has stopped")),
            None => {
                write(&*self.backend, &self.progress, vec![job]);
                Ok(())
            }
        }
    }

    /// Takes a job and waits until it is written.
    pub(crate) async fn write(&self, ops: Vec<Op>, sync: bool) -> io::Result<()> {
        let (sender, receiver) = oneshot::channel();
        self.submit(Job { ops, sync, done: Done::Caller(sender) }).await?;
        receiver.await.map_err(|_| io::Error::other("the log's writer has stopped"))?
    }

    /// Fails if an earlier write failed.
    pub(crate) fn check(&self) -> io::Result<()> {
        self.progress.poison.get().map_or(Ok(()), |why| Err(poisoned(why)))
    }

    /// One more than the highest index that was written.
    pub(crate) fn written_next(&self) -> u64 {
        self.progress.written_next.load(Ordering::SeqCst)
    }

    /// Synced writes so far.
    pub(crate) fn syncs(&self) -> u64 {
        self.progress.syncs.load(Ordering::SeqCst)
    }
}

fn poisoned(why: &str) -> io::Error {
    io::Error::other(format!("the log takes no more writes since one failed: {why}"))
}

fn run(backend: &dyn Backend, progress: &Progress, mut queue: mpsc::Receiver<Job>) {
    while let Some(first) = queue.blocking_recv() {
        let mut bytes: usize = first.ops.iter().map(Op::bytes).sum();
        let mut jobs = vec![first];
        while jobs.len() < JOBS_MAX && bytes < BYTES_MAX {
            let Ok(next) = queue.try_recv() else { break };
            bytes += next.ops.iter().map(Op::bytes).sum::<usize>();
            jobs.push(next);
        }
        write(backend, progress, jobs);
    }
}

/// One write of all the jobs; everybody is told how it went.
fn write(backend: &dyn Backend, progress: &Progress, jobs: Vec<Job>) {
    let sync = jobs.iter().any(|job| job.sync);
    let (ops, dones): (Vec<_>, Vec<_>) = jobs.into_iter().map(|job| (job.ops, job.done)).unzip();
    let result = match progress.poison.get() {
        Some(why) => Err(poisoned(why)),
        None => backend.write(&ops.concat(), sync),
    };
    let failed = result.err().map(|error| error.to_string());
    if let Some(why) = &failed {
        if progress.poison.set(why.clone()).is_ok() {
            tracing::error!(why, "a write to the metadata log failed, it takes no more");
        }
    } else if sync {
        progress.syncs.fetch_add(1, Ordering::SeqCst);
    }
    let result = || failed.as_ref().map_or(Ok(()), |why| Err(io::Error::other(why.clone())));
    for done in dones {
        match done {
            Done::Append(last, callback) => {
                if failed.is_none() {
                    progress.written_next.store(last + 1, Ordering::SeqCst);
                }
                callback.log_io_completed(result());
            }
            // A caller who has left needs no answer.
            Done::Caller(sender) => drop(sender.send(result())),
            Done::Nobody => {}
        }
    }
}
