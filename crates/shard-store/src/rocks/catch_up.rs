//! Reading the log's headers back into the index: after a crash between ingest and index, or for a whole new index.

use std::{collections::BTreeMap, sync::Arc};

use rocksdb::DB;

use super::{
    engine::{engine_error, is_damage, unit_reads},
    index::{Draft, Index},
    keys::{FileId, LogKey},
    rows::{FileRow, KIND_HEADER, KIND_TRAILER, Lane, LogHeader, LogPlace, Place, ShardRow, Trailer, decode},
};
use crate::ShardStoreError;

/// Shards forgotten in one batch.
const PAGE: usize = 1000;

/// A file that an instance of the log has.
#[derive(Clone, Debug)]
pub(super) struct LogFile {
    log: Arc<DB>,
    last: LogKey,
    bytes: u64,
    entries: u64,
}

/// What an instance of the log has, whatever the index says.
pub(super) fn log_files(log: &Arc<DB>) -> Result<BTreeMap<FileId, LogFile>, ShardStoreError> {
    let mut files = BTreeMap::new();
    for file in log.live_files().map_err(engine_error)? {
        if file.column_family_name != "default" {
            continue;
        }
        let key = |bytes: Option<Vec<u8>>| bytes.and_then(|bytes| LogKey::from_slice(&bytes));
        let (Some(first), Some(last)) = (key(file.start_key), key(file.end_key)) else {
            return Err(ShardStoreError::Engine(format!("file {} of the log has foreign keys", file.name)));
        };
        files.insert(
            FileId(first),
            LogFile { log: Arc::clone(log), last, bytes: file.size as u64, entries: file.num_entries },
        );
    }
    Ok(files)
}

/// Whether headers of cleaned shards need their forerunner in the index.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moves {
    /// At a start: a move that the index did not see counts only if nothing happened to the shard since.
    Compared,
    /// In a rebuild there is nothing to compare with.
    Taken,
}

/// Takes in files that are in the log and not in the index. Answers how many headers could not be read.
pub(super) fn catch_up(index: &Index, log_files: &BTreeMap<FileId, LogFile>) -> Result<u64, ShardStoreError> {
    let mut unreadable = 0;
    for (file, found) in log_files {
        if !index.files().contains_key(file) {
            unreadable += take_file(index, log_files, (*file, found), Moves::Compared)?;
        }
    }
    Ok(unreadable)
}

/// Fills an empty index from the log. Answers how many shards it has then.
pub(super) fn rebuild(index: &Index, log_files: &BTreeMap<FileId, LogFile>) -> Result<u64, ShardStoreError> {
    for (file, found) in log_files {
        take_file(index, log_files, (*file, found), Moves::Taken)?;
    }
    Ok(index.counters().shards)
}

fn take_file(
    index: &Index,
    log_files: &BTreeMap<FileId, LogFile>,
    (file, found): (FileId, &LogFile),
    moves: Moves,
) -> Result<u64, ShardStoreError> {
    let (headers, unreadable) = headers_of(file, found)?;
    let mut draft = index.draft();
    // What cannot be read is not known to be dead: the whole file counts as live, it is neither dropped nor cleaned.
    let live = if unreadable > 0 { found.bytes } else { 0 };
    draft.set_file(file, Some(FileRow { last: found.last, bytes: found.bytes, live }));
    for (place, header) in headers {
        if is_in_log(&header, log_files) {
            take_header(&mut draft, place, header, moves)?;
        }
    }
    draft.commit()?;
    if unreadable > 0 {
        tracing::error!(?file, unreadable, "headers in a file of the log cannot be read: their shards are lost here");
    }
    Ok(unreadable)
}

/// A header whose units were dropped is what is left of a dead shard.
fn is_in_log(header: &LogHeader, log_files: &BTreeMap<FileId, LogFile>) -> bool {
    header.runs.iter().all(|run| {
        let file = log_files.get(&run.file_id());
        run.count > 0 && file.is_some_and(|file| run.key(run.count - 1) <= file.last)
    })
}

fn take_header(draft: &mut Draft<'_>, place: Place, header: LogHeader, moves: Moves) -> Result<(), ShardStoreError> {
    let LogHeader { header, payload_bytes, runs, origin, moved_from } = header;
    let (key, origin) = (header.key, origin.unwrap_or(place.key));
    let standing = match draft.row(key)? {
        Some(ShardRow { lane: Lane::Log(standing), .. }) => Some(standing),
        // Of one segment all writes take the same lane; what the index has is the truth.
        Some(ShardRow { lane: Lane::Wal(_), .. }) => return Ok(()),
        None => None,
    };
    let is_wanted = match (moves, moved_from, &standing) {
        (Moves::Compared, Some(expected), standing) => standing.as_ref().is_some_and(|s| s.header.key == expected),
        // The later write of two; of two copies of one write the later.
        (_, _, Some(standing)) => (origin, place.key) > (standing.origin, standing.header.key),
        (_, _, None) => true,
    };
    if is_wanted {
        let lane = Lane::Log(LogPlace { runs, header: place, origin });
        draft.set_row(key, Some(ShardRow { header, payload_bytes, lane }))?;
    }
    Ok(())
}

/// The headers in a file and how many there are that cannot be read.
fn headers_of(file: FileId, found: &LogFile) -> Result<(Vec<(Place, LogHeader)>, u64), ShardStoreError> {
    let counters = trailer_of(found)?.unwrap_or_else(|| {
        // Without a trailer every entry is looked at.
        (file.0.counter..).take(usize::try_from(found.entries).unwrap_or(usize::MAX)).collect()
    });
    let (mut headers, mut unreadable) = (Vec::new(), 0);
    for counter in counters {
        let key = LogKey { start: file.0.start, counter };
        match entry(&found.log, key)? {
            Some((KIND_HEADER, body)) => match decode(&body) {
                Ok(header) => headers.push((Place { file, key, bytes: body.len() as u64 + 1 }, header)),
                Err(_) => unreadable += 1,
            },
            Some(_) => {}
            None => unreadable += 1,
        }
    }
    Ok((headers, unreadable))
}

fn trailer_of(found: &LogFile) -> Result<Option<Vec<u64>>, ShardStoreError> {
    let Some((KIND_TRAILER, body)) = entry(&found.log, found.last)? else { return Ok(None) };
    Ok(decode(&body).ok().map(|trailer: Trailer| trailer.headers))
}

/// An entry of the log; none where it is not there or damaged. A disk that fails to read is an error: it says nothing
/// about what it holds, and is opened again later.
fn entry(log: &DB, key: LogKey) -> Result<Option<(u8, Vec<u8>)>, ShardStoreError> {
    let entry = match log.get_pinned_opt(key.to_bytes(), &unit_reads()) {
        Ok(entry) => entry,
        Err(e) if is_damage(&e) => None,
        Err(e) => return Err(engine_error(e)),
    };
    Ok(entry.and_then(|entry| entry.split_first().map(|(kind, body)| (*kind, body.to_vec()))))
}

/// Forgets files the log does not have: dropped ones whose row stayed, and lost ones together with their shards.
/// Answers how many shards were lost.
pub(super) fn forget_lost_files(index: &Index, log_files: &BTreeMap<FileId, LogFile>) -> Result<u64, ShardStoreError> {
    let missing: Vec<_> = index.files().keys().filter(|file| !log_files.contains_key(file)).copied().collect();
    let mut lost = 0;
    for file in missing {
        loop {
            let shards = index.shards_in(file, PAGE)?;
            let mut draft = index.draft();
            for key in &shards {
                draft.set_row(*key, None)?;
                lost += 1;
            }
            if shards.is_empty() {
                draft.set_file(file, None);
            }
            draft.commit()?;
            if shards.is_empty() {
                break;
            }
        }
    }
    Ok(lost)
}
