//! The index thread: all changes of the index, one after another, and one sync for all that wait.
//!
//! Orders are taken as they come, each becomes a batch written without sync, then one `flush_wal(true)` makes all of
//! them durable and only then is anyone answered.
//!
//! Crash points (A and B are in `committer.rs`, D in `clean.rs`):
//! - C: the batch is written, not synced, or synced and not answered. Each batch is whole or absent after a restart;
//!   nothing of it was acknowledged. Covered by the crash test, whose rounds end at any moment.

use std::sync::{Arc, PoisonError, atomic::Ordering::Relaxed};

use cairn_proto::{AttachNumber, Index as MetaIndex, LogPosition};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::{
    core::Core,
    engine::family,
    index::{Draft, IndexError, IndexResult},
    keys::{CF_LOG_STATE, FileId, LogKey, STATE_ANSWERED, STATE_ATTACH, STATE_TOLD},
    rows::{FileRow, HeaderFields, Lane, LogPlace, ShardRow, encode},
};
use crate::{DeleteOrder, FenceReason, Finished, SealedUnit, ShardKey, ShardStoreError, WriteMode};

/// Orders that may wait: with shards of the WAL lane, 4 MiB.
pub(super) const QUEUE_MAX: usize = 64;
/// Orders that share a sync.
const GROUP_MAX: usize = 64;

pub(super) type Reply<T> = oneshot::Sender<Result<T, ShardStoreError>>;

/// How a finished shard meets one that exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FinishKind {
    /// A write.
    Write(WriteMode),
    /// Cleaning: counts only while the index still names the header `expected`.
    Move { expected: LogKey },
}

/// A shard whose header is in a file of the log.
#[derive(Debug)]
pub(super) struct LogFinish {
    pub header: HeaderFields,
    pub payload_bytes: u64,
    pub place: LogPlace,
    pub kind: FinishKind,
    /// Files its stream held.
    pub held: Vec<FileId>,
    pub reply: Reply<Finished>,
}

/// A file that is in the log and not yet in the index.
#[derive(Debug)]
pub(super) struct IngestedFile {
    pub id: FileId,
    pub last: LogKey,
    pub bytes: u64,
    pub finishes: Vec<LogFinish>,
}

/// What the thread does.
#[derive(Debug)]
pub(super) enum IndexOrder {
    /// A WAL-lane shard.
    Small {
        header: HeaderFields,
        payload_bytes: u64,
        units: Vec<SealedUnit>,
        mode: WriteMode,
        reply: Reply<Finished>,
    },
    /// Whether a shard exists, durably.
    Confirm {
        key: ShardKey,
        reply: Reply<Finished>,
    },
    Delete {
        keys: Vec<ShardKey>,
        order: DeleteOrder,
        reply: Reply<u64>,
    },
    /// The shards of a file come into being.
    File {
        file: IngestedFile,
        done: oneshot::Sender<()>,
    },
    /// Files were dropped from the log.
    Forget {
        files: Vec<FileId>,
        reply: Reply<()>,
    },
    /// So many dead bytes of the WAL lane were given back.
    Compacted {
        dead: u64,
        reply: Reply<()>,
    },
    Attach {
        attach: AttachNumber,
        reply: Reply<()>,
    },
    Tell {
        position: LogPosition,
        reply: Reply<()>,
    },
    Close,
}

/// Tells those who wait, with the reason if it failed.
type Answer = Box<dyn FnOnce(&Core, Option<&FenceReason>) + Send>;

/// Runs until told to close or nobody can send orders any more.
pub(super) fn run(core: &Arc<Core>, mut orders: mpsc::Receiver<IndexOrder>) {
    let mut is_open = true;
    while is_open {
        let Some(first) = orders.blocking_recv() else { return };
        let mut group = vec![first];
        while group.len() < GROUP_MAX
            && let Ok(order) = orders.try_recv()
        {
            group.push(order);
        }
        is_open = !group.iter().any(|order| matches!(order, IndexOrder::Close));
        commit_group(core, group);
    }
    // What came after the order to close is dropped: its senders see that nobody answers.
}

fn commit_group(core: &Core, group: Vec<IndexOrder>) {
    let answers: Vec<Answer> = group.into_iter().filter_map(|order| apply(core, order)).collect();
    let failure = match core.vitals.health.write_fence() {
        Some(reason) => Some(reason),
        None => core.sync_index().err(),
    };
    for answer in answers {
        answer(core, failure.as_ref());
    }
}

/// Writes one order's batch. An order that changes nothing but must be answered after the sync is an answer too.
fn apply(core: &Core, order: IndexOrder) -> Option<Answer> {
    match order {
        IndexOrder::Small { header, payload_bytes, units, mode, reply } => {
            let living = core.dead.check(header.key);
            let put = || in_draft(core, |draft| put_small(draft, header, payload_bytes, &units, mode));
            let result = living.and_then(|()| put());
            Some(finished(reply, result))
        }
        IndexOrder::Confirm { key, reply } => {
            let found = in_draft(core, |draft| draft.row(key).map(|row| row.is_some()));
            let result = found.and_then(|found| found.then_some(()).ok_or(ShardStoreError::NotFound { key }));
            Some(finished(reply, result))
        }
        IndexOrder::Delete { keys, order, reply } => {
            let result = delete(core, &keys, order);
            Some(answer(reply, move |_| result))
        }
        IndexOrder::File { file, done } => Some(add_file(core, file, done)),
        IndexOrder::Forget { files, reply } => {
            let result = in_draft(core, |draft| {
                files.iter().for_each(|file| draft.set_file(*file, None));
                Ok(())
            });
            Some(answer(reply, move |_| result))
        }
        IndexOrder::Compacted { dead, reply } => {
            let result = in_draft(core, |draft| {
                draft.lane_compacted(dead);
                Ok(())
            });
            Some(answer(reply, move |_| result))
        }
        IndexOrder::Attach { attach, reply } => {
            let result = in_draft(core, |draft| draft.set_state(STATE_ATTACH, attach));
            Some(answer(reply, move |core| result.map(|()| core.vitals.attach.store(attach.0, Relaxed))))
        }
        IndexOrder::Tell { position, reply } => {
            let result = tell(core, position);
            Some(answer(reply, move |_| result))
        }
        IndexOrder::Close => None,
    }
}

/// Runs a change and writes it. A failed write ends writing; damage of the index is remembered for the next start.
fn in_draft<T>(core: &Core, change: impl FnOnce(&mut Draft<'_>) -> IndexResult<T>) -> Result<T, ShardStoreError> {
    core.vitals.check_write()?;
    let mut draft = core.index.draft();
    let result = change(&mut draft).and_then(|value| draft.commit().map(|()| value));
    result.map_err(|e| match e {
        IndexError::Damaged(detail) => core.vitals.fenced(core.vitals.health.fail_index(&detail)),
        IndexError::Engine(detail) => core.vitals.fail_writes(&detail),
    })
}

fn answer<T: Send + 'static>(
    reply: Reply<T>,
    result: impl FnOnce(&Core) -> Result<T, ShardStoreError> + Send + 'static,
) -> Answer {
    Box::new(move |core, failure| {
        let answer = match failure {
            Some(reason) => Err(core.vitals.fenced(reason.clone())),
            None => result(core),
        };
        // Nobody waits any more: the caller was cancelled, the change stands.
        let _ = reply.send(answer);
    })
}

fn finished(reply: Reply<Finished>, result: Result<(), ShardStoreError>) -> Answer {
    answer(reply, move |core| result.map(|()| Finished { attach: core.vitals.attach() }))
}

fn put_small(
    draft: &mut Draft<'_>,
    header: HeaderFields,
    payload_bytes: u64,
    units: &[SealedUnit],
    mode: WriteMode,
) -> IndexResult<()> {
    let key = header.key;
    if mode == WriteMode::New && draft.row(key)?.is_some() {
        return Ok(());
    }
    let count = u32::try_from(units.len()).map_err(|_| IndexError::Engine("too many units".to_owned()))?;
    draft.set_row(key, Some(ShardRow { header, payload_bytes, lane: Lane::Wal(count) }))?;
    draft.put_units(key, units)
}

fn delete(core: &Core, keys: &[ShardKey], order: DeleteOrder) -> Result<u64, ShardStoreError> {
    let (index, seen) = (order.index, MetaIndex(core.vitals.answered.load(Relaxed)));
    if index < seen {
        return Err(ShardStoreError::StaleOrder { order: index, seen });
    }
    if index != seen {
        keep_in_log(core, STATE_ANSWERED, index)?;
    }
    core.dead.note(keys, order);
    let existed = in_draft(core, |draft| {
        let mut existed = 0;
        for key in keys {
            if draft.row(*key)?.is_some() {
                draft.set_row(*key, None)?;
                existed += 1;
            }
        }
        draft.set_state(STATE_ANSWERED, index)?;
        Ok(existed)
    })?;
    core.vitals.answered.store(index.0, Relaxed);
    Ok(existed)
}

fn tell(core: &Core, position: LogPosition) -> Result<(), ShardStoreError> {
    if position <= core.vitals.told() {
        return Ok(());
    }
    keep_in_log(core, STATE_TOLD, position)?;
    in_draft(core, |draft| draft.set_state(STATE_TOLD, position))?;
    *core.vitals.told.lock().unwrap_or_else(PoisonError::into_inner) = position;
    Ok(())
}

/// What the disk heard of the group the log keeps too, before anything is done by it: an index that is rebuilt must not
/// forget it. Not synced: that would cost a sync each time, for a power cut together with a damaged index and restored
/// metadata.
fn keep_in_log<T: Serialize>(core: &Core, name: &[u8], value: T) -> Result<(), ShardStoreError> {
    let put = || -> Result<(), IndexError> {
        let state = family(core.logs.first(), CF_LOG_STATE)?;
        Ok(core.logs.first().put_cf(state, name, encode(value)?)?)
    };
    put().map_err(|e| core.vitals.fail_writes(&format!("what the group said: {e}")))
}

/// A write of a shard that was ordered dead comes too late. A move of one changes nothing either, and is no error.
fn outcome_of(core: &Core, finish: &LogFinish) -> Result<Finished, ShardStoreError> {
    if matches!(finish.kind, FinishKind::Write(_)) {
        core.dead.check(finish.header.key)?;
    }
    Ok(Finished { attach: core.vitals.attach() })
}

/// The rows of a file's shards, and the file's own, in one batch.
fn add_file(core: &Core, file: IngestedFile, done: oneshot::Sender<()>) -> Answer {
    let IngestedFile { id, last, bytes, finishes } = file;
    let result = in_draft(core, |draft| {
        draft.set_file(id, Some(FileRow { last, bytes, live: 0 }));
        let mut wanted = finishes.iter().filter(|finish| outcome_of(core, finish).is_ok());
        wanted.try_for_each(|finish| put_finish(draft, finish))
    });
    // All of them share the fate of the batch; an error is not to be cloned, its reason is.
    let failure = result.err().map(|error| match error {
        ShardStoreError::Fenced { reason, .. } => reason,
        other => FenceReason::WriteFailed(other.to_string()),
    });
    Box::new(move |core, sync_failure| {
        let failure = failure.as_ref().or(sync_failure);
        for finish in finishes {
            core.pending.release(&finish.held);
            let answer = match failure {
                Some(reason) => Err(core.vitals.fenced(reason.clone())),
                None => outcome_of(core, &finish),
            };
            let _ = finish.reply.send(answer);
        }
        let _ = done.send(());
    })
}

fn put_finish(draft: &mut Draft<'_>, finish: &LogFinish) -> IndexResult<()> {
    let key = finish.header.key;
    let standing = draft.row(key)?;
    let is_wanted = match finish.kind {
        // Written twice at once: the first stands, the second is answered, its units are dead.
        FinishKind::Write(WriteMode::New) => standing.is_none(),
        FinishKind::Write(WriteMode::Replace) => true,
        FinishKind::Move { expected } => {
            matches!(standing, Some(ShardRow { lane: Lane::Log(place), .. }) if place.header.key == expected)
        }
    };
    if !is_wanted {
        return Ok(());
    }
    let lane = Lane::Log(finish.place.clone());
    draft.set_row(key, Some(ShardRow { header: finish.header.clone(), payload_bytes: finish.payload_bytes, lane }))
}
