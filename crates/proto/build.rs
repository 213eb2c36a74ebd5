//! Generates the services of `proto/` with a compiler written in Rust: no `protoc` is needed on the machine.

use std::{error::Error, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", folder.display());
    let descriptors = protox::compile(["admin.proto"], [&folder])?;
    tonic_prost_build::configure()
        // `cairn status --json` prints these messages as they are.
        .message_attribute(".", "#[derive(serde::Serialize)]")
        .compile_fds(descriptors)?;
    Ok(())
}
