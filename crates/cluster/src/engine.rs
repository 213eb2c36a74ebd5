//! The engine as the layers above hold it: start, shutdown, and the parts. Its operations are in `ops`.

use std::sync::Arc;

use cairn_meta::{Command, MetaError, MetaHandle, Reply};
use futures_util::future::join_all;

use crate::disks::DiskOpener;
use crate::error::EngineError;
use crate::ids::IdSource;
use crate::options::EngineOptions;
use crate::sealing::ClusterKey;
use crate::shared::Shared;
use crate::start;
use crate::upkeep::{self, UpkeepHandle};

/// The object engine; cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    upkeep: Option<UpkeepHandle>,
}

impl Engine {
    /// Opens the disks, attaches them, opens a writer, makes the first groups and starts upkeep.
    ///
    /// A folder that cannot be taken is left out, with its reason in the log and in the status: the store starts with
    /// the others.
    ///
    /// # Errors
    /// When the metadata group cannot be read or written, or the options are wrong.
    pub async fn start(
        options: EngineOptions,
        key: Arc<ClusterKey>,
        meta: MetaHandle,
        opener: Arc<dyn DiskOpener>,
        ids: Arc<dyn IdSource>,
    ) -> Result<Self, EngineError> {
        let shared = start::start(options, key, meta, opener, ids).await?;
        let upkeep = shared.options.upkeep.then(|| upkeep::start(Arc::clone(&shared)));
        Ok(Self { inner: Arc::new(Inner { shared, upkeep }) })
    }

    /// The metadata group.
    #[must_use]
    pub fn meta(&self) -> &MetaHandle {
        &self.inner.shared.meta
    }

    /// Resolves once a disk shows that the metadata is older than it: nothing must be written or deleted from then on.
    pub async fn behind(&self) -> String {
        self.inner.shared.behind.found().await
    }

    /// Commits what the operator asks for and no writer names, such as a change of an access key. Nothing while no disk was
    /// compared with the metadata: under a copy of before it would be lost.
    ///
    /// # Errors
    /// As [`MetaHandle::propose`].
    pub async fn propose(&self, command: Command) -> Result<Reply, MetaError> {
        self.inner.shared.writer.check_proven()?;
        self.inner.shared.meta.propose(command).await
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.inner.shared
    }

    /// Ends upkeep, waits for running writes up to a limit, says goodbye to the metadata group and closes the disks.
    /// The metadata group itself goes on.
    pub async fn shutdown(&self) {
        if let Some(upkeep) = &self.inner.upkeep {
            upkeep.stop().await;
        }
        let shared = self.shared();
        if tokio::time::timeout(shared.options.shutdown_within, shared.writer.idle()).await.is_err() {
            tracing::warn!(running = shared.writer.running(), "segments are still being written: they are given up");
        }
        if let Err(error) = shared.writer.close().await {
            tracing::warn!(%error, "the writer could not be closed; the next start closes it");
        }
        upkeep::progress::tell_all(shared).await;
        // Side by side: one that hangs does not keep the others from being closed.
        join_all(shared.disks.all().iter().map(|disk| disk.store.close())).await;
    }
}
