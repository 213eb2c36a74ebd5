//! The gateway from outside: requests over loopback, signed by the protocol crate, over an engine in memory.

mod bodies;
mod conditions;
mod copies;
mod errors;
mod identities;
mod lists;
mod multipart;
mod objects;
mod pages;
mod second_pages;
mod settings;
mod signed_chunks;
mod streams;
mod virtual_hosts;
mod wire;
mod world;
