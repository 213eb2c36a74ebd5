//! Giving space back: dead files are dropped, what lives in mostly dead ones is copied into new ones, small files are
//! merged when there are many, and the WAL lane is compacted where much of it died.
//!
//! All of it in rounds with a bound, since a round holds one of the disk's permits.
//!
//! Crash point D: a file was dropped from the log and its row stands. At the next start the row goes.
//! (`a_dropped_file_that_was_not_forgotten_is_forgotten`) The other order would be worse: a file without a row is
//! taken for one that was never indexed, and its dead shards would come back.

use std::{
    collections::HashSet,
    sync::{PoisonError, TryLockError},
    time::Duration,
};

use tokio::sync::oneshot;

use super::{
    Open,
    core::{CleanLimits, Core, Faults, LaneWalk},
    engine::engine_error,
    index_thread::{IndexOrder, Reply},
    keys::FileId,
    mover::{Move, Mover},
    rows::FileRow,
};
use crate::{Cleaned, FenceReason, ShardStoreError, ShardSummary, Space};

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
    pub(super) fn dead_files(&self) -> Vec<(FileId, FileRow)> {
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
        let may =
            |(file, row): &(&FileId, &FileRow)| unclean.get(file) != Some(&row.live) && !self.pending.holds(**file);
        files.iter().filter(may).map(|(file, row)| (*file, *row)).collect()
    }

    /// Files with units that cannot be read are left alone until what lives in them changes.
    fn leave_unclean(&self, bad: &[FileId]) {
        let mut unclean = self.unclean.lock().unwrap_or_else(PoisonError::into_inner);
        let files = self.index.files();
        unclean.retain(|file, live| files.get(file).is_some_and(|row| row.live == *live));
        unclean.extend(bad.iter().filter_map(|file| Some((*file, files.get(file)?.live))));
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
    core.sync_index().map_err(|reason| core.vitals.fenced(reason))?;
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
    ask_index(open, |reply| IndexOrder::Forget { files: dropped, reply })?;
    Ok(bytes)
}

/// One bounded round. It does nothing while another round is at work, since each that waited would hold a permit that
/// reads need.
pub(super) fn clean(open: &Open) -> Result<Cleaned, ShardStoreError> {
    let core = &open.core;
    let mut cleaning = match core.cleaning.try_lock() {
        Ok(one) => one,
        Err(TryLockError::Poisoned(one)) => one.into_inner(),
        Err(TryLockError::WouldBlock) => return Ok(Cleaned::default()),
    };
    let mut cleaned = Cleaned { bytes_freed: drop_dead_locked(open)?, ..Cleaned::default() };
    let space = core.vitals.space.space();
    // What is copied is twice there for a while, and others write too: a disk that has no room for it keeps what is dead.
    let room = space.bytes_free / 4;
    compact_wal_lane(open, &mut cleaning.lane_walk, room, &mut cleaned)?;
    let files = core.cleanable();
    let (mut victims, mut bytes_max) = (mostly_dead(&files, live_percent_max(space)), core.clean.copy_bytes_max);
    if victims.is_empty() {
        let small = mergeable(&files, core.clean, core.vitals.idle());
        (victims, bytes_max) = (fitting(&small, core.clean.merge_bytes_max), core.clean.merge_bytes_max);
    }
    if !victims.is_empty() {
        let (bad, goes_on) = move_out_of(open, &mut cleaning.counter, &victims, (bytes_max, room))?;
        cleaned.bad = bad;
        cleaned.goes_on |= goes_on;
        // No more than it emptied: what stays would wait for the next delete.
        for _ in 0..=victims.len() / DROPS_MAX {
            cleaned.bytes_freed += drop_dead_locked(open)?;
        }
    }
    Ok(cleaned)
}

/// Gives back what died in the WAL lane, if that is much, and much of the lane: in a walk through the lane, a range of
/// keys a round.
fn compact_wal_lane(
    open: &Open,
    walk: &mut Option<LaneWalk>,
    room: u64,
    cleaned: &mut Cleaned,
) -> Result<(), ShardStoreError> {
    let core = &open.core;
    let (dead, before) = (core.index.wal_dead(), core.index.wal_file_bytes());
    let is_worth_it = dead >= core.clean.wal_dead_bytes_min && dead >= before / 4;
    if room < core.clean.copy_bytes_max.min(dead) || (walk.is_none() && !is_worth_it) {
        return Ok(());
    }
    let LaneWalk { from, dead } = walk.take().unwrap_or_else(|| LaneWalk { from: Vec::new(), dead });
    match core.note(core.index.compact_wal_lane(&from, core.clean.copy_bytes_max))? {
        Some(from) => {
            *walk = Some(LaneWalk { from, dead });
            cleaned.goes_on = true;
        }
        None => ask_index(open, |reply| IndexOrder::Compacted { dead, reply })?,
    }
    cleaned.bytes_freed += before.saturating_sub(core.index.wal_file_bytes());
    Ok(())
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

/// Moves out of files what lives there: so many bytes, one shard at least, but no more than there is room for. Answers
/// the shards that cannot be read, and whether the next round would go on with these files.
fn move_out_of(
    open: &Open,
    counter: &mut u64,
    victims: &[FileId],
    (bytes_max, room): (u64, u64),
) -> Result<(Vec<ShardSummary>, bool), ShardStoreError> {
    let core = &open.core;
    let mut mover = Mover::new(open, victims, counter);
    let (mut copied, mut moved) = (0, HashSet::new());
    let (mut unclean, mut bad, mut goes_on) = (Vec::new(), Vec::new(), false);
    'files: for file in victims {
        for key in core.note(core.index.shards_in(*file, SHARDS_PER_FILE_MAX))? {
            // A shard is moved once a round, out of all victims: a second move would name a header that is replaced.
            if !moved.insert(key) {
                continue;
            }
            let Some(row) = core.row(key)? else { continue };
            let here = row.weights().iter().filter(|(at, _)| victims.contains(at)).map(|(_, bytes)| bytes).sum::<u64>();
            if copied + here > room {
                break 'files;
            }
            if copied > 0 && copied + here > bytes_max {
                goes_on = true;
                break 'files;
            }
            copied += here;
            if let Move::Unreadable(damaged) = mover.move_shard(&row)? {
                unclean.push(damaged);
                bad.push(row.header.to_summary().map_err(engine_error)?);
            }
        }
    }
    mover.finish()?;
    core.leave_unclean(&unclean);
    Ok((bad, goes_on))
}

fn ask_index(open: &Open, order: impl FnOnce(Reply<()>) -> IndexOrder) -> Result<(), ShardStoreError> {
    let closed = || open.core.vitals.fenced(FenceReason::Closed);
    let (reply, answer) = oneshot::channel();
    open.index.blocking_send(order(reply)).map_err(|_| closed())?;
    answer.blocking_recv().unwrap_or_else(|_| Err(closed()))
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
