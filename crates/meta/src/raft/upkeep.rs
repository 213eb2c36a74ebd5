//! What a member does beside its requests: makes its rows durable, keeps its log short, watches its space.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::space::SpaceGuard;
use super::types::Raft;
use crate::log_store::LogGauge;
use crate::state_machine::{StateShared, run};

const TICK: Duration = Duration::from_secs(1);
/// Rows are made durable after so many ticks: what a start replays is bounded by it.
const FLUSH_TICKS: u32 = 3;
/// A snapshot is made after so many bytes of log, however few entries they are.
const LOG_BYTES_MAX: u64 = 256 << 20;
/// So many entries stay in a log that was cut for its bytes.
const ENTRIES_KEPT: u64 = 64;

/// A member's upkeep.
pub(crate) struct Upkeep {
    pub(crate) raft: Raft,
    pub(crate) state: Arc<StateShared>,
    pub(crate) log: LogGauge,
    pub(crate) space: Arc<SpaceGuard>,
}

impl Upkeep {
    /// Runs until it is aborted.
    pub(crate) async fn run(self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut cut_at = None;
        for count in 1_u32.. {
            tick.tick().await;
            self.look(count.is_multiple_of(FLUSH_TICKS)).await;
            cut_at = self.shorten(cut_at).await;
        }
    }

    async fn look(&self, flush: bool) {
        let space = Arc::clone(&self.space);
        let looked = run(&self.state, move |state: &StateShared| {
            space.look()?;
            if flush && state.dirty() {
                state.flush()?;
            }
            Ok::<_, io::Error>(())
        });
        if let Err(error) = looked.await {
            tracing::error!(%error, "the metadata's rows cannot be flushed, or its file system does not answer");
        }
    }

    /// Has a snapshot made when the log has grown; cuts the log once it is there. Returns the index it waits for.
    async fn shorten(&self, cut_at: Option<u64>) -> Option<u64> {
        let Some(wanted) = cut_at else {
            if self.log.appended_bytes(false) < LOG_BYTES_MAX {
                return None;
            }
            self.log.appended_bytes(true);
            let applied = *self.state.applied().borrow();
            return self.raft.trigger().snapshot().await.is_ok().then_some(applied);
        };
        let snapshot = self.state.snapshot_index();
        if snapshot < wanted {
            // Asked again: the one under way when we asked first may have begun before.
            return self.raft.trigger().snapshot().await.is_ok().then_some(wanted);
        }
        // A member that has stopped needs no shorter log.
        let _stopped = self.raft.trigger().purge_log(snapshot.saturating_sub(ENTRIES_KEPT)).await;
        None
    }
}
