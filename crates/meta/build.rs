//! The feature set of `syn`, named so that RocksDB is built once whatever package is asked for.
fn main() {}
