//! Where the binary under test comes from: built from the same tree, once per test program, never an old one.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use anyhow::{Context as _, ensure};
use serde_json::Value;

/// The path of `cairn`, just built.
///
/// # Panics
/// If it cannot be built: no test can go on then.
pub fn cairn() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| build().expect("build the binary under test"))
}

fn build() -> anyhow::Result<PathBuf> {
    // The features of the whole workspace, as `make build` has them: another choice would compile RocksDB again.
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--workspace", "--bins", "--message-format=json"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("run cargo")?;
    ensure!(output.status.success(), "cargo build: {}", output.status);
    let artifacts = output.stdout.split(|&b| b == b'\n').filter_map(|line| serde_json::from_slice::<Value>(line).ok());
    artifacts
        .filter(|artifact| artifact["target"]["name"] == "cairn")
        .filter_map(|artifact| artifact["executable"].as_str().map(PathBuf::from))
        .next_back()
        .context("cargo built no cairn")
}
