//! The forms of a report, from one made by hand.

use std::time::Duration;

use super::*;
use crate::{
    failure::Failure,
    metric::measure,
    recorder::{Done, Recorder},
};

fn result(server: &str, speeds: &[u64], first: Option<&ServerResult>) -> ServerResult {
    let mut result = ServerResult { server: server.to_owned(), ..ServerResult::default() };
    let mut all = Sight::new();
    for speed in speeds {
        let recorder = Recorder::default();
        for _ in 0..*speed {
            recorder.record(Kind::Put, Duration::from_millis(1000 / speed.max(&1)), &Ok(Done::bytes(1 << 20)));
        }
        recorder.record(Kind::Put, Duration::ZERO, &Err(Failure::new("503 SlowDown")));
        let sight = recorder.take();
        let usage = Usage { cpu_s: 0.1, written_bytes: 3 << 19, rss_bytes_max: 1 << 28, syncs: None };
        let metrics = measure(&sight, Kind::Put, 1.0, Some(&usage), 0.01);
        result.rounds.push(Round { seconds: 1.0, metrics, usage: Some(usage) });
        for (kind, seen) in &sight {
            all.entry(*kind).or_default().merge(seen);
        }
    }
    result.finish(&all, first);
    result
}

fn report() -> Report {
    let first = result("one", &[100, 50, 10], None);
    let second = result("<two>", &[200, 100, 20], Some(&first));
    let settings = Settings {
        rounds: 3,
        round_s: 1.0,
        operations: None,
        rate: None,
        concurrency: 8,
        seed: 1,
        warm_up_s: 0.0,
        settle_s: 0.5,
    };
    let server = |name: &str| Server { name: name.into(), url: "https://h".into(), rss_before_mib: Some(12.0) };
    Report {
        version: "1",
        began: "2026-01-01T00:00:00Z".into(),
        place: Place {
            cores: 2,
            cpu: "A <CPU>".into(),
            kernel: "6.1".into(),
            command: vec!["cairn".into(), "bench".into()],
        },
        settings,
        servers: vec![server("one"), server("<two>")],
        cases: vec![Case {
            workload: Workload::Put,
            title: "put of much".into(),
            object_bytes: 1 << 20,
            harness_ms_per_operation: Some(0.25),
            results: vec![first, second],
        }],
        notes: vec!["a note".into()],
        interrupted: true,
    }
}

#[test]
fn the_table_has_medians_spreads_ratios_and_failures() {
    let text = table(&report());
    let line =
        |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}:\n{text}"));
    let rate = line("operations/s");
    assert!(rate.contains("50.0 (10.0 to 100)") && rate.contains("100 (20.0 to 200)"), "{rate}");
    assert!(rate.ends_with("2.00 (2.00 to 2.00)"), "{rate}");
    assert!(line("failures of one").ends_with("503 SlowDown: 3"));
    assert!(line("harness against").contains("0.250 ms"));
    for part in ["<two> / one", "note: a note", "interrupted", "memory of one before the run: 12.0 MiB"] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    assert!(!text.contains("keys/s"), "a number that nobody has is left out");
}

#[test]
fn the_json_holds_every_round_and_can_be_read() {
    let json: serde_json::Value = serde_json::from_str(&report().json().unwrap()).unwrap();
    let one = &json["cases"][0]["results"][0];
    assert_eq!(one["rounds"].as_array().unwrap().len(), 3);
    assert_eq!(one["rounds"][2]["metrics"]["operations-per-s"], 10.0);
    assert_eq!(one["failures"]["503 SlowDown"], 3);
    assert_eq!(one["kinds"]["put"]["operations"], 160);
    assert_eq!(json["interrupted"], true);
    assert_eq!((&json["place"]["kernel"], &json["place"]["command"][1]), (&"6.1".into(), &"bench".into()));
}

#[test]
fn the_page_needs_no_other_file_and_names_are_no_markup() {
    let page = html(&report());
    assert!(page.contains("<svg") && page.contains("prefers-color-scheme: dark") && page.contains("503 SlowDown: 3"));
    assert!(page.contains("A &lt;CPU&gt;") && page.contains("<code>cairn bench</code>"));
    assert!(page.contains("&lt;two&gt;") && !page.contains("<two>"));
    for outside in ["src=", "href=", "url(", "@import", "<script", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    assert!(!page.contains("NaN") && !page.contains("inf"));
}

#[test]
fn a_round_in_which_the_server_was_gone_counts_with_nothing_moved() {
    let text = |metric: &Metric, result: &ServerResult| result.metrics.get(metric).map(|spread| spread.low);
    let died = result("one", &[100, 50, 0], None);
    assert_eq!((text(&Metric::OperationsPerS, &died), text(&Metric::MegabytesPerS, &died)), (Some(0.0), Some(0.0)));
    assert_eq!(text(&Metric::KeysPerS, &died), None, "nobody listed");
}

#[test]
fn numbers_have_as_many_digits_as_say_something() {
    for (value, shown) in [
        (0.0, "0"),
        (0.0000123, "1.2e-5"),
        (0.5, "0.500"),
        (1.234, "1.23"),
        (12.34, "12.3"),
        (123.4, "123"),
        (1234.5, "1,234"),
        (1_234_567.0, "1,234,567"),
        (-1234.0, "-1,234"),
    ] {
        assert_eq!(number(value), shown);
    }
}
