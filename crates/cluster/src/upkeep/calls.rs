//! Calls of upkeep to disks: each has a deadline, and a disk that fails or hangs rests by itself.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use cairn_proto::DiskId;
use cairn_shard_store::{ShardStore, ShardStoreError};
use tracing::warn;

use super::rest::Rests;
use crate::disks::Disks;

const FAILED_REST_FIRST: Duration = Duration::from_secs(1);
const FAILED_REST_LONGEST: Duration = Duration::from_secs(30);
/// A disk that hangs costs a whole deadline each time it is asked: it rests longer.
const LATE_REST_FIRST: Duration = Duration::from_secs(10);
const LATE_REST_LONGEST: Duration = Duration::from_secs(60);

/// Why a call brought nothing.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The disk is not in service, is fenced, or rests after a failure: come back when it is there.
    Away,
    /// It did not answer in time.
    Late,
    /// It answered with an error.
    Failed(ShardStoreError),
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Away => f.write_str("the disk is away"),
            Self::Late => f.write_str("the disk did not answer in time"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

/// Calls with a deadline and the disks that rest.
pub(crate) struct DiskCalls {
    failing: Rests<DiskId>,
    late: Rests<DiskId>,
    within: Duration,
}

impl DiskCalls {
    pub(crate) fn new(within: Duration) -> Self {
        Self {
            failing: Rests::new(FAILED_REST_FIRST, FAILED_REST_LONGEST),
            late: Rests::new(LATE_REST_FIRST, LATE_REST_LONGEST),
            within,
        }
    }

    /// Whether a call to the disk would be made now.
    pub(crate) fn reachable(&self, disks: &Disks, disk: DiskId) -> bool {
        disks.up(disk) && !self.failing.rests(&disk) && !self.late.rests(&disk)
    }

    /// Disks are tried again at once: one was attached.
    pub(crate) fn wake_all(&self) {
        self.failing.wake_all();
        self.late.wake_all();
    }

    /// Calls the disk.
    pub(crate) async fn call<T, F>(
        &self,
        disks: &Disks,
        disk: DiskId,
        work: impl FnOnce(Arc<dyn ShardStore>) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, ShardStoreError>>,
    {
        self.call_within(self.within, disks, disk, work).await
    }

    /// Calls the disk for work that may take longer than others.
    pub(crate) async fn call_within<T, F>(
        &self,
        within: Duration,
        disks: &Disks,
        disk: DiskId,
        work: impl FnOnce(Arc<dyn ShardStore>) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, ShardStoreError>>,
    {
        let answer = self.call_slow(within, disks, disk, work).await;
        if matches!(answer, Err(CallError::Late)) {
            if self.late.failed(disk) {
                warn!(%disk, ?within, "a disk does not answer upkeep, it goes on without it");
            }
            disks.note_failure(disk);
        }
        answer
    }

    /// Calls the disk for work that is slow by nature: who is late with it has not failed.
    pub(crate) async fn call_slow<T, F>(
        &self,
        within: Duration,
        disks: &Disks,
        disk: DiskId,
        work: impl FnOnce(Arc<dyn ShardStore>) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, ShardStoreError>>,
    {
        if !self.reachable(disks, disk) {
            return Err(CallError::Away);
        }
        let store = disks.get(disk).ok_or(CallError::Away)?;
        match tokio::time::timeout(within, work(store)).await {
            Ok(Ok(answer)) => {
                self.worked(disk);
                Ok(answer)
            }
            Ok(Err(error)) => Err(self.failed(disk, error)),
            Err(_) => Err(CallError::Late),
        }
    }

    fn worked(&self, disk: DiskId) {
        self.failing.worked(&disk);
        self.late.worked(&disk);
    }

    fn failed(&self, disk: DiskId, error: ShardStoreError) -> CallError {
        match error {
            error if error.is_about_the_call() => {
                self.worked(disk);
                CallError::Failed(error)
            }
            // A disk that takes no writes still answers reads: it does not rest.
            ShardStoreError::Fenced { .. } => CallError::Failed(error),
            error => {
                if self.failing.failed(disk) {
                    warn!(%disk, %error, "a disk fails upkeep, it goes on without it");
                }
                CallError::Failed(error)
            }
        }
    }
}
