//! `cairn bench` against the real server: every workload for a moment, with what the server used; Ctrl-C; wrong bytes on
//! the way.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use cairn_tests::{ACCESS_KEY, SECRET_KEY, Server, ServerOptions, cairn};
use serde_json::Value;

const WORKLOADS: [&str; 9] = ["put", "get", "head", "list", "delete", "multipart", "ranged", "mixed", "runner"];

fn bench(words: &[&str]) -> Command {
    let mut command = Command::new(cairn());
    command.arg("bench").args(["--warm-up", "100ms", "--settle", "100ms", "--concurrency", "4"]).args(words);
    command.env("CAIRN_BENCH_ACCESS_KEY", ACCESS_KEY).env("CAIRN_BENCH_SECRET_KEY", SECRET_KEY);
    command.stdin(Stdio::null());
    command
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Whether perf counts system calls here, asked past the harness.
fn perf_may_count() -> bool {
    let mut perf = Command::new("perf");
    let outcome = perf.args(["stat", "--event", "syscalls:sys_enter_fsync", "--", "true"]).output();
    let may = outcome.as_ref().is_ok_and(|output| output.status.success());
    if !may {
        #[expect(clippy::print_stderr, reason = "whoever runs the tests must see what was not tested")]
        {
            eprintln!("skipped: perf may not count system calls here: {outcome:?}");
        }
    }
    may
}

#[test]
fn bench_runs_every_workload_and_measures_the_server() -> anyhow::Result<()> {
    let server = Server::start(ServerOptions::default())?;
    let folder = tempfile::tempdir()?;
    let (json, html) = (folder.path().join("report.json"), folder.path().join("report.html"));
    let endpoints = folder.path().join("endpoints.toml");
    std::fs::write(
        &endpoints,
        format!(
            "[[endpoint]]\nname = 'cairn'\nurl = '{}'\nca = '{}'\npids = [{}]\n",
            server.endpoint(),
            server.ca().display(),
            server.pid()
        ),
    )?;
    let output = bench(&["--workload", &WORKLOADS.join(","), "--duration", "1s", "--rounds", "1", "--objects", "20"])
        .args(["--size", "6MiB", "--part-size", "5MiB", "--size-max", "2MiB", "--bytes-max", "256MiB"])
        .arg("--endpoints")
        .arg(&endpoints)
        .arg("--json")
        .arg(&json)
        .arg("--html")
        .arg(&html)
        .output()?;
    anyhow::ensure!(output.status.success(), "{}", text(&output));
    let report: Value = serde_json::from_str(&std::fs::read_to_string(&json)?)?;
    let cases = report["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), WORKLOADS.len());
    for case in cases {
        let metrics = &case["results"][0]["metrics"];
        let number = |name: &str| metrics[name]["median"].as_f64().unwrap_or_else(|| panic!("{name}: {case:#}"));
        assert!(number("operations-per-s") > 0.0 && number("rss-mib") > 10.0, "{case:#}");
        // CPU is counted in steps of 10 ms: some rounds end before the first.
        assert!(number("cpu-ms-per-operation") >= 0.0, "{case:#}");
        assert_eq!(case["results"][0]["failures"], serde_json::json!({}));
    }
    // 4+2 writes each byte one and a half times; the log and the index add little.
    let put = &cases[0]["results"][0]["metrics"];
    assert!(put["cpu-s-per-gib"]["median"].as_f64().is_some_and(|cpu| cpu > 0.0), "{put:#}");
    let written = put["written-per-byte"]["median"].as_f64().expect("bytes written");
    assert!((1.4..2.5).contains(&written), "{written} bytes were written per byte");
    // A put is no put without a sync.
    if perf_may_count() {
        let syncs = put["syncs-per-operation"]["median"].as_f64().unwrap_or_else(|| panic!("no syncs: {report:#}"));
        assert!(syncs >= 1.0, "{syncs} syncs for a put");
    }
    assert!(std::fs::read_to_string(&html)?.contains("<svg"));
    assert_eq!(server.run(&["bucket", "list", "--json"])?.trim(), "", "the bucket and all in it are removed");
    Ok(())
}

/// The script that runs the harness on Cairn and its peers: who is not to be had is named, and the others are driven.
#[test]
fn peers_are_driven_and_a_missing_one_is_named() -> anyhow::Result<()> {
    let tools = tempfile::tempdir()?;
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../benches/peers/run"))
        .args(["--workload", "put", "--size", "64KiB", "--operations", "20", "--duration", "1s", "--rounds", "1"])
        .args(["--warm-up", "0s", "--settle", "0s", "--concurrency", "2", "--objects", "5", "--no-syncs"])
        .env("PEERS", "cairn nosuch")
        .env("CAIRN", cairn())
        .env("CAIRN_TOOLS", tools.path())
        .stdin(Stdio::null())
        .output()?;
    let said = text(&output);
    anyhow::ensure!(output.status.success(), "{said}");
    anyhow::ensure!(said.contains("MISSING nosuch: there is no nosuch.sh"), "{said}");
    anyhow::ensure!(said.contains("cairn: six folders, 4+2, TLS") && !said.contains("MISSING cairn"), "{said}");
    anyhow::ensure!(said.contains("put, objects of 64 KiB"), "no figures: {said}");
    Ok(())
}

#[test]
fn bench_ends_in_order_at_ctrl_c() -> anyhow::Result<()> {
    let server = Server::start(ServerOptions::default())?;
    let child = bench(&["--workload", "put", "--size", "4KiB", "--duration", "10m"])
        .args(["--endpoint", &format!("cairn={}", server.endpoint())])
        .arg("--ca")
        .arg(server.ca())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    thread::sleep(Duration::from_secs(6));
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status()?;
    assert!(sent.success());
    let output = child.wait_with_output()?;
    assert_eq!(output.status.code(), Some(130), "{}", text(&output));
    let said = text(&output);
    assert!(said.contains("interrupted") && said.contains("operations/s"), "{said}");
    assert_eq!(server.run(&["bucket", "list", "--json"])?.trim(), "", "the bucket and all in it are removed");
    Ok(())
}

/// A proxy that turns one bit of every large piece that comes from the server.
fn lying_proxy(to: String) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(server) = TcpStream::connect(&to) else { return };
            let (Ok(from_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) else { return };
            thread::spawn(move || forward(from_client, to_server, false));
            thread::spawn(move || forward(server, client, true));
        }
    });
    Ok(address.to_string())
}

fn forward(mut from: TcpStream, mut to: TcpStream, lies: bool) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(length) = from.read(&mut piece) {
        // Heads of answers are shorter than 8 KiB, and so are answers without an object.
        if lies && length > 16 << 10 {
            piece[length - 1] ^= 1;
        }
        if length == 0 || to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
}

#[test]
fn bench_finds_a_wrong_byte() -> anyhow::Result<()> {
    let server = Server::start(ServerOptions { plain: true, ..ServerOptions::default() })?;
    let direct = server.endpoint().trim_start_matches("http://").to_owned();
    let proxy = lying_proxy(direct)?;
    let output = bench(&["--workload", "get", "--size", "1MiB", "--objects", "4", "--duration", "1s", "--rounds", "1"])
        .args(["--endpoint", &format!("liar=http://{proxy}")])
        .output()?;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    let said = text(&output);
    assert!(said.contains("failures of liar: wrong bytes: "), "{said}");
    Ok(())
}
