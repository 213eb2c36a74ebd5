//! All tasks of the gateway: counted, told to stop, and awaited at the end.
//!
//! Stopping has two steps: `stopping` asks for a good end (running requests finish), `abort` drops what still runs.

use std::{future::Future, time::Duration};

use tokio::sync::oneshot;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Cheap handle on the tasks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    stopping: CancellationToken,
    abort: CancellationToken,
}

impl Tasks {
    /// Runs a future until it ends or is aborted.
    pub(crate) fn spawn<F>(&self, work: F)
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        let abort = self.abort.clone();
        self.tracker.spawn(async move {
            tokio::select! {
                biased;
                () = abort.cancelled() => {}
                _ = work => {}
            }
        });
    }

    /// Runs work to its end even if the request that wants it goes away. `None` if it was aborted.
    pub(crate) async fn settle<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let (done, result) = oneshot::channel();
        self.spawn(async move {
            // The request may be gone: the work was still to be done.
            let _ = done.send(work.await);
        });
        result.await.ok()
    }

    /// Resolves when a good end is asked for.
    pub(crate) async fn stopping(&self) {
        self.stopping.cancelled().await;
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Asks for a good end, waits for it up to `within`, then drops what still runs. True if all ended well.
    pub(crate) async fn shutdown(&self, within: Duration) -> bool {
        self.stopping.cancel();
        self.tracker.close();
        let ended = tokio::time::timeout(within, self.tracker.wait()).await.is_ok();
        self.abort.cancel();
        self.tracker.wait().await;
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_waited_for_and_then_dropped() {
        let tasks = Tasks::default();
        let stopping = tasks.clone();
        tasks.spawn(async move { stopping.stopping().await });
        assert!(tasks.shutdown(Duration::from_secs(60)).await);

        let tasks = Tasks::default();
        tasks.spawn(std::future::pending::<()>());
        assert!(!tasks.shutdown(Duration::from_millis(20)).await);
    }

    #[tokio::test]
    async fn settled_work_goes_on_without_its_request() {
        let tasks = Tasks::default();
        let (finish, wait) = oneshot::channel::<()>();
        let (told, end) = oneshot::channel();
        let request = tasks.settle(async move {
            wait.await.unwrap();
            told.send(()).unwrap();
        });
        let mut request = Box::pin(request);
        assert!(futures_util::poll!(&mut request).is_pending());
        drop(request);
        finish.send(()).unwrap();
        end.await.unwrap();
    }
}
