//! The fixture of the tests against the real binary: [`Server`] builds `cairn` from this tree, starts it on folders of
//! its own and can kill it; [`python`] and [`client`] speak to it through clients that are not ours.

mod binary;
mod clients;
mod server;
mod tls;
mod tmpfs;

pub mod load;

pub use binary::cairn;
pub use clients::{client, client_of, python, python_beside, shell};
pub use server::{ACCESS_KEY, SECRET_KEY, Server, ServerOptions};
pub use tls::connect_tls;
pub use tmpfs::{Tmpfs, may_mount};
