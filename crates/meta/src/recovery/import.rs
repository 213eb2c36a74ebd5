//! A voter made of a snapshot's rows: the only one of a new life, under an id no voter had.
//!
//! Its log begins, empty, behind an index and a term that are over all of before. Until [`MetaImport::finish`] returned
//! the folder says that it was never formed, and an import that was cut off is begun anew.

use std::io;
use std::path::{Path, PathBuf};

use cairn_proto::Index;
use openraft::{CommittedLeaderId, EmptyNode, LogIdOptionExt, Membership};

use super::export::rows_of;
use super::new_life::{NewLife, begin_life};
use crate::cluster_rows::CLUSTER_VERSION;
use crate::error::MetaError;
use crate::log_store::{LogIdentity, LogStore};
use crate::raft::folder::VoterFolder;
use crate::raft::meta_view::MetaView;
use crate::raft::read_index::View;
use crate::raft::types::{LogId, StoredMembership};
use crate::rows::Overlay;
use crate::state_machine::{Header, ImportedState, StateFolder};

/// Rows that come in.
pub struct MetaImport {
    path: PathBuf,
    cluster_id: u128,
    folder: VoterFolder,
    state: ImportedState,
}

/// What a new life began with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// The index of the snapshot's rows.
    pub snapshot: Index,
    /// The index the life begins at.
    pub index: Index,
    /// The voter whose folder it is.
    pub voter: u64,
}

impl MetaImport {
    /// Begins in a folder that is empty, or was left by an import that was cut off.
    ///
    /// # Errors
    /// [`MetaError::Folder`] where the folder is another's or cannot be written.
    pub fn begin(path: &Path, cluster_id: u128) -> Result<Self, MetaError> {
        let folder = VoterFolder::open(path, cluster_id)?;
        if !folder.forming {
            return Err(MetaError::folder(path, "it holds a member of the group; name an empty folder"));
        }
        let state = ImportedState::create(StateFolder::new(path)).map_err(|error| failed(path, &error))?;
        Ok(Self { path: path.to_owned(), cluster_id, folder, state })
    }

    /// Takes the next piece in.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] for bytes that are no rows.
    pub fn add(&mut self, piece: &[u8]) -> Result<(), MetaError> {
        self.state.write(rows_of(piece)?).map_err(|error| failed(&self.path, &error))
    }

    /// The rows as they are now.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] where they do not say at which index they stand.
    pub fn view(&self) -> Result<MetaView, MetaError> {
        let index = self.header()?.last.index().unwrap_or(0);
        Ok(MetaView::new(View { rows: self.state.rows(), index }))
    }

    fn header(&self) -> Result<Header, MetaError> {
        let header = self.state.header().map_err(|error| failed(&self.path, &error))?;
        if header.last.is_none() {
            return Err(MetaError::Damaged { what: "the snapshot does not say at which index it was made".to_owned() });
        }
        Ok(header)
    }

    /// Begins the life. All rows are in.
    ///
    /// # Errors
    /// [`MetaError::Damaged`] for rows that contradict each other or a newer cairn wrote.
    pub fn begin_life(&mut self, new: NewLife) -> Result<Recovered, MetaError> {
        let version = self.view()?.version()?;
        if version > CLUSTER_VERSION {
            return Err(MetaError::folder(&self.path, newer_version(version)));
        }
        let mut header = self.header()?;
        let snapshot = Index(header.last.index().unwrap_or(0));
        let rows = self.state.rows();
        let mut overlay = Overlay::new(&*rows);
        begin_life(&mut overlay, snapshot, new)?;
        let term = header.last.map_or(0, |last| last.leader_id.term).max(new.ids()) + 1;
        let index = snapshot.0.max(new.ids()) + 1;
        let last = LogId::new(CommittedLeaderId::new(term, new.voter()), index);
        let nodes = std::collections::BTreeMap::from([(new.voter(), EmptyNode {})]);
        let membership = Membership::new(vec![nodes.keys().copied().collect()], nodes);
        header.last = Some(last);
        header.membership = StoredMembership::new(Some(last), membership);
        let changes = overlay.into_changes();
        drop(rows);
        self.state.write_under(header, changes).map_err(|error| failed(&self.path, &error))?;
        Ok(Recovered { snapshot, index: Index(index), voter: new.voter() })
    }

    /// Makes all durable: from now on the folder is the voter's.
    ///
    /// # Errors
    /// [`MetaError::Folder`] where it cannot be written.
    pub fn finish(mut self) -> Result<(), MetaError> {
        let header = self.header()?;
        let path = self.path.clone();
        self.write_all(&header).map_err(|error| failed(&path, &error))
    }

    fn write_all(&mut self, header: &Header) -> io::Result<()> {
        let last = header.last.ok_or_else(|| io::Error::other("the rows have no index"))?;
        self.state.finish(last.index)?;
        let identity = LogIdentity { cluster_id: self.cluster_id, voter: last.leader_id.node_id };
        LogStore::create_behind(&self.folder.log(), identity, last)?;
        self.folder.formed()
    }
}

fn failed(path: &Path, error: &io::Error) -> MetaError {
    MetaError::folder(path, format!("the snapshot cannot be written there: {error}"))
}

/// What a program says that is older than the cluster.
pub(crate) fn newer_version(version: u32) -> String {
    format!(
        "the cluster is at version {version} and this program knows {CLUSTER_VERSION}: a newer cairn ran here; start \
         that one again, or a later one"
    )
}
