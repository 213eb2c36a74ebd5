//! Rules of the tree that no compiler knows: layers, licences and sources of dependencies, file heads.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde_json::Value;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A crate depends on lower layers only, so neither on its equals.
const LAYERS: &[(&str, u8)] = &[
    ("cairn-digest", 0),
    ("cairn-erasure", 0),
    ("cairn-proto", 0),
    // Knows digest.
    ("cairn-s3", 1),
    // The harness: no server crate at all, see below.
    ("cairn-bench", 2),
    // Knows erasure and proto; meta may name neither it nor its equals.
    ("cairn-shard-store", 1),
    ("cairn-meta", 1),
    ("cairn-cluster", 2),
    ("cairn-gateway", 3),
    ("cairn", 4),
];

const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "OpenSSL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "Apache-2.0 WITH LLVM-exception",
];

/// Crates that are here twice, with the one that brings the older version: none of them can be avoided by us.
const TWICE: &[(&str, &str)] = include!("tidy_twice.in");

fn metadata() -> Value {
    let output = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()))
        .args(["metadata", "--format-version=1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(ROOT)
        .output()
        .expect("run cargo metadata");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

fn packages(metadata: &Value) -> &Vec<Value> {
    metadata["packages"].as_array().expect("packages")
}

#[test]
fn a_crate_depends_on_lower_layers_only() {
    let layers: BTreeMap<&str, u8> = LAYERS.iter().copied().collect();
    let metadata = metadata();
    let mut seen = 0;
    for package in packages(&metadata) {
        let name = package["name"].as_str().expect("name");
        let Some(own) = layers.get(name) else {
            assert!(name == "cairn-tests" || !name.starts_with("cairn"), "{name} has no layer: add it to LAYERS");
            continue;
        };
        seen += 1;
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let other = dependency["name"].as_str().expect("name");
            if let Some(layer) = layers.get(other) {
                let own_for_tests = name == other && dependency["kind"] == "dev";
                assert!(layer < own || own_for_tests, "{name} (layer {own}) depends on {other} (layer {layer})");
            }
        }
    }
    assert_eq!(seen, layers.len());
}

/// The S3 protocol is no server: with it the harness signs. All else of ours would make it a judge in its own cause.
#[test]
fn the_harness_knows_no_server_crate() {
    let metadata = metadata();
    let harness = packages(&metadata).iter().find(|package| package["name"] == "cairn-bench").expect("cairn-bench");
    let dependencies = harness["dependencies"].as_array().expect("dependencies");
    let ours: Vec<_> = dependencies.iter().filter_map(|dependency| dependency["name"].as_str()).collect();
    let ours: Vec<_> = ours.into_iter().filter(|name| name.starts_with("cairn")).collect();
    assert_eq!(ours, ["cairn-s3"]);
}

#[test]
fn only_meta_and_shard_store_name_rocksdb_and_only_meta_openraft() {
    let metadata = metadata();
    for package in packages(&metadata).iter().filter(|package| package["source"].is_null()) {
        let name = package["name"].as_str().expect("name");
        let has = |wanted: &str| {
            let dependencies = package["dependencies"].as_array().expect("dependencies");
            dependencies.iter().any(|dependency| dependency["name"] == wanted)
        };
        assert!(!has("rocksdb") || ["cairn-meta", "cairn-shard-store"].contains(&name), "{name} names rocksdb");
        assert!(!has("openraft") || name == "cairn-meta", "{name} names openraft");
        assert!(!has("ring"), "{name} names ring: one crypto provider, aws-lc-rs");
    }
}

#[test]
fn dependencies_come_from_the_registry_under_known_licences() {
    let metadata = metadata();
    for package in packages(&metadata).iter().filter(|package| !package["source"].is_null()) {
        let name = package["name"].as_str().expect("name");
        let source = package["source"].as_str().expect("source");
        assert!(source.starts_with("registry+"), "{name} comes from {source}");
        let licence = package["license"].as_str().unwrap_or("none named");
        assert!(acceptable(licence), "{name}: licence {licence}");
    }
}

/// Whether an SPDX expression can be met by known licences: every AND member, one of each OR.
fn acceptable(expression: &str) -> bool {
    let plain = expression.replace(['(', ')'], " ").replace('/', " OR ");
    plain.split(" AND ").all(|group| group.split(" OR ").any(|licence| LICENCES.contains(&licence.trim())))
}

#[test]
fn no_crate_is_here_twice_but_those_that_cannot_be_avoided() {
    let metadata = metadata();
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages(&metadata) {
        let name = package["name"].as_str().expect("name");
        versions.entry(name).or_default().push(package["version"].as_str().expect("version"));
    }
    let twice: Vec<_> = versions.iter().filter(|(_, versions)| versions.len() > 1).collect();
    for (name, versions) in &twice {
        assert!(TWICE.iter().any(|(known, _)| known == *name), "{name} is here as {versions:?}");
    }
    for (known, why) in TWICE {
        assert!(twice.iter().any(|(name, _)| *name == known), "{known} is here once now: strike it ({why})");
    }
}

#[test]
fn every_file_says_what_it_is() {
    let mut files = Vec::new();
    for folder in ["crates", "tests", "benches"] {
        walk(&Path::new(ROOT).join(folder), &mut files);
    }
    assert!(files.len() > 50, "the walk found only {} files", files.len());
    for file in files {
        let text = fs::read_to_string(&file).expect("a source file is text");
        assert!(text.starts_with("//!"), "{} does not begin with //!", file.display());
    }
}

#[test]
fn libraries_do_not_print() {
    let (mut files, mut looked_at) = (Vec::new(), 0);
    walk(&Path::new(ROOT).join("crates"), &mut files);
    for file in files {
        let path = within_crates(&file);
        if path.starts_with("cairn/") || path.contains("test") || !path.contains("/src/") {
            continue;
        }
        looked_at += 1;
        let text = fs::read_to_string(&file).expect("a source file is text");
        assert!(!text.contains("println!("), "{path} prints");
    }
    assert!(looked_at > 50, "only {looked_at} files were looked at");
}

/// The path of a source file from `crates/` on: what lies above may have any name.
fn within_crates(file: &Path) -> String {
    let crates = Path::new(ROOT).join("crates");
    file.strip_prefix(&crates).expect("the walk began there").to_string_lossy().into_owned()
}

/// A row that is not cached is read from a disk, which would hold up all that shares the thread: on async threads it is
/// fetched. A view may be handed to a thread where blocking is allowed.
#[test]
fn async_threads_read_no_rows() {
    let mut files = Vec::new();
    for layer in ["cluster", "gateway"] {
        walk(&Path::new(ROOT).join("crates").join(layer), &mut files);
    }
    let mut fetched = 0;
    for file in files.iter().filter(|file| !within_crates(file).contains("test")) {
        let text = fs::read_to_string(file).expect("a source file is text").replace(char::is_whitespace, "");
        for asked in text.split(".local().").skip(1) {
            assert!(asked.starts_with("fetch("), "{} reads rows on an async thread: fetch() them", file.display());
            fetched += 1;
        }
    }
    assert!(fetched > 3, "only {fetched} places were found");
}

/// A build takes long: what the target needs beside it is brought before, since else a fresh machine fails after it.
#[test]
fn a_target_brings_what_it_needs_before_it_builds() {
    for (target, builds) in [("demo", "cargo build"), ("bench", "benches/run"), ("test", "cargo build")] {
        let output = Command::new("make").args(["-n", target]).current_dir(ROOT).output().expect("run make");
        let steps = String::from_utf8_lossy(&output.stdout).into_owned();
        let at = |step: &str| steps.find(step).unwrap_or_else(|| panic!("make {target} has no step {step}:\n{steps}"));
        assert!(at("python3-venv") < at("tools/python-clients"), "make {target}:\n{steps}");
        assert!(at("tools/python-clients") < at(builds), "make {target}:\n{steps}");
    }
}

fn walk(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
