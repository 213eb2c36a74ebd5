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
    let bucket = "[[bucket]]\nname = 'cache'\ncache = true\nquota = '1GiB'\nprofile = '1+0'\netag = 'fast'\n";
    let declared = |prefix: &str| {
        let (file, of_reader) = (file.display(), folder.path().join("reader.credentials"));
        format!(
            "{bucket}[[key]]\nname = 'runner'\nbucket = 'cache'\nprefix = '{prefix}'\nfile = '{file}'\n[[key]]\nname = 'reader'\nbucket = 'cache'\nread-only = true\nfile = '{}'\n",
            of_reader.display()
        )
    };
    let server = start(&home, &declared(""));
    let info = parsed(&said(&server.run(&["bucket", "info", "cache", "--json"])));
    assert_eq!((&info["quota_bytes"], &info["settings"]["cache"]), (&json!(1_u64 << 30), &json!(true)));
    assert_eq!((&info["settings"]["profile"], &info["settings"]["etag"]), (&json!("1+0"), &json!("fast")));
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
    let less = less.replace("etag = 'fast'\n", "");
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
    assert_eq!(info["settings"]["etag"], "md5", "what is not named has its default");
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
        "[[key]]\nname = 'early'\nbucket = 'later'\nfile = '{}'\n[[bucket]]\nname = 'cache'\n[[key]]\nname = 'mine'\nbucket = 'cache'\nfile = '{}'",
        folder.path().join("early").display(),
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
fn a_pair_that_is_put_into_its_file_later_replaces_the_former() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("d");
    let (mine, other) = (folder.path().join("mine"), folder.path().join("other"));
    let of =
        |name: &str, file: &Path| format!("[[key]]\nname = '{name}'\nbucket = 'cache'\nfile = '{}'\n", file.display());
    let server = start(&home, &format!("[[bucket]]\nname = 'cache'\n{}{}", of("mine", &mine), of("other", &other)));
    let (first, foreign) = (key(&server, "mine").unwrap(), key(&server, "other").unwrap());
    let credentials = |access: &str, secret: &str| {
        format!("[default]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n")
    };
    let keys = || said(&server.run(&["key", "list"]));

    // Another key, then another secret for it; one that was switched off stays so.
    fs::write(&mine, credentials("ROTATED", "the-second-secret")).unwrap();
    server.hangup();
    until(|| key(&server, "mine").unwrap()["access_key"] == "ROTATED");
    assert!(!keys().contains(first["access_key"].as_str().unwrap()), "the former is in force no more: {}", keys());
    said(&server.run(&["key", "disable", "ROTATED"]));
    fs::write(&mine, credentials("ROTATED", "the-third-secret")).unwrap();
    server.hangup();
    until(|| server.log().matches("the key that was found published is taken").count() == 2);
    assert_eq!(key(&server, "mine").unwrap()["enabled"], false);
    assert_eq!(fs::read_to_string(&mine).unwrap(), credentials("ROTATED", "the-third-secret"));

    // The pair of another key is no rotation.
    fs::copy(&other, &mine).unwrap();
    server.hangup();
    until(|| fs::read_to_string(&mine).unwrap().contains("ROTATED"));
    assert!(fs::read_to_string(&mine).unwrap().contains("the-third-secret"));
    assert!(server.log().contains("the file held another key: it is replaced"), "{}", server.log());
    assert_eq!(key(&server, "other").unwrap(), foreign);
    for secret in ["the-second-secret", "the-third-secret"] {
        assert!(!server.log().contains(secret));
    }
    assert_eq!(server.stop().code(), Some(0));
}

/// Rights that are taken away wait for no file.
#[test]
fn the_limits_of_a_key_are_in_force_though_its_file_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("d");
    let file = folder.path().join("runner.credentials");
    let declared = |limits: &str| {
        let file = file.display();
        format!("[[bucket]]\nname = 'cache'\n[[key]]\nname = 'runner'\nbucket = 'cache'\nfile = '{file}'\n{limits}")
    };
    let server = start(&home, &declared(""));
    let before = key(&server, "runner").unwrap();
    assert_eq!((&before["write"], &before["prefix"]), (&true.into(), &"".into()));
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let narrow = declared("prefix = 'only/'\nread-only = true\n");
    fs::write(home.with_extension("toml"), format!("disks = 1\n{narrow}")).unwrap();
    server.hangup();
    until(|| key(&server, "runner").unwrap()["prefix"] == "only/");
    let after = key(&server, "runner").unwrap();
    assert_eq!((&after["write"], &after["access_key"]), (&false.into(), &before["access_key"]));
    assert!(server.log().contains("what is declared is not in force"), "the file is told of: {}", server.log());
    assert_eq!(server.stop().code(), Some(0));
}

/// How often something stands in the log.
fn told(server: &Server, part: &str) -> usize {
    server.log().matches(part).count()
}

#[test]
fn a_reload_that_is_asked_for_is_answered_each_time() {
    const REFUSED: &str = "the changed configuration is not taken";
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("d");
    let config = home.with_extension("toml");
    let good = "[[bucket]]\nname = 'kept'\n";
    let server = start(&home, good);

    // Away, then broken; the second time nobody but the sender asks.
    fs::remove_file(&config).unwrap();
    for time in 1..=2 {
        server.hangup();
        until(|| told(&server, REFUSED) == time);
    }
    let gone = server.log();
    let line = gone.lines().find(|line| line.contains(REFUSED)).unwrap();
    assert!(line.contains("ERROR") && line.contains("No such file") && line.contains("stays in force"), "{line}");
    fs::write(&config, "disks = 1\n[[bucket]]\nname = 'X'\n").unwrap();
    for time in 3..=4 {
        server.hangup();
        until(|| told(&server, REFUSED) >= time && server.log().contains("`X` is no bucket name"));
    }
    assert!(said(&server.run(&["bucket", "list"])).contains("kept"));

    fs::write(&config, format!("disks = 1\n{good}[[bucket]]\nname = 'more'\n")).unwrap();
    server.hangup();
    until(|| server.run(&["bucket", "info", "more"]).status.success());
    assert_eq!(server.stop().code(), Some(0));

    let plain = Server::start(&folder.path().join("p"), &["--disks", "1"], &[]);
    plain.hangup();
    until(|| plain.log().contains("without a configuration file"));
    assert_eq!(plain.stop().code(), Some(0));
}

#[test]
fn check_reads_what_is_declared() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("cairn.toml");
    let data = folder.path().join("d");
    let check = |text: &str| {
        fs::write(&config, format!("data = '{}'\ns3-listen = ['127.0.0.1:0']\n{text}", data.display())).unwrap();
        run(&["server", "--config", config.to_str().unwrap(), "--check"])
    };
    assert_eq!(said(&check("[[bucket]]\nname = 'cache'\nquota = '50GiB'")), "the configuration is valid\n");
    for (text, part) in [
        ("[[bucket]]\nname = 'cache'\ncashe = true", "unknown field `cashe`"),
        ("[[bucket]]\nname = 'cache'\nquota = '50 apples'", "quota"),
        ("[[key]]\nname = 'k'\nbucket = 'cache'\nsecret = 's'", "[kubernetes]"),
        ("[[key]]\nname = 'k'\nbucket = 'cache'", "add file = "),
    ] {
        let error = complained(&check(text), 1);
        assert!(error.contains(part), "{error}");
    }
    assert!(!data.exists());
}
