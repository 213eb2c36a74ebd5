//! Giving space back: dead files are dropped, what lives in mostly dead ones is copied into the open file, and small
//! files are merged when there are many.
//!
//! Crash point D: a file was dropped from the log and its row stands. At the next start the row goes.
//! (`a_dropped_file_that_was_not_forgotten_is_forgotten`) The other order would be worse: a file without a row is
//! taken for one that was never indexed, and its dead shards would come back.

use std::{
    collections::HashSet,
    sync::{PoisonError, TryLockError},
    time::Duration,
};

use bytes::Bytes;
use cairn_erasure::StripeLayout;
use tokio::sync::oneshot;

use super::{
    Open,
    core::{CleanLimits, Core, Faults},
    engine::{engine_error, unit_reads},
    index_thread::{FinishKind, IndexOrder},
    keys::FileId,
    log_writer::{FinishOrder, LogOrder, UnitValue},
    read::locate,
    rows::{FileRow, KIND_UNIT, Lane, LogPlace, Place, ShardRow},
};
use crate::{FenceReason, Finished, SealedUnit, ShardStoreError, Space, UnitPlace};

/// Dead files dropped in one call.
const DROPS_MAX: usize = 64;
/// Files copied out of in one call.
const VICTIMS_MAX: usize = 64;
/// Files merged in one call.
const MERGED_MAX: usize = 1024;
/// A disk no client wrote to for so long is idle.
const IDLE_AFTER: Duration = Duration::from_secs(30);
/// More shards than a file can hold at the border of the lanes.
const SHARDS_PER_FILE_MAX: usize = 8192;

impl Core {
    fn dead_files(&self) -> Vec<(FileId, FileRow)> {
        let files = self.index.files();
        let dead = files.iter().filter(|(file, row)| row.live == 0 && !self.pending.holds(**file));
        dead.take(DROPS_MAX).map(|(file, row)| (*file, *row)).collect()
    }

    pub(super) fn has_dead_files(&self) -> bool {
        !self.dead_files().is_empty()
    }

    /// Files that may be copied out of.
    pub(super) fn cleanable(&self) -> Vec<(FileId, FileRow)> {
        let unclean = self.unclean.lock().unwrap_or_else(PoisonError::into_inner);
        let files = self.index.files();
        let files = files.iter().filter(|(file, _)| !unclean.contains(file) && !self.pending.holds(**file));
        files.map(|(file, row)| (*file, *row)).collect()
    }
}

/// Drops files without a live unit, unless the disk is being cleaned: that drops them too, and a delete that waited for
/// it would make the disk look late. Answers their bytes.
pub(super) fn drop_dead_if_free(open: &Open) -> Result<u64, ShardStoreError> {
    match open.core.cleaning.try_lock() {
        Ok(_one_at_a_time) => drop_dead_locked(open),
        Err(TryLockError::Poisoned(_one_at_a_time)) => drop_dead_locked(open),
        Err(TryLockError::WouldBlock) => Ok(0),
    }
}

fn drop_dead_locked(open: &Open) -> Result<u64, ShardStoreError> {
    let core = &open.core;
    core.vitals.check_write()?;
    let dead = core.dead_files();
    if dead.is_empty() {
        return Ok(0);
    }
    // A balance of zero that a power cut takes back would leave rows that name a dropped file.
    core.index.sync()?;
    let (mut dropped, mut bytes) = (Vec::new(), 0);
    for (file, row) in dead {
        let is_gone = core
            .logs
            .drop_file(file, &row)
            .map_err(|e| core.vitals.fail_writes(&format!("drop of a log file: {e}")))?;
        if is_gone {
            dropped.push(file);
            bytes += row.bytes;
        }
    }
    Faults::hit(&core.vitals.faults.after_drop).map_err(engine_error)?;
    let (reply, answer) = oneshot::channel();
    send_index(open, IndexOrder::Forget { files: dropped, reply })?;
    answer.blocking_recv().unwrap_or_else(|_| Err(core.vitals.fenced(FenceReason::Closed)))?;
    Ok(bytes)
}

/// One bounded round. Answers the bytes of the files dropped: none while another round is at work, since each that
/// waited would hold a permit that reads need.
pub(super) fn clean(open: &Open) -> Result<u64, ShardStoreError> {
    let core = &open.core;
    let _one_at_a_time = match core.cleaning.try_lock() {
        Ok(one) => one,
        Err(TryLockError::Poisoned(one)) => one.into_inner(),
        Err(TryLockError::WouldBlock) => return Ok(0),
    };
    let mut freed = drop_all_dead(open)?;
    freed += compact_wal_lane(core)?;
    let files = core.cleanable();
    let space = core.vitals.space.space();
    let (mut victims, mut bytes_max) = (mostly_dead(&files, live_percent_max(space)), core.clean.copy_bytes_max);
    if victims.is_empty() {
        let small = mergeable(&files, core.clean, core.vitals.idle());
        (victims, bytes_max) = (fitting(&small, core.clean.merge_bytes_max), core.clean.merge_bytes_max);
    }
    if !victims.is_empty() {
        move_out_of(open, &victims, bytes_max)?;
        freed += drop_all_dead(open)?;
    }
    Ok(freed)
}

fn drop_all_dead(open: &Open) -> Result<u64, ShardStoreError> {
    let mut freed = 0;
    loop {
        match drop_dead_locked(open)? {
            0 => return Ok(freed),
            bytes => freed += bytes,
        }
    }
}

/// Gives back what died in the WAL lane, if that is much, and much of the lane.
fn compact_wal_lane(core: &Core) -> Result<u64, ShardStoreError> {
    let (dead, before) = (core.index.wal_dead(), core.index.wal_file_bytes());
    if dead < core.clean.wal_dead_bytes_min || dead < before / 4 {
        return Ok(0);
    }
    core.note(core.index.compact_wal_lane())?;
    Ok(before.saturating_sub(core.index.wal_file_bytes()))
}

/// A file with less than so many percent of it live is copied out of. The less space there is, the more copying is
/// worth what it frees: at 90 %, ten bytes for one.
fn live_percent_max(space: Space) -> u64 {
    match space.bytes_free.saturating_mul(100) / space.bytes_total.max(1) {
        0..12 => 90,
        12..20 => 75,
        _ => 50,
    }
}

/// Files that are mostly dead, the deadest first.
fn mostly_dead(files: &[(FileId, FileRow)], live_percent_max: u64) -> Vec<FileId> {
    let living = files.iter().filter(|(_, row)| row.live > 0);
    let mut dead: Vec<_> =
        living.filter(|(_, row)| row.live.saturating_mul(100) < row.bytes.saturating_mul(live_percent_max)).collect();
    dead.sort_by_key(|(_, row)| row.live.saturating_mul(1000) / row.bytes.max(1));
    dead.into_iter().take(VICTIMS_MAX).map(|(file, _)| *file).collect()
}

/// Small files of one size, when they are many and no client writes: the cost of an ingest grows with the files.
pub(super) fn mergeable(
    files: &[(FileId, FileRow)],
    limits: CleanLimits,
    idle: Option<Duration>,
) -> Vec<(FileId, FileRow)> {
    let is_idle = idle.is_none_or(|idle| idle >= IDLE_AFTER);
    let enough = if is_idle { limits.merge_over_files } else { limits.merge_always_over_files };
    let mut from = 0;
    for below in limits.small_file_bytes {
        let of_size = files.iter().filter(|(_, row)| row.live > 0 && (from..below).contains(&row.bytes));
        let of_size: Vec<_> = of_size.copied().collect();
        if of_size.len() > enough {
            return of_size;
        }
        from = below;
    }
    Vec::new()
}

/// As many of them as one call copies, at least two.
fn fitting(small: &[(FileId, FileRow)], bytes_max: u64) -> Vec<FileId> {
    let mut budget = bytes_max;
    let fitting = small.iter().take(MERGED_MAX).take_while(|(_, row)| {
        let fits = row.live <= budget;
        budget = budget.saturating_sub(row.live);
        fits
    });
    let fitting: Vec<_> = fitting.map(|(file, _)| *file).collect();
    if fitting.len() < 2 { Vec::new() } else { fitting }
}

fn move_out_of(open: &Open, victims: &[FileId], bytes_max: u64) -> Result<(), ShardStoreError> {
    let core = &open.core;
    let mut copied = 0;
    let (mut moved, mut answers) = (HashSet::new(), Vec::new());
    'files: for file in victims {
        for key in core.note(core.index.shards_in(*file, SHARDS_PER_FILE_MAX))? {
            // A shard is moved once a round, out of all victims: a second move would name a header that is replaced.
            if !moved.insert(key) {
                continue;
            }
            let Some(row) = core.row(key)? else { continue };
            let here = row.weights().iter().filter(|(at, _)| victims.contains(at)).map(|(_, bytes)| bytes).sum::<u64>();
            if copied > 0 && copied + here > bytes_max {
                break 'files;
            }
            copied += here;
            match move_shard(open, victims, &row)? {
                Move::Begun(answer) => answers.push(answer),
                Move::Unreadable(bad) => {
                    // Its shard is bad; repair replaces it, and then the file can go.
                    core.unclean.lock().unwrap_or_else(PoisonError::into_inner).insert(bad);
                }
                Move::Nothing => {}
            }
        }
    }
    send_log(open, LogOrder::Commit)?;
    for answer in answers {
        answer.blocking_recv().unwrap_or_else(|_| Err(core.vitals.fenced(FenceReason::Closed)))?;
    }
    Ok(())
}

/// How the move of a shard went.
enum Move {
    /// On its way; durable when answered.
    Begun(oneshot::Receiver<Result<Finished, ShardStoreError>>),
    /// A unit in this file cannot be read.
    Unreadable(FileId),
    /// The shard is not in the log.
    Nothing,
}

/// Copies what a shard has in some files into the open one, with a new header.
fn move_shard(open: &Open, victims: &[FileId], row: &ShardRow) -> Result<Move, ShardStoreError> {
    let Lane::Log(place) = &row.lane else { return Ok(Move::Nothing) };
    let header = row.header.to_header().map_err(engine_error)?;
    let layout = crate::checks::check_header(&header)?;
    let places = places_of(place, &layout);
    let here = (0..).zip(&places).filter(|(_, place)| victims.contains(&place.file));
    let here: Vec<_> = here.map(|(stripe, place)| (stripe, place.file)).collect();
    let stream = open.next_stream();
    send_log(open, LogOrder::Begin { stream, places })?;
    for (stripe, file) in here {
        let unit = UnitPlace { key: header.key, stripe, profile: header.profile };
        let Some(entry) = read_entry(&open.core, place, unit) else {
            open.ended.push(stream);
            send_log(open, LogOrder::Wake)?;
            return Ok(Move::Unreadable(file));
        };
        send_log(open, LogOrder::Unit { stream, stripe, value: UnitValue::Entry(entry) })?;
    }
    let (reply, answer) = oneshot::channel();
    let finish = FinishOrder {
        header: row.header.clone(),
        payload_bytes: row.payload_bytes,
        kind: FinishKind::Move { expected: place.header.key },
        origin: Some(place.origin),
        hurry: false,
        reply,
    };
    send_log(open, LogOrder::Finish { stream, finish: Box::new(finish) })?;
    Ok(Move::Begun(answer))
}

/// The places of a shard's units, in order of stripe.
fn places_of(place: &LogPlace, layout: &StripeLayout) -> Vec<Place> {
    let keys = place.runs.iter().flat_map(|run| (0..run.count).map(|at| (run.file_id(), run.key(at))));
    let with_stripe = (0..layout.stripes()).zip(keys);
    with_stripe.map(|(stripe, (file, key))| Place { file, key, bytes: entry_bytes(layout, stripe) }).collect()
}

/// What the entry of a unit weighs: kind byte, unit header, payload.
fn entry_bytes(layout: &StripeLayout, stripe: u32) -> u64 {
    1 + SealedUnit::OVERHEAD_BYTES as u64 + u64::from(layout.unit_bytes(stripe))
}

/// An entry as it stands, if it is sound: cleaning must not give damage a fresh checksum.
fn read_entry(core: &Core, place: &LogPlace, unit: UnitPlace) -> Option<Bytes> {
    let (file, key) = locate(place, unit.stripe)?;
    let log = core.logs.of(file)?;
    let entry = log.get_pinned_opt(key.to_bytes(), &unit_reads());
    let sound = entry.ok().flatten().filter(|entry| {
        let is_unit = |(kind, stored): (&u8, &[u8])| *kind == KIND_UNIT && SealedUnit::inspect(stored) == Ok(unit);
        entry.split_first().is_some_and(is_unit)
    });
    if sound.is_none() {
        tracing::warn!(disk = %core.vitals.id, ?unit, "a unit cannot be copied, its file is not cleaned");
        core.vitals.health.count_error();
    }
    sound.map(|entry| Bytes::copy_from_slice(&entry))
}

fn send_log(open: &Open, order: LogOrder) -> Result<(), ShardStoreError> {
    open.log.blocking_send(order).map_err(|_| open.core.vitals.fenced(FenceReason::Closed))
}

fn send_index(open: &Open, order: IndexOrder) -> Result<(), ShardStoreError> {
    open.index.blocking_send(order).map_err(|_| open.core.vitals.fenced(FenceReason::Closed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rocks::keys::LogKey;

    const LIMITS: CleanLimits = CleanLimits {
        copy_bytes_max: 100,
        merge_bytes_max: 100,
        merge_over_files: 3,
        merge_always_over_files: 5,
        small_file_bytes: [50, 400],
        wal_dead_bytes_min: 0,
    };

    fn files(rows: &[(u64, u64)]) -> Vec<(FileId, FileRow)> {
        let key = |counter| LogKey { start: 1, counter };
        let numbered = (0_u64..).zip(rows);
        numbered
            .map(|(at, (bytes, live))| (FileId(key(at)), FileRow { last: key(at), bytes: *bytes, live: *live }))
            .collect()
    }

    fn numbers(files: &[FileId]) -> Vec<u64> {
        files.iter().map(|file| file.0.counter).collect()
    }

    fn merged(rows: &[(u64, u64)], idle: Option<Duration>) -> Vec<u64> {
        numbers(&fitting(&mergeable(&files(rows), LIMITS, idle), LIMITS.merge_bytes_max))
    }

    #[test]
    fn the_deadest_files_are_cleaned_first() {
        let files = files(&[(100, 49), (100, 50), (100, 10), (100, 0)]);
        assert_eq!(numbers(&mostly_dead(&files, 50)), [2, 0]);
        assert_eq!(numbers(&mostly_dead(&files, 75)), [2, 0, 1]);
    }

    #[test]
    fn the_less_space_the_more_is_copied() {
        let percent = |bytes_free| live_percent_max(Space { bytes_total: 1000, bytes_free });
        assert_eq!([500, 200, 199, 120, 119, 0].map(percent), [50, 50, 75, 75, 90, 90]);
        assert_eq!(live_percent_max(Space { bytes_total: 0, bytes_free: 0 }), 90);
    }

    #[test]
    fn small_files_are_merged_when_they_are_many_and_nobody_writes() {
        assert!(merged(&[(40, 40), (40, 40), (40, 40)], None).is_empty());
        let four = [(40, 40), (60, 60), (40, 40), (40, 20), (40, 20)];
        assert_eq!(merged(&four, None), [0, 2, 3], "as many as a call copies, of one size");
        assert_eq!(merged(&four, Some(IDLE_AFTER)), [0, 2, 3]);
        assert!(merged(&four, Some(Duration::ZERO)).is_empty(), "a client writes");
        assert_eq!(merged(&[(40, 40); 6], Some(Duration::ZERO)), [0, 1], "too many to wait for an idle hour");
    }

    #[test]
    fn merged_files_are_merged_once_more_when_they_are_many() {
        assert!(merged(&[(60, 50), (60, 50), (60, 50)], None).is_empty());
        assert_eq!(merged(&[(60, 50), (60, 50), (60, 50), (60, 50)], None), [0, 1]);
        assert!(merged(&[(400, 50), (400, 50), (400, 50), (400, 50)], None).is_empty(), "large enough");
    }
}
