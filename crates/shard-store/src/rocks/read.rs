//! Reading units, from whichever lane.

use bytes::Bytes;

use super::{
    core::Core,
    engine::unit_reads,
    index::{Index, IndexError, IndexResult},
    keys::{FileId, LogKey},
    logs::Logs,
    rows::{KIND_UNIT, Lane, LogPlace, ShardRow},
};
use crate::{ShardKey, ShardStoreError, checks::is_sound};

/// Where the unit of a stripe lies in the log: its file and its key.
pub(super) fn locate(place: &LogPlace, stripe: u32) -> Option<(FileId, LogKey)> {
    let mut before = 0_u32;
    for run in &place.runs {
        if stripe - before < run.count {
            return Some((run.file_id(), run.key(stripe - before)));
        }
        before = before.checked_add(run.count).filter(|before| *before <= stripe)?;
    }
    None
}

/// A stored unit, unverified; `None` if it is not there.
pub(super) fn stored_unit(index: &Index, logs: &Logs, row: &ShardRow, stripe: u32) -> IndexResult<Option<Bytes>> {
    let place = match &row.lane {
        Lane::Wal(_) => return Ok(index.wal_unit(row.header.key, stripe)?.map(Bytes::from)),
        Lane::Log(place) => place,
    };
    let Some((file, key)) = locate(place, stripe) else { return Ok(None) };
    let Some(log) = logs.of(file) else { return Ok(None) };
    // An iterator shows the bytes where they were read to; a get would copy them once more.
    let mut entries = log.raw_iterator_opt(unit_reads());
    let key = key.to_bytes();
    entries.seek(key);
    entries.status()?;
    let Some((_, entry)) = entries.item().filter(|(found, _)| *found == key) else { return Ok(None) };
    match entry.split_first() {
        Some((&KIND_UNIT, stored)) => Ok(Some(Bytes::copy_from_slice(stored))),
        _ => Err(IndexError::Damaged("an entry of the log is no unit".to_owned())),
    }
}

impl Core {
    /// A shard's row. Damage of the index ends writing: the next start rebuilds it.
    pub(super) fn row(&self, key: ShardKey) -> Result<Option<ShardRow>, ShardStoreError> {
        self.note(self.index.row(key))
    }

    /// Takes note of what reading the index found.
    pub(super) fn note<T>(&self, result: IndexResult<T>) -> Result<T, ShardStoreError> {
        result.map_err(|error| match error {
            IndexError::Damaged(detail) => {
                self.vitals.health.fail_index(&detail);
                ShardStoreError::Damaged { disk: self.vitals.id, detail }
            }
            IndexError::Engine(detail) => {
                self.vitals.health.count_error();
                self.vitals.health.check_folder();
                ShardStoreError::Engine(detail)
            }
        })
    }

    /// Stored units in order. What cannot be read is `None`, and counted.
    pub(super) fn read_stripes(&self, row: &ShardRow, stripes: std::ops::Range<u32>) -> Vec<Option<Bytes>> {
        stripes.map(|stripe| self.read_stripe(row, stripe)).collect()
    }

    pub(super) fn read_stripe(&self, row: &ShardRow, stripe: u32) -> Option<Bytes> {
        stored_unit(&self.index, &self.logs, row, stripe).unwrap_or_else(|error| {
            tracing::warn!(disk = %self.vitals.id, key = ?row.header.key, stripe, %error, "a unit cannot be read");
            self.vitals.health.count_error();
            self.vitals.health.check_folder();
            None
        })
    }

    /// Units of some stripes. A unit that is missing may have been moved since its row was read, and its file
    /// dropped: then the shard is looked up once more.
    pub(super) fn read_units(
        &self,
        key: ShardKey,
        stripes: std::ops::Range<u32>,
    ) -> Result<Vec<Option<Bytes>>, ShardStoreError> {
        let row = self.row(key)?.ok_or(ShardStoreError::NotFound { key })?;
        if stripes.start > stripes.end || stripes.end > row.unit_count() {
            return Err(ShardStoreError::Invalid("stripes beyond the shard"));
        }
        let mut units = self.read_stripes(&row, stripes.clone());
        if units.iter().any(Option::is_none) {
            let again = self.row(key)?.ok_or(ShardStoreError::NotFound { key })?;
            if again != row && stripes.end <= again.unit_count() {
                units = self.read_stripes(&again, stripes);
            }
        }
        Ok(units)
    }

    /// The stripes of a shard that are bad or missing.
    pub(super) fn scrub(&self, key: ShardKey) -> Result<Vec<u32>, ShardStoreError> {
        let row = self.row(key)?.ok_or(ShardStoreError::NotFound { key })?;
        let header = row.header.to_header().map_err(IndexError::from);
        let header = self.note(header)?;
        let layout = crate::checks::check_header(&header)?;
        let mut bad = Vec::new();
        for stripe in 0..layout.stripes() {
            // One by one, each looked up anew where it is missing: a scrub holds one unit, and no file.
            let unit = match self.read_stripe(&row, stripe) {
                Some(unit) => Some(unit),
                None if stripe < row.unit_count() => self.read_units(key, stripe..stripe + 1)?.pop().flatten(),
                None => None,
            };
            if !unit.is_some_and(|unit| is_sound(&header, stripe, &unit)) {
                bad.push(stripe);
                self.vitals.health.count_error();
            }
        }
        Ok(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rocks::rows::{Place, Run};

    #[test]
    fn stripes_are_found_across_runs() {
        let run = |counter, count| Run { start: 1, file: 0, counter, count, bytes: 0 };
        let key = |counter| LogKey { start: 1, counter };
        let header = Place { file: FileId(key(0)), key: key(30), bytes: 0 };
        let place = LogPlace { runs: vec![run(4, 2), run(9, 1), run(20, 3)], header, origin: key(30) };
        let found: Vec<_> = (0..7).map(|stripe| locate(&place, stripe).map(|(_, key)| key.counter)).collect();
        assert_eq!(found, [Some(4), Some(5), Some(9), Some(20), Some(21), Some(22), None]);
        assert_eq!(locate(&LogPlace { runs: Vec::new(), ..place }, 0), None);
    }
}
