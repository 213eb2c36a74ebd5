//! What keeps the log: the border between the store's rules and its RocksDB or memory form.

use std::io;
use std::ops::Range;
use std::sync::Weak;

/// One change of the log. A list of them is written all at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Op {
    /// Puts an entry.
    Put {
        /// Its index.
        index: u64,
        /// Encoded.
        bytes: Vec<u8>,
    },
    /// Removes this entry and all behind it.
    TruncateFrom(u64),
    /// Removes all entries under this one.
    PurgeBelow(u64),
    /// Sets a value beside the entries.
    Meta(MetaKey, Vec<u8>),
}

impl Op {
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Put { bytes, .. } | Self::Meta(_, bytes) => bytes.len(),
            Self::TruncateFrom(_) | Self::PurgeBelow(_) => 0,
        }
    }
}

/// Both ends of a log that has entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ends {
    /// Index of the first entry.
    pub(crate) first: u64,
    /// Index of the last entry.
    pub(crate) last: u64,
    /// The last entry, encoded.
    pub(crate) last_bytes: Vec<u8>,
}

/// Values beside the entries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum MetaKey {
    /// Whose log it is: format, cluster and voter.
    Identity,
    /// The vote.
    Vote,
    /// The last entry purged.
    Purged,
    /// The last entry known to be committed.
    Committed,
}

impl MetaKey {
    pub(crate) const fn name(self) -> &'static [u8] {
        match self {
            Self::Identity => b"identity",
            Self::Vote => b"vote",
            Self::Purged => b"purged",
            Self::Committed => b"committed",
        }
    }
}

/// Keeps entries and the values beside them. All calls may block.
pub(crate) trait Backend: Send + Sync + 'static {
    /// Writes all of `ops`, or none; with `sync` they are durable on return.
    fn write(&self, ops: &[Op], sync: bool) -> io::Result<()>;

    /// The entries of a range in order, up to `bytes_max` (at least one, if there is one).
    fn read(&self, range: Range<u64>, bytes_max: usize) -> io::Result<Vec<(u64, Vec<u8>)>>;

    /// A value beside the entries.
    fn meta(&self, key: MetaKey) -> io::Result<Option<Vec<u8>>>;

    /// The first and the last entry there is.
    fn ends(&self) -> io::Result<Option<Ends>>;

    /// Gone once the log is closed.
    fn open(&self) -> Weak<()>;

    /// Whether calls wait for a disk, so that they belong on a thread of their own.
    fn blocks(&self) -> bool;
}
