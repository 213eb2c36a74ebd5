//! The commands against a running server.

use std::{fs, process::Stdio};

use crate::server::{Server, cairn, complained, said};

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn buckets_keys_status_and_check() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("d"), &[], &[]);
    buckets(&server);
    keys(&server);
    status_and_check(&server);
    runner_config(&server);
    assert_eq!(server.stop().code(), Some(0));
}

fn buckets(server: &Server) {
    said(&server.run(&["bucket", "create", "cache"]));
    assert!(complained(&server.run(&["bucket", "create", "cache"]), 1).contains("`cache` exists"));
    said(&server.run(&["bucket", "create", "cache", "--if-missing"]));
    assert!(complained(&server.run(&["bucket", "create", "No_Name"]), 1).contains("no bucket name"));
    said(&server.run(&["bucket", "quota", "cache", "1GiB"]));
    let info = json(&said(&server.run(&["bucket", "info", "cache", "--json"])));
    assert_eq!((&info["quota_bytes"], &info["objects"]), (&serde_json::json!(1_u64 << 30), &serde_json::json!(0)));
    said(&server.run(&["bucket", "quota", "cache", "none"]));
    assert!(said(&server.run(&["bucket", "info", "cache"])).contains("none"));
    settings(server);
    said(&server.run(&["bucket", "create", "gone", "--quota", "none"]));
    assert!(said(&server.run(&["bucket", "info", "gone"])).contains("quota:    none"));
    said(&server.run(&["key", "create", "--bucket", "gone"]));
    assert!(said(&server.run(&["bucket", "delete", "gone"])).contains("with the access keys limited to it"));
    assert!(!said(&server.run(&["key", "list"])).contains("gone/"));
    let listed = said(&server.run(&["bucket", "list", "--json"]));
    assert_eq!(listed.lines().map(|line| json(line)["name"].clone()).collect::<Vec<_>>(), ["cache"]);
}

fn settings(server: &Server) {
    let told = |words: &[&str]| json(&said(&server.run(&[&["bucket", "info", "--json"], words].concat())));
    let plain = told(&["cache"]);
    assert_eq!(plain["settings"], serde_json::json!({"cache": false, "profile": "auto", "etag": "md5"}));
    let words = ["bucket", "create", "set", "--cache", "--profile", "2+1", "--etag", "fast", "--quota", "1MiB"];
    said(&server.run(&words));
    let info = told(&["set"]);
    assert_eq!(info["settings"], serde_json::json!({"cache": true, "profile": "2+1", "etag": "fast"}));
    assert_eq!(info["quota_bytes"], serde_json::json!(1 << 20));
    let shown = said(&server.run(&["bucket", "set", "set", "--cache", "false", "--profile", "auto"]));
    assert_eq!(shown, "bucket set: profile auto, etag fast\n");
    assert!(said(&server.run(&["bucket", "list"])).contains("profile auto, etag fast"));
    assert!(complained(&server.run(&["bucket", "set", "set", "--profile", "8+4"]), 1).contains("needs 12 disks"));
    assert!(complained(&server.run(&["bucket", "create", "wide", "--profile", "8+4"]), 1).contains("there are 6"));
    complained(&server.run(&["bucket", "set", "set"]), 2);
    said(&server.run(&["bucket", "delete", "set"]));
}

fn keys(server: &Server) {
    let created =
        json(&said(&server.run(&["key", "create", "--bucket", "cache", "--prefix", "a/", "--read-only", "--json"])));
    let (access, secret) = (created["key"]["access_key"].as_str().unwrap(), created["secret_key"].as_str().unwrap());
    assert_eq!((access.len(), secret.len()), (20, 40));
    assert_eq!(created["key"]["write"], false);
    let state = || {
        let listed = said(&server.run(&["key", "list"]));
        assert!(!listed.contains(secret));
        listed.lines().find(|line| line.starts_with(access)).map(|line| line.contains("  off  "))
    };
    assert_eq!(state(), Some(false));
    said(&server.run(&["key", "disable", access]));
    assert_eq!(state(), Some(true));
    said(&server.run(&["key", "enable", access]));
    assert_eq!(state(), Some(false));
    said(&server.run(&["key", "remove", access]));
    assert_eq!(state(), None);
    assert!(!server.log().contains(secret), "no secret in a log");

    keys_that_nobody_saw(server);

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let list = cairn(&["key", "list"]).env("CAIRN_DATA", &server.home).stdout(Stdio::from(writer)).status().unwrap();
    assert_eq!(list.code(), Some(141));
}

/// A key whose secret went nowhere would be open for ever and known to nobody.
fn keys_that_nobody_saw(server: &Server) {
    let before = said(&server.run(&["key", "list"]));
    for words in [
        &["key", "create", "--bucket", "cache"][..],
        &["key", "create", "--bucket", "cache", "--json"],
        &["runner-config", "--bucket", "cache"],
    ] {
        let (reader, closed) = std::io::pipe().unwrap();
        drop(reader);
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        for stdout in [Stdio::from(closed), Stdio::from(full)] {
            let made =
                cairn(words).env("CAIRN_DATA", &server.home).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
            let text = complained(&made.wait_with_output().unwrap(), 1);
            assert!(text.contains("is removed again"), "{words:?}: {text}");
        }
    }
    assert_eq!(said(&server.run(&["key", "list"])), before);
}

fn status_and_check(server: &Server) {
    let status = json(&said(&server.run(&["status", "--json"])));
    let disks = status["disks"].as_array().unwrap();
    assert_eq!(disks.len(), 6);
    assert!(disks.iter().all(|disk| disk["state"] == "serving"), "{status}");
    assert_eq!((&status["writable"], &status["missing_shards"]), (&serde_json::json!(true), &serde_json::json!(0)));
    assert_eq!(
        (&status["meta"]["copies"], &status["meta"]["leader"]),
        (&serde_json::json!(1), &serde_json::json!(true))
    );
    assert_eq!(status["groups"][0]["profile"], "4+2");
    let shown = said(&server.run(&["status"]));
    assert!(shown.contains("ONE copy") && shown.contains("Not protected:"), "{shown}");
    for (words, depth) in [
        (&["check"][..], "every unit read and verified"),
        (&["check", "--verify"], "every unit read and verified"),
        (&["check", "--quick"], "checksums not read"),
    ] {
        let report = said(&server.run(words));
        assert!(report.contains("all is whole") && report.contains(depth), "{words:?}: {report}");
    }
}

fn runner_config(server: &Server) {
    let text = said(&server.run(&["runner-config", "--bucket", "cache", "--prefix", "team", "--only", "toml"]));
    let parsed: toml::Table = toml::from_str(&text).unwrap();
    let s3 = &parsed["runners"]["cache"]["s3"];
    assert_eq!(s3["BucketName"].as_str(), Some("cache"));
    let port = server.url.rsplit(':').next().unwrap();
    assert_eq!(s3["ServerAddress"].as_str().unwrap(), format!("localhost:{port}"));
    let all = said(&server.run(&["runner-config", "--bucket", "cache", "--endpoint", "cache.lan:9000"]));
    let ca = fs::read_to_string(server.home.join("ca.crt")).unwrap();
    assert!(
        all.contains(ca.trim_end()) && all.contains("secretName: s3access") && all.contains("cache.lan:9000"),
        "{all}"
    );
    let keys = said(&server.run(&["key", "list"]));
    assert!(keys.contains("cache/team/*") && keys.contains("cache/*"), "{keys}");
    for (flag, value, part) in
        [("--endpoint", "cache.lan:99999", "ports are 1 to 65535"), ("--prefix", "a//../b", "give a plain path")]
    {
        let text = complained(&server.run(&["runner-config", "--bucket", "cache", flag, value]), 1);
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(said(&server.run(&["key", "list"])), keys, "no key was made");
}

#[test]
fn healthcheck_trusts_a_certificate_from_outside() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let issued = rcgen::generate_simple_self_signed(vec!["cache.lan".to_owned()]).unwrap();
    fs::write(at("tls.crt"), issued.cert.pem()).unwrap();
    fs::write(at("tls.key"), issued.signing_key.serialize_pem()).unwrap();
    let tls = format!("{},{}", at("tls.crt"), at("tls.key"));
    let server = Server::start(&folder.path().join("d"), &["--disks", "1", "--tls", &tls], &[]);
    assert_eq!(said(&server.run(&["healthcheck"])), "ready\n");
    assert!(!server.home.join("ca.crt").exists());
    // What cannot be taken up from the files, or is not yet, is no ill health: the server serves what it has.
    fs::write(at("tls.crt"), "half a file").unwrap();
    let half = server.run(&["healthcheck"]);
    assert_eq!(said(&half), "ready\n");
    assert!(String::from_utf8_lossy(&half.stderr).contains("another certificate than its file holds"));
    fs::remove_file(at("tls.crt")).unwrap();
    assert_eq!(said(&server.run(&["healthcheck"])), "ready\n");
    assert_eq!(server.stop().code(), Some(0));
    let plain = Server::start(&folder.path().join("p"), &["--disks", "1", "--tls", "off"], &[]);
    assert!(plain.url.starts_with("http://"));
    assert_eq!(said(&plain.run(&["healthcheck"])), "ready\n");
    assert_eq!(plain.stop().code(), Some(0));
}
