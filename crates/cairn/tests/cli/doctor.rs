//! `cairn doctor` against the real server, healthy and ill in every way it names.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Output, Stdio},
};

use serde_json::Value;

use crate::server::{Server, cairn, complained, said};

const ROOT: [(&str, &str); 2] = [("CAIRN_ROOT_ACCESS_KEY", "operator"), ("CAIRN_ROOT_SECRET_KEY", "operators-secret")];

/// Runs `cairn doctor --json` with a secret.
fn doctor(words: &[&str], secret: &str) -> (Output, Value) {
    let words: Vec<&str> = ["doctor", "--json"].iter().chain(words).copied().collect();
    let output = cairn(&words).env("CAIRN_SECRET_KEY", secret).env_remove("SSL_CERT_FILE").output().unwrap();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output, report)
}

/// The first step that failed: its name, and what it says.
fn first_failure(words: &[&str], secret: &str) -> (String, String) {
    let (output, report) = doctor(words, secret);
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert_eq!(report["ok"], false);
    let failed = report["steps"].as_array().unwrap().iter().find(|step| step["state"] == "failed").unwrap();
    assert!(!failed["remedy"].as_str().unwrap().is_empty(), "{failed}");
    assert!(!report.to_string().contains(secret), "no secret is shown");
    (failed["step"].as_str().unwrap().to_owned(), format!("{} {}", failed["text"], failed["remedy"]))
}

fn expect_failure(words: &[&str], secret: &str, step: &str, part: &str) {
    let (failed, text) = first_failure(words, secret);
    assert!(failed == step && text.contains(part), "{words:?}: {failed}: {text}");
}

fn start(folder: &Path, name: &str, more: &[&str]) -> Server {
    let flags: Vec<&str> = ["--disks", "1"].iter().chain(more).copied().collect();
    let server = Server::start(&folder.join(name), &flags, &ROOT);
    said(&server.run(&["bucket", "create", "cache"]));
    server
}

fn port(server: &Server) -> &str {
    server.url.rsplit(':').next().unwrap()
}

/// A key with its secret.
fn key(server: &Server, more: &[&str]) -> (String, String) {
    let words: Vec<&str> = ["key", "create", "--bucket", "cache", "--json"].iter().chain(more).copied().collect();
    let made: Value = serde_json::from_str(&said(&server.run(&words))).unwrap();
    (made["key"]["access_key"].as_str().unwrap().to_owned(), made["secret_key"].as_str().unwrap().to_owned())
}

#[test]
fn a_healthy_road_and_every_fault_of_key_and_bucket() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "d", &[]);
    let endpoint = format!("https://localhost:{}", port(&server));
    let ca = server.home.join("ca.crt").display().to_string();
    let (access, secret) = key(&server, &["--prefix", "team/"]);
    let place = ["--endpoint", &endpoint, "--ca", &ca];
    let with = |more: &[&'static str], access: &str| -> Vec<String> {
        let bucket: &[&str] = if more.contains(&"--bucket") { &[] } else { &["--bucket", "cache"] };
        place.iter().chain(more).chain(bucket).chain(&["--access-key", access]).map(ToString::to_string).collect()
    };
    let failure = |more: &[&'static str], access: &str, secret: &str, step: &str, part: &str| {
        let words = with(more, access);
        expect_failure(&words.iter().map(String::as_str).collect::<Vec<_>>(), secret, step, part);
    };

    let words = with(&["--prefix", "team/"], &access);
    let (output, report) = doctor(&words.iter().map(String::as_str).collect::<Vec<_>>(), &secret);
    assert!(output.status.success(), "{report:#}");
    let steps: Vec<&str> =
        report["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect();
    assert_eq!(
        steps,
        [
            "name",
            "connect",
            "tls",
            "chain",
            "certificate-name",
            "validity",
            "http",
            "clock",
            "key",
            "bucket",
            "location",
            "miss",
            "put",
            "head",
            "get",
            "range",
            "presigned",
            "delete"
        ]
    );
    let info: Value = serde_json::from_str(&said(&server.run(&["bucket", "info", "cache", "--json"]))).unwrap();
    assert_eq!(info["objects"], 0, "no probe is left");

    failure(&["--prefix", "team/"], "NOSUCHKEY", "whatever-it-is", "key", "does not know NOSUCHKEY");
    failure(&["--prefix", "team/"], &access, "a-wrong-secret", "key", "the secret is not that of");
    failure(&[], &access, &secret, "miss", "403");
    failure(&["--bucket", "none"], "operator", "operators-secret", "bucket", "cairn bucket create none");
    failure(&["--bucket", "none"], &access, &secret, "bucket", "--bucket");
    let (reader, reader_secret) = key(&server, &["--read-only"]);
    failure(&[], &reader, &reader_secret, "put", "read only");
    said(&server.run(&["key", "disable", &access]));
    failure(&["--prefix", "team/"], &access, &secret, "key", "switched off");

    // What is in the server is enough; the key made for it goes again.
    let keys = said(&server.run(&["key", "list"]));
    let text = said(&server.run(&["doctor"]));
    assert!(text.lines().all(|line| line.starts_with("ok ") || line == "all is well"), "{text}");
    assert_eq!(said(&server.run(&["key", "list"])), keys);
    assert_eq!(server.stop().code(), Some(0));
    failure(&[], &access, &secret, "connect", "nothing listens there");
}

#[test]
fn a_bucket_is_not_put_before_an_address() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "d", &[]);
    let text = complained(&server.run(&["doctor", "--virtual-hosted"]), 1);
    assert!(text.contains("127.0.0.1 is an address") && text.contains("--s3-domain"), "{text}");
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn every_fault_of_the_connection() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "d", &[]);
    let plain = start(folder.path(), "p", &["--tls", "off"]);
    let (port, plain_port) = (port(&server).to_owned(), port(&plain).to_owned());
    let ca = server.home.join("ca.crt").display().to_string();
    let failure = |url: &str, ca: &str, step: &str, part: &str| {
        let words = ["--endpoint", url, "--ca", ca, "--bucket", "cache", "--access-key", "operator"];
        expect_failure(&words, "operators-secret", step, part);
    };
    failure("https://localhost:1", &ca, "connect", "nothing listens there");
    failure("https://no-such-host.invalid", &ca, "name", "DNS");
    failure(&format!("http://localhost:{port}"), &ca, "http", "https://");
    failure(&format!("https://localhost:{plain_port}"), &ca, "tls", "Insecure = true");

    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let other_ca = folder.path().join("other.crt");
    fs::write(&other_ca, other.cert.pem()).unwrap();
    failure(&format!("https://localhost:{port}"), other_ca.to_str().unwrap(), "chain", "does not trust");

    let (named, named_ca) = with_certificate(folder.path(), "n", "cache.lan", 2099);
    failure(&format!("https://localhost:{}", self::port(&named)), &named_ca, "certificate-name", "it is for ");
    let (old, old_ca) = with_certificate(folder.path(), "o", "localhost", 2025);
    failure(&format!("https://localhost:{}", self::port(&old)), &old_ca, "validity", "ended at");

    let url = skewed_proxy(&plain_port);
    let words = ["--endpoint", &url, "--bucket", "cache", "--access-key", "operator"];
    expect_failure(&words, "operators-secret", "clock", "NTP");
    let direct = format!("http://localhost:{plain_port}");
    let (_, report) =
        doctor(&["--endpoint", &direct, "--bucket", "cache", "--access-key", "operator"], "operators-secret");
    assert_eq!(report["ok"], true, "{report:#}");
    server.kill();
    failure(&format!("https://localhost:{port}"), &ca, "connect", "is the server running");
}

/// A server with a certificate of this name until this year, and its file.
fn with_certificate(folder: &Path, home: &str, name: &str, year: i32) -> (Server, String) {
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(2024, 1, 1);
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let at = |end: &str| folder.join(format!("{home}.{end}")).display().to_string();
    fs::write(at("crt"), certificate.pem()).unwrap();
    fs::write(at("key"), key.serialize_pem()).unwrap();
    (start(folder, home, &["--tls", &format!("{},{}", at("crt"), at("key"))]), at("crt"))
}

/// Passes requests on to a plain server, and answers of another year back.
fn skewed_proxy(port: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (url, server) = (format!("http://{}", listener.local_addr().unwrap()), format!("127.0.0.1:{port}"));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            pass_on(client, &server);
        }
    });
    url
}

fn pass_on(mut client: TcpStream, server: &str) {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    while !request.ends_with(b"\r\n\r\n") {
        match client.read(&mut piece) {
            Ok(read) if read > 0 => request.extend_from_slice(&piece[..read]),
            _ => return,
        }
    }
    let request = String::from_utf8(request).unwrap().replacen("\r\n", "\r\nConnection: close\r\n", 1);
    let mut inner = TcpStream::connect(server).unwrap();
    inner.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    inner.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer);
    let date = answer.lines().find(|line| line.to_ascii_lowercase().starts_with("date:")).unwrap().to_owned();
    let answer = answer.replace(&date, "date: Sun, 06 Nov 1994 08:49:37 GMT");
    client.write_all(answer.as_bytes()).unwrap();
}

#[test]
fn a_runners_configuration_is_examined_as_the_runner_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "d", &[]);
    let endpoint = format!("localhost:{}", port(&server));
    let ca = server.home.join("ca.crt").display().to_string();
    let toml = said(&server.run(&[
        "runner-config",
        "--bucket",
        "cache",
        "--prefix",
        "team",
        "--endpoint",
        &endpoint,
        "--only",
        "toml",
    ]));
    let config = folder.path().join("config.toml");
    let config = config.to_str().unwrap();
    fs::write(config, &toml).unwrap();

    let (output, report) = doctor(&["--runner-config", config, "--runner-ca", &ca], "unused");
    assert!(output.status.success(), "{report:#}");
    let state = |report: &Value, name: &str| {
        let steps = report["steps"].as_array().unwrap();
        steps.iter().find(|step| step["step"] == name).map(|step| step["state"].as_str().unwrap().to_owned())
    };
    assert_eq!(state(&report, "runner-ca").as_deref(), Some("ok"));
    // Jobs that get no CA trust their system's store, which does not know ours; the rest is in order.
    let (_, report) = doctor(&["--runner-config", config, "--ca", &ca], "unused");
    assert_eq!(state(&report, "runner-ca").as_deref(), Some("failed"), "{report:#}");
    assert_eq!(state(&report, "presigned").as_deref(), Some("ok"), "{report:#}");

    fs::write(config, toml.replace("localhost:", "https://localhost:")).unwrap();
    expect_failure(&["--runner-config", config], "unused", "runner-config", "without scheme");
    fs::write(config, toml.replace("SecretKey", "Secretkeys")).unwrap();
    expect_failure(&["--runner-config", config], "unused", "runner-config", "Secretkeys");
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn a_server_that_ends_amid_the_examination_costs_no_report() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "d", &[]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = cairn(&["doctor", "--json", "--endpoint", &url, "--bucket", "cache"])
        .env("CAIRN_DATA", &server.home)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The key for the examination was made before its first step.
    let first = listener.accept().unwrap();
    server.kill();
    drop((first, listener));
    let output = asked.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!((output.status.code(), &report["ok"]), (Some(1), &Value::Bool(false)), "{report:#}");
    assert!(report["steps"].as_array().unwrap().iter().any(|step| step["state"] == "failed"), "{report:#}");
    assert!(said.contains("is left: `cairn key remove "), "{said}");
}

#[test]
fn a_runners_file_that_cannot_be_read_is_not_said_to_be_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("config.toml").display().to_string();
    let (step, text) = first_failure(&["--runner-config", &missing], "unused");
    assert!(step == "runner-config" && text.contains("name the runner's config.toml"), "{text}");
    assert!(!text.contains("correct"), "{text}");
}
