//! The admin service: the running server's side and the command line's side of `proto/admin.proto`.

mod client;
mod convert;
mod server;
mod socket;

pub(crate) use client::{AdminClient, block_on, connect, explain};
pub(crate) use convert::age_text;
pub(crate) use server::{AdminService, serve};
pub(crate) use socket::{bind, remove};
