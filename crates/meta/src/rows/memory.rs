//! Rows in memory, for tests and simulation.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Change, RowsError, RowsRead};

/// Ordered rows in memory. A clone is a snapshot: it shares the rows until one side changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryRows {
    rows: Arc<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl MemoryRows {
    /// Writes changes, all at once.
    pub fn write(&mut self, changes: impl IntoIterator<Item = Change>) {
        let rows = Arc::make_mut(&mut self.rows);
        for (key, value) in changes {
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// All rows in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.rows.iter().map(|(key, value)| (key.as_slice(), value.as_slice()))
    }
}

impl RowsRead for MemoryRows {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RowsError> {
        Ok(self.rows.get(key).cloned())
    }

    fn scan(&self, from: &[u8], end: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), RowsError> {
        if from >= end {
            return Ok(());
        }
        for (key, value) in
            self.rows.range::<[u8], _>((std::ops::Bound::Included(from), std::ops::Bound::Excluded(end)))
        {
            if !visit(key, value) {
                break;
            }
        }
        Ok(())
    }
}
