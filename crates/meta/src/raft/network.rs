//! The voters of one process talk to each other by plain calls. A network between processes will implement the same
//! two traits of openraft.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::error::{Fatal, RPCError, RaftError, RemoteError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetwork, RaftNetworkFactory};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::{EmptyNode, OptionalSend};

use super::types::{Raft, Snapshot, Types, Vote};

/// The voters of this process, by id.
#[derive(Clone, Default)]
pub(crate) struct Network {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    voters: BTreeMap<u64, Raft>,
    cut_off: BTreeSet<u64>,
}

impl Network {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a voter reachable.
    pub(crate) fn join(&self, voter: u64, raft: Raft) {
        self.lock().voters.insert(voter, raft);
    }

    /// Makes a voter unreachable.
    pub(crate) fn leave(&self, voter: u64) {
        self.lock().voters.remove(&voter);
    }

    /// The handle of a voter.
    pub(crate) fn voter(&self, voter: u64) -> Option<Raft> {
        self.lock().voters.get(&voter).cloned()
    }

    /// Cuts a voter off from the others, or joins it again.
    #[cfg(test)]
    pub(crate) fn cut_off(&self, voter: u64, cut: bool) {
        let mut inner = self.lock();
        if cut {
            inner.cut_off.insert(voter)
        } else {
            inner.cut_off.remove(&voter)
        };
    }
}

/// One voter's way to the others.
pub(crate) struct Links {
    pub(crate) network: Network,
    pub(crate) own: u64,
}

impl RaftNetworkFactory<Types> for Links {
    type Network = Link;

    async fn new_client(&mut self, target: u64, _node: &EmptyNode) -> Link {
        Link { network: self.network.clone(), own: self.own, target }
    }
}

/// One voter's way to one other.
pub(crate) struct Link {
    network: Network,
    own: u64,
    target: u64,
}

impl Link {
    fn reach(&self) -> Result<Raft, Unreachable> {
        let inner = self.network.lock();
        let cut = inner.cut_off.contains(&self.own) || inner.cut_off.contains(&self.target);
        let voter = inner.voters.get(&self.target).filter(|_| !cut).cloned();
        voter.ok_or_else(|| {
            let why = format!("voter {} cannot be reached", self.target);
            Unreachable::new(&io::Error::new(io::ErrorKind::NotConnected, why))
        })
    }
}

type CallError = RPCError<u64, EmptyNode, RaftError<u64>>;

impl RaftNetwork<Types> for Link {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, CallError> {
        let voter = self.reach()?;
        voter.append_entries(rpc).await.map_err(|error| RemoteError::new(self.target, error).into())
    }

    async fn vote(&mut self, rpc: VoteRequest<u64>, _option: RPCOption) -> Result<VoteResponse<u64>, CallError> {
        let voter = self.reach()?;
        voter.vote(rpc).await.map_err(|error| RemoteError::new(self.target, error).into())
    }

    /// The snapshot is a folder: the other voter takes what is in it.
    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<u64>, StreamingError<Types, Fatal<u64>>> {
        let voter = self.reach()?;
        tokio::select! {
            closed = cancel => Err(closed.into()),
            installed = voter.install_full_snapshot(vote, snapshot) => {
                installed.map_err(|error| RemoteError::new(self.target, error).into())
            }
        }
    }
}
