//! A harness that drives any S3 endpoint and compares servers: interleaved rounds, verified reads, open and closed loop,
//! and what the servers' processes used. `cairn bench` is its face. It knows no server crate.
//!
//! `args` checks the flags; `run` lays servers ready and drives them in turn; `workload` says what is asked,
//! `target` how it is asked and verified, `drive` when; `recorder`, `measure` and `metric` make numbers of it,
//! `report` tables and pages.

#![forbid(unsafe_code)]

mod args;
mod bytes_text;
mod client;
mod connection;
mod content;
mod drive;
mod endpoint;
mod failure;
mod measure;
mod metric;
mod null_server;
mod processes;
mod progress;
mod recorder;
mod report;
mod run;
mod runner_sizes;
mod schedule;
mod stats;
mod syncs;
mod target;
mod versions;
mod workload;

pub use args::{BenchArgs, BenchOptions, EXAMPLES};
pub use metric::Metric;
pub use null_server::{Faults, Noted, NullServer};
pub use progress::Progress;
pub use recorder::Kind;
pub use report::{Case, Place, Report, ServerResult, html, table};
pub use run::{bench, bench_until};
pub use workload::Workload;
