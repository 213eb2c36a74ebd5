//! Start, stop, start again: locks, root keys and key files.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::server::{Server, complained, run, said};

#[test]
fn one_server_at_a_time_and_a_clean_end() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("d");
    let server = Server::start(&home, &[], &[]);
    assert!(server.url.starts_with("https://127.0.0.1:"), "{}", server.url);
    assert!(server.shown.iter().any(|line| line.starts_with("root secret key: ")), "{:?}", server.shown);
    for (file, mode) in [("admin.sock", 0o600), ("keys/secret.key", 0o600)] {
        assert_eq!(fs::metadata(home.join(file)).unwrap().permissions().mode() & 0o777, mode, "{file}");
    }
    let second = run(&["server", "--data", home.to_str().unwrap(), "--s3-listen", "127.0.0.1:0"]);
    assert!(complained(&second, 1).contains("another server runs on"));
    assert!(said(&server.run(&["healthcheck"])).contains("ready"));

    let secret = server.shown.iter().find_map(|line| line.strip_prefix("root secret key: ")).unwrap().to_owned();
    assert!(!server.log().contains(&secret), "no secret in a log");
    assert!(said(&server.run(&["bucket", "create", "kept"])).contains("created"));
    assert_eq!(server.stop().code(), Some(0));
    assert!(!home.join("admin.sock").exists());

    let again = Server::start(&home, &[], &[]);
    assert_eq!(again.shown, Vec::<String>::new(), "the root key is shown once");
    again.kill();
    let after_crash = Server::start(&home, &[], &[]);
    assert!(said(&after_crash.run(&["bucket", "list"])).contains("kept"));
    assert_eq!(after_crash.stop().code(), Some(0));
}

#[test]
fn the_root_key_goes_to_its_file_or_comes_from_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let (home, file) = (folder.path().join("d"), folder.path().join("root.env"));
    let server = Server::start(&home, &["--disks", "1", "--root-key-file", file.to_str().unwrap()], &[]);
    assert_eq!(server.shown, Vec::<String>::new());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    let made = text.lines().find_map(|line| line.strip_prefix("CAIRN_ROOT_ACCESS_KEY=")).unwrap().to_owned();
    assert!(said(&server.run(&["key", "list"])).contains(&made));
    assert_eq!(server.stop().code(), Some(0));

    let given = [("CAIRN_ROOT_ACCESS_KEY", "operator"), ("CAIRN_ROOT_SECRET_KEY", "a-secret-of-mine")];
    let server = Server::start(&home, &["--disks", "1"], &given);
    let keys = said(&server.run(&["key", "list"]));
    assert!(keys.contains("operator") && !keys.contains(&made), "{keys}");
    assert!(!server.log().contains("a-secret-of-mine"));
    let text = complained(&server.run(&["key", "remove", "operator"]), 1);
    assert!(text.contains("`operator` is the last root key"), "{text}");
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn a_key_file_that_is_gone_or_open_to_others_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("d");
    let data = home.to_str().unwrap();
    let start = || run(&["server", "--data", data, "--disks", "1", "--s3-listen", "127.0.0.1:0"]);
    assert_eq!(Server::start(&home, &["--disks", "1"], &[]).stop().code(), Some(0));

    let key = home.join("keys/secret.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(complained(&start(), 1).contains("chmod 600"));
    let kept = folder.path().join("kept.key");
    fs::rename(&key, &kept).unwrap();
    let text = complained(&start(), 1);
    assert!(text.contains("is gone") && text.contains("backup"), "{text}");

    fs::write(&key, format!("cairn secret key 1\n{}\n", "ab".repeat(32))).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(complained(&start(), 1).contains("not the key file of this data folder"));

    fs::rename(&kept, &key).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(Server::start(&home, &["--disks", "1"], &[]).stop().code(), Some(0));
}

#[test]
fn no_new_cluster_begins_over_the_disks_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("d");
    assert_eq!(Server::start(&home, &["--disks", "2"], &[]).stop().code(), Some(0));
    let away = folder.path().join("away");
    fs::rename(home.join("meta"), &away).unwrap();
    let start = run(&["server", "--data", home.to_str().unwrap(), "--disks", "2", "--s3-listen", "127.0.0.1:0"]);
    let text = complained(&start, 1);
    assert!(text.contains("its metadata is not in"), "{text}");
    assert!(!home.join("meta/CAIRN-CLUSTER").exists(), "nothing was begun");
    let _ = fs::remove_dir(home.join("meta"));
    fs::rename(&away, home.join("meta")).unwrap();
    assert_eq!(Server::start(&home, &["--disks", "2"], &[]).stop().code(), Some(0));
}

#[test]
fn nothing_is_acknowledged_into_a_metadata_folder_that_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("d");
    let server = Server::start(&home, &["--disks", "1"], &[]);
    fs::rename(home.join("meta/voter-1"), folder.path().join("away")).unwrap();
    // It is looked at each second.
    let refused = |number: u32| !server.run(&["bucket", "create", &format!("bucket-{number}")]).status.success();
    let mut number = 0;
    while !refused(number) {
        number += 1;
        assert!(number < 1000, "buckets are still made");
    }
    assert!(said(&server.run(&["status"])).contains("NOT writable"));
    server.kill();
}
