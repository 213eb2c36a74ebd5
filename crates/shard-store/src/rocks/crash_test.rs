//! A child process writes, deletes and cleans; it is killed at a random moment; what it was answered must hold.
//!
//! `CAIRN_ROUNDS` sets the rounds, `CAIRN_SEED` repeats a run as far as its choices go (not its timing).

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    time::Duration,
};

use cairn_proto::Index;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{
    DiskOptions, RocksShardStore,
    testing::{check_balance, options, seed},
};
use crate::{DeleteOrder, DeleteReason, ShardStore, WriteMode, conformance::Sample};

pub(super) const FOLDER_VARIABLE: &str = "CAIRN_TEST_FOLDER";
const SEED_VARIABLE: &str = "CAIRN_TEST_SEED";
const ROUND_VARIABLE: &str = "CAIRN_TEST_ROUND";
const WORKERS: u64 = 4;

/// Few files fill an instance of the log, and few are merged: instances and files are made and removed all the time.
fn open(folder: &Path) -> Arc<RocksShardStore> {
    let mut options = DiskOptions { files_per_log: 3, ..options(folder) };
    options.clean.merge_always_over_files = 4;
    RocksShardStore::open(&options).unwrap()
}

fn child_command(test: &str, folder: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(FOLDER_VARIABLE, folder).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// Runs an ignored test of this binary in a process of its own and gives what it said.
pub(super) fn run_alone(test: &str, folder: &Path) -> String {
    let output = child_command(test, folder).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{test} failed");
    String::from_utf8(output.stdout).unwrap()
}

/// What is known of a shard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Known {
    /// Asked for, not answered: whole or absent.
    Either,
    Whole,
    Absent,
}

struct Model(BTreeMap<u64, (u64, Known)>);

impl Model {
    /// Takes a line of the child: an intent or an answer.
    fn take(&mut self, line: &str) {
        let mut words = line.split(' ');
        let verb = words.next().unwrap_or_default();
        let (Some(number), Some(bytes)) = (number(words.next()), number(words.next())) else { return };
        let known = match verb {
            "write" | "delete" => Known::Either,
            "written" => Known::Whole,
            "deleted" => Known::Absent,
            _ => return,
        };
        self.0.insert(number, (bytes, known));
    }

    /// Compares the disk with all that is known; what was open is settled by what the disk shows.
    async fn check(&mut self, disk: &RocksShardStore) {
        for (number, (bytes, known)) in &mut self.0 {
            let sample = Sample::new(*number, *bytes);
            let is_there = disk.header(sample.key()).await.unwrap().is_some();
            match *known {
                Known::Whole => assert!(is_there, "{number} was acknowledged and is gone"),
                Known::Absent => assert!(!is_there, "{number} was deleted and is back"),
                Known::Either => {}
            }
            if is_there {
                assert!(sample.is_whole(disk).await, "{number} is not whole");
                assert!(disk.scrub(sample.key()).await.unwrap().is_empty());
            }
            *known = if is_there { Known::Whole } else { Known::Absent };
        }
        let there = self.0.values().filter(|(_, known)| *known == Known::Whole).count();
        assert_eq!(disk.status().shards, there as u64, "the disk has shards nobody wrote");
        check_balance(&disk.core());
    }
}

fn number(word: Option<&str>) -> Option<u64> {
    word?.parse().ok()
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let rounds = env::var("CAIRN_ROUNDS").map_or(20, |rounds| rounds.parse().unwrap());
    let mut rng = StdRng::seed_from_u64(seed());
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut model = Model(BTreeMap::new());
    let mut answers = 0;
    for round in 1..=rounds {
        let mut command = child_command("rocks::crash_test::child", folder.path());
        command.env(SEED_VARIABLE, rng.random::<u64>().to_string()).env(ROUND_VARIABLE, round.to_string());
        answers += run_round(command.spawn().unwrap(), rng.random_range(0..400), &mut model);
        runtime.block_on(async {
            let disk = open(folder.path());
            model.check(&disk).await;
            assert_eq!(disk.status().errors, 0);
            disk.close().await;
        });
    }
    assert!(answers >= rounds, "only {answers} answers in {rounds} rounds: nothing was tested");
}

/// Lets the child live for so many milliseconds after its first answer. Counts its answers.
fn run_round(mut child: Child, lifetime_ms: u64, model: &mut Model) -> u64 {
    let stdout = child.stdout.take().unwrap();
    let (sender, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        // A line without its end was cut by the kill.
        while stdout.read_line(&mut line).is_ok_and(|bytes| bytes > 0) && line.ends_with('\n') {
            if sender.send(std::mem::take(&mut line)).is_err() {
                return;
            }
        }
    });
    let mut answers = 0;
    let mut take = |line: &str| {
        model.take(line.trim_end());
        answers += u64::from(line.starts_with("written") || line.starts_with("deleted"));
        answers
    };
    loop {
        let line = lines.recv_timeout(Duration::from_secs(30)).expect("a child that works");
        if take(&line) > 0 {
            break;
        }
    }
    let end = std::time::Instant::now() + Duration::from_millis(lifetime_ms);
    while let Ok(line) = lines.recv_timeout(end.saturating_duration_since(std::time::Instant::now())) {
        take(&line);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap();
    for line in lines {
        take(&line);
    }
    answers
}

fn say(verb: &str, number: u64, bytes: u64) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{verb} {number} {bytes}").unwrap();
    stdout.flush().unwrap();
}

#[test]
#[ignore = "the child of what_was_acknowledged_survives_kill_9"]
fn child() {
    let variable = |name| env::var(name).unwrap();
    let (seed, round) = (variable(SEED_VARIABLE).parse::<u64>().unwrap(), variable(ROUND_VARIABLE).parse().unwrap());
    // The line of the test harness has no end yet.
    println!();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let disk = open(Path::new(&variable(FOLDER_VARIABLE)));
        let mut workers = tokio::task::JoinSet::new();
        for worker in 0..WORKERS {
            workers.spawn(work(Arc::clone(&disk), worker, round, StdRng::seed_from_u64(seed ^ worker)));
        }
        while workers.join_next().await.is_some() {}
        panic!("a worker ended");
    });
}

async fn work(disk: Arc<RocksShardStore>, worker: u64, round: u64, mut rng: StdRng) {
    let existing = disk.list(None, 10_000).await.unwrap();
    let mut own: Vec<_> = existing.iter().map(|s| (s.key.segment.sequence.0, s.segment_bytes)).collect();
    own.retain(|(number, _)| number % WORKERS == worker);
    for counter in 0_u64.. {
        // Kept small enough to be looked at after each round.
        let deletes = if own.len() > 12 { 60 } else { 15 };
        match rng.random_range(0..100) {
            choice if choice < deletes && !own.is_empty() => {
                let (number, bytes) = own.swap_remove(rng.random_range(0..own.len()));
                say("delete", number, bytes);
                let keys = [Sample::new(number, bytes).key()];
                let order = DeleteOrder { index: Index(round), reason: DeleteReason::Dead };
                assert_eq!(disk.delete(&keys, order).await.unwrap(), 1);
                say("deleted", number, bytes);
            }
            choice if choice < deletes + 10 => drop(disk.clean().await.unwrap()),
            _ => {
                let number = ((round << 20) + counter) * WORKERS + worker;
                let bytes_max = [1000, 256 << 10, 2 << 20, 16 << 20][rng.random_range(0..4)];
                let bytes = rng.random_range(0..bytes_max);
                say("write", number, bytes);
                Sample::new(number, bytes).write(&*disk, WriteMode::New).await.unwrap();
                say("written", number, bytes);
                own.push((number, bytes));
            }
        }
    }
}
