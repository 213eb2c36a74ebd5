//! The way out of and back into the rows when all voters are lost: a snapshot's content, and a new life from one.
//!
//! ```text
//! MetaView -- export --> pieces of rows, in order of key ... (segments on the disks) ... --> MetaImport -- new life --> voter
//! ```
//!
//! A new life goes back in time: what the group gave out and committed after the snapshot is forgotten. So its ids
//! begin far above ([`crate::IDS_OF_A_LIFE`]), and what may have been committed since is remembered as forgotten, which
//! is never dead ([`crate::Verdict::Forgotten`]).

mod export;
mod import;
mod new_life;

#[cfg(test)]
mod recovery_test;

pub(crate) use import::newer_version;

pub use export::MetaExport;
pub use import::{MetaImport, Recovered};
pub use new_life::NewLife;
