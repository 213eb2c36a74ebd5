//! The log committer thread: syncs a file, ingests it, and lets its shards come into being. Files of cleaning come
//! synced.
//!
//! Crash points, in order:
//! - A: the file is in `staging`, finished or not. At the next start it is removed; nothing of it was acknowledged.
//!   (`a_file_that_was_not_ingested_leaves_nothing`)
//! - B: the file is in the log and not in the index. At the next start the headers in it bring the index up to the
//!   log's end: its shards exist, whole. (`a_file_that_was_not_indexed_is_caught_up`; a move counts only while the
//!   index still names what it moved: `a_move_that_was_not_indexed_does_not_undo_a_delete`)
//! - D: a file does not read as it was written, and is not in the log: its shards are refused, and so are those of later
//!   files that have units in it. Their headers name a file that is not there, and count for nothing at a start.
//!   (`a_file_that_rots_before_its_commit_is_given_up_alone`)
//! - C: see `index_thread.rs`; E, a new instance of the log: see `logs.rs`.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
        mpsc as std_mpsc,
    },
};

use tokio::sync::{mpsc, oneshot};

use super::{
    core::{Core, Faults},
    index_thread::{IndexOrder, IngestedFile, LogFinish},
    keys::FileId,
    log_writer::LogOrder,
    logs::IngestError,
    open_file::FullFile,
};
use crate::{FenceReason, ShardStoreError};

/// A disk on which so many files rotted before their commit takes no more writes until it is opened again.
pub(super) const DAMAGED_MAX: usize = 16;

/// Runs until nobody can hand files over any more.
pub(super) fn run(
    core: &Arc<Core>,
    files: &std_mpsc::Receiver<FullFile>,
    index: &mpsc::Sender<IndexOrder>,
    wake: &mpsc::WeakSender<LogOrder>,
    waiting: &AtomicUsize,
) {
    let mut damaged = HashSet::new();
    while let Ok(file) = files.recv() {
        commit(core, file, index, &mut damaged);
        waiting.fetch_sub(1, SeqCst);
        // A full queue wakes the writer by itself.
        if let Some(writer) = wake.upgrade() {
            let _ = writer.try_send(LogOrder::Wake);
        }
    }
}

fn commit(core: &Core, mut file: FullFile, index: &mpsc::Sender<IndexOrder>, damaged: &mut HashSet<FileId>) {
    // A disk that failed must not make more shards exist.
    if let Some(reason) = core.vitals.health.write_fence() {
        return refuse(core, file.finishes, &reason);
    }
    match sync_and_ingest(core, &mut file) {
        Ok(()) => {}
        Err(IngestError::Damaged(detail)) => {
            core.vitals.health.count_error();
            let _ = std::fs::remove_file(&file.path);
            damaged.insert(file.id);
            if damaged.len() >= DAMAGED_MAX {
                core.vitals.health.fail_writes(&detail);
            }
            return give_up(core, file.finishes, &detail);
        }
        Err(IngestError::Failed(detail)) => {
            let reason = core.vitals.health.fail_writes(&detail);
            return refuse(core, file.finishes, &reason);
        }
    }
    let FullFile { id, last, bytes, finishes, .. } = file;
    // A header that names units of a file that is not there counts for nothing, now and at a start.
    let (lost, finishes): (Vec<_>, Vec<_>) =
        finishes.into_iter().partition(|finish| finish.place.runs.iter().any(|run| damaged.contains(&run.file_id())));
    give_up(core, lost, "a file with some of the shard's units was damaged");
    let (done, indexed) = oneshot::channel();
    let order = IndexOrder::File { file: IngestedFile { id, last, bytes, finishes }, done };
    match index.blocking_send(order) {
        // Waited for, so that the files keep their order and the next one can gather more shards.
        Ok(()) => drop(indexed.blocking_recv()),
        // The index thread is gone: the disk is being closed.
        Err(mpsc::error::SendError(IndexOrder::File { file, .. })) => refuse(core, file.finishes, &FenceReason::Closed),
        Err(_) => {}
    }
}

fn sync_and_ingest(core: &Core, file: &mut FullFile) -> Result<(), IngestError> {
    file.sync().map_err(IngestError::Failed)?;
    Faults::hit(&core.vitals.faults.before_ingest).map_err(IngestError::Failed)?;
    Faults::hit(&core.vitals.faults.no_space)
        .map_err(|_| IngestError::Failed("No space left on device: While appending to file".to_owned()))?;
    core.logs.ingest(file.id, &file.path, &core.vitals.faults)?;
    Faults::hit(&core.vitals.faults.after_ingest).map_err(IngestError::Failed)
}

/// These shards never existed. The disk itself goes on.
fn give_up(core: &Core, finishes: Vec<LogFinish>, detail: &str) {
    for LogFinish { reply, held, .. } in finishes {
        core.pending.release(&held);
        let _ = reply.send(Err(ShardStoreError::Engine(detail.to_owned())));
    }
}

fn refuse(core: &Core, finishes: Vec<LogFinish>, reason: &FenceReason) {
    for LogFinish { reply, held, .. } in finishes {
        core.pending.release(&held);
        let _ = reply.send(Err(core.vitals.fenced(reason.clone())));
    }
}
