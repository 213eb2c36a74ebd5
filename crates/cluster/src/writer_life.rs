//! Our writer: the life of this process as the metadata group knows it.
//!
//! It counts two lines: segments by sequence, and commands by number. The write watermark is the lowest sequence still
//! being written: what lies under it and was never committed is dead. When the group says the writer is closed (this
//! process was paused, or cut off), what it was writing fails and a new writer is opened.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use cairn_meta::{Command, MetaError, MetaHandle, Origin, Refusal, Reply};
use cairn_proto::{CommandNumber, GroupId, NodeId, SegmentId, Sequence, WriterId};
use tokio::sync::Notify;

use crate::error::EngineError;

struct Life {
    writer: WriterId,
    sequence: Sequence,
    running: BTreeSet<Sequence>,
    number: CommandNumber,
    unanswered: BTreeSet<CommandNumber>,
}

impl Life {
    fn new(writer: WriterId) -> Self {
        Self {
            writer,
            sequence: Sequence(1),
            running: BTreeSet::new(),
            number: CommandNumber(1),
            unanswered: BTreeSet::new(),
        }
    }
}

/// The writer of this process.
pub(crate) struct WriterLife {
    meta: MetaHandle,
    node: NodeId,
    life: Mutex<Life>,
    opening: tokio::sync::Mutex<()>,
    released: Notify,
    /// Said goodbye: no other writer is opened.
    gone: AtomicBool,
    /// No disk showed yet that the metadata is not a copy of before (`start/behind.rs`): what such a copy acknowledged
    /// would be lost with it.
    unproven: AtomicBool,
}

impl WriterLife {
    /// Opens a writer, which closes the earlier one of this node. It commits nothing while `unproven`.
    pub(crate) async fn open(meta: MetaHandle, node: NodeId, unproven: bool) -> Result<Self, EngineError> {
        let writer = open_writer(&meta, node).await?;
        let life = Mutex::new(Life::new(writer));
        let (opening, released, gone) = (tokio::sync::Mutex::default(), Notify::new(), AtomicBool::new(false));
        Ok(Self { meta, node, life, opening, released, gone, unproven: AtomicBool::new(unproven) })
    }

    /// A disk was compared with the metadata, which is not older.
    pub(crate) fn prove(&self) {
        self.unproven.store(false, Ordering::SeqCst);
    }

    /// Fails while no disk was.
    pub(crate) fn check_proven(&self) -> Result<(), MetaError> {
        if self.unproven.load(Ordering::SeqCst) {
            let why = "none of the store's disks has been seen since the start: bring one back".to_owned();
            return Err(MetaError::Unavailable { why });
        }
        Ok(())
    }

    /// The writer's id now.
    pub(crate) fn id(&self) -> WriterId {
        self.lock().writer
    }

    /// The writer and its lowest sequence still being written.
    pub(crate) fn watermark(&self) -> (WriterId, Sequence) {
        let life = self.lock();
        (life.writer, life.running.first().copied().unwrap_or(life.sequence))
    }

    /// How many segments are being written.
    pub(crate) fn running(&self) -> usize {
        self.lock().running.len()
    }

    /// Waits until no segment is being written.
    pub(crate) async fn idle(&self) {
        loop {
            let released = self.released.notified();
            if self.running() == 0 {
                return;
            }
            released.await;
        }
    }

    /// The segment that will be begun next: over all that were.
    pub(crate) fn next_segment(&self) -> SegmentId {
        let life = self.lock();
        SegmentId { group: GroupId::ONLY, writer: life.writer, sequence: life.sequence }
    }

    /// Counts up a segment of the present writer. It is being written until the guard is dropped.
    pub(crate) fn begin_segment(self: &Arc<Self>) -> RunningSegment {
        let mut life = self.lock();
        let sequence = life.sequence;
        life.sequence = sequence.next();
        life.running.insert(sequence);
        let id = SegmentId { group: GroupId::ONLY, writer: life.writer, sequence };
        drop(life);
        RunningSegment { life: Arc::clone(self), id }
    }

    /// Commits a command of the present writer.
    pub(crate) async fn commit(&self, command: Command) -> Result<Reply, MetaError> {
        let writer = self.id();
        self.commit_as(writer, command).await
    }

    /// Commits a command that brings in segments of `writer`. A command is never moved to another writer: where it is
    /// closed, a new one is opened for what comes after, and this command stays refused.
    pub(crate) async fn commit_as(&self, writer: WriterId, command: Command) -> Result<Reply, MetaError> {
        if self.gone.load(Ordering::SeqCst) {
            return Err(MetaError::Shutdown);
        }
        self.check_proven()?;
        let Some(running) = self.begin_command(writer) else {
            return Err(MetaError::Refused(Refusal::WriterClosed));
        };
        let answer = self.meta.commit(running.origin, command).await;
        drop(running);
        // A line of numbers that the group calls too old belongs to a writer it has long closed.
        if matches!(answer, Err(MetaError::Refused(Refusal::WriterClosed | Refusal::CommandTooOld))) {
            self.reopen(writer).await?;
        }
        answer
    }

    /// Opens a new writer in place of a closed one; of many that ask, one does it.
    async fn reopen(&self, closed: WriterId) -> Result<(), MetaError> {
        let _opening = self.opening.lock().await;
        if self.id() != closed || self.gone.load(Ordering::SeqCst) {
            return Ok(());
        }
        let writer = open_writer(&self.meta, self.node).await?;
        tracing::warn!(%closed, %writer, "the metadata group closed our writer: running writes fail, a new one was opened");
        *self.lock() = Life::new(writer);
        self.released.notify_waiters();
        Ok(())
    }

    /// Says goodbye: what was not committed is dead at once.
    pub(crate) async fn close(&self) -> Result<(), MetaError> {
        self.gone.store(true, Ordering::SeqCst);
        let _opening = self.opening.lock().await;
        self.meta.propose(Command::CloseWriter { writer: self.id() }).await.map(|_| ())
    }

    fn begin_command(&self, writer: WriterId) -> Option<RunningCommand<'_>> {
        let mut life = self.lock();
        if life.writer != writer {
            return None;
        }
        let number = life.number;
        life.number = number.next();
        life.unanswered.insert(number);
        let lowest_unanswered = life.unanswered.first().copied().unwrap_or(number);
        Some(RunningCommand { life: self, origin: Origin { writer, number, lowest_unanswered } })
    }

    fn lock(&self) -> MutexGuard<'_, Life> {
        self.life.lock().expect("no holder of this lock panics")
    }
}

async fn open_writer(meta: &MetaHandle, node: NodeId) -> Result<WriterId, MetaError> {
    match meta.propose(Command::OpenWriter { node }).await? {
        Reply::Writer(writer) => Ok(writer),
        _ => Err(MetaError::Refused(Refusal::Invalid("OpenWriter was answered without a writer".to_owned()))),
    }
}

/// A command without its answer; results are kept by the group until this is dropped.
struct RunningCommand<'a> {
    life: &'a WriterLife,
    origin: Origin,
}

impl Drop for RunningCommand<'_> {
    fn drop(&mut self) {
        let mut life = self.life.lock();
        if life.writer == self.origin.writer {
            life.unanswered.remove(&self.origin.number);
        }
    }
}

/// A segment that is being written; it holds the write watermark under it until dropped.
pub(crate) struct RunningSegment {
    life: Arc<WriterLife>,
    id: SegmentId,
}

impl RunningSegment {
    /// The segment.
    pub(crate) fn id(&self) -> SegmentId {
        self.id
    }
}

impl Drop for RunningSegment {
    fn drop(&mut self) {
        let mut life = self.life.lock();
        if life.writer == self.id.writer {
            life.running.remove(&self.id.sequence);
        }
        drop(life);
        self.life.released.notify_waiters();
    }
}
