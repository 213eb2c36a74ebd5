//! The metrics page, read as a scraper reads it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use cairn_tests::{Server, ServerOptions, client, python};

type Labels = BTreeMap<String, String>;

/// What a page says of one metric.
#[derive(Debug, Default)]
struct Family {
    kind: String,
    /// By the sample's suffix (`_total`, `_bucket`, …) and labels.
    samples: BTreeMap<(String, Labels), f64>,
}

/// A page; every rule of the format that scrapers rely on is checked while it is read.
#[derive(Debug, Default)]
struct Page {
    families: BTreeMap<String, Family>,
}

impl Page {
    fn read(server: &Server) -> anyhow::Result<Self> {
        let text = python(server, "page.py", &["/-/metrics"])?;
        Self::parse(&text).with_context(|| text)
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let body = text.strip_suffix("# EOF\n").context("it ends with # EOF")?;
        let mut page = Self::default();
        let (mut present, mut helped) = (String::new(), BTreeSet::new());
        for line in body.lines() {
            let comment = line.strip_prefix("# ").map(|line| line.splitn(3, ' ').collect::<Vec<_>>());
            match comment.as_deref() {
                Some(["HELP", name, help]) => {
                    ensure!(helped.insert((*name).to_owned()), "HELP of {name} twice");
                    ensure!(!help.trim().is_empty(), "{name} has an empty HELP");
                    (*name).clone_into(&mut present);
                }
                Some(["TYPE", name, kind]) => {
                    ensure!(*name == present, "TYPE of {name} does not follow its HELP");
                    let family = Family { kind: (*kind).to_owned(), ..Family::default() };
                    ensure!(page.families.insert(present.clone(), family).is_none(), "TYPE of {name} twice");
                }
                Some(_) => bail!("a comment that no scraper knows: {line}"),
                None => page.sample(&present, line).with_context(|| line.to_owned())?,
            }
        }
        ensure!(helped.iter().eq(page.families.keys()), "each has HELP and TYPE: {helped:?}");
        Ok(page)
    }

    /// `name{label="value",…} number`, of the family whose TYPE came last.
    fn sample(&mut self, present: &str, line: &str) -> anyhow::Result<()> {
        let (series, number) = line.rsplit_once(' ').context("a number after a blank")?;
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, parse_labels(labels.strip_suffix('}').context("a closing brace")?)?),
            None => (series, Labels::new()),
        };
        let family = self.families.get_mut(present).context("a TYPE before it")?;
        let suffix = name.strip_prefix(present).context("it stands with its own family")?;
        let suffixes: &[&str] = match family.kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "histogram" => &["_bucket", "_sum", "_count"],
            kind => bail!("unknown type {kind}"),
        };
        ensure!(suffixes.contains(&suffix), "a {} has no sample {name}", family.kind);
        let number: f64 = number.parse()?;
        ensure!(number >= 0.0, "nothing here is negative");
        ensure!(family.samples.insert((suffix.to_owned(), labels), number).is_none(), "a series is there twice");
        Ok(())
    }

    /// The sum of a metric's samples that have these labels.
    fn sum(&self, family: &str, suffix: &str, labels: &[(&str, &str)]) -> f64 {
        let Some(family) = self.families.get(family) else { return 0.0 };
        let fits =
            |found: &Labels| labels.iter().all(|(name, value)| found.get(*name).is_some_and(|found| found == value));
        family.samples.iter().filter(|((of, found), _)| of == suffix && fits(found)).map(|(_, number)| number).sum()
    }

    /// Each histogram's buckets rise with their bounds, up to all that was counted.
    fn check_histograms(&self) -> anyhow::Result<()> {
        let mut checked = 0;
        for (name, family) in self.families.iter().filter(|(_, family)| family.kind == "histogram") {
            let mut buckets: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
            for ((suffix, labels), number) in &family.samples {
                if suffix == "_bucket" {
                    let mut labels = labels.clone();
                    let bound: f64 = labels.remove("le").context("a bucket has a bound")?.parse()?;
                    buckets.entry(labels).or_default().push((bound, *number));
                }
            }
            for (labels, mut buckets) in buckets {
                buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
                ensure!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{name} {labels:?}: {buckets:?}");
                let (bound, all) = *buckets.last().context("a bucket")?;
                let count = family.samples.get(&("_count".to_owned(), labels.clone())).copied();
                ensure!(bound.is_infinite() && Some(all) == count, "{name} {labels:?}: {buckets:?}, count {count:?}");
                ensure!(family.samples.contains_key(&("_sum".to_owned(), labels)), "{name} has a sum");
                checked += 1;
            }
        }
        ensure!(checked > 0, "there is a histogram");
        Ok(())
    }
}

/// `name="value",name="value"`; a value may hold escaped quotes.
fn parse_labels(text: &str) -> anyhow::Result<Labels> {
    let mut labels = Labels::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").context("a label's value in quotes")?;
        ensure!(!name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "label {name}");
        let end = unescaped_quote(after).context("a closing quote")?;
        ensure!(labels.insert(name.to_owned(), after[..end].to_owned()).is_none(), "label {name} twice");
        rest = &after[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
    Ok(labels)
}

fn unescaped_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends.then_some(at)
    })
}

const REQUESTS: &str = "cairn_s3_requests";
const SECONDS: &str = "cairn_s3_request_seconds";
const OBJECT: usize = 300_000;

/// What is done between two looks: operation, status, how often.
const DONE: [(&str, &str, u32); 4] =
    [("PutObject", "200", 3), ("GetObject", "200", 2), ("GetObject", "404", 1), ("DeleteObject", "204", 1)];

async fn work(server: &Server) -> anyhow::Result<()> {
    let s3 = client(server)?;
    for key in ["a", "b", "c"] {
        s3.put_object().bucket("metrics").key(key).body(vec![7; OBJECT].into()).send().await?;
    }
    for key in ["a", "b"] {
        let got = s3.get_object().bucket("metrics").key(key).send().await?.body.collect().await?;
        ensure!(got.into_bytes().len() == OBJECT);
    }
    ensure!(s3.get_object().bucket("metrics").key("none").send().await.is_err());
    s3.delete_object().bucket("metrics").key("c").send().await?;
    Ok(())
}

/// How often requests of an operation and status were counted, by both of their metrics' pages.
fn rose(before: &Page, after: &Page, operation: &str, status: &str) -> f64 {
    let labels = [("operation", operation), ("status", status)];
    after.sum(REQUESTS, "_total", &labels) - before.sum(REQUESTS, "_total", &labels)
}

#[test]
fn the_metrics_page_can_be_scraped_and_counts_what_is_done() -> anyhow::Result<()> {
    let server = Server::start(ServerOptions::default())?;
    server.run(&["bucket", "create", "metrics"])?;
    let before = Page::read(&server)?;
    tokio::runtime::Runtime::new()?.block_on(work(&server))?;
    // A request is counted when its answer's last byte is out, which its client may see a moment earlier.
    let deadline = Instant::now() + Duration::from_secs(20);
    let is_counted = |after: &Page| {
        DONE.iter().all(|(operation, status, times)| rose(&before, after, operation, status) >= f64::from(*times))
    };
    let after = loop {
        let page = Page::read(&server)?;
        if is_counted(&page) || Instant::now() > deadline {
            break page;
        }
    };
    for (operation, status, times) in DONE {
        let counted = rose(&before, &after, operation, status);
        ensure!((counted - f64::from(times)).abs() < 0.5, "{operation} {status} was counted {counted} times");
    }
    after.check_histograms()?;
    // Each operation's durations are as many as its requests, of whatever status.
    for operation in ["PutObject", "GetObject", "DeleteObject"] {
        let of = [("operation", operation)];
        let (times, requests) = (after.sum(SECONDS, "_count", &of), after.sum(REQUESTS, "_total", &of));
        ensure!((times - requests).abs() < 0.5 && times > 0.5, "{operation}: {times} durations of {requests}");
        ensure!(after.sum(SECONDS, "_sum", &of) > 0.0, "{operation} takes time");
    }
    let more = |family| after.sum(family, "_total", &[]) - before.sum(family, "_total", &[]);
    let bytes = f64::from(u32::try_from(OBJECT)?);
    ensure!(more("cairn_s3_bytes_received") >= 3.0 * bytes, "{} bytes received", more("cairn_s3_bytes_received"));
    ensure!(more("cairn_s3_bytes_sent") >= 2.0 * bytes, "{} bytes sent", more("cairn_s3_bytes_sent"));
    for (gauge, expected) in [("cairn_writable", 1.0), ("cairn_disk_writable", 6.0), ("cairn_missing_shards", 0.0)] {
        let sum = after.sum(gauge, "", &[]);
        ensure!((sum - expected).abs() < 0.5, "{gauge} is {sum}");
    }
    Ok(())
}

#[test]
fn a_page_that_no_scraper_takes_is_found() {
    let page = |lines: &str| Page::parse(&format!("{lines}# EOF\n"));
    let counter = "# HELP a A.\n# TYPE a counter\n";
    page(&format!("{counter}a_total{{x=\"q\\\"}},\"}} 1\n")).expect("a good one");
    for bad in [
        format!("{counter}a 1\n"),
        format!("{counter}a_total 1\na_total 2\n"),
        format!("{counter}{counter}"),
        format!("{counter}b_total 1\n"),
        format!("{counter}a_total{{x=1}} 1\n"),
        "a_total 1\n".to_owned(),
        "# HELP a A.\n".to_owned(),
    ] {
        assert!(page(&bad).is_err(), "{bad}");
    }
    let buckets =
        "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"1\"} 3\nh_bucket{le=\"+Inf\"} 2\nh_count 2\nh_sum 1\n";
    assert!(page(buckets).expect("well formed").check_histograms().is_err());
}
