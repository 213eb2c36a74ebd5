//! What must hold between all rows, recomputed from scratch: for tests and simulation.
pub(crate) fn check(_: &crate::rows::MemoryRows) {}
