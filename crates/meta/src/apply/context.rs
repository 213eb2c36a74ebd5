//! What a command works with: the rows as its entry left them so far, its place, its origin.

use cairn_proto::{Index, Record, VersionId, WriterId};
use serde::{Serialize, de::DeserializeOwned};

use crate::command::{Envelope, GarbageKey, Origin, Refusal};
use crate::keys::{self, Counter};
use crate::rows::{self, Overlay, RowsError};

/// Why a command ends without a reply.
pub(super) enum Stop {
    /// It is refused and leaves nothing.
    Refused(Refusal),
    /// This member cannot go on.
    Rows(RowsError),
}

impl Stop {
    pub(super) fn invalid(why: impl Into<String>) -> Self {
        Self::Refused(Refusal::Invalid(why.into()))
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<RowsError> for Stop {
    fn from(error: RowsError) -> Self {
        Self::Rows(error)
    }
}

pub(super) type Applied<T> = Result<T, Stop>;

/// Refuses a command whose form is wrong.
pub(super) fn require(holds: bool, why: &str) -> Applied<()> {
    if holds { Ok(()) } else { Err(Stop::invalid(why)) }
}

/// One command's surroundings.
pub(super) struct Context<'a, 'b> {
    pub(super) rows: &'a mut Overlay<'b>,
    pub(super) index: Index,
    ordinal: u32,
    pub(super) now_ms: u64,
    pub(super) origin: Option<Origin>,
    garbage_rows: u32,
}

impl<'a, 'b> Context<'a, 'b> {
    pub(super) fn new(rows: &'a mut Overlay<'b>, index: Index, ordinal: u32, envelope: &Envelope) -> Self {
        Self { rows, index, ordinal, now_ms: envelope.now_ms, origin: envelope.origin, garbage_rows: 0 }
    }

    /// The version this command makes; at most one.
    pub(super) fn version(&self) -> VersionId {
        VersionId { index: self.index, ordinal: self.ordinal }
    }

    /// The writer that sent the command.
    pub(super) fn writer(&self) -> Option<WriterId> {
        self.origin.map(|origin| origin.writer)
    }

    /// A name for a garbage row that no other row ever had.
    pub(super) fn next_garbage_key(&mut self) -> GarbageKey {
        let key = GarbageKey { index: self.index, ordinal: self.ordinal, counter: self.garbage_rows };
        self.garbage_rows += 1;
        key
    }

    pub(super) fn load<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<Record<T>>, RowsError> {
        rows::load(self.rows, key)
    }

    /// Reads a row that another row says is there.
    pub(super) fn expect<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Record<T>, RowsError> {
        self.load(key)?.ok_or_else(|| RowsError::damaged(key, "the row is gone while others name it"))
    }

    pub(super) fn store<T: Serialize>(&mut self, key: Vec<u8>, record: &Record<T>) -> Result<(), RowsError> {
        let bytes = rows::encode(&key, record)?;
        self.rows.put(key, bytes);
        Ok(())
    }

    /// Makes a new row.
    pub(super) fn put<T: Serialize>(&mut self, key: Vec<u8>, value: T) -> Result<(), RowsError> {
        self.store(key, &Record::new(value))
    }

    pub(super) fn counter(&self, counter: Counter) -> Result<u64, RowsError> {
        Ok(rows::load_value(self.rows, &keys::counter(counter))?.unwrap_or(0))
    }

    /// Adds to a counter.
    pub(super) fn add(&mut self, counter: Counter, amount: u64) -> Result<(), RowsError> {
        let now = self.counter(counter)?.checked_add(amount);
        self.set_counter(counter, now)
    }

    /// Takes from a counter.
    pub(super) fn take(&mut self, counter: Counter, amount: u64) -> Result<(), RowsError> {
        let now = self.counter(counter)?.checked_sub(amount);
        self.set_counter(counter, now)
    }

    /// Counts up and gives the new number, for ids that are never used twice.
    pub(super) fn count_up(&mut self, counter: Counter) -> Result<u64, RowsError> {
        self.add(counter, 1)?;
        self.counter(counter)
    }

    fn set_counter(&mut self, counter: Counter, value: Option<u64>) -> Result<(), RowsError> {
        let key = keys::counter(counter);
        let value = value.ok_or_else(|| RowsError::damaged(&key, "the counter leaves its range"))?;
        self.put(key, value)
    }
}
