//! What `--check` finds of key files and addresses, before a start stumbles over it. It makes nothing.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Output,
};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::server::{Server, complained, run, said};

const VALID: &str = "the configuration is valid\n";

fn check(home: &Path, more: &[&str]) -> Output {
    let words = ["server", "--data", home.to_str().unwrap(), "--disks", "1", "--check"];
    let words: Vec<&str> = words.iter().chain(more).copied().collect();
    run(&words)
}

/// On a port that the system chooses.
fn check_files(home: &Path) -> Output {
    check(home, &["--s3-listen", "127.0.0.1:0"])
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}

/// A store that ran once.
fn store(folder: &Path) -> PathBuf {
    let home = folder.join("d");
    assert_eq!(Server::start(&home, &["--disks", "1"], &[]).stop().code(), Some(0));
    home
}

#[test]
fn a_key_file_that_cannot_be_used_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let home = store(folder.path());
    let before = files(&home);
    assert_eq!(said(&check_files(&home)), VALID);
    let (key, kept) = (home.join("keys/secret.key"), folder.path().join("kept"));
    let found = |part: &str| {
        let text = complained(&check_files(&home), 1);
        assert!(text.contains(part) && text.contains("secret.key"), "{part}: {text}");
    };

    mode(&key, 0o640);
    found("chmod 600");
    fs::rename(&key, &kept).unwrap();
    found("is gone");
    fs::create_dir(&key).unwrap();
    found("read the key file");
    fs::remove_dir(&key).unwrap();
    fs::write(&key, "cairn secret key 1\nabc\n").unwrap();
    mode(&key, 0o600);
    found("is damaged");

    fs::rename(&kept, &key).unwrap();
    mode(&key, 0o600);
    assert_eq!(said(&check_files(&home)), VALID);
    assert_eq!(files(&home), before, "nothing was made");
}

#[test]
fn a_first_start_that_was_cut_off_before_its_key_file_is_no_loss() {
    let folder = tempfile::tempdir().unwrap();
    let home = store(folder.path());
    for made_later in ["keys", "disk-0"] {
        fs::remove_dir_all(home.join(made_later)).unwrap();
    }
    assert_eq!(said(&check_files(&home)), VALID);
}

#[test]
fn an_authority_that_cannot_be_used_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let home = store(folder.path());
    let (key, kept) = (home.join("ca.key"), folder.path().join("kept"));
    let found = |part: &str| {
        let text = complained(&check_files(&home), 1);
        assert!(text.contains(part) && text.contains("ca."), "{part}: {text}");
        // The server's own start agrees that it cannot go on.
        let start = run(&["server", "--data", home.to_str().unwrap(), "--disks", "1", "--s3-listen", "127.0.0.1:0"]);
        complained(&start, 1);
    };
    mode(&key, 0o644);
    found("chmod 600");
    fs::rename(&key, &kept).unwrap();
    found("is gone");
    fs::write(&key, "no PEM").unwrap();
    mode(&key, 0o600);
    found("ca.key");
    assert_eq!(said(&check(&home, &["--s3-listen", "127.0.0.1:0", "--tls", "off"])), VALID);

    fs::rename(&kept, &key).unwrap();
    mode(&key, 0o600);
    assert_eq!(said(&check_files(&home)), VALID);
}

#[test]
fn metadata_that_is_not_mounted_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let home = store(folder.path());
    fs::rename(home.join("meta"), folder.path().join("away")).unwrap();
    let text = complained(&check_files(&home), 1);
    assert!(text.contains("its metadata is not in"), "{text}");
    assert!(!home.join("meta").exists(), "nothing was made");
}

#[test]
fn disks_that_the_configuration_leaves_out_or_lies_in_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("d");
    assert_eq!(Server::start(&home, &["--disks", "3"], &[]).stop().code(), Some(0));
    let before = files(&home);
    let refused = |words: &[&str], part: &str| {
        for last in [&["--check"][..], &[]] {
            let words: Vec<&str> =
                ["server", "--s3-listen", "127.0.0.1:0"].iter().chain(words).chain(last).copied().collect();
            let text = complained(&run(&words), 1);
            assert!(text.contains(part), "{words:?}: {text}");
        }
        assert_eq!(files(&home), before, "nothing was made");
    };
    let (data, disk) = (home.to_str().unwrap(), home.join("disk-1"));
    refused(&["--data", data, "--disks", "1"], "disk-1, disk-2; give --disks 3, or each folder with --disk");
    refused(&["--data", disk.to_str().unwrap()], "which is itself a disk of a store");
    let (inner, free) = (disk.join("more"), folder.path().join("free"));
    let free_words = ["--disk", inner.to_str().unwrap(), "--meta", free.to_str().unwrap()];
    refused(&free_words, "which is itself a disk of a store");
    // A gap would become a new disk, and another store's disk is nobody's business here.
    let kept = folder.path().join("kept");
    fs::rename(&disk, &kept).unwrap();
    let text =
        complained(&run(&["server", "--s3-listen", "127.0.0.1:0", "--data", data, "--disks", "1", "--check"]), 1);
    assert!(text.contains("disk-2; give each folder with --disk"), "{text}");
    fs::rename(&kept, &disk).unwrap();
    let other = folder.path().join("other");
    assert_eq!(Server::start(&other, &["--disks", "1"], &[]).stop().code(), Some(0));
    fs::rename(other.join("disk-0"), home.join("disk-3")).unwrap();
    let more = ["server", "--s3-listen", "127.0.0.1:0", "--data", data, "--disks", "3", "--check"];
    assert_eq!(said(&run(&more)), VALID);
    fs::remove_dir_all(home.join("disk-3")).unwrap();
    // More are new disks, and folders by name are the operator's choice: what is left out is told.
    let more = Server::start(&home, &["--disks", "4"], &[]);
    assert_eq!(more.stop().code(), Some(0));
    let first = home.join("disk-0");
    let some = Server::start(&home, &["--disk", first.to_str().unwrap()], &[]);
    assert!(some.log().contains("no folder that was given holds this disk"), "{}", some.log());
    assert!(said(&some.run(&["status"])).contains("no folder that the server was given holds it"));
    assert_eq!(some.stop().code(), Some(0));
}

#[test]
fn a_damaged_disk_is_told_of_and_damaged_metadata_names_the_way_back() {
    let folder = tempfile::tempdir().unwrap();
    let home = store(folder.path());
    fs::write(home.join("disk-0/CAIRN-DISK"), "no marker").unwrap();
    let output = check_files(&home);
    assert_eq!(said(&output), VALID, "the server would start without it");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("disk-0") && told.contains("leave it out"), "{told}");

    let current: Vec<PathBuf> =
        files(&home.join("meta")).into_iter().filter(|file| file.ends_with("CURRENT")).collect();
    assert!(!current.is_empty());
    current.iter().for_each(|file| fs::write(file, "MANIFEST-999999\n").unwrap());
    let start = run(&["server", "--data", home.to_str().unwrap(), "--disks", "1", "--s3-listen", "127.0.0.1:0"]);
    let text = complained(&start, 1);
    assert!(text.contains("from a copy") && text.contains("`cairn recover`"), "{text}");
    fs::write(home.join("meta/CAIRN-CLUSTER"), "cairn").unwrap();
    let start = run(&["server", "--data", home.to_str().unwrap(), "--disks", "1", "--s3-listen", "127.0.0.1:0"]);
    let text = complained(&start, 1);
    assert!(text.contains("voter-1 may hold all") && text.contains("`cairn recover`"), "{text}");
    assert!(complained(&check_files(&home), 1).contains("voter-1 may hold all"));
}

#[test]
fn the_file_of_a_declared_key_that_cannot_be_used_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let (home, config, file) = (folder.path().join("d"), folder.path().join("c.toml"), folder.path().join("key"));
    let checked = |file: &Path| {
        let text = format!(
            "s3-listen = ['127.0.0.1:0']\n[[bucket]]\nname = 'cache'\n[[key]]\nname = 'k'\nbucket = 'cache'\nfile = '{}'\n",
            file.display()
        );
        fs::write(&config, text).unwrap();
        let output = check(&home, &["--config", config.to_str().unwrap()]);
        // Such a file keeps nobody from the objects: the server starts, so that a unit may check before it does.
        assert_eq!(said(&output), VALID);
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(checked(&file), "");
    assert!(!file.exists(), "nothing was made");
    let missing = checked(&folder.path().join("no/such/key"));
    assert!(missing.contains("key k: ") && missing.contains("is not there"), "{missing}");
    fs::write(&file, "[default]\nregion = here\n").unwrap();
    mode(&file, 0o600);
    assert!(checked(&file).contains("no AWS credentials"));
    fs::write(&file, "[default]\naws_access_key_id = MINE\naws_secret_access_key = my-own-secret\n").unwrap();
    assert_eq!(checked(&file), "");
    mode(&file, 0o644);
    assert!(checked(&file).contains("chmod 600"));
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(checked(&file).contains("no regular file"));
}

/// Whoever opens a pipe to read waits for a writer, and there may never be one.
#[test]
fn a_configuration_that_is_no_regular_file_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let (home, pipe) = (folder.path().join("d"), folder.path().join("pipe"));
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    // First the one that nobody would wait for.
    for other in [Path::new("/dev/null"), folder.path(), &pipe] {
        let text = complained(&check(&home, &["--config", other.to_str().unwrap()]), 1);
        let is_named = text.contains(&format!("read the configuration {}", other.display()));
        assert!(is_named && text.contains("it is no regular file"), "{text}");
    }
}

#[test]
fn addresses_that_cannot_be_taken_are_found_before_anything_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("d");
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let busy = other.local_addr().unwrap().to_string();
    for (address, part) in [(busy.as_str(), "is in use"), ("192.0.2.1:0", "is no address of this machine")] {
        for more in [&["--check"][..], &[]] {
            let words = ["server", "--data", home.to_str().unwrap(), "--s3-listen", address];
            let words: Vec<&str> = words.iter().chain(more).copied().collect();
            let text = complained(&run(&words), 1);
            assert!(text.contains(&format!("s3-listen: {address} {part}")), "{words:?}: {text}");
        }
    }
    assert!(!home.exists(), "nothing was made");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let both = [format!("0.0.0.0:{}", free.port()), format!("127.0.0.1:{}", free.port())];
    let text = complained(&check(&home, &["--s3-listen", &both[0], "--s3-listen", &both[1]]), 1);
    assert!(text.contains("another address of the list"), "{text}");
}

#[test]
fn the_port_of_the_server_that_runs_there_is_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("d"), &["--disks", "1"], &[]);
    let address = server.url.strip_prefix("https://").unwrap();
    // The stores' own files come and go while it runs.
    let names = || {
        let mut names: Vec<_> = fs::read_dir(&server.home).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    let checked = check(&server.home, &["--s3-listen", address]);
    assert_eq!(said(&checked), VALID);
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(told.contains(&format!("a server runs on {}", server.home.display())), "{told}");
    assert_eq!(names(), before, "nothing was made");
    // For another store the port is taken, and an address of nobody stays one.
    assert!(complained(&check(&folder.path().join("e"), &["--s3-listen", address]), 1).contains("is in use"));
    assert!(
        complained(&check(&server.home, &["--s3-listen", "192.0.2.1:0"]), 1).contains("no address of this machine")
    );
    assert!(said(&server.run(&["healthcheck"])).contains("ready"));
    assert_eq!(server.stop().code(), Some(0));
    let after = check(&folder.path().join("d"), &["--s3-listen", "127.0.0.1:0"]);
    assert!(said(&after) == VALID && after.stderr.is_empty(), "{after:?}");
}
