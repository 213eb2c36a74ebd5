//! The commands that speak to a running server.

pub(crate) mod bench;
pub(crate) mod bucket;
pub(crate) mod check;
pub(crate) mod healthcheck;
pub(crate) mod key;
pub(crate) mod runner_config;
mod runner_text;
pub(crate) mod snapshot;
pub(crate) mod status;

use anyhow::{Context, Result};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A moment for people, to the second.
pub(crate) fn moment(ms: u64) -> String {
    let seconds = i64::try_from(ms / 1000).unwrap_or(0);
    let moment = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    moment.format(&Rfc3339).unwrap_or_else(|_| seconds.to_string())
}

/// A message as one line of JSON.
fn json<T: serde::Serialize>(message: &T) -> Result<String> {
    serde_json::to_string(message).context("write JSON")
}

/// A message as JSON for people and scripts.
fn pretty_json<T: serde::Serialize>(message: &T) -> Result<String> {
    serde_json::to_string_pretty(message).context("write JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        assert_eq!(moment(1_790_000_000_999), "2026-09-21T14:13:20Z");
        assert_eq!(moment(0), "1970-01-01T00:00:00Z");
    }
}
