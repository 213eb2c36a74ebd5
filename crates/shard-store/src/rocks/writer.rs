//! A shard being written to a RocksDB disk.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};

use super::{
    core::Vitals,
    index_thread::IndexOrder,
    log_writer::{Ended, FinishOrder, LogOrder},
    rows::HeaderFields,
};
use crate::{
    FenceReason, Finished, SealedUnit, ShardKey, ShardStoreError, ShardWriter, SpaceUse, WriteMode, checks::Progress,
};

/// Where the units of a writer go.
pub(super) enum Target {
    /// Nowhere: the shard exists.
    Swallow { index: mpsc::Sender<IndexOrder> },
    /// They wait for `finish`, fewer than 64 KiB of them.
    Wal { units: Vec<SealedUnit>, index: mpsc::Sender<IndexOrder> },
    /// Into the group log as they come.
    Log(Stream),
}

/// A stream of the log writer; ends with the writer.
pub(super) struct Stream {
    pub number: u64,
    pub log: mpsc::Sender<LogOrder>,
    pub ended: Arc<Ended>,
    pub is_finished: bool,
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.is_finished {
            self.ended.push(self.number);
            // A full queue wakes the writer by itself.
            let _ = self.log.try_send(LogOrder::Wake);
        }
    }
}

/// The writer of both lanes.
pub(super) struct RocksWriter {
    pub vitals: Arc<Vitals>,
    pub header: HeaderFields,
    pub payload_bytes: u64,
    pub mode: WriteMode,
    pub space: SpaceUse,
    pub progress: Progress,
    pub target: Target,
}

#[async_trait]
impl ShardWriter for RocksWriter {
    async fn write_unit(&mut self, unit: SealedUnit) -> Result<(), ShardStoreError> {
        self.vitals.check_write()?;
        match &mut self.target {
            Target::Swallow { .. } => self.progress.take(&unit),
            Target::Wal { units, .. } => {
                self.vitals.check_space(self.space)?;
                self.progress.take(&unit)?;
                self.vitals.space.spend(unit.payload().len() as u64);
                units.push(unit);
                Ok(())
            }
            Target::Log(stream) => {
                self.vitals.check_space(self.space)?;
                // A call that is cancelled while it waits has taken nothing: the unit counts once it is on its way.
                let place = stream.log.reserve().await.map_err(|_| self.vitals.fenced(FenceReason::Closed))?;
                self.progress.take(&unit)?;
                self.vitals.space.spend(unit.payload().len() as u64);
                place.send(LogOrder::Unit { stream: stream.number, unit });
                Ok(())
            }
        }
    }

    async fn finish(self: Box<Self>) -> Result<Finished, ShardStoreError> {
        self.vitals.check_write()?;
        self.progress.check_whole()?;
        let Self { vitals, header, payload_bytes, mode, target, .. } = *self;
        let (reply, answer) = oneshot::channel();
        let is_sent = match target {
            Target::Swallow { index } => {
                let key: ShardKey = header.key;
                index.send(IndexOrder::Confirm { key, reply }).await.is_ok()
            }
            Target::Wal { units, index } => {
                index.send(IndexOrder::Small { header, payload_bytes, units, mode, reply }).await.is_ok()
            }
            Target::Log(mut stream) => {
                let finish = Box::new(FinishOrder { header, payload_bytes, mode, reply });
                let is_sent = stream.log.send(LogOrder::Finish { stream: stream.number, finish }).await.is_ok();
                stream.is_finished = is_sent;
                is_sent
            }
        };
        if !is_sent {
            return Err(vitals.fenced(FenceReason::Closed));
        }
        answer.await.unwrap_or_else(|_| Err(vitals.fenced(FenceReason::Closed)))
    }
}
