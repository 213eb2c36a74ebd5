//! S3 served over TLS: one file per operation, admission, error mapping.
//!
//! A request goes `server` → `router` (authenticate, admit) → `ops::*` → the engine. No code below this crate knows a
//! header of S3; nothing here knows a disk.

mod activity;
mod admission;
mod auth;
mod authorize;
mod body;
mod call;
mod connections;
mod error;
mod gateway;
#[cfg(test)]
mod gateway_test;
mod identities;
mod listen;
mod metrics;
mod ops;
mod options;
mod pages;
mod record;
mod refusals;
mod respond;
mod router;
mod secret;
mod server;
pub mod small_file;
mod socket;
mod stall_guard;
mod stream_watch;
mod tasks;
mod tls;

pub use error::GatewayError;
pub use gateway::Gateway;
pub use identities::Identities;
pub use listen::listen_on;
pub use options::GatewayOptions;
pub use secret::{Secret, SecretSealer, UnsealError};
pub use tls::{TlsError, TlsMode};
