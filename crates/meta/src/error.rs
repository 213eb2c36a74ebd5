//! What can go wrong with the metadata group, by what the caller does next.

use std::path::PathBuf;

use crate::command::Refusal;
use crate::raft::space::WRITE_BYTES_MIN;
use crate::rows::RowsError;

/// An error of the metadata group.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MetaError {
    /// The command was committed and refused; it changed nothing.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Nothing happened: no leader, or the queue is full. Try again.
    #[error("the metadata group is not available: {why}")]
    Unavailable {
        /// Why.
        why: String,
    },
    /// The answer never came: the command may have been done, or may still be.
    #[error("the answer of the metadata group never came")]
    Unknown,
    /// Rows or the log are damaged: this member must stop.
    #[error("the metadata is damaged: {what}")]
    Damaged {
        /// What.
        what: String,
    },
    /// The member stopped by itself: a write of its log or its rows failed. It does not come back in this process.
    #[error("the metadata group's member has stopped: {why}")]
    Stopped {
        /// What stopped it.
        why: String,
    },
    /// The metadata's file system is too full for this command.
    #[error(
        "the metadata's file system has {free_bytes} bytes free, and {needed_bytes} are needed {}: make room there or \
         enlarge it",
        purpose(*free_bytes, *needed_bytes)
    )]
    NoSpace {
        /// What is left.
        free_bytes: u64,
        /// What the command needs.
        needed_bytes: u64,
    },
    /// The folder cannot be used; the text says what to do.
    #[error("metadata folder {}: {problem}", folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// What lies in the folder cannot be read, or does not fit together. Nothing was changed.
    #[error(
        "metadata folder {}: {problem}; nothing was changed; put the folder back whole from a copy",
        folder.display()
    )]
    DamagedFolder {
        /// Which.
        folder: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The question or the command makes no sense; nothing happened.
    #[error("invalid: {what}")]
    Invalid {
        /// What.
        what: String,
    },
    /// Only what is in memory was asked for, and this is not: see [`crate::MetaView::fetch`].
    #[error("not in memory")]
    NotInMemory,
    /// What was read about is gone since: read again.
    #[error("gone: {what}")]
    Gone {
        /// What.
        what: String,
    },
    /// The member was shut down.
    #[error("the metadata group's member is shut down")]
    Shutdown,
}

impl MetaError {
    pub(crate) fn unavailable(why: impl Into<String>) -> Self {
        Self::Unavailable { why: why.into() }
    }

    pub(crate) fn folder(folder: &std::path::Path, problem: impl Into<String>) -> Self {
        Self::Folder { folder: folder.to_owned(), problem: problem.into() }
    }

    pub(crate) fn damaged_folder(folder: &std::path::Path, problem: impl Into<String>) -> Self {
        Self::DamagedFolder { folder: folder.to_owned(), problem: problem.into() }
    }
}

impl From<RowsError> for MetaError {
    fn from(error: RowsError) -> Self {
        match error {
            RowsError::Invalid(what) => Self::Invalid { what: what.to_owned() },
            RowsError::Gone(what) => Self::Gone { what },
            RowsError::NotInMemory => Self::NotInMemory,
            RowsError::Storage(_) | RowsError::Damaged { .. } => Self::Damaged { what: error.to_string() },
        }
    }
}

/// Commands that make room need less than those that add.
const fn purpose(free_bytes: u64, needed_bytes: u64) -> &'static str {
    match (needed_bytes > WRITE_BYTES_MIN, free_bytes >= WRITE_BYTES_MIN) {
        (false, _) => "even to delete",
        (true, true) => "to add anything (deletes still work)",
        (true, false) => "to add anything",
    }
}
