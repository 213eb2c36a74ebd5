//! The way down: what SIGTERM and SIGINT start, in what order parts end, and how long that may take.

use std::{future::Future, time::Duration};

use anyhow::{Context, Result};
use cairn_cluster::Engine;
use cairn_gateway::Gateway;
use cairn_meta::MetaHandle;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// What the engine and the metadata group get after the gateway's limit.
const PARTS_LIMIT: Duration = Duration::from_secs(20);
/// Admin calls and a try to publish that still run when the server stops get this long.
const BACKGROUND_LIMIT: Duration = Duration::from_secs(2);

/// SIGTERM and SIGINT, heard from the first moment on.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Begins to listen.
    pub(crate) fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("listen for signals");
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    /// The next signal's name and number.
    pub(crate) async fn next(&mut self) -> (&'static str, i32) {
        tokio::select! {
            _ = self.terminate.recv() => ("SIGTERM", 15),
            _ = self.interrupt.recv() => ("SIGINT", 2),
        }
    }

    /// SIGHUP, which reads the configuration again instead of ending the process.
    pub(crate) fn hangup() -> Result<Signal> {
        signal(SignalKind::hangup()).context("listen for SIGHUP")
    }

    /// From here on a signal ends the process at once: what was acknowledged is synced, nothing is lost.
    pub(crate) fn end_at_next(mut self) {
        tokio::spawn(async move {
            let (name, number) = self.next().await;
            tracing::warn!(signal = name, "a second signal: ending at once");
            std::process::exit(128 + number);
        });
    }
}

/// What runs, in the order it was started.
pub(crate) struct Parts {
    pub(crate) meta: MetaHandle,
    pub(crate) engine: Option<Engine>,
    pub(crate) gateway: Option<Gateway>,
    pub(crate) keeper: Option<Background>,
    pub(crate) admin: Option<Background>,
}

/// A task that ends when it is told to.
pub(crate) struct Background {
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<()>,
}

impl Background {
    /// Ends it, by force if it takes too long.
    async fn end(self) {
        self.stop.cancel();
        let abort = self.task.abort_handle();
        if timeout(BACKGROUND_LIMIT, self.task).await.is_err() {
            abort.abort();
        }
    }
}

impl Parts {
    /// Ends all in the reverse order, each within its limit. True if all ended by themselves.
    pub(crate) async fn stop(self) -> bool {
        let mut clean = true;
        if let Some(gateway) = self.gateway {
            // Its own limit is the one of running requests.
            gateway.shutdown().await;
            tracing::info!("no request runs any more");
        }
        for background in [self.keeper, self.admin].into_iter().flatten() {
            background.end().await;
        }
        if let Some(engine) = self.engine {
            clean &= within("engine", engine.shutdown()).await.is_some();
        }
        match within("metadata group", self.meta.shutdown()).await {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                tracing::error!(%error, "the metadata group did not end well");
                clean = false;
            }
            None => clean = false,
        }
        clean
    }
}

async fn within<T>(part: &str, work: impl Future<Output = T>) -> Option<T> {
    let ended = timeout(PARTS_LIMIT, work).await.ok();
    if ended.is_none() {
        tracing::error!(part, limit = ?PARTS_LIMIT, "did not end in time");
    }
    ended
}
