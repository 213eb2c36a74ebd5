//! What the log store knows without reading: its ends, its vote, and the newest entries, decoded.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use openraft::LogIdOptionExt;

use crate::raft::types::{Entry, LogId, Vote};

/// Most entries kept decoded.
const ENTRIES_MAX: usize = 4_096;
/// Most bytes of entries kept decoded, but for those not written yet.
const BYTES_MAX: usize = 16 << 20;

/// The log's ends, its vote and its newest entries.
#[derive(Default)]
pub(crate) struct LogCache {
    /// The newest entries without a hole, each with its encoded length; the last one is the log's last.
    entries: VecDeque<(Entry, usize)>,
    bytes: usize,
    /// Index of the first entry there is, or of the next one in a log without any.
    begin: u64,
    pub(crate) last: Option<LogId>,
    pub(crate) purged: Option<LogId>,
    pub(crate) committed: Option<LogId>,
    pub(crate) vote: Option<Vote>,
    /// Bytes appended since the count was last taken.
    pub(crate) appended_bytes: u64,
}

impl LogCache {
    /// A cache of a log with these ends and no entry decoded yet.
    pub(crate) fn new(
        last: Option<LogId>,
        purged: Option<LogId>,
        committed: Option<LogId>,
        vote: Option<Vote>,
    ) -> Self {
        Self { begin: purged.next_index(), last, purged, committed, vote, ..Self::default() }
    }

    /// Puts an entry at the end; `written_next` tells which entries may be forgotten here.
    pub(crate) fn append(&mut self, entry: Entry, bytes: usize, written_next: u64) -> io::Result<()> {
        let index = entry.log_id.index;
        if self.last.is_some() && index != self.last.next_index() {
            let why = format!("entry {index} would leave a hole behind {}", self.last.next_index());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        if self.last.is_none() {
            self.begin = index;
        }
        self.last = Some(entry.log_id);
        self.entries.push_back((entry, bytes));
        self.bytes += bytes;
        self.appended_bytes = self.appended_bytes.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        while self.entries.len() > ENTRIES_MAX || self.bytes > BYTES_MAX {
            let Some((first, bytes)) = self.entries.front() else { break };
            if first.log_id.index >= written_next {
                break;
            }
            self.bytes -= bytes;
            self.entries.pop_front();
        }
        Ok(())
    }

    /// Removes this entry and all behind it. `before` is the id of the entry in front.
    pub(crate) fn truncate(&mut self, index: u64, before: Option<LogId>) {
        while let Some((last, bytes)) = self.entries.back()
            && last.log_id.index >= index
        {
            self.bytes -= bytes;
            self.entries.pop_back();
        }
        self.last = before;
    }

    /// Removes this entry and all in front of it.
    pub(crate) fn purge(&mut self, upto: LogId) {
        while let Some((first, bytes)) = self.entries.front()
            && first.log_id.index <= upto.index
        {
            self.bytes -= bytes;
            self.entries.pop_front();
        }
        self.purged = self.purged.max(Some(upto));
        self.last = self.last.max(self.purged);
        self.begin = self.begin.max(self.purged.next_index());
    }

    /// What there is of a range.
    pub(crate) fn clamp(&self, range: Range<u64>) -> Range<u64> {
        range.start.max(self.begin)..range.end.min(self.last.next_index())
    }

    /// First index that is here; the log's end if none is.
    pub(crate) fn first(&self) -> u64 {
        self.entries.front().map_or_else(|| self.last.next_index(), |(entry, _)| entry.log_id.index)
    }

    /// The entry of an index, if it is here.
    pub(crate) fn get(&self, index: u64) -> Option<&(Entry, usize)> {
        let at = index.checked_sub(self.entries.front()?.0.log_id.index)?;
        self.entries.get(usize::try_from(at).ok()?)
    }
}
