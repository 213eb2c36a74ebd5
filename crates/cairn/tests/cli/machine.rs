//! What `--check` and a first start say of a machine that cannot hold the store, and that they make nothing.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use crate::server::{Server, cairn, complained, run, said};

/// Runs `cairn` where a file system of these mount options lies on `folder`; nobody else sees it.
fn run_over(folder: &Path, options: &str, words: &[&str]) -> Output {
    let cairn = cairn(words);
    let mut command = Command::new("unshare");
    // Who is not root becomes it in a namespace of his own.
    command.arg(if rustix::process::geteuid().is_root() { "--mount" } else { "--map-root-user" }).arg("--mount");
    let script = "mount -t tmpfs -o \"$1\" none \"$2\" && shift 2 && exec \"$@\"";
    command.args(["sh", "-c", script, "sh", options]).arg(folder).arg(cairn.get_program()).args(cairn.get_args());
    for (name, value) in cairn.get_envs() {
        assert!(value.is_none());
        command.env_remove(name);
    }
    command.output().unwrap()
}

#[test]
fn folders_that_cannot_be_made_or_written_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("file"), "").unwrap();
    fs::create_dir(at("mounted")).unwrap();
    fs::create_dir(at("d")).unwrap();
    fs::write(at("d/keys"), "").unwrap();
    let table: [(&[&str], &str); 5] = [
        (&["--data", &at("file/d")], "cannot be made in"),
        (&["--data", &at("mounted/d")], "cannot be made in"),
        (&["--data", &at("mounted")], "cannot be written"),
        (&["--meta", &at("new"), "--disk", &at("mounted/disk")], "disk: "),
        (&["--data", &at("d")], "keys"),
    ];
    for (flags, part) in table {
        for check in [&["--check"][..], &[]] {
            let words: Vec<&str> =
                ["server", "--s3-listen", "127.0.0.1:0"].iter().chain(flags).chain(check).copied().collect();
            let text = complained(&run_over(Path::new(&at("mounted")), "ro", &words), 1);
            assert!(text.contains(part), "{words:?}: {text}");
        }
    }
    let mut left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["d", "file", "mounted"], "nothing was made");
}

#[test]
fn a_root_key_file_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("else"), "something else").unwrap();
    fs::set_permissions(at("else"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(at("open"), "CAIRN_ROOT_ACCESS_KEY=abc\nCAIRN_ROOT_SECRET_KEY=12345678\n").unwrap();
    fs::set_permissions(at("open"), fs::Permissions::from_mode(0o644)).unwrap();
    for (file, part) in [
        (at("no/such/root.env"), "is not there"),
        (at(""), "root-key-file"),
        (at("else"), "holds no root key"),
        (at("open"), "chmod 600"),
        (at("else/root.env"), "root-key-file"),
    ] {
        let words = ["server", "--data", &at("d"), "--s3-listen", "127.0.0.1:0", "--root-key-file", &file, "--check"];
        let text = complained(&run(&words), 1);
        assert!(text.contains(part), "{file}: {text}");
    }
    let file = at("root.env");
    let good = ["server", "--data", &at("d"), "--s3-listen", "127.0.0.1:0", "--root-key-file", &file, "--check"];
    assert_eq!(said(&run(&good)), "the configuration is valid\n");
    assert!(!folder.path().join("d").exists() && !folder.path().join("root.env").exists(), "nothing was made");
}

#[test]
fn a_metadata_file_system_that_is_too_small_is_said_first() {
    let folder = tempfile::tempdir().unwrap();
    let small = folder.path().join("small");
    fs::create_dir(&small).unwrap();
    let (meta, disk) = (small.join("meta"), folder.path().join("disk"));
    let (disk_text, meta_text) = (disk.to_str().unwrap(), meta.to_str().unwrap());
    let words = ["server", "--s3-listen", "127.0.0.1:0", "--disk", disk_text, "--meta", meta_text];
    for check in [&["--check"][..], &[]] {
        let words: Vec<&str> = words.iter().chain(check).copied().collect();
        let text = complained(&run_over(&small, "size=100m", &words), 1);
        for part in ["meta: ", "has 100.0 MiB free", "needs 200.0 MiB"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
    assert!(!disk.exists(), "nothing was made");
    let words: Vec<&str> = words.iter().chain(&["--check"]).copied().collect();
    assert_eq!(said(&run_over(&small, "size=300m", &words)), "the configuration is valid\n");
}

#[test]
fn memory_for_requests_is_told_and_must_be_there() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("d");
    let words = ["server", "--data", home.to_str().unwrap(), "--s3-listen", "127.0.0.1:0", "--request-memory"];
    for (size, part) in [("10MiB", "less than the 96.0 MiB"), ("1000TiB", "more than the")] {
        for check in [&["--check"][..], &[]] {
            let words: Vec<&str> = words.iter().chain(&[size]).chain(check).copied().collect();
            let text = complained(&run(&words), 1);
            assert!(text.contains("request-memory: ") && text.contains(part), "{words:?}: {text}");
        }
    }
    assert!(!home.exists(), "nothing was made");
    let told = |more: &[&str]| {
        let server = Server::start(&home, &[&["--disks", "1"][..], more].concat(), &[]);
        let log = server.log();
        assert_eq!(server.stop().code(), Some(0));
        log.lines().find(|line| line.contains("memory that requests may hold together")).unwrap().to_owned()
    };
    let default = told(&[]);
    assert!(default.contains("request_memory=") && default.contains("of=") && default.contains("by=/"), "{default}");
    let set = told(&["--request-memory", "100MiB"]);
    assert!(set.contains("request_memory=100.0 MiB"), "{set}");
}

/// Where an instruction is missing that was compiled in, the program says so instead of dying of it.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_cpu_that_is_too_old_is_named() {
    let on = |model: &str| {
        let mut command = Command::new("qemu-x86_64");
        command.args(["-cpu", model, env!("CARGO_BIN_EXE_cairn"), "--version"]).output().unwrap()
    };
    let text = complained(&on("Nehalem"), 1);
    assert!(text.contains("this CPU has no PCLMULQDQ") && text.contains("Westmere"), "{text}");
    assert!(said(&on("Westmere")).starts_with("cairn "));
}

#[test]
fn variables_that_are_slips_are_refused_and_others_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("d");
    let words = ["server", "--data", data.to_str().unwrap(), "--s3-listen", "127.0.0.1:0", "--check"];
    let check = |name: &str| cairn(&words).env(name, "x").output().unwrap();
    let text = complained(&check("CAIRN_S3_LISTN"), 1);
    assert!(text.contains("CAIRN_S3_LISTN is not known: CAIRN_S3_LISTEN is"), "{text}");
    let told = check("CAIRN_OF_SOMEBODY");
    assert_eq!(said(&told), "the configuration is valid\n");
    assert!(String::from_utf8_lossy(&told.stderr).contains("CAIRN_OF_SOMEBODY is not known here"));
    for of_kubernetes in ["CAIRN_SERVICE_HOST", "CAIRN_PORT", "CAIRN_PORT_9000_TCP", "CAIRN_PORT_9000_TCP_ADDR"] {
        let passed = check(of_kubernetes);
        assert_eq!(said(&passed), "the configuration is valid\n");
        assert!(passed.stderr.is_empty(), "{}", String::from_utf8_lossy(&passed.stderr));
    }
}
