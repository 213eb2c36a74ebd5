//! `cairn check`: rows, shards and checksums of all disks compared.

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CheckReport {}
