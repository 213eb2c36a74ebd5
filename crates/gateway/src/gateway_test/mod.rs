//! The gateway from outside: requests over loopback, signed by the protocol crate, over an engine in memory.

mod bodies;
mod copies;
mod errors;
mod identities;
mod lists;
mod multipart;
mod objects;
mod pages;
mod settings;
mod streams;
mod wire;
mod world;
