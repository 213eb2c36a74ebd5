//! A run: for each workload and size all servers are laid ready and warmed up, then driven in turn, round by round.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use http::Method;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::{
    args::BenchOptions,
    bytes_text::ByteCount,
    client::{Call, Client},
    drive::{Pace, drive},
    endpoint::Endpoint,
    failure::Failures,
    measure::{Measured, Meter},
    null_server::{Faults, NullServer},
    processes::{Processes, own_cpu_s},
    progress::Progress,
    recorder::{Recorder, Sight},
    report::{Case, Place, Report, Round, Server, ServerResult, Settings},
    target::Target,
    workload::{Load, Spec, Workload, load, remove},
};

/// Threads that are idle are kept: with a thread that ends its CPU would be lost.
const THREADS_KEPT: Duration = Duration::from_secs(24 * 3600);
/// The longest round against the null server.
const NULL_ROUND_MAX: Duration = Duration::from_secs(2);
/// Steps of a warm-up are not those of the rounds.
const WARM_UP_STEPS: u64 = 1 << 40;
/// Less CPU than this is counted too coarsely.
const CPU_S_MIN: f64 = 0.1;
const BAR_EVERY: Duration = Duration::from_millis(250);

/// Carries a plan out. The first Ctrl-C ends it early but in order: what was seen is reported, what was written is
/// removed. The second ends the process at once.
///
/// # Errors
/// As [`bench_until`].
pub fn bench(options: &BenchOptions, progress: &Progress) -> Result<Report> {
    let cancel = CancellationToken::new();
    let threads = Threads::start()?;
    threads.runtime.spawn(end_at_interrupt(cancel.clone()));
    threads.carry_out(options, progress, &cancel)
}

/// Carries a plan out until it ends or is cancelled.
///
/// # Errors
/// If a server cannot be reached at all or its bucket cannot be used. What fails later is counted in the report.
pub fn bench_until(options: &BenchOptions, progress: &Progress, cancel: &CancellationToken) -> Result<Report> {
    Threads::start()?.carry_out(options, progress, cancel)
}

/// The threads that make the load: their CPU is the harness' own cost, so they bear a name of their own.
struct Threads {
    runtime: Runtime,
    name: String,
}

impl Threads {
    fn start() -> Result<Self> {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let name = format!("load{}-", RUNS.fetch_add(1, Ordering::Relaxed));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .thread_name(&name)
            .thread_keep_alive(THREADS_KEPT)
            .enable_all()
            .build()
            .context("start the runtime")?;
        Ok(Self { runtime, name })
    }

    fn carry_out(self, options: &BenchOptions, progress: &Progress, cancel: &CancellationToken) -> Result<Report> {
        let report = self.runtime.block_on(run(options, progress, cancel, &self.name));
        progress.clear();
        self.runtime.shutdown_background();
        report
    }
}

async fn end_at_interrupt(cancel: CancellationToken) {
    while tokio::signal::ctrl_c().await.is_ok() {
        if cancel.is_cancelled() {
            std::process::exit(130);
        }
        cancel.cancel();
    }
}

/// A server of this run.
struct Lane {
    endpoint: Endpoint,
    target: Arc<Target>,
    processes: Option<Processes>,
    made_bucket: bool,
}

/// What belongs to the whole run.
struct Run<'r> {
    options: &'r BenchOptions,
    progress: &'r Progress,
    cancel: &'r CancellationToken,
    lanes: Vec<Lane>,
    meter: Meter,
    /// Rounds behind, of how many.
    rounds_done: u32,
    rounds_all: u32,
}

async fn run(options: &BenchOptions, progress: &Progress, cancel: &CancellationToken, threads: &str) -> Result<Report> {
    let began = OffsetDateTime::now_utc();
    let prefix = options.prefix.clone().unwrap_or_else(|| format!("bench-{}/", began.unix_timestamp()));
    let mut lanes = Vec::new();
    for endpoint in &options.endpoints {
        let lane = Lane::open(options, endpoint, &prefix).await;
        match lane.with_context(|| format!("server `{}` at {}", endpoint.name, endpoint.url)) {
            Ok(lane) => lanes.push(lane),
            Err(error) => {
                close(&lanes).await;
                return Err(error);
            }
        }
    }
    let mut servers = Vec::new();
    for lane in &lanes {
        let before = lane.processes.as_ref().and_then(|processes| processes.read().ok());
        let rss_before_mib = before.map(|reading| mib(reading.rss_bytes));
        servers.push(Server { name: lane.endpoint.name.clone(), url: lane.endpoint.url.to_string(), rss_before_mib });
    }
    let rounds_all = options.rounds * u32::try_from(options.specs.len() * lanes.len()).unwrap_or(u32::MAX);
    let meter = Meter::new(options.settle, options.count_syncs, threads.to_owned());
    let mut run = Run { options, progress, cancel, lanes, meter, rounds_done: 0, rounds_all };
    let mut cases = Vec::new();
    for spec in &options.specs {
        if cancel.is_cancelled() {
            break;
        }
        cases.push(run.case(*spec).await?);
    }
    let mut notes = std::mem::take(&mut run.meter.notes);
    notes.extend(coarse(&cases));
    if !options.keep {
        notes.extend(close(&run.lanes).await);
    }
    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        began: began.format(&Rfc3339).unwrap_or_default(),
        place: Place::here(),
        settings: settings(options),
        servers,
        cases,
        notes,
        interrupted: cancel.is_cancelled(),
    })
}

/// The kernel counts CPU in steps of 10 ms: of a round that used less than ten of them it says little.
fn coarse(cases: &[Case]) -> Vec<String> {
    let is_coarse = |result: &&ServerResult| {
        result.rounds.iter().filter_map(|round| round.usage.as_ref()).any(|usage| usage.cpu_s < CPU_S_MIN)
    };
    let found = cases.iter().flat_map(|case| case.results.iter().filter(is_coarse).map(move |result| (case, result)));
    let note = |(case, result): (&Case, &ServerResult)| {
        format!(
            "{} of {}: a round used under 0.1 s of CPU, which is counted in steps of 10 ms: make it longer (--duration, \
             --objects)",
            case.workload.name(),
            result.server
        )
    };
    found.map(note).collect()
}

fn settings(options: &BenchOptions) -> Settings {
    Settings {
        rounds: options.rounds,
        round_s: options.duration.as_secs_f64(),
        operations: options.operations,
        rate: options.rate,
        concurrency: options.concurrency,
        seed: options.seed,
        warm_up_s: options.warm_up.as_secs_f64(),
        settle_s: options.settle.as_secs_f64(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Removes what is left on all servers, and the buckets that were made. Answers what could not be removed.
async fn close(lanes: &[Lane]) -> Vec<String> {
    let mut notes = Vec::new();
    for lane in lanes {
        let failures = remove(&lane.target, "", 16).await;
        for (label, count) in failures.0 {
            notes.push(format!(
                "{}: {label}, {count} times: objects are left under {}",
                lane.endpoint.name, lane.target.prefix
            ));
        }
        if lane.made_bucket
            && let Err(failure) = lane.target.client.call(Call::new(Method::DELETE, ""), None).await
        {
            notes.push(format!("{}: the bucket could not be removed: {failure}", lane.endpoint.name));
        }
    }
    notes
}

impl Lane {
    async fn open(options: &BenchOptions, endpoint: &Endpoint, prefix: &str) -> Result<Self> {
        let processes = Processes::new(&endpoint.pids)?;
        let client = Client::new(endpoint, &options.bucket, options.timeout)?;
        let made_bucket = match client.call(Call::new(Method::HEAD, ""), None).await {
            Ok(_) => false,
            Err(failure) if failure.label().starts_with("404") => {
                let made = client.call(Call::new(Method::PUT, ""), None).await;
                made.with_context(|| format!("make the bucket `{}`", options.bucket))?;
                true
            }
            Err(failure) => bail!("ask for the bucket `{}`: {failure}", options.bucket),
        };
        let target = Arc::new(Target::new(client, prefix.to_owned()));
        // What a former run left would be listed, and counted as wrong.
        let found = target.list(prefix, "", 1).await.context("list the prefix")?;
        if let Some(key) = found.first() {
            bail!("`{key}` lies under the prefix already: give another --prefix, or remove what is there");
        }
        Ok(Self { endpoint: endpoint.clone(), target, processes, made_bucket })
    }
}

/// A server in one case.
struct Entry {
    load: Arc<dyn Load>,
    result: ServerResult,
    sight: Sight,
    /// Why it is left out.
    broken: bool,
}

impl Entry {
    fn count(&mut self, failures: &Failures) {
        for (label, count) in &failures.0 {
            *self.result.failures.entry(label.clone()).or_default() += count;
        }
    }
}

impl Run<'_> {
    async fn case(&mut self, spec: Spec) -> Result<Case> {
        let mut entries = Vec::new();
        for place in 0..self.lanes.len() {
            entries.push(self.open(spec, place).await?);
        }
        let harness_ms_per_operation = self.against_nothing(spec).await?;
        for round in 1..=self.options.rounds {
            for (place, entry) in entries.iter_mut().enumerate() {
                if !self.cancel.is_cancelled() && !entry.broken {
                    self.round(spec, round, place, entry).await?;
                }
                self.rounds_done += 1;
            }
        }
        let mut results: Vec<ServerResult> = Vec::new();
        for (mut entry, lane) in entries.into_iter().zip(&self.lanes) {
            if !self.options.keep {
                entry.count(&remove(&lane.target, "", spec.concurrency).await);
            }
            entry.result.finish(&entry.sight, results.first());
            results.push(entry.result);
        }
        Ok(Case {
            workload: spec.workload,
            title: title(&spec, self.options),
            object_bytes: spec.object_bytes,
            harness_ms_per_operation,
            results,
        })
    }

    /// Lays a server ready and warms it up.
    async fn open(&self, spec: Spec, place: usize) -> Result<Entry> {
        let Some(lane) = self.lanes.get(place) else { bail!("no such server") };
        let result = ServerResult { server: lane.endpoint.name.clone(), ..ServerResult::default() };
        let load = load(spec, Arc::clone(&lane.target));
        let mut entry = Entry { load, result, sight: Sight::new(), broken: false };
        self.show(&format!("{}, {}: laying objects ready", spec.workload.name(), lane.endpoint.name));
        let prepared = tokio::select! {
            prepared = entry.load.prepare() => prepared,
            () = self.cancel.cancelled() => return Ok(entry),
        };
        if let Err(failure) = prepared {
            entry.result.failures.insert(failure.to_string(), 1);
            entry.broken = true;
            return Ok(entry);
        }
        if !self.options.warm_up.is_zero() {
            self.show(&format!("{}, {}: warm-up", spec.workload.name(), lane.endpoint.name));
            let pace = Pace { length: self.options.warm_up, first: WARM_UP_STEPS, per_second: None, ..self.pace() };
            let recorder = Arc::new(Recorder::default());
            if self.ready(&mut entry, 0).await {
                drive(&entry.load, spec.workload.main_kind(), pace, &recorder, self.cancel).await?;
                // Failures of a warm-up come again in the rounds; those of what it left are told.
                let failures = entry.load.after_round().await;
                entry.count(&failures);
            }
        }
        Ok(entry)
    }

    /// Lays ready what a round needs. False: it shall not be run.
    async fn ready(&self, entry: &mut Entry, round: u32) -> bool {
        let outcome = tokio::select! {
            outcome = entry.load.before_round(round) => outcome,
            () = self.cancel.cancelled() => return false,
        };
        match outcome {
            Ok(()) => true,
            Err(failure) => {
                *entry.result.failures.entry(failure.to_string()).or_default() += 1;
                false
            }
        }
    }

    async fn round(&mut self, spec: Spec, round: u32, place: usize, entry: &mut Entry) -> Result<()> {
        let Some(lane) = self.lanes.get(place) else { bail!("no such server") };
        let now =
            format!("{}, {}, round {round} of {}", title(&spec, self.options), lane.endpoint.name, self.options.rounds);
        self.show(&now);
        if !self.ready(entry, round).await {
            return Ok(());
        }
        let kind = spec.workload.main_kind();
        let recorder = Arc::new(Recorder::default());
        let load = drive(&entry.load, kind, self.pace(), &recorder, self.cancel);
        let (meter, bar) = (&mut self.meter, Bar { progress: self.progress, now: &now });
        let share = f64::from(self.rounds_done)..f64::from(self.rounds_done + 1);
        let load = bar.beside(load, share, f64::from(self.rounds_all), self.options.duration);
        let Measured { took, usage, harness_s } = meter.measure(lane.processes.as_ref(), load).await?;
        let sight = recorder.take();
        let metrics = crate::metric::measure(&sight, kind, took.as_secs_f64(), usage.as_ref(), harness_s);
        entry.result.rounds.push(Round { seconds: took.as_secs_f64(), metrics, usage });
        for (kind, seen) in &sight {
            entry.sight.entry(*kind).or_default().merge(seen);
        }
        let failures = entry.load.after_round().await;
        entry.count(&failures);
        lane.target.client.hang_up();
        Ok(())
    }

    /// The same load on a server in this process that does nothing: what is left is the harness' own cost.
    async fn against_nothing(&self, spec: Spec) -> Result<Option<f64>> {
        if self.cancel.is_cancelled() {
            return Ok(None);
        }
        self.show(&format!("{}: the harness' own cost", spec.workload.name()));
        let tls = self.options.endpoints.iter().any(Endpoint::tls);
        let null = tokio::task::block_in_place(|| NullServer::start(spec.seed, tls, Faults::default()))?;
        let client = Client::new(null.endpoint(), &self.options.bucket, self.options.timeout)?;
        let load = load(spec, Arc::new(Target::new(client, "null/".to_owned())));
        let laid = async {
            load.prepare().await?;
            load.before_round(1).await
        };
        laid.await.context("lay objects ready on the null server")?;
        let pace = Pace { length: self.options.duration.min(NULL_ROUND_MAX), per_second: None, ..self.pace() };
        let recorder = Arc::new(Recorder::default());
        let before = own_cpu_s(&self.meter.threads);
        drive(&load, spec.workload.main_kind(), pace, &recorder, self.cancel).await?;
        let used_s = own_cpu_s(&self.meter.threads) - before;
        let sight = recorder.take();
        let numbers = crate::metric::measure(&sight, spec.workload.main_kind(), 1.0, None, used_s);
        tokio::task::block_in_place(|| drop(null));
        Ok(numbers.get(&crate::metric::Metric::HarnessMsPerOperation).copied())
    }

    fn pace(&self) -> Pace {
        Pace {
            concurrency: self.options.concurrency,
            length: self.options.duration,
            steps_max: self.options.operations.unwrap_or(u64::MAX),
            per_second: self.options.rate,
            first: 0,
        }
    }

    fn show(&self, now: &str) {
        self.progress.show(f64::from(self.rounds_done) / f64::from(self.rounds_all.max(1)), now);
    }
}

/// Moves the bar while a round runs.
struct Bar<'b> {
    progress: &'b Progress,
    now: &'b str,
}

impl Bar<'_> {
    async fn beside<T>(
        &self,
        work: impl Future<Output = T>,
        rounds: std::ops::Range<f64>,
        all: f64,
        length: Duration,
    ) -> T {
        let begun = Instant::now();
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(BAR_EVERY) => {
                    let part = (begun.elapsed().as_secs_f64() / length.as_secs_f64()).min(1.0);
                    let share = (rounds.end - rounds.start).mul_add(part, rounds.start) / all.max(1.0);
                    self.progress.show(share, self.now);
                }
            }
        }
    }
}

fn title(spec: &Spec, options: &BenchOptions) -> String {
    let size = ByteCount(spec.object_bytes);
    let what = match spec.workload {
        Workload::List => format!("list, pages of {} keys", spec.objects().min(1000)),
        Workload::Runner => format!("runner, {} keys of 22 B to {size}", spec.objects()),
        Workload::Ranged => format!("ranged, {} of objects of {size}", ByteCount(spec.range_bytes)),
        Workload::Multipart => format!("multipart, {size} in parts of {}", ByteCount(spec.part_bytes)),
        workload => format!("{}, objects of {size}", workload.name()),
    };
    let loop_kind = options.rate.map_or_else(|| "closed loop".to_owned(), |rate| format!("open loop at {rate}/s"));
    format!("{what}, {} at once, {loop_kind}", options.concurrency)
}
