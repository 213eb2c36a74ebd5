//! The log writer thread: one growing file, to which all streams append their units as they arrive.
//!
//! When a shard wants to be durable and the committer is free, the file goes to the committer and the next one begins.
//! While the committer is busy the file keeps growing, so that many shards share a commit. A file also ends at
//! 256 MiB.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::mpsc;

use super::{
    core::Core,
    index_thread::{FinishKind, LogFinish, Reply},
    keys::{FileId, LogKey},
    open_file::{CommitQueue, OpenFile},
    rows::{HeaderFields, LogHeader, LogPlace, Place, runs_of},
};
use crate::{Finished, SealedUnit, ShardStoreError, WriteMode};

/// Units that may wait: 4 MiB.
pub(super) const QUEUE_MAX: usize = 16;
/// Orders taken while a file waits to be handed over.
const PATIENCE_ORDERS: u32 = 32;

/// A shard's last word.
#[derive(Debug)]
pub(super) struct FinishOrder {
    pub header: HeaderFields,
    pub payload_bytes: u64,
    pub mode: WriteMode,
    pub reply: Reply<Finished>,
}

/// What the thread does.
#[derive(Debug)]
pub(super) enum LogOrder {
    /// A stream begins.
    Begin {
        stream: u64,
    },
    /// The unit of the next stripe.
    Unit {
        stream: u64,
        unit: SealedUnit,
    },
    /// All units of a stream were sent; its shard wants to be durable.
    Finish {
        stream: u64,
        finish: Box<FinishOrder>,
    },
    /// Something changed beside the queue: a stream ended, the committer is free.
    Wake,
    Close,
}

/// Streams that ended without a finish. Beside the queue, since a dropped writer cannot wait for room in it.
#[derive(Debug, Default)]
pub(super) struct Ended(Mutex<Vec<u64>>);

impl Ended {
    pub(super) fn push(&self, stream: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
    }

    fn take(&self) -> Vec<u64> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[derive(Default)]
struct Stream {
    places: Vec<Place>,
    held: Vec<FileId>,
}

/// The thread's own.
pub(super) struct LogWriter {
    core: Arc<Core>,
    orders: mpsc::Receiver<LogOrder>,
    ended: Arc<Ended>,
    commits: CommitQueue,
    streams: HashMap<u64, Stream>,
    file: Option<OpenFile>,
    /// Where the keys of the next file begin.
    counter: u64,
    wants_commit: bool,
}

impl LogWriter {
    pub(super) fn new(
        core: Arc<Core>,
        orders: mpsc::Receiver<LogOrder>,
        ended: Arc<Ended>,
        commits: CommitQueue,
    ) -> Self {
        Self { core, orders, ended, commits, streams: HashMap::new(), file: None, counter: 0, wants_commit: false }
    }

    /// Runs until told to close or nobody can send orders any more.
    pub(super) fn run(mut self) {
        let mut orders_since = 0;
        loop {
            let order = match self.orders.try_recv() {
                Ok(order) => Some(order),
                Err(_) => {
                    self.hand_over_if_wanted();
                    orders_since = 0;
                    self.orders.blocking_recv()
                }
            };
            match order {
                None | Some(LogOrder::Close) => break,
                Some(order) => self.take(order),
            }
            for stream in self.ended.take() {
                self.end(stream);
            }
            orders_since += 1;
            let is_full = self.file.as_ref().is_some_and(|file| file.bytes() >= self.core.file_bytes_max);
            if is_full {
                self.hand_over();
            } else if orders_since >= PATIENCE_ORDERS {
                self.hand_over_if_wanted();
                orders_since = 0;
            }
        }
        // Shards finished and not committed: their callers see that nobody answers.
        if let Some(file) = self.file.take() {
            file.discard();
        }
    }

    fn take(&mut self, order: LogOrder) {
        match order {
            LogOrder::Begin { stream } => {
                self.streams.insert(stream, Stream::default());
            }
            LogOrder::Unit { stream, unit } => {
                // A stream that ended meanwhile wants nothing written.
                if self.streams.contains_key(&stream)
                    && let Err(e) = self.append_unit(stream, &unit)
                {
                    self.core.vitals.fail_append(e);
                    self.end(stream);
                }
            }
            LogOrder::Finish { stream, finish } => self.finish(stream, *finish),
            LogOrder::Wake | LogOrder::Close => {}
        }
    }

    fn append_unit(&mut self, stream: u64, unit: &SealedUnit) -> Result<(), ShardStoreError> {
        let place = self.open_file()?.append(unit.entry())?;
        let Some(stream) = self.streams.get_mut(&stream) else { return Ok(()) };
        if !stream.held.contains(&place.file) {
            self.core.pending.hold(place.file);
            stream.held.push(place.file);
        }
        stream.places.push(place);
        Ok(())
    }

    /// The file that is being filled; begins one where there is none.
    fn open_file(&mut self) -> Result<&mut OpenFile, ShardStoreError> {
        self.core.vitals.check_write()?;
        match self.file {
            Some(ref mut file) => Ok(file),
            None => {
                let first = LogKey { start: self.core.start, counter: self.counter };
                Ok(self.file.insert(OpenFile::create(&self.core.staging(), first)?))
            }
        }
    }

    fn finish(&mut self, stream: u64, order: FinishOrder) {
        let Some(stream) = self.streams.remove(&stream) else {
            let _ = order.reply.send(Err(ShardStoreError::Invalid("the stream ended")));
            return;
        };
        let FinishOrder { header, payload_bytes, mode, reply } = order;
        let runs = runs_of(&stream.places);
        let record =
            LogHeader { header: header.clone(), payload_bytes, runs: runs.clone(), origin: None, moved_from: None };
        let appended = self.open_file().and_then(|file| Ok((file.append_header(record)?, file)));
        match appended {
            Ok((place, file)) => {
                file.finish(LogFinish {
                    header,
                    payload_bytes,
                    place: LogPlace { runs, header: place, origin: place.key },
                    kind: FinishKind::Write(mode),
                    held: stream.held,
                    reply,
                });
                self.wants_commit = true;
            }
            Err(e) => {
                self.core.pending.release(&stream.held);
                let _ = reply.send(Err(self.core.vitals.fail_append(e)));
            }
        }
    }

    fn end(&mut self, stream: u64) {
        if let Some(stream) = self.streams.remove(&stream) {
            self.core.pending.release(&stream.held);
        }
    }

    fn hand_over_if_wanted(&mut self) {
        if self.wants_commit && self.commits.is_idle() {
            self.hand_over();
        }
    }

    /// Gives the open file to the committer; waits while that has one in work and one before it.
    fn hand_over(&mut self) {
        self.wants_commit = false;
        let Some(mut file) = self.file.take() else { return };
        if let Err(e) = file.append_trailer() {
            self.core.vitals.fail_append(e);
        }
        self.counter = file.next().counter;
        // The committer outlives this thread; it answers all finishes, those of a failed file too.
        self.commits.push(file.into_full());
    }
}
