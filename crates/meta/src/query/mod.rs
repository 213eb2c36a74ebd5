//! Reads: every question to the state machine, answered from the rows of one moment.

mod cluster;
mod lists;
mod objects;
mod segments;
mod walk;
mod whole;

pub(crate) use objects::present_object;
pub(crate) use segments::{WriterState, writer_state};

use crate::rows::RowsRead;

/// The questions, over the rows of one moment.
#[derive(Clone, Copy)]
pub struct Query<'a> {
    rows: &'a dyn RowsRead,
}

impl<'a> Query<'a> {
    /// Asks these rows.
    #[must_use]
    pub fn new(rows: &'a dyn RowsRead) -> Self {
        Self { rows }
    }
}

#[cfg(test)]
mod lists_test;
