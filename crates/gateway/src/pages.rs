//! The pages under `/-/`, which need no signature: ready, live and metrics. No bucket can be called `-`.

use cairn_s3::{S3Error, S3ErrorCode};
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
        return Err(S3ErrorCode::MethodNotAllowed.into());
    }
    match path {
        "/-/ready" => Ok(ready(shared).await),
        "/-/live" => Ok(respond::text(StatusCode::OK, "live\n", PLAIN)),
        "/-/metrics" if shared.options.metrics => Ok(metrics(shared).await),
        _ => Err(S3Error::new(S3ErrorCode::NoSuchKey, "there is no such page")),
    }
}

/// Ready is who can answer a read of the metadata group, and is not about to stop.
async fn ready(shared: &Shared) -> Answer {
    if shared.tasks.is_stopping() {
        return respond::text(StatusCode::SERVICE_UNAVAILABLE, "stopping\n", PLAIN);
    }
    match shared.engine.meta().read().await {
        Ok(_) => respond::text(StatusCode::OK, "ready\n", PLAIN),
        Err(error) => {
            tracing::debug!(%error, "not ready");
            respond::text(StatusCode::SERVICE_UNAVAILABLE, "the metadata group does not answer\n", PLAIN)
        }
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
