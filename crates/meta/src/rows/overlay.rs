//! Changes over rows that are not written yet: what makes a command see the earlier ones of its entry.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::{Change, RowsError, RowsRead};

/// Rows with changes on top. Reads see the changes; a checkpoint lets a refused command leave nothing.
pub struct Overlay<'a> {
    base: &'a dyn RowsRead,
    changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Since the last `begin`, oldest first.
    undo: Vec<Undo>,
}

/// What stood among the changes before one of them.
struct Undo {
    key: Vec<u8>,
    before: Option<Option<Vec<u8>>>,
}

impl<'a> Overlay<'a> {
    /// Nothing changed yet.
    #[must_use]
    pub fn new(base: &'a dyn RowsRead) -> Self {
        Self { base, changes: BTreeMap::new(), undo: Vec::new() }
    }

    /// Sets a row.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.change(key, Some(value));
    }

    /// Removes a row.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.change(key, None);
    }

    fn change(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        let before = self.changes.insert(key.clone(), value);
        self.undo.push(Undo { key, before });
    }

    /// Sets a checkpoint: what was changed up to here stays.
    pub fn begin(&mut self) {
        self.undo.clear();
    }

    /// Back to the checkpoint.
    pub fn rollback(&mut self) {
        while let Some(Undo { key, before }) = self.undo.pop() {
            match before {
                Some(value) => self.changes.insert(key, value),
                None => self.changes.remove(&key),
            };
        }
    }

    /// All changes in order of key.
    #[must_use]
    pub fn into_changes(self) -> Vec<Change> {
        self.changes.into_iter().collect()
    }
}

impl RowsRead for Overlay<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, RowsError> {
        match self.changes.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.base.get(key),
        }
    }

    fn scan(&self, from: &[u8], end: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), RowsError> {
        if from >= end {
            return Ok(());
        }
        let mut changed = self.changes.range::<[u8], _>((Bound::Included(from), Bound::Excluded(end))).peekable();
        let mut stopped = false;
        self.base.scan(from, end, &mut |key, value| {
            while let Some((ours, new)) = changed.next_if(|(ours, _)| ours.as_slice() <= key) {
                let replaces = ours.as_slice() == key;
                if let Some(new) = new
                    && !visit(ours, new)
                {
                    stopped = true;
                    return false;
                }
                if replaces {
                    return true;
                }
            }
            stopped = !visit(key, value);
            !stopped
        })?;
        if stopped {
            return Ok(());
        }
        for (ours, new) in changed {
            if let Some(new) = new
                && !visit(ours, new)
            {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::MemoryRows;
    use super::*;

    fn rows_of(rows: &dyn RowsRead, limit: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut all = Vec::new();
        rows.scan(&[1], &[9], &mut |key, value| {
            all.push((key.to_vec(), value.to_vec()));
            all.len() < limit
        })
        .unwrap();
        all
    }

    fn change() -> impl Strategy<Value = Change> {
        (prop::collection::vec(0..10_u8, 1..3), prop::option::of(prop::collection::vec(any::<u8>(), 0..2)))
    }

    proptest! {
        #[test]
        fn reads_as_if_the_changes_were_written(
            base in prop::collection::vec(change(), 0..30),
            kept in prop::collection::vec(change(), 0..20),
            dropped in prop::collection::vec(change(), 0..20),
            limit in 1..40_usize,
        ) {
            let mut written = MemoryRows::default();
            written.write(base);
            let before = written.clone();
            let mut overlay = Overlay::new(&before);
            let set = |overlay: &mut Overlay<'_>, changes: &[Change]| {
                for (key, value) in changes.iter().cloned() {
                    match value { Some(value) => overlay.put(key, value), None => overlay.delete(key) }
                }
            };
            set(&mut overlay, &kept);
            overlay.begin();
            set(&mut overlay, &dropped);
            overlay.rollback();
            written.write(kept);
            prop_assert_eq!(rows_of(&overlay, limit), rows_of(&written, limit));
            for (key, value) in dropped {
                let _ = value;
                prop_assert_eq!(overlay.get(&key).unwrap(), written.get(&key).unwrap());
            }
            let mut replayed = before.clone();
            replayed.write(overlay.into_changes());
            prop_assert_eq!(replayed, written);
        }
    }
}
