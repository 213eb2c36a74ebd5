//! The log in memory, for simulation and tests.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use super::backend::{Backend, Ends, MetaKey, Op};

/// A log that ends with its process.
#[derive(Default)]
pub(crate) struct MemoryLog {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: BTreeMap<u64, Vec<u8>>,
    meta: BTreeMap<MetaKey, Vec<u8>>,
}

impl MemoryLog {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backend for MemoryLog {
    fn write(&self, ops: &[Op], _sync: bool) -> io::Result<()> {
        let mut inner = self.lock();
        for op in ops.iter().cloned() {
            match op {
                Op::Put { index, bytes } => {
                    inner.entries.insert(index, bytes);
                }
                Op::TruncateFrom(index) => {
                    inner.entries.split_off(&index);
                }
                Op::PurgeBelow(index) => inner.entries = inner.entries.split_off(&index),
                Op::Meta(key, bytes) => {
                    inner.meta.insert(key, bytes);
                }
            }
        }
        Ok(())
    }

    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<(u64, Vec<u8>)>> {
        let mut left = bytes_max;
        let mut found = Vec::new();
        for (index, bytes) in self.lock().entries.range(range) {
            if !found.is_empty() && bytes.len() > left {
                break;
            }
            left = left.saturating_sub(bytes.len());
            found.push((*index, bytes.clone()));
        }
        Ok(found)
    }

    fn meta(&self, key: MetaKey) -> io::Result<Option<Vec<u8>>> {
        Ok(self.lock().meta.get(&key).cloned())
    }

    fn ends(&self) -> io::Result<Option<Ends>> {
        let inner = self.lock();
        let ends = inner.entries.first_key_value().zip(inner.entries.last_key_value());
        Ok(ends.map(|((first, _), (last, bytes))| Ends { first: *first, last: *last, last_bytes: bytes.clone() }))
    }

    fn open(&self) -> Weak<()> {
        Weak::new()
    }

    fn blocks(&self) -> bool {
        false
    }
}
