//! The border between the state machine and what keeps its rows: ordered keys and values, nothing else.
//!
//! The state machine reads through [`RowsRead`] and leaves its changes in an [`Overlay`]; whoever stores them writes
//! them in one batch together with the applied index. Keys under the byte `0x00` belong to the storing side.

mod memory;
mod overlay;
mod stored;

pub use memory::MemoryRows;
pub use overlay::Overlay;
pub(crate) use stored::{StoredInternalUpload, StoredReference, StoredUpload, StoredWriter};

use std::sync::Arc;

use cairn_proto::{Record, RecordError, decode_record, encode_record};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A change of a row: its key and its new value, none where it was removed.
pub type Change = (Vec<u8>, Option<Vec<u8>>);

/// The version byte of every row this program writes.
pub(crate) const ROW_VERSION: u8 = 1;

/// Why rows could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// The storage failed.
    #[error("rows cannot be read: {0}")]
    Storage(String),
    /// A row is damaged, of a newer version, or contradicts another: this member must stop.
    #[error("damaged row {key}: {why}")]
    Damaged {
        /// The key, printable.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// It is not in memory, and only what is was asked for.
    #[error("not in memory")]
    NotInMemory,
    /// What was asked for was removed since the asker read its name.
    #[error("gone: {0}")]
    Gone(String),
    /// The question makes no sense.
    #[error("invalid question: {0}")]
    Invalid(&'static str),
}

impl RowsError {
    /// A row that contradicts what must hold.
    pub(crate) fn damaged(key: &[u8], why: impl Into<String>) -> Self {
        Self::Damaged { key: key.escape_ascii().to_string(), why: why.into() }
    }

    fn record(key: &[u8], error: &RecordError) -> Self {
        Self::damaged(key, error.to_string())
    }
}

/// Rows in order of key, as of one moment.
pub trait RowsRead: Send + Sync {
    /// The value of a key.
    ///
    /// # Errors
    /// [`RowsError::Storage`] alone.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RowsError>;

    /// Calls `visit` for each row with `from <= key < end`, in order, until it answers false. To seek, stop and scan
    /// again from a later key.
    ///
    /// # Errors
    /// [`RowsError::Storage`] alone.
    fn scan(&self, from: &[u8], end: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), RowsError>;

    /// As [`Self::get`], without waiting for a disk.
    ///
    /// # Errors
    /// [`RowsError::NotInMemory`], [`RowsError::Storage`].
    fn get_in_memory(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RowsError> {
        self.get(key)
    }

    /// As [`Self::scan`], without waiting for a disk; rows may have been visited before it fails.
    ///
    /// # Errors
    /// [`RowsError::NotInMemory`], [`RowsError::Storage`].
    fn scan_in_memory(
        &self,
        from: &[u8],
        end: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), RowsError> {
        self.scan(from, end, visit)
    }
}

/// Rows of which only what is in memory is read.
pub(crate) struct InMemory(pub(crate) Arc<dyn RowsRead>);

impl RowsRead for InMemory {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RowsError> {
        self.0.get_in_memory(key)
    }

    fn scan(&self, from: &[u8], end: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), RowsError> {
        self.0.scan_in_memory(from, end, visit)
    }
}

/// Reads a row as a value, with the tail a newer program may have left.
pub(crate) fn load<T: DeserializeOwned>(rows: &dyn RowsRead, key: &[u8]) -> Result<Option<Record<T>>, RowsError> {
    rows.get(key)?.map(|bytes| decode(key, &bytes)).transpose()
}

/// Reads a row's value alone.
pub(crate) fn load_value<T: DeserializeOwned>(rows: &dyn RowsRead, key: &[u8]) -> Result<Option<T>, RowsError> {
    Ok(load(rows, key)?.map(|record| record.value))
}

/// Decodes a row that was read under `key`.
pub(crate) fn decode<T: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<Record<T>, RowsError> {
    decode_record(ROW_VERSION, bytes).map_err(|error| RowsError::record(key, &error))
}

/// Decodes the first fields of a row that was read under `key`.
pub(crate) fn decode_front<'a, T: Deserialize<'a>>(key: &[u8], bytes: &'a [u8]) -> Result<T, RowsError> {
    cairn_proto::decode_front(ROW_VERSION, bytes).map_err(|error| RowsError::record(key, &error))
}

/// Encodes a row for `key`.
pub(crate) fn encode<T: Serialize>(key: &[u8], record: &Record<T>) -> Result<Vec<u8>, RowsError> {
    encode_record(ROW_VERSION, record).map_err(|error| RowsError::record(key, &error))
}

/// Up to `limit` rows of a range, decoded by `each` (none skips the row).
pub(crate) fn collect<T>(
    rows: &dyn RowsRead,
    from: &[u8],
    end: &[u8],
    limit: usize,
    mut each: impl FnMut(&[u8], &[u8]) -> Result<Option<T>, RowsError>,
) -> Result<Vec<T>, RowsError> {
    let mut found = Vec::new();
    let mut failed = None;
    if limit == 0 {
        return Ok(found);
    }
    rows.scan(from, end, &mut |key, value| {
        match each(key, value) {
            Ok(Some(item)) => found.push(item),
            Ok(None) => {}
            Err(error) => failed = Some(error),
        }
        failed.is_none() && found.len() < limit
    })?;
    failed.map_or(Ok(found), Err)
}
