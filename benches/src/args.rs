//! The flags of `cairn bench`, and what is wrong with them.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use crate::{
    bytes_text::ByteCount,
    endpoint::{self, Defaults, Endpoint, parse_url},
    runner_sizes::ARCHIVE_BYTES_MAX,
    workload::{Spec, Workload},
};

/// Examples for the help text.
pub const EXAMPLES: &str = "\
Drives any S3 endpoints in turn (A, B, A, B) and compares them. All that it writes lies under a
prefix of its own and is removed at the end, also after Ctrl-C; a bucket that it made, too. What is
read is compared byte by byte. Exit code 1 if anything failed. Keys come from CAIRN_BENCH_ACCESS_KEY
and CAIRN_BENCH_SECRET_KEY, or from a file with, for each server:

  [[endpoint]]
  name = \"cairn\"
  url = \"https://127.0.0.1:9000\"
  ca = \"/srv/cairn/ca.crt\"
  access-key = \"...\"
  secret-key = \"...\"
  pid-file = \"/run/cairn.pid\"   # or pids = [1234]: if it runs here, what it uses is measured

Examples:
  cairn bench --endpoint cairn=https://127.0.0.1:9000 --ca /srv/cairn/ca.crt --pid cairn=1234
  cairn bench --endpoints servers.toml --workload put,get,list --rounds 5 --html report.html
  cairn bench --endpoints servers.toml --workload get --size 4KiB --rate 500 --concurrency 64
  cairn bench --endpoints servers.toml --workload runner --size-max 64MiB --json report.json";

/// Most steps at once.
const CONCURRENCY_MAX: usize = 1024;
/// Most rounds.
const ROUNDS_MAX: u32 = 100;
/// The longest round, pause or wait.
const TIME_MAX: Duration = Duration::from_secs(24 * 3600);
/// Most steps per second that a schedule keeps.
const RATE_MAX: f64 = 1e6;
/// Most objects that lie ready.
const OBJECTS_MAX: u64 = 1_000_000;
/// S3 has at most so many parts.
const PARTS_MAX: u64 = 10_000;

/// Flags of `cairn bench`.
#[derive(Args, Debug)]
pub struct BenchArgs {
    /// A server; repeated for several
    #[arg(long = "endpoint", value_name = "NAME=URL")]
    endpoint: Vec<String>,
    /// TOML file that names servers
    #[arg(long, value_name = "FILE")]
    endpoints: Option<PathBuf>,
    /// Access key of servers that name none
    #[arg(long, env = "CAIRN_BENCH_ACCESS_KEY", hide_env_values = true)]
    access_key: Option<String>,
    /// Its secret (others on this machine can see flags: better by the environment)
    #[arg(long, env = "CAIRN_BENCH_SECRET_KEY", hide_env_values = true)]
    secret_key: Option<String>,
    /// Region of the signatures
    #[arg(long, default_value = "us-east-1")]
    region: String,
    /// PEM file of the authority to trust; without it that of the system
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Process of a server given by --endpoint, if it runs here; repeated for several
    #[arg(long = "pid", value_name = "NAME=PID")]
    pid: Vec<String>,
    /// Bucket; made if it is missing, and removed then
    #[arg(long, default_value = "cairn-bench")]
    bucket: String,
    /// Prefix of all keys; without it one that begins with `bench-` and the time
    #[arg(long)]
    prefix: Option<String>,
    /// What to ask for
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["put", "get"])]
    workload: Vec<Workload>,
    /// Sizes of objects; without it 4KiB and 10MiB, 64MiB for multipart and ranged, 4KiB for head and delete
    #[arg(long, value_delimiter = ',', value_name = "SIZE")]
    size: Vec<ByteCount>,
    /// Cap of the sizes of the workload `runner`
    #[arg(long, default_value = "1GiB", value_name = "SIZE")]
    size_max: ByteCount,
    /// Part of the workload `multipart`
    #[arg(long, default_value = "16MiB", value_name = "SIZE")]
    part_size: ByteCount,
    /// Range of the workload `ranged`
    #[arg(long, default_value = "64KiB", value_name = "SIZE")]
    range_size: ByteCount,
    /// How many objects lie ready to be read, listed or deleted
    #[arg(long, value_name = "N")]
    objects: Option<u64>,
    /// Most bytes of objects of one round on a server; a round of writes ends when they are used up
    #[arg(long, default_value = "4GiB", value_name = "SIZE")]
    bytes_max: ByteCount,
    /// Steps at once
    #[arg(long, default_value_t = 8, value_name = "N")]
    concurrency: usize,
    /// Length of a round
    #[arg(long, default_value = "5s", value_parser = parse_time, value_name = "TIME")]
    duration: Duration,
    /// Most steps of a round, if they end before its time
    #[arg(long, value_name = "N")]
    operations: Option<u64>,
    /// Open loop: so many steps per second begin, whatever the server does; latency counts from the intended start
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<f64>,
    /// Rounds of each server, in turn
    #[arg(long, default_value_t = 3, value_name = "N")]
    rounds: u32,
    /// Load before the first round
    #[arg(long, default_value = "1s", value_parser = parse_time, value_name = "TIME")]
    warm_up: Duration,
    /// Pause after a round that still counts for CPU, bytes and syncs
    #[arg(long, default_value = "500ms", value_parser = parse_time, value_name = "TIME")]
    settle: Duration,
    /// Longest wait for one request
    #[arg(long, default_value = "120s", value_parser = parse_time, value_name = "TIME")]
    timeout: Duration,
    /// From which keys, sizes, contents and order follow
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Leave syncs uncounted (they are counted by `perf`, which makes each system call of the server a little dearer)
    #[arg(long)]
    no_syncs: bool,
    /// Leave the objects that were laid ready, and the bucket, where they are: to fill a server (one workload that reads)
    #[arg(long)]
    keep: bool,
    /// Write all that was found as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write one page with plots
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// A checked plan.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// The servers.
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) bucket: String,
    pub(crate) prefix: Option<String>,
    /// What is run, in order.
    pub(crate) specs: Vec<Spec>,
    pub(crate) concurrency: usize,
    pub(crate) duration: Duration,
    pub(crate) operations: Option<u64>,
    pub(crate) rate: Option<f64>,
    pub(crate) rounds: u32,
    pub(crate) warm_up: Duration,
    pub(crate) settle: Duration,
    pub(crate) timeout: Duration,
    pub(crate) seed: u64,
    pub(crate) count_syncs: bool,
    pub(crate) keep: bool,
}

impl BenchArgs {
    /// Checks the flags and reads the file of servers.
    ///
    /// # Errors
    /// What is wrong, and what to write instead.
    pub fn options(&self) -> Result<BenchOptions> {
        let endpoints = self.all_endpoints()?;
        ensure!(
            (1..=CONCURRENCY_MAX).contains(&self.concurrency),
            "--concurrency {}: at least 1, at most {CONCURRENCY_MAX}",
            self.concurrency
        );
        ensure!((1..=ROUNDS_MAX).contains(&self.rounds), "--rounds {}: at least 1, at most {ROUNDS_MAX}", self.rounds);
        ensure!(!self.duration.is_zero(), "--duration 0: a round has some length");
        ensure!(self.operations != Some(0), "--operations 0: a round has at least one step");
        if let Some(rate) = self.rate {
            ensure!(rate > 0.0 && rate <= RATE_MAX, "--rate {rate}: more than 0, at most {RATE_MAX}");
        }
        if let Some(objects) = self.objects {
            ensure!((1..=OBJECTS_MAX).contains(&objects), "--objects {objects}: at least 1, at most {OBJECTS_MAX}");
        }
        let bucket_is_plain = self.bucket.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
        ensure!(bucket_is_plain && !self.bucket.is_empty(), "--bucket `{}` is no bucket's name", self.bucket);
        if let Some(prefix) = &self.prefix {
            let plain = prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte));
            ensure!(
                plain && (1..=256).contains(&prefix.len()) && !prefix.starts_with('/'),
                "--prefix `{prefix}`: letters, digits, `-`, `_`, `.` and `/`; all that lies under it is the harness' own"
            );
        }
        let specs = self.specs()?;
        if self.keep {
            let reads = [Workload::Get, Workload::Head, Workload::List, Workload::Ranged];
            let one = specs.len() == 1 && specs.iter().all(|spec| reads.contains(&spec.workload));
            ensure!(one, "--keep: with one workload that reads (get, head, list or ranged), of one size");
        }
        Ok(BenchOptions {
            endpoints,
            bucket: self.bucket.clone(),
            prefix: self.prefix.clone(),
            specs,
            concurrency: self.concurrency,
            duration: self.duration,
            operations: self.operations,
            rate: self.rate,
            rounds: self.rounds,
            warm_up: self.warm_up,
            settle: self.settle,
            timeout: self.timeout,
            seed: self.seed,
            count_syncs: !self.no_syncs,
            keep: self.keep,
        })
    }

    fn all_endpoints(&self) -> Result<Vec<Endpoint>> {
        let keys = Defaults {
            ca: self.ca.clone(),
            access_key: self.access_key.clone(),
            secret_key: self.secret_key.clone(),
            region: self.region.clone(),
        };
        let mut endpoints = Vec::new();
        for text in &self.endpoint {
            endpoints.push(self.endpoint(text, &keys).with_context(|| format!("--endpoint {text}"))?);
        }
        for text in &self.pid {
            let (name, pid) = text.split_once('=').with_context(|| format!("--pid {text}: write NAME=PID"))?;
            let named = endpoints.iter_mut().find(|endpoint| endpoint.name == name);
            let endpoint = named.with_context(|| format!("--pid {text}: no --endpoint is named `{name}`"))?;
            endpoint.pids.push(pid.parse().with_context(|| format!("--pid {text}: write NAME=PID"))?);
        }
        if let Some(file) = &self.endpoints {
            endpoints.extend(endpoint::read_file(file, &keys)?);
        }
        endpoint::check(&endpoints)?;
        Ok(endpoints)
    }

    fn endpoint(&self, text: &str, keys: &Defaults) -> Result<Endpoint> {
        let (name, url) = text.split_once('=').context("write NAME=URL, as in cairn=https://127.0.0.1:9000")?;
        let missing = "give --access-key and --secret-key, or CAIRN_BENCH_ACCESS_KEY and CAIRN_BENCH_SECRET_KEY";
        Ok(Endpoint {
            name: name.to_owned(),
            url: parse_url(url).map_err(anyhow::Error::msg)?,
            ca: self.ca.clone(),
            access_key: keys.access_key.clone().context(missing)?,
            secret_key: keys.secret_key.clone().context(missing)?,
            region: keys.region.clone(),
            pids: Vec::new(),
        })
    }

    fn specs(&self) -> Result<Vec<Spec>> {
        let mut specs = Vec::new();
        for workload in &self.workload {
            for size in self.sizes(*workload) {
                let spec = Spec {
                    workload: *workload,
                    object_bytes: size.0,
                    part_bytes: self.part_size.0,
                    range_bytes: self.range_size.0,
                    objects: self.objects,
                    bytes_max: self.bytes_max.0,
                    concurrency: self.concurrency,
                    seed: self.seed,
                };
                check(&spec, size)?;
                specs.push(spec);
            }
        }
        Ok(specs)
    }

    fn sizes(&self, workload: Workload) -> Vec<ByteCount> {
        match workload {
            Workload::Runner => vec![self.size_max],
            // The listed objects are as small as can be.
            Workload::List => vec![ByteCount(22)],
            _ if !self.size.is_empty() => self.size.clone(),
            Workload::Multipart | Workload::Ranged => vec![ByteCount(64 << 20)],
            Workload::Head | Workload::Delete => vec![ByteCount(4 << 10)],
            _ => vec![ByteCount(4 << 10), ByteCount(10 << 20)],
        }
    }
}

fn check(spec: &Spec, size: ByteCount) -> Result<()> {
    let name = spec.workload.name();
    if spec.object_bytes > spec.bytes_max {
        bail!("{name}: an object of {size} is larger than --bytes-max {}", ByteCount(spec.bytes_max));
    }
    match spec.workload {
        Workload::Runner => ensure!(
            (22..=ARCHIVE_BYTES_MAX).contains(&spec.object_bytes),
            "--size-max {size}: a runner's archives have 22 B to 1 GiB"
        ),
        Workload::Multipart => {
            ensure!(spec.part_bytes >= 5 << 20, "--part-size {}: S3 wants 5 MiB or more", ByteCount(spec.part_bytes));
            ensure!(
                spec.object_bytes.div_ceil(spec.part_bytes) <= PARTS_MAX,
                "multipart: {size} in parts of {} are more than {PARTS_MAX}",
                ByteCount(spec.part_bytes)
            );
        }
        Workload::Ranged => {
            ensure!(spec.range_bytes > 0 && spec.object_bytes > 0, "ranged: of nothing no range can be read");
        }
        _ => {}
    }
    Ok(())
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, unit) = text.split_at(digits);
    let wrong = || format!("`{text}` is no time; write a number and ms, s, m or h, as in `5s`");
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let time = Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())?;
    if time > TIME_MAX { Err(format!("`{text}` is longer than a day")) } else { Ok(time) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: BenchArgs,
    }

    fn options(words: &str) -> Result<BenchOptions> {
        let first = "bench --access-key a --secret-key s --endpoint one=http://127.0.0.1:1";
        let words: Vec<&str> = first.split(' ').chain(words.split_whitespace()).collect();
        Line::try_parse_from(words)?.args.options()
    }

    #[test]
    fn defaults_are_two_sizes_of_put_and_get() {
        let options = options("").unwrap();
        let cases: Vec<_> = options.specs.iter().map(|spec| (spec.workload, spec.object_bytes)).collect();
        let (small, large) = (4 << 10, 10 << 20);
        let wanted = [(Workload::Put, small), (Workload::Put, large), (Workload::Get, small), (Workload::Get, large)];
        assert_eq!(cases, wanted);
        assert_eq!(options.endpoints[0].region, "us-east-1");
    }

    #[test]
    fn each_wrong_flag_is_named() {
        for (words, part) in [
            ("--concurrency 0", "--concurrency 0"),
            ("--concurrency 5000", "at most 1024"),
            ("--rounds 0", "--rounds 0"),
            ("--duration 0s", "--duration 0"),
            ("--duration 5", "as in `5s`"),
            ("--duration 30h", "longer than a day"),
            ("--operations 0", "--operations 0"),
            ("--rate 0", "--rate 0"),
            ("--rate NaN", "--rate NaN"),
            ("--objects 0", "--objects 0"),
            ("--size 1.5MiB", "as in `10MiB`"),
            ("--size 8GiB", "--bytes-max 4 GiB"),
            ("--workload nap", "nap"),
            ("--workload runner --size-max 1", "22 B to 1 GiB"),
            ("--workload multipart --part-size 1MiB", "5 MiB or more"),
            ("--workload multipart --size 100GiB --bytes-max 100GiB --part-size 5MiB", "more than 10000"),
            ("--workload ranged --size 0", "no range"),
            ("--bucket a/b", "--bucket `a/b`"),
            ("--prefix /", "--prefix `/`"),
            ("--keep", "one workload that reads"),
            ("--keep --workload put --size 1KiB", "one workload that reads"),
            ("--endpoint two", "NAME=URL"),
            ("--endpoint two=ftp://x", "https://HOST"),
            ("--endpoint one=http://x", "two servers are named `one`"),
            ("--pid two=1", "no --endpoint is named `two`"),
            ("--pid one=x", "NAME=PID"),
            ("--endpoints /no/such.toml", "/no/such.toml"),
        ] {
            let error = format!("{:#}", options(words).expect_err(words));
            assert!(error.contains(part), "{words}: {error}");
        }
        let nothing = Line::try_parse_from(["bench"]).unwrap().args.options().unwrap_err();
        assert!(nothing.to_string().contains("--endpoint NAME=URL"));
    }

    #[test]
    fn times() {
        for (text, ms) in [("5s", 5000), ("500ms", 500), ("1.5s", 1500), ("2m", 120_000), ("1h", 3_600_000)] {
            assert_eq!(parse_time(text), Ok(Duration::from_millis(ms)));
        }
        for bad in ["", "s", "5", "-1s", "1e3s", "1.2.3s"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }
}
