//! Bodies: what comes in is counted, decoded, hashed and verified; what goes out is streamed and watched.

mod digester;
mod hasher;
mod outgoing;
mod patient;
mod payload;

pub(crate) use digester::{Digester, HELD_BYTES as HASHED_BYTES};
pub(crate) use hasher::Hasher;
pub(crate) use outgoing::{AnswerBody, SLICE_BYTES, stream_body};
pub(crate) use patient::Outcome;
pub(crate) use payload::{Inbound, Payload, PayloadOptions};
