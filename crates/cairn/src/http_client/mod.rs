//! A small HTTP/1.1 client: one request over a connection of its own, with every step in the caller's hands.
//!
//! Three need it: publishing to Kubernetes, `healthcheck`, and `doctor`, which must tell the steps apart.

mod address;
mod dial;
mod exchange;
mod trust;
mod witness;

pub(crate) use address::Address;
pub(crate) use dial::{connect, resolve, tls_handshake};
pub(crate) use exchange::{Answer, ExchangeError, exchange};
pub(crate) use trust::{Roots, client_config, reason, roots_of_file, roots_of_pem, system_roots};
pub(crate) use witness::Witness;
