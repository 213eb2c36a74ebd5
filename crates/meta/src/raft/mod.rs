//! Raft as this crate uses it: one member, its proposals, its reads, and what keeps it tidy.
//!
//! ```text
//! MetaHandle -> Proposer (one entry of all that wait) -> openraft -> LogStore, StateMachine
//!            -> ReadIndex (one round for all that wait) -> a view of the rows
//! ```

pub(crate) mod folder;
pub(crate) mod member;
pub(crate) mod meta_view;
pub(crate) mod network;
pub(crate) mod proposer;
pub(crate) mod read_index;
pub(crate) mod space;
pub(crate) mod types;
pub(crate) mod upkeep;

#[cfg(test)]
mod crash_test;
#[cfg(test)]
mod raft_test;
