//! The pages under `/-/`, which need no signature: ready, live and metrics. No bucket can be called `-`.
//!
//! *Live* is a process that answers: one that is not is to be restarted. *Ready* is one that can serve requests: one
//! that is not gets none for now, and a restart would not help it.

use cairn_cluster::Service;
use cairn_s3::{ALLOWED_METHODS, S3Error, S3ErrorCode};
use http::{Method, StatusCode};

use crate::{
    call::Shared,
    respond::{self, Answer},
};

/// Where they are.
pub(crate) const PAGES: &str = "/-/";
const PLAIN: &str = "text/plain; charset=utf-8";
const METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The page's name, for metrics and the log.
pub(crate) fn name(path: &str) -> &'static str {
    match path {
        "/-/ready" => "Ready",
        "/-/live" => "Live",
        "/-/metrics" => "Metrics",
        _ => "Unknown",
    }
}

/// Answers one.
///
/// # Errors
/// There is no such page, or not for this method.
pub(crate) async fn answer(shared: &Shared, method: &Method, path: &str) -> Result<Answer, S3Error> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(S3Error::from(S3ErrorCode::MethodNotAllowed)
            .with("Method", method.as_str())
            .with(ALLOWED_METHODS, "GET, HEAD"));
    }
    match path {
        "/-/ready" => Ok(ready(shared).await),
        "/-/live" => Ok(respond::text(StatusCode::OK, "live\n", PLAIN)),
        "/-/metrics" if shared.options.metrics => Ok(metrics(shared).await),
        _ => Err(S3Error::new(S3ErrorCode::NoSuchKey, "there is no such page")),
    }
}

/// Ready is who is not about to stop, can read the metadata group, and has disks enough to read or write something.
async fn ready(shared: &Shared) -> Answer {
    let refused = |why| respond::text(StatusCode::SERVICE_UNAVAILABLE, why, PLAIN);
    if shared.tasks.is_stopping() {
        return refused("stopping\n");
    }
    if let Err(error) = shared.engine.meta().read().await {
        tracing::debug!(%error, "not ready");
        return refused("the metadata group does not answer\n");
    }
    let engine = shared.engine.clone();
    match tokio::task::spawn_blocking(move || engine.service()).await {
        Ok(Service { writable: true, .. }) => respond::text(StatusCode::OK, "ready\n", PLAIN),
        Ok(Service { readable: true, .. }) => respond::text(StatusCode::OK, "ready, reading only\n", PLAIN),
        Ok(_) => refused("too few disks are in service\n"),
        Err(_) => refused("stopping\n"),
    }
}

async fn metrics(shared: &Shared) -> Answer {
    match shared.engine.status().await {
        Ok(status) => shared.metrics.update(&status),
        // The gateway's own numbers are worth reading all the more.
        Err(error) => tracing::warn!(%error, "the engine's status cannot be read"),
    }
    respond::text(StatusCode::OK, shared.metrics.page(), METRICS)
}
