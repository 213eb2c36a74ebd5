//! The real binary as a person or a script uses it: flags, start, commands and stop.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod check;
mod commands;
mod declared;
mod doctor;
mod flags;
mod kube_api;
mod kubernetes;
mod machine;
mod refusals;
mod server;
mod service;
mod start;
