//! The real binary as a person or a script uses it: flags, start, commands and stop.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod commands;
mod flags;
mod server;
mod start;
