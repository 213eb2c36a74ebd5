//! What an operation costs the real server: system calls, syncs and bytes written, with bounds. Operations come one after
//! the other, so that the counts do not depend on how busy the machine is.
//!
//! `make counts` prints the table. What the parts cost in one process: the benches `counts` of the crates.

#![expect(clippy::print_stdout, reason = "the counts are worth seeing")]

mod trace;

use std::{fs, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use aws_sdk_s3::Client;
use bytes::Bytes;
use cairn_tests::{Server, ServerOptions, client};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use trace::{Calls, Trace};

const BUCKET: &str = "counts";
const SMALL_BYTES: usize = 4 << 10;
const MIB: usize = 1 << 20;
/// Keys of a page.
const KEYS: u64 = 1000;
/// Rounds of each operation. The least counts: what the server does by the clock, such as making its rows durable every
/// three seconds, is in some of them alone.
const ROUNDS: usize = 5;
/// After an answer the server's threads come to rest, and strace writes down what they did last.
const REST: Duration = Duration::from_millis(100);
/// The design's promise of bytes written per byte stored, from objects of 1 MiB up: at most 1.1 × (k+m)/k, here 4+2.
const WRITTEN_PER_BYTE_MAX: f64 = 1.1 * 6.0 / 4.0;

/// Most syncs of a PUT that is alone. They are 37: one of the metadata's log, and of each of six disks the file of units,
/// the same again as RocksDB takes it in, the folder it comes to, its list of files twice, and the index.
const SYNCS_MAX: u64 = 40;

/// The most that one operation may cost. What a read writes and syncs is nothing, whatever else it costs.
struct Bounds {
    calls: u64,
    on_files: u64,
    syncs: u64,
    written_bytes: u64,
}

impl Bounds {
    const fn of_read(calls: u64, on_files: u64) -> Self {
        Self { calls, on_files, syncs: 0, written_bytes: 0 }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn operations_cost_no_more_than_they_should() -> anyhow::Result<()> {
    let mut bench = Bench::start().await?;
    bench.put(SMALL_BYTES, 20, &Bounds { calls: 12, on_files: 4, syncs: 1, written_bytes: 5_200 }).await?;
    bench.get(SMALL_BYTES, 20, &Bounds::of_read(7, 2)).await?;
    bench.head(SMALL_BYTES, 20, &Bounds::of_read(7, 2)).await?;
    bench.list(4, &Bounds::of_read(50, 6)).await?;
    bench.delete(SMALL_BYTES, 20, &Bounds { calls: 11, on_files: 5, syncs: 1, written_bytes: 130 }).await?;
    let of_put =
        |calls, on_files, size: u64| Bounds { calls, on_files, syncs: SYNCS_MAX, written_bytes: size * 33 / 20 };
    bench.put(MIB, 8, &of_put(480, 340, 1 << 20)).await?;
    bench.put(10 * MIB, 4, &of_put(1350, 365, 10 << 20)).await?;
    bench.get(10 * MIB, 4, &Bounds::of_read(920, 95)).await?;
    bench.end()
}

/// A server under strace, and what was found of it.
struct Bench {
    server: Server,
    trace: Trace,
    s3: Client,
    lines: Vec<String>,
    broken: Vec<String>,
    _folder: TempDir,
}

impl Bench {
    async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("cairn-test-").tempdir()?;
        // As the kernel names the files in it.
        let data = folder.path().canonicalize()?.join("data");
        let trace = Trace::new(&data)?;
        let options = ServerOptions { data: Some(data), run_by: trace.run_by(), ..ServerOptions::default() };
        let server = Server::start(options)?;
        let s3 = client(&server)?;
        s3.create_bucket().bucket(BUCKET).send().await?;
        Ok(Self { server, trace, s3, lines: Vec::new(), broken: Vec::new(), _folder: folder })
    }

    async fn put(&mut self, size: usize, times: u64, bounds: &Bounds) -> anyhow::Result<()> {
        let (name, body) = (format!("PUT {}", named(size)), Bytes::from(vec![7; size]));
        let found = self
            .count(&name, times, bounds, async |s3, number| {
                s3.put_object().bucket(BUCKET).key(key(size, number)).body(body.clone().into()).send().await?;
                Ok(())
            })
            .await?;
        let stored = times * size as u64;
        ensure!(found.syncs >= times && found.written_bytes >= stored, "{name}: strace's lines are not understood");
        if size >= MIB {
            let stored = fraction(stored);
            let (written, paged) = (fraction(found.written_bytes) / stored, fraction(found.paged_bytes) / stored);
            let text = format!("{name}: {written:.3} bytes written per byte, in whole pages {paged:.3}");
            println!("{text}; at most {WRITTEN_PER_BYTE_MAX:.2}");
            if written.max(paged) > WRITTEN_PER_BYTE_MAX {
                self.broken.push(format!("{text}, the design promises at most {WRITTEN_PER_BYTE_MAX:.2}"));
            }
        }
        Ok(())
    }

    async fn get(&mut self, size: usize, times: u64, bounds: &Bounds) -> anyhow::Result<()> {
        let get = async |s3: &Client, number| {
            let found = s3.get_object().bucket(BUCKET).key(key(size, number)).send().await?;
            ensure!(found.body.collect().await?.into_bytes().len() == size, "an object came back shorter or longer");
            Ok(())
        };
        self.count(&format!("GET {}", named(size)), times, bounds, get).await.map(drop)
    }

    async fn head(&mut self, size: usize, times: u64, bounds: &Bounds) -> anyhow::Result<()> {
        let head = async |s3: &Client, number| {
            s3.head_object().bucket(BUCKET).key(key(size, number)).send().await?;
            Ok(())
        };
        self.count("HEAD", times, bounds, head).await.map(drop)
    }

    async fn delete(&mut self, size: usize, times: u64, bounds: &Bounds) -> anyhow::Result<()> {
        let delete = async |s3: &Client, number| {
            s3.delete_object().bucket(BUCKET).key(key(size, number)).send().await?;
            Ok(())
        };
        self.count("DELETE", times, bounds, delete).await.map(drop)
    }

    async fn list(&mut self, times: u64, bounds: &Bounds) -> anyhow::Result<()> {
        self.fill().await?;
        let list = async |s3: &Client, _| {
            let page = s3.list_objects_v2().bucket(BUCKET).prefix("listed/").send().await?;
            ensure!(page.contents().len() as u64 == KEYS, "a page of {} keys", page.contents().len());
            Ok(())
        };
        self.count("LIST of 1,000 keys", times, bounds, list).await.map(drop)
    }

    async fn fill(&self) -> anyhow::Result<()> {
        let turns = Arc::new(Semaphore::new(16));
        let puts = (0..KEYS).map(|number| {
            let (s3, turns) = (self.s3.clone(), Arc::clone(&turns));
            tokio::spawn(async move {
                let _turn = turns.acquire().await?;
                s3.put_object().bucket(BUCKET).key(format!("listed/{number:04}")).send().await?;
                anyhow::Ok(())
            })
        });
        for put in puts.collect::<Vec<_>>() {
            put.await??;
        }
        Ok(())
    }

    /// Counts rounds of an operation, which is told its number, and compares the least with the bounds.
    async fn count(
        &mut self,
        name: &str,
        times: u64,
        bounds: &Bounds,
        work: impl AsyncFn(&Client, u64) -> anyhow::Result<()>,
    ) -> anyhow::Result<Calls> {
        let mut numbers = 0..;
        let mut next = || numbers.next().context("numbers do not end");
        // The first may open a connection, or fill a cache that stays.
        work(&self.s3, next()?).await.with_context(|| format!("{name}, the first"))?;
        tokio::time::sleep(REST).await;
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let (begin, paged) = (self.trace.moment()?, self.paged_bytes()?);
            for _ in 0..times {
                work(&self.s3, next()?).await.with_context(|| name.to_owned())?;
            }
            tokio::time::sleep(REST).await;
            let mut round = self.trace.between(&begin, &self.trace.moment()?)?;
            round.paged_bytes = self.paged_bytes()? - paged;
            rounds.push(round);
        }
        let least = Calls::least(&rounds);
        self.judge(name, times, bounds, &least);
        Ok(least)
    }

    fn judge(&mut self, name: &str, times: u64, bounds: &Bounds, found: &Calls) {
        let often = found.most_often(8).into_iter().map(|(name, count)| format!("{name} {:.1}", per(count, times)));
        let often = often.collect::<Vec<_>>().join(", ");
        let mut line = format!("| {name} |");
        for (what, found, most) in [
            ("system calls", found.calls, bounds.calls),
            ("system calls on files", found.on_files, bounds.on_files),
            ("syncs", found.syncs, bounds.syncs),
            ("bytes written", found.written_bytes, bounds.written_bytes),
        ] {
            line.push_str(&format!(" {:.1} | {most} |", per(found, times)));
            if found > most * times {
                self.broken.push(format!("{name}: {:.1} {what}, the bound is {most} ({often})", per(found, times)));
            }
        }
        self.lines.push(format!("{line} {often} |"));
    }

    fn end(self) -> anyhow::Result<()> {
        println!(
            "| one operation | system calls | at most | on files | at most | syncs | at most | bytes written | at most | most often |"
        );
        println!("|---|---|---|---|---|---|---|---|---|---|");
        println!("{}", self.lines.join("\n"));
        ensure!(self.broken.is_empty(), "operations cost more than they should:\n{}", self.broken.join("\n"));
        Ok(())
    }

    /// What the server had its file systems write, in whole pages.
    fn paged_bytes(&self) -> anyhow::Result<u64> {
        let io = fs::read_to_string(format!("/proc/{}/io", self.server.pid()))?;
        let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).context("write_bytes")?;
        Ok(line.parse()?)
    }
}

fn key(size: usize, number: u64) -> String {
    format!("{size}/{number:04}")
}

fn named(size: usize) -> String {
    if size < MIB { format!("{} KiB", size >> 10) } else { format!("{} MiB", size >> 20) }
}

fn per(count: u64, times: u64) -> f64 {
    fraction(count) / fraction(times)
}

fn fraction(count: u64) -> f64 {
    f64::from(u32::try_from(count).expect("a test counts some hundred MiB"))
}
