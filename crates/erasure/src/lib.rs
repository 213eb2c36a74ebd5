//! Stub until merged.
