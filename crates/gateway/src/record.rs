//! What is remembered of a request while it runs: one log line and its metrics, written when it is over.
//!
//! A request is over when its answer's last byte was handed to the connection, or when it was dropped before. The
//! line holds no query, no header and no secret.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use http::{Method, StatusCode};
use tokio::time::Instant;

use crate::{activity::RunningRequest, admission::Slot, metrics::Metrics};

/// Longest bucket and key in a log line.
const LOGGED_BYTES_MAX: usize = 1024;

/// Names a request in its answer, in the error document and in the log.
pub(crate) fn new_request_id() -> String {
    let mut bytes = [0; 8];
    // Without randomness ids repeat, which harms nobody but the reader of a log.
    let _ = getrandom::fill(&mut bytes);
    hex::encode_upper(bytes)
}

/// One request; written when dropped.
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) peer: SocketAddr,
    pub(crate) method: Method,
    pub(crate) operation: &'static str,
    pub(crate) bucket: String,
    pub(crate) key: String,
    pub(crate) access_key: String,
    pub(crate) status: Option<StatusCode>,
    pub(crate) code: Option<&'static str>,
    /// Bytes of the body so far, counted by whoever reads it.
    pub(crate) received: Arc<AtomicU64>,
    pub(crate) bytes_out: u64,
    /// Set while more of the answer is to come: dropped so, the client did not get it all.
    pub(crate) unfinished: bool,
    /// Held until the answer is sent.
    pub(crate) slot: Option<Arc<Slot>>,
    _running: RunningRequest,
    started: Instant,
    metrics: Arc<Metrics>,
}

impl Record {
    pub(crate) fn new(method: Method, peer: SocketAddr, running: RunningRequest, metrics: Arc<Metrics>) -> Self {
        metrics.in_flight.inc();
        Self {
            id: new_request_id(),
            peer,
            method,
            operation: "Unknown",
            bucket: String::new(),
            key: String::new(),
            access_key: String::new(),
            status: None,
            code: None,
            received: Arc::default(),
            bytes_out: 0,
            unfinished: true,
            slot: None,
            _running: running,
            started: Instant::now(),
            metrics,
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let took = self.started.elapsed();
        let bytes_in = self.received.load(Ordering::Relaxed);
        // Without a status the client went away before there was one.
        let status = self.status.map_or(499, |status| status.as_u16());
        self.metrics.in_flight.dec();
        self.metrics.observe(self.operation, status, took, bytes_in, self.bytes_out);
        tracing::info!(
            id = self.id,
            peer = %self.peer,
            method = %self.method,
            operation = self.operation,
            bucket = self.bucket,
            key = loggable(&self.key),
            status,
            code = self.code.unwrap_or_default(),
            bytes_in,
            bytes_out = self.bytes_out,
            cut_short = self.unfinished,
            ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            access_key = self.access_key,
            "request"
        );
    }
}

/// A key as a log line can hold it: percent-encoded, so it has no line break and no quote.
fn loggable(key: &str) -> String {
    let mut encoded = cairn_s3::uri::aws_encode(key.as_bytes(), true);
    encoded.truncate(LOGGED_BYTES_MAX);
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_cannot_forge_a_log_line() {
        assert_eq!(loggable("a\nid=\"x\""), "a%0Aid%3D%22x%22");
        assert_eq!(loggable(&"\n".repeat(1024)).len(), LOGGED_BYTES_MAX);
    }

    #[test]
    fn ids_differ() {
        assert_ne!(new_request_id(), new_request_id());
        assert_eq!(new_request_id().len(), 16);
    }
}
