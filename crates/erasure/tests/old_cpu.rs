//! No illegal instruction on a CPU without AVX2, and the same bytes as here.
//!
//! This executable runs itself under `qemu-x86_64` with other CPU models. So what runs there was built from the same
//! tree by the same build, whichever tests were asked for.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]

use std::io::ErrorKind;
use std::process::Command;

#[path = "../examples/self_test.rs"]
#[expect(dead_code, reason = "only the example has use for its main")]
mod self_test;

const QEMU: &str = "qemu-x86_64";
const MARK: &str = "self test: ";

#[test]
fn self_test_passes() {
    println!("{MARK}{}", self_test::self_test().unwrap());
}

/// Runs `self_test_passes` on an emulated CPU; returns its report.
fn self_test_on(cpu_model: &str) -> String {
    let this_test = std::env::current_exe().expect("the running test has a path");
    let arguments = ["--exact", "self_test_passes", "--nocapture", "--test-threads=1"];
    let output = match Command::new(QEMU).args(["-cpu", cpu_model]).arg(this_test).args(arguments).output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!("{QEMU} is missing: install the Debian package qemu-user")
        }
        Err(error) => panic!("cannot run {QEMU}: {error}"),
    };
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "on {cpu_model}: {}\n{stdout}\n{stderr}", output.status);
    // libtest writes "test <name> ... " before it, on the same line.
    let report = stdout.lines().find_map(|line| Some(line.split_once(MARK)?.1.to_owned()));
    report.unwrap_or_else(|| panic!("no report on {cpu_model}:\n{stdout}\n{stderr}"))
}

/// The oldest CPU the workspace is built for, Westmere of 2010, and one that has AVX but not AVX2. Nehalem before it has
/// no PCLMULQDQ, which `.cargo/config.toml` takes for granted: `cairn` refuses it at its start.
#[test]
fn cpus_without_avx2_take_the_portable_loop() {
    let here = self_test::self_test().unwrap();
    let (_, digest) = here.split_once(' ').unwrap();
    for cpu_model in ["Westmere", "SandyBridge"] {
        assert_eq!(self_test_on(cpu_model), format!("kernel=portable {digest}"), "on {cpu_model}");
    }
}

/// The oldest CPU that is given the vector loop has all it needs.
#[test]
fn haswell_takes_the_vector_loop() {
    let here = self_test::self_test().unwrap();
    let (_, digest) = here.split_once(' ').unwrap();
    assert_eq!(self_test_on("Haswell"), format!("kernel=simd {digest}"));
}
