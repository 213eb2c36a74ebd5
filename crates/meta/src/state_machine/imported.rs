//! Rows that come from a snapshot in segments instead of from the log, into a folder that has no state yet.

use std::io;

use super::folder::Pointer;
use super::rocks::RocksState;
use super::store::{Rows, StateStore as _};
use super::{HEADER_KEY, Header, StateFolder};
use crate::raft::types::encode;
use crate::rows::Change;

/// A state being filled.
pub(crate) struct ImportedState {
    folder: StateFolder,
    store: RocksState,
}

impl ImportedState {
    /// Begins with nothing.
    pub(crate) fn create(folder: StateFolder) -> io::Result<Self> {
        folder.sweep(None)?;
        let store = RocksState::open(&folder.state(0), true)?;
        Ok(Self { folder, store })
    }

    /// Writes rows; durable with [`Self::finish`].
    pub(crate) fn write(&self, changes: Vec<Change>) -> io::Result<()> {
        self.store.write(changes)
    }

    /// The rows as they are now.
    pub(crate) fn rows(&self) -> Rows {
        self.store.rows()
    }

    /// Where the rows stand.
    pub(crate) fn header(&self) -> io::Result<Header> {
        Header::read(&*self.rows())
    }

    /// Writes rows and where they stand with them.
    pub(crate) fn write_under(&self, mut header: Header, mut changes: Vec<Change>) -> io::Result<()> {
        for change in &changes {
            header.roll(change);
        }
        changes.push((HEADER_KEY.to_vec(), Some(encode(&header)?)));
        self.store.write(changes)
    }

    /// Makes the rows durable, as a snapshot that was installed up to `index`.
    pub(crate) fn finish(&self, index: u64) -> io::Result<()> {
        self.store.flush()?;
        self.folder.switch(Pointer { number: 0, installed: Some(index) })
    }
}
