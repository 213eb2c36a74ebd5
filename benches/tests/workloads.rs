//! The whole harness against the null server: every workload, what it finds when a server lies, refuses or is stopped.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use cairn_bench::{BenchArgs, Faults, Kind, Metric, Noted, NullServer, Progress, Report, Workload};
use clap::{Parser, ValueEnum as _};
use tokio_util::sync::CancellationToken;

const SEED: u64 = 1;

/// A flag that is given again wins over the one before.
#[derive(Parser)]
#[command(args_override_self = true)]
struct Line {
    #[command(flatten)]
    args: BenchArgs,
}

fn arguments(words: &[&str], endpoints: &[(&str, &NullServer)]) -> Line {
    let mut line: Vec<String> = ["bench", "--access-key", "a", "--secret-key", "s"].map(str::to_owned).to_vec();
    for (name, server) in endpoints {
        line.extend(["--endpoint".to_owned(), format!("{name}={}", server.endpoint().url)]);
    }
    line.extend(words.iter().map(|word| (*word).to_owned()));
    Line::parse_from(line)
}

/// A short run of one workload with small objects.
fn run(workload: &str, words: &[&str], endpoints: &[(&str, &NullServer)]) -> Report {
    let quick = ["--duration", "300ms", "--warm-up", "50ms", "--settle", "0ms", "--rounds", "2", "--concurrency", "4"];
    let words = [&["--workload", workload, "--size-max", "1MiB"][..], &quick, words].concat();
    let options = arguments(&words, endpoints).args.options().unwrap();
    cairn_bench::bench_until(&options, &Progress::off(), &CancellationToken::new()).unwrap()
}

fn null(tls: bool, faults: Faults) -> NullServer {
    NullServer::start(SEED, tls, faults).unwrap()
}

#[test]
fn every_workload_runs_without_a_failure_in_turn_on_two_servers() {
    let (one, other) = (null(false, Faults::default()), null(false, Faults::default()));
    for workload in Workload::value_variants() {
        let size = if *workload == Workload::Multipart { "12MiB" } else { "100KiB" };
        let words = ["--size", size, "--part-size", "5MiB", "--objects", "20"];
        let report = run(workload.name(), &words, &[("one", &one), ("other", &other)]);
        assert_eq!(report.failures(), 0, "{}:\n{}", workload.name(), cairn_bench::table(&report));
        assert!(report.notes.is_empty(), "{:?}", report.notes);
        let case = &report.cases[0];
        assert!(case.harness_ms_per_operation.is_some_and(|cost| cost > 0.0), "{}", workload.name());
        for result in &case.results {
            assert_eq!(result.rounds.len(), 2, "{}", workload.name());
            assert!(result.metrics[&Metric::OperationsPerS].median > 0.0, "{}", workload.name());
            assert!(result.kinds[&workload.main_kind()].operations > 0, "{}", workload.name());
        }
        assert!(case.results[1].against_first.contains_key(&Metric::OperationsPerS));
    }
}

#[test]
fn a_runners_heads_miss_a_third_and_more_and_its_stages_are_counted() {
    let server = null(true, Faults::default());
    let ca = server.endpoint().ca.clone().unwrap();
    let report = run("runner", &["--objects", "8", "--ca", ca.to_str().unwrap()], &[("one", &server)]);
    assert_eq!(report.failures(), 0, "{}", cairn_bench::table(&report));
    let kinds = &report.cases[0].results[0].kinds;
    let count = |kind: Kind| kinds[&kind].operations;
    let misses = count(Kind::HeadMiss) as f64 / (count(Kind::HeadMiss) + count(Kind::Head)) as f64;
    assert!((0.34..0.9).contains(&misses), "{misses} of the HEADs missed");
    assert!(count(Kind::Put) > 0 && count(Kind::GetMiss) > 0 && count(Kind::Save) > 0);
    assert!(count(Kind::Restore) >= count(Kind::Get));
}

#[test]
fn one_wrong_bit_is_found_in_every_workload_that_reads() {
    let server = null(false, Faults { damaged: true, ..Faults::default() });
    for workload in ["get", "ranged", "mixed", "runner", "put", "multipart"] {
        let words = ["--size", "6MiB", "--objects", "8", "--rounds", "1"];
        let report = run(workload, &words, &[("liar", &server)]);
        let failures = &report.cases[0].results[0].failures;
        let wrong: u64 =
            failures.iter().filter(|(label, _)| label.contains("wrong bytes")).map(|(_, count)| count).sum();
        assert!(wrong > 0, "{workload}: {failures:?}");
        if ["get", "ranged"].contains(&workload) {
            let seen = &report.cases[0].results[0].kinds[&report.cases[0].workload.main_kind()];
            assert_eq!(seen.operations, 0, "{workload}: a damaged read went for good");
        }
    }
}

#[test]
fn a_server_that_answers_an_overwritten_version_is_found() {
    let server = null(false, Faults { stale: true, ..Faults::default() });
    let report = run("runner", &["--objects", "4"], &[("stale", &server)]);
    let failures = &report.cases[0].results[0].failures;
    assert!(failures.keys().any(|label| label == "wrong bytes" || label == "wrong length"), "{failures:?}");
}

#[test]
fn refusals_are_counted_by_code_and_not_as_operations() {
    let server = null(false, Faults { slow_down_every: 10, ..Faults::default() });
    let words = ["--size", "1KiB", "--operations", "200", "--rounds", "1", "--warm-up", "0ms", "--duration", "20s"];
    let report = run("put", &words, &[("busy", &server)]);
    let seen = &report.cases[0].results[0].kinds[&Kind::Put];
    assert_eq!(seen.operations + seen.failures["503 SlowDown"], 200);
    assert!((19..=21).contains(&seen.failures["503 SlowDown"]), "{:?}", seen.failures);
}

#[test]
fn an_open_loop_begins_as_many_as_the_rate_says() {
    let server = null(false, Faults::default());
    let words = ["--size", "1KiB", "--objects", "8", "--rate", "200", "--duration", "1s", "--rounds", "1"];
    let report = run("get", &words, &[("one", &server)]);
    assert_eq!(report.cases[0].results[0].kinds[&Kind::Get].operations, 200);
}

#[test]
fn an_interrupted_run_reports_what_it_saw_and_leaves_nothing() {
    let server = null(false, Faults::default());
    let words = ["--workload", "put,mixed", "--size", "1KiB", "--duration", "60s", "--warm-up", "0ms"];
    let options = arguments(&words, &[("one", &server)]).args.options().unwrap();
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    std::thread::spawn(move || {
        // The harness measures itself for two seconds first.
        std::thread::sleep(Duration::from_secs(4));
        stop.cancel();
    });
    let report = cairn_bench::bench_until(&options, &Progress::off(), &cancel).unwrap();
    assert!(report.interrupted && report.failures() == 0, "{}", cairn_bench::table(&report));
    assert!(report.cases[0].results[0].kinds[&Kind::Put].operations > 0);
    assert_eq!(report.cases.len(), 1, "the second workload did not begin");
    // A run under the same prefix refuses to begin where something is left.
    let words = ["--workload", "get", "--prefix", "bench-", "--size", "1KiB", "--operations", "1"];
    let options = arguments(&words, &[("one", &server)]).args.options().unwrap();
    cairn_bench::bench_until(&options, &Progress::off(), &CancellationToken::new()).expect("nothing is left");
}

#[test]
fn what_was_laid_ready_is_left_where_it_was_asked_for() {
    let server = null(false, Faults::default());
    let words = ["--workload", "list", "--prefix", "kept/", "--objects", "5", "--operations", "1", "--rounds", "1"];
    let again = || {
        let options = arguments(&words, &[("one", &server)]).args.options().unwrap();
        cairn_bench::bench_until(&options, &Progress::off(), &CancellationToken::new())
    };
    assert_eq!(again().expect("nothing lies there").failures(), 0);
    let kept = [&words[..], &["--keep"]].concat();
    let options = arguments(&kept, &[("one", &server)]).args.options().unwrap();
    cairn_bench::bench_until(&options, &Progress::off(), &CancellationToken::new()).expect("nothing is left");
    let error = format!("{:#}", again().unwrap_err());
    assert!(error.contains("lies under the prefix already"), "{error}");
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let options = {
        let server = null(false, Faults::default());
        arguments(&[], &[("gone", &server)]).args.options().unwrap()
    };
    let error = cairn_bench::bench_until(&options, &Progress::off(), &CancellationToken::new()).unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains("server `gone`") && text.contains("refused"), "{text}");
}

/// Each round goes over all servers before the next begins: what the machine does meanwhile meets all alike.
#[test]
fn servers_are_driven_in_turn_round_by_round() {
    let (one, other) = (NullServer::start_noting(SEED).unwrap(), NullServer::start_noting(SEED).unwrap());
    let words = ["--size", "1KiB", "--rounds", "3", "--warm-up", "0ms", "--operations", "50", "--duration", "60s"];
    let report = run("put", &words, &[("one", &one), ("other", &other)]);
    assert_eq!(report.failures(), 0, "{}", cairn_bench::table(&report));
    let mut puts = Vec::new();
    for (name, server) in [("one", &one), ("other", &other)] {
        for Noted { at, what } in server.noted() {
            // Keys of a round have its number: …/put/r2/00000001.
            let round = what.split_once("/put/r").and_then(|(_, rest)| rest.split_once('/')).map(|(round, _)| round);
            if let (true, Some(round)) = (what.starts_with("PUT "), round) {
                puts.push((at, name, round.to_owned()));
            }
        }
    }
    assert_eq!(puts.len(), 2 * 3 * 50);
    puts.sort();
    let mut order: Vec<String> = puts.into_iter().map(|(_, name, round)| format!("{name} {round}")).collect();
    order.dedup();
    assert_eq!(order, ["one 1", "other 1", "one 2", "other 2", "one 3", "other 3"]);
}

/// What a run asks of a server, in order. What removes objects at the end goes over several connections at once: those
/// deletes are sorted.
fn asked(workload: Workload, seed: u64) -> Vec<String> {
    let server = NullServer::start_noting(seed).unwrap();
    let size = if workload == Workload::Multipart { "6MiB" } else { "20KiB" };
    let words = ["--seed", &seed.to_string(), "--prefix", "same/", "--concurrency", "1", "--size", size];
    let words = [&words[..], &["--part-size", "5MiB", "--objects", "20", "--warm-up", "0ms"]].concat();
    let words = [&words[..], &["--operations", "20", "--duration", "60s", "--range-size", "1KiB"]].concat();
    let report = run(workload.name(), &words, &[("one", &server)]);
    assert_eq!(report.failures(), 0, "{}:\n{}", workload.name(), cairn_bench::table(&report));
    let what = server.noted().into_iter().map(|noted| noted.what);
    let (mut deletes, mut asked): (Vec<_>, Vec<_>) =
        what.partition(|what| what.starts_with("DELETE ") && workload != Workload::Delete);
    deletes.sort();
    asked.append(&mut deletes);
    asked
}

#[test]
fn a_seed_says_what_is_asked_and_in_which_order() {
    for workload in Workload::value_variants() {
        let first = asked(*workload, SEED);
        assert!(first.len() > 2 * 20, "{}: {first:#?}", workload.name());
        assert_eq!(first, asked(*workload, SEED), "{}", workload.name());
        // New keys one after the other, or all keys once, or all keys on one page: nothing is drawn but bytes.
        let fixed = [Workload::Put, Workload::Multipart, Workload::Delete, Workload::List];
        assert_eq!(first == asked(*workload, SEED + 1), fixed.contains(workload), "{}", workload.name());
    }
}
