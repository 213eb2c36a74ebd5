//! One slot of a segment being written: a task that drives the disk's `ShardWriter`, fed through a short channel.

use std::sync::Arc;

use cairn_proto::{AttachNumber, DiskId};
use cairn_shard_store::{
    Finished, SealedUnit, ShardHeader, ShardStore, ShardStoreError, ShardWriter, SpaceUse, WriteMode,
};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinHandle;

/// Units that may wait for a disk; with the one being written, what a slow disk may be behind.
const WAITING_MAX: usize = 2;
/// Units of one slot that may be in memory: those that wait, the one being written, and the one in hand.
pub(crate) const LANE_UNITS_MAX: u64 = WAITING_MAX as u64 + 2;

enum Step {
    Unit(SealedUnit),
    Finish,
}

/// A disk stopped taking units.
#[derive(Debug)]
pub(super) struct LaneFailed;

/// A slot being written. Dropped, the shard never existed.
pub(super) struct Lane {
    pub(super) disk: DiskId,
    steps: mpsc::Sender<Step>,
    task: Option<JoinHandle<Result<Finished, ShardStoreError>>>,
}

impl Lane {
    /// Begins the shard and starts the task.
    pub(super) async fn begin(store: Arc<dyn ShardStore>, header: ShardHeader) -> Result<Self, ShardStoreError> {
        let disk = store.id();
        let writer = store.begin(header, WriteMode::New, SpaceUse::Client).await?;
        let (steps, waiting) = mpsc::channel(WAITING_MAX);
        Ok(Self { disk, steps, task: Some(tokio::spawn(drive(writer, waiting))) })
    }

    /// Hands over a unit if there is room: gives it back where there is none.
    pub(super) fn offer(&self, unit: SealedUnit) -> Result<Option<SealedUnit>, LaneFailed> {
        match self.steps.try_send(Step::Unit(unit)) {
            Ok(()) => Ok(None),
            Err(TrySendError::Full(Step::Unit(unit))) => Ok(Some(unit)),
            Err(_) => Err(LaneFailed),
        }
    }

    /// Hands over a unit, waiting for room.
    pub(super) async fn send(&self, unit: SealedUnit) -> Result<(), LaneFailed> {
        self.steps.send(Step::Unit(unit)).await.map_err(|_| LaneFailed)
    }

    /// Makes the shard durable.
    pub(super) async fn finish(&mut self) -> Result<(DiskId, AttachNumber), ShardStoreError> {
        // A task that ended before this has its reason to tell below.
        let _handed_over = self.steps.send(Step::Finish).await;
        let task = self.task.as_mut().ok_or(ShardStoreError::Invalid("the shard was finished before"))?;
        let finished = task.await.map_err(|error| ShardStoreError::Engine(error.to_string()))?;
        self.task = None;
        finished.map(|finished| (self.disk, finished.attach))
    }

    /// Why the task ended, for the log; waits for it, so only for a lane that failed.
    pub(super) async fn reason(mut self) -> String {
        match self.task.take() {
            Some(task) if task.is_finished() => match task.await {
                Ok(Err(error)) => error.to_string(),
                Ok(Ok(_)) => "finished early".to_owned(),
                Err(error) => error.to_string(),
            },
            Some(task) => {
                task.abort();
                "late".to_owned()
            }
            None => "finished early".to_owned(),
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

async fn drive(
    mut writer: Box<dyn ShardWriter>,
    mut waiting: mpsc::Receiver<Step>,
) -> Result<Finished, ShardStoreError> {
    while let Some(step) = waiting.recv().await {
        match step {
            Step::Unit(unit) => writer.write_unit(unit).await?,
            Step::Finish => return writer.finish().await,
        }
    }
    Err(ShardStoreError::Invalid("the writer was dropped"))
}
