//! Buckets and keys that the configuration declares, without Kubernetes.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::json;

use crate::server::{Server, complained, run, said, until};

fn parsed(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The declared key `name` as the store has it.
fn key(server: &Server, name: &str) -> Option<serde_json::Value> {
    let listed = said(&server.run(&["key", "list", "--json"]));
    listed.lines().map(parsed).find(|key| key["name"] == name)
}

fn start(home: &Path, text: &str) -> Server {
    let config = home.with_extension("toml");
    fs::write(&config, format!("disks = 1\n{text}")).unwrap();
    Server::start(home, &["--config", config.to_str().unwrap()], &[])
}

#[test]
fn what_is_declared_is_there_when_the_server_is_ready_and_follows_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("d");
    let file = folder.path().join("runner.credentials");
    let bucket = "[[bucket]]\nname = 'cache'\ncache = true\nquota = '1GiB'\nprofile = '1+0'\n";
    let declared = |prefix: &str| {
        let file = file.display();
        format!(
            "{bucket}[[key]]\nname = 'runner'\nbucket = 'cache'\nprefix = '{prefix}'\nfile = '{file}'\n[[key]]\nname = 'reader'\nbucket = 'cache'\nread-only = true\n"
        )
    };
    let server = start(&home, &declared(""));
    let info = parsed(&said(&server.run(&["bucket", "info", "cache", "--json"])));
    assert_eq!((&info["quota_bytes"], &info["settings"]["cache"]), (&json!(1_u64 << 30), &json!(true)));
    assert_eq!(info["settings"]["profile"], "1+0");
    let (runner, reader) = (key(&server, "runner").unwrap(), key(&server, "reader").unwrap());
    assert_eq!((&runner["write"], &reader["write"], &runner["prefix"]), (&json!(true), &json!(false), &json!("")));
    let credentials = fs::read_to_string(&file).unwrap();
    assert!(credentials.contains(runner["access_key"].as_str().unwrap()), "{credentials}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(said(&server.run(&["key", "list"])).contains("  runner  "));

    // Other limits, the same key and secret; what is gone from the file stays; a bad file changes nothing.
    let config = home.with_extension("toml");
    fs::write(&config, "disks = 1\n[[bucket]]\nname = 'X'\n").unwrap();
    server.hangup();
    until(|| server.log().contains("the changed configuration is not taken"));
    let less = declared("team/").replace("1GiB", "none").replace("cache = true", "cache = false");
    let less = less.split("[[key]]\nname = 'reader'").next().unwrap().to_owned();
    fs::write(&config, format!("disks = 2\n{less}")).unwrap();
    until(|| key(&server, "runner").unwrap()["prefix"] == "team/");
    assert_eq!(key(&server, "runner").unwrap()["access_key"], runner["access_key"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), credentials, "the secret stays");
    assert_eq!(key(&server, "reader").unwrap(), reader);
    assert!(server.log().contains("is not declared any more and stays as it is"));
    assert!(server.log().contains("they take effect at the next start"));
    let info = parsed(&said(&server.run(&["bucket", "info", "cache", "--json"])));
    assert_eq!((&info["quota_bytes"], &info["settings"]["cache"]), (&json!(null), &json!(false)));
    said(&server.run(&["key", "disable", reader["access_key"].as_str().unwrap()]));
    assert_eq!(server.stop().code(), Some(0));

    // A start over what is there changes nothing; one who was switched off by hand stays so.
    let server = start(&home, &declared("team/"));
    assert_eq!(key(&server, "runner").unwrap()["access_key"], runner["access_key"]);
    assert_eq!(key(&server, "reader").unwrap()["enabled"], false);
    // A lost file gets the same key, a removed key comes back as another one.
    fs::remove_file(&file).unwrap();
    server.hangup();
    until(|| fs::read_to_string(&file).is_ok_and(|text| text == credentials));
    said(&server.run(&["key", "remove", runner["access_key"].as_str().unwrap()]));
    server.hangup();
    until(|| key(&server, "runner").is_some_and(|other| other["access_key"] != runner["access_key"]));
    until(|| fs::read_to_string(&file).unwrap() != credentials);
    let secret = credentials.lines().last().unwrap().split(" = ").last().unwrap();
    assert!(!server.log().contains(secret), "no secret in a log");
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn a_key_that_lies_in_its_file_is_taken_and_a_missing_bucket_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("d");
    let file = folder.path().join("mine");
    fs::write(&file, "[default]\naws_access_key_id = MYOWNKEY\naws_secret_access_key = my-own-secret\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let text = format!(
        "[[key]]\nname = 'early'\nbucket = 'later'\n[[bucket]]\nname = 'cache'\n[[key]]\nname = 'mine'\nbucket = 'cache'\nfile = '{}'",
        file.display()
    );
    let server = start(&home, &text);
    assert_eq!(key(&server, "mine").unwrap()["access_key"], "MYOWNKEY");
    assert!(server.log().contains("key early: there is no bucket later"), "{}", server.log());
    assert!(!server.log().contains("my-own-secret"));
    said(&server.run(&["bucket", "create", "later"]));
    until(|| key(&server, "early").is_some());
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn check_reads_what_is_declared() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("cairn.toml");
    let data = folder.path().join("d");
    let check = |text: &str| {
        fs::write(&config, format!("data = '{}'\n{text}", data.display())).unwrap();
        run(&["server", "--config", config.to_str().unwrap(), "--check"])
    };
    assert_eq!(said(&check("[[bucket]]\nname = 'cache'\nquota = '50GiB'")), "the configuration is valid\n");
    for (text, part) in [
        ("[[bucket]]\nname = 'cache'\ncashe = true", "unknown field `cashe`"),
        ("[[bucket]]\nname = 'cache'\nquota = '50 apples'", "quota"),
        ("[[key]]\nname = 'k'\nbucket = 'cache'\nsecret = 's'", "[kubernetes]"),
    ] {
        let error = complained(&check(text), 1);
        assert!(error.contains(part), "{error}");
    }
    assert!(!data.exists());
}
