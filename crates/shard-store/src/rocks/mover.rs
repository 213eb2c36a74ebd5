//! Moves shards out of files that are cleaned: their units are copied into files of cleaning's own, which are synced here
//! and handed to the committer.
//!
//! Of its own: the file that clients fill is committed whenever one of them is done, and what was merged there would be
//! small files again. And clients wait for the sync of no copy. The keys have a start number of their own, since the
//! ranges of keys of two files must not overlap.

use bytes::Bytes;
use cairn_erasure::StripeLayout;
use tokio::sync::oneshot;

use super::{
    Open,
    core::Core,
    engine::{engine_error, unit_reads},
    index_thread::{FinishKind, LogFinish},
    keys::{FileId, LogKey},
    open_file::OpenFile,
    rows::{KIND_UNIT, Lane, LogHeader, LogPlace, Place, ShardRow, runs_of},
};
use crate::{FenceReason, Finished, SealedUnit, ShardStoreError, UnitPlace, checks::check_header};

/// How the move of a shard went.
pub(super) enum Move {
    /// On its way; durable when the mover has finished.
    Begun,
    /// A unit in this file cannot be read.
    Unreadable(FileId),
    /// The shard is not in the log.
    Nothing,
}

/// The moves of one round. Dropped without [`Mover::finish`], what is in its last file never happened.
pub(super) struct Mover<'a> {
    open: &'a Open,
    victims: &'a [FileId],
    /// Where the keys of the next file begin.
    counter: &'a mut u64,
    file: Option<OpenFile>,
    answers: Vec<oneshot::Receiver<Result<Finished, ShardStoreError>>>,
}

impl<'a> Mover<'a> {
    pub(super) const fn new(open: &'a Open, victims: &'a [FileId], counter: &'a mut u64) -> Self {
        Self { open, victims, counter, file: None, answers: Vec::new() }
    }

    /// Copies what a shard has in the victims, with a new header.
    pub(super) fn move_shard(&mut self, row: &ShardRow) -> Result<Move, ShardStoreError> {
        let Lane::Log(place) = &row.lane else { return Ok(Move::Nothing) };
        let header = row.header.to_header().map_err(engine_error)?;
        let layout = check_header(&header)?;
        let mut places = places_of(place, &layout);
        for (stripe, at) in (0..).zip(&mut places) {
            if !self.victims.contains(&at.file) {
                continue;
            }
            let unit = UnitPlace { key: header.key, stripe, profile: header.profile };
            let Some(entry) = read_entry(&self.open.core, *at, unit) else { return Ok(Move::Unreadable(at.file)) };
            *at = self.append(&entry)?;
        }
        self.append_header(row, place, &places)?;
        if self.file.as_ref().is_some_and(|file| file.bytes() >= self.open.core.file_bytes_max) {
            self.end_file()?;
        }
        Ok(Move::Begun)
    }

    /// Waits until all that was moved is durable.
    pub(super) fn finish(mut self) -> Result<(), ShardStoreError> {
        self.end_file()?;
        for answer in std::mem::take(&mut self.answers) {
            answer.blocking_recv().unwrap_or_else(|_| Err(self.open.core.vitals.fenced(FenceReason::Closed)))?;
        }
        Ok(())
    }

    fn append(&mut self, entry: &[u8]) -> Result<Place, ShardStoreError> {
        let appended = self.open_file().and_then(|file| file.append(entry));
        self.open.core.vitals.space.spend(entry.len() as u64);
        appended.map_err(|e| self.open.core.vitals.fail_append(e))
    }

    fn append_header(&mut self, row: &ShardRow, from: &LogPlace, places: &[Place]) -> Result<(), ShardStoreError> {
        let (expected, runs) = (from.header.key, runs_of(places));
        let record = LogHeader {
            header: row.header.clone(),
            payload_bytes: row.payload_bytes,
            runs: runs.clone(),
            origin: Some(from.origin),
            moved_from: Some(expected),
        };
        let (reply, answer) = oneshot::channel();
        let appended = self.open_file().and_then(|file| {
            let place = LogPlace { runs, header: file.append_header(record)?, origin: from.origin };
            file.finish(LogFinish {
                header: row.header.clone(),
                payload_bytes: row.payload_bytes,
                place,
                kind: FinishKind::Move { expected },
                // All of it is in this one file, which nobody drops before its shards are in the index.
                held: Vec::new(),
                reply,
            });
            Ok(())
        });
        self.answers.push(answer);
        appended.map_err(|e| self.open.core.vitals.fail_append(e))
    }

    fn open_file(&mut self) -> Result<&mut OpenFile, ShardStoreError> {
        let core = &self.open.core;
        core.vitals.check_write()?;
        match self.file {
            Some(ref mut file) => Ok(file),
            None => {
                let first = LogKey { start: core.start + 1, counter: *self.counter };
                Ok(self.file.insert(OpenFile::create(&core.staging(), first)?))
            }
        }
    }

    fn take_file(&mut self) -> Option<OpenFile> {
        let file = self.file.take()?;
        *self.counter = file.next().counter;
        Some(file)
    }

    /// Syncs the file and hands it to the committer.
    fn end_file(&mut self) -> Result<(), ShardStoreError> {
        let Some(mut file) = self.take_file() else { return Ok(()) };
        if file.is_needless() {
            file.discard();
            return Ok(());
        }
        let vitals = &self.open.core.vitals;
        if let Err(e) = file.append_trailer() {
            file.discard();
            return Err(vitals.fail_append(e));
        }
        // The trailer took one more.
        *self.counter = file.next().counter;
        let mut file = file.into_full();
        file.sync().map_err(|detail| vitals.fail_writes(&detail))?;
        self.open.commits.push(file);
        Ok(())
    }
}

impl Drop for Mover<'_> {
    fn drop(&mut self) {
        if let Some(file) = self.take_file() {
            file.discard();
        }
    }
}

/// The places of a shard's units, in order of stripe.
fn places_of(place: &LogPlace, layout: &StripeLayout) -> Vec<Place> {
    let keys = place.runs.iter().flat_map(|run| (0..run.count).map(|at| (run.file_id(), run.key(at))));
    let with_stripe = (0..layout.stripes()).zip(keys);
    with_stripe.map(|(stripe, (file, key))| Place { file, key, bytes: entry_bytes(layout, stripe) }).collect()
}

/// What the entry of a unit weighs: kind byte, unit header, payload.
fn entry_bytes(layout: &StripeLayout, stripe: u32) -> u64 {
    SealedUnit::HEADROOM as u64 + u64::from(layout.unit_bytes(stripe))
}

/// An entry as it stands, if it is sound: cleaning must not give damage a fresh checksum.
fn read_entry(core: &Core, at: Place, unit: UnitPlace) -> Option<Bytes> {
    let log = core.logs.of(at.file)?;
    let entry = log.get_pinned_opt(at.key.to_bytes(), &unit_reads());
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
