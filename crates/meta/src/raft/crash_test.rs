//! Kills a process that commits, again and again, and looks whether all it acknowledged is there.
//!
//! The child is this test binary, told by its environment to be one.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::member::MemberOptions;
use super::network::Network;
use crate::clock::SystemClock;
use crate::command::{Command, Reply};
use crate::handle::MetaHandle;

const FOLDER: &str = "CAIRN_META_CRASH_FOLDER";
const ROUND: &str = "CAIRN_META_CRASH_ROUND";
const CALLERS: usize = 8;

async fn open(folder: &Path) -> MetaHandle {
    let options = MemberOptions {
        folder: folder.to_owned(),
        cluster_id: 7,
        voter: 1,
        memory: false,
        space: None,
        // Small, so that snapshots and purges are among what is interrupted.
        snapshot_entries: Some(50),
        log_entries_kept: Some(10),
    };
    let handle = MetaHandle::open(options, Arc::new(SystemClock), Network::default()).await.unwrap();
    handle.lead(&[1]).await.unwrap();
    handle
}

#[test]
#[ignore = "the other half of the crash test, which starts it in a process of its own"]
fn child() {
    let folder = std::env::var(FOLDER).expect("only the crash test starts this");
    let round = std::env::var(ROUND).expect("only the crash test starts this");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let handle = open(Path::new(&folder)).await;
        handle.read().await.unwrap();
        say(&format!("term {}", handle.status().term));
        let callers = (0..CALLERS).map(|caller| {
            let (handle, round) = (handle.clone(), round.clone());
            tokio::spawn(async move {
                for count in 0_u64.. {
                    let name = format!("bucket-{round}-{caller}-{count}");
                    let reply = handle.propose(Command::CreateBucket { name: name.clone() }).await.unwrap();
                    let Reply::Bucket(id) = reply else { panic!("{reply:?}") };
                    say(&format!("acked {name} {id} {}", handle.applied()));
                }
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await.unwrap();
        }
    });
}

/// One line, whole: the parent may kill us between any two bytes.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{line} end\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

#[derive(Default)]
struct Acked {
    buckets: BTreeMap<String, u64>,
    applied: u64,
    term: u64,
}

impl Acked {
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["term", term, "end"] => self.term = term.parse().unwrap(),
            ["acked", name, id, applied, "end"] => {
                self.buckets.insert((*name).to_owned(), id.parse().unwrap());
                self.applied = self.applied.max(applied.parse().unwrap());
            }
            _ => {}
        }
    }
}

/// Starts a child, hears it for a while, kills it, and hears what it had said.
fn run_child(folder: &Path, round: u64, acks: usize, acked: &mut Acked) {
    let mut child = Process::new(std::env::current_exe().unwrap())
        .args(["--exact", "raft::crash_test::child", "--ignored", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).split(b'\n');
    let before = acked.buckets.len();
    while acked.buckets.len() < before + acks {
        let line = lines.next().expect("the child ended by itself").unwrap();
        acked.hear(&String::from_utf8_lossy(&line));
    }
    child.kill().unwrap();
    for line in lines {
        acked.hear(&String::from_utf8_lossy(&line.unwrap()));
    }
    child.wait().unwrap();
}

#[test]
fn a_killed_voter_loses_nothing_it_acknowledged() {
    let rounds: u64 = std::env::var("CAIRN_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(15);
    let seed: u64 = std::env::var("CAIRN_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| StdRng::from_os_rng().random());
    println!("CAIRN_SEED={seed} CAIRN_ROUNDS={rounds}");
    let mut random = StdRng::seed_from_u64(seed);
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("meta");
    let mut acked = Acked::default();
    let mut replayed = 0;
    for round in 0..rounds {
        run_child(&folder, round, random.random_range(1..400), &mut acked);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let log = runtime.block_on(async {
            let durable = crate::state_machine::durable_index(&folder);
            replayed += u64::from(durable < acked.applied);
            let handle = open(&folder).await;
            let view = tokio::time::timeout(Duration::from_secs(30), handle.read()).await.unwrap().unwrap();
            assert!(view.index().0 >= acked.applied, "round {round}, seed {seed}: the index went back");
            assert!(handle.status().term > acked.term, "round {round}, seed {seed}: the vote went back");
            for (name, id) in &acked.buckets {
                let found = view.bucket(name).unwrap().map(|row| row.id.0);
                assert_eq!(found, Some(*id), "round {round}, seed {seed}: {name}");
            }
            // Every other time the next child finds what a kill left, not what a clean end did.
            if random.random() {
                handle.shutdown().await.unwrap();
            }
            handle.member().log.clone()
        });
        drop(runtime);
        while !log.closed() {
            std::thread::yield_now();
        }
    }
    assert!(rounds < 5 || replayed > 0, "seed {seed}: every kill came just after a flush, nothing was replayed");
}
