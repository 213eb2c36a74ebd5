//! The types openraft is used with. None of them leaves this crate.

use std::io;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::command::Outcome;
use crate::state_machine::SnapshotData;

/// What an entry carries: a batch of envelopes, encoded once by the proposer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct EntryData(pub(crate) Bytes);

/// What applying an entry gave: one outcome for each of its commands, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Applied(pub(crate) Vec<Outcome>);

openraft::declare_raft_types!(
    /// Our choice of types for openraft.
    pub(crate) Types:
        D = EntryData,
        R = Applied,
        NodeId = u64,
        Node = openraft::EmptyNode,
        SnapshotData = SnapshotData,
);

pub(crate) type Entry = openraft::Entry<Types>;
pub(crate) type LogId = openraft::LogId<u64>;
pub(crate) type Vote = openraft::Vote<u64>;
pub(crate) type StorageError = openraft::StorageError<u64>;
pub(crate) type StoredMembership = openraft::StoredMembership<u64, openraft::EmptyNode>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<u64, openraft::EmptyNode>;
pub(crate) type Snapshot = openraft::Snapshot<Types>;
pub(crate) type Raft = openraft::Raft<Types>;

/// First byte of everything encoded here.
const FORMAT: u8 = 1;

/// Encodes a value of openraft's own types, an entry among them, under a version byte.
pub(crate) fn encode<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    postcard::to_extend(value, vec![FORMAT]).map_err(io::Error::other)
}

/// The reverse of [`encode`]; bytes left over are damage.
pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> io::Result<T> {
    match split(bytes)? {
        (value, []) => Ok(value),
        (_, left) => Err(damaged(format!("{} bytes too many", left.len()))),
    }
}

/// The first fields of a value, as many as `T` has.
pub(crate) fn decode_front<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> io::Result<T> {
    Ok(split(bytes)?.0)
}

fn split<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> io::Result<(T, &'a [u8])> {
    match bytes.split_first() {
        Some((&FORMAT, rest)) => postcard::take_from_bytes(rest).map_err(|error| damaged(error.to_string())),
        Some((version, _)) => Err(damaged(format!("version {version}, this program reads {FORMAT}"))),
        None => Err(damaged("empty".to_owned())),
    }
}

fn damaged(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
