//! What each command says where there is no server, no such folder, no such bucket or key, and no right to ask.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::Path,
    process::Output,
};

use crate::server::{Server, cairn, complained, run, said};

const NO_KEY: &str = "NOSUCHACCESSKEY";

/// Every command that speaks to a running server.
const COMMANDS: [&[&str]; 19] = [
    &["status"],
    &["check"],
    &["healthcheck"],
    &["doctor"],
    &["doctor", "--bucket", "none"],
    &["runner-config", "--bucket", "none"],
    &["bucket", "create", "none"],
    &["bucket", "set", "none", "--cache", "true"],
    &["bucket", "delete", "none"],
    &["bucket", "list"],
    &["bucket", "info", "none"],
    &["bucket", "quota", "none", "1GiB"],
    &["key", "create", "--bucket", "none"],
    &["key", "list"],
    &["key", "disable", NO_KEY],
    &["key", "enable", NO_KEY],
    &["key", "remove", NO_KEY],
    &["snapshot", "create"],
    &["snapshot", "drop-newer", "--yes"],
];

fn in_folder(words: &[&str], data: &Path) -> Output {
    cairn(words).arg("--data").arg(data).output().unwrap()
}

#[test]
fn commands_without_a_server_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let stopped = folder.path().join("d");
    assert_eq!(Server::start(&stopped, &["--disks", "1"], &[]).stop().code(), Some(0));
    let empty = folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let disk = stopped.join("disk-0");
    for words in COMMANDS {
        let told = |data: &Path, part: &str| {
            let text = complained(&in_folder(words, data), 1);
            assert!(text.contains(part), "{words:?} in {}: {text}", data.display());
        };
        told(&stopped, "no server runs on");
        told(&stopped, "cairn server --data");
        told(&empty, "none ever did: name the data folder");
        told(&disk, "none ever did: name the data folder");
        told(&stopped.join("meta"), "its admin socket lies elsewhere: name the data folder");
        told(&folder.path().join("typo"), "there is no folder");
        told(&stopped.join("cairn.lock"), "there is no folder");
        let nowhere = complained(&run(words), 1);
        // A server elsewhere may be named to it instead.
        let part = if words[0] == "doctor" { "--data DIR" } else { "--data DIR or CAIRN_DATA" };
        assert!(nowhere.contains(part), "{words:?}: {nowhere}");
    }
    assert_eq!(fs::read_dir(&empty).unwrap().count(), 0, "nothing was made");
}

#[test]
fn names_that_are_not_there_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("d"), &["--disks", "1"], &[]);
    for words in COMMANDS.iter().filter(|words| words[1..].contains(&"none") && words[1] != "create") {
        let text = complained(&server.run(words), 1);
        assert!(text.contains("no bucket `none`") && text.contains("cairn bucket create none"), "{words:?}: {text}");
    }
    for words in COMMANDS.iter().filter(|words| words.contains(&NO_KEY)) {
        let text = complained(&server.run(words), 1);
        assert!(
            text.contains("no access key `NOSUCHACCESSKEY`") && text.contains("cairn key list"),
            "{words:?}: {text}"
        );
    }
    let key_for_none = complained(&server.run(&["key", "create", "--bucket", "none"]), 1);
    assert!(key_for_none.contains("no bucket `none`"), "{key_for_none}");
    let doctor = complained(&server.run(&["doctor"]), 1);
    assert!(doctor.contains("the server has no bucket: make one with `cairn bucket create"), "{doctor}");
    assert_eq!(said(&server.run(&["key", "list"])).lines().count(), 2, "no key was made but the root key");
    assert_eq!(server.stop().code(), Some(0));
}

/// Runs a command as someone who owns nothing here, with the right to run the program.
fn as_nobody(words: &[&str], program: &Path, data: &Path) -> Output {
    let ours = cairn(words);
    let mut command = std::process::Command::new(program);
    command.args(ours.get_args()).arg("--data").arg(data).current_dir("/");
    for (name, _) in ours.get_envs() {
        command.env_remove(name);
    }
    if rustix::process::geteuid().is_root() {
        command.uid(65534).gid(65534);
    }
    command.output().unwrap()
}

#[test]
fn another_user_is_told_whose_server_it_is() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // The build's folder may be closed to others.
    let program = folder.path().join("cairn");
    fs::copy(env!("CARGO_BIN_EXE_cairn"), &program).unwrap();
    let server = Server::start(&folder.path().join("d"), &["--disks", "1"], &[]);
    let is_root = rustix::process::geteuid().is_root();
    for open in [true, false] {
        // The folder can be looked into and the socket not opened; then not even that. Who is not root plays both parts.
        fs::set_permissions(&server.home, fs::Permissions::from_mode(if open { 0o755 } else { 0o700 })).unwrap();
        if !is_root {
            let closed = if open { server.home.join("admin.sock") } else { server.home.clone() };
            fs::set_permissions(closed, fs::Permissions::from_mode(0o000)).unwrap();
        }
        for words in COMMANDS {
            let text = complained(&as_nobody(words, &program, &server.home), 1);
            assert!(
                text.contains("belongs to another user (user id ") && text.contains("sudo -u"),
                "{words:?}: {text}"
            );
        }
    }
    fs::set_permissions(&server.home, fs::Permissions::from_mode(0o700)).unwrap();
    server.kill();
}

#[test]
fn a_bench_whose_report_could_not_be_written_is_not_begun() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none/report");
    for flag in ["--json", "--html"] {
        let endpoint = ["bench", "--endpoint", "a=http://127.0.0.1:1", "--access-key", "a", "--secret-key", "s"];
        let text = complained(&cairn(&endpoint).arg(flag).arg(&missing).output().unwrap(), 1);
        assert!(text.contains("name a file in a folder that is there"), "{flag}: {text}");
    }
}
