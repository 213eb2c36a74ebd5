//! What servers on this machine use, from `/proc`: CPU-seconds, resident memory and bytes written of their processes and
//! all descendants, ended children included (a parent that waits for a child inherits its times).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

/// Processes of one server that are looked at.
const PROCESSES_MAX: usize = 4096;
/// Ticks in which `/proc` counts CPU time: the same on every Linux machine that we know (USER_HZ).
const TICKS_PER_S: f64 = 100.0;
/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What a server used up to a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Reading {
    pub(crate) cpu_s: f64,
    pub(crate) rss_bytes: u64,
    /// Bytes the processes had the system write on storage; pages thrown away before are taken off.
    pub(crate) written_bytes: u64,
}

/// Reads `/proc`.
#[derive(Debug, Clone)]
pub(crate) struct Processes {
    proc: PathBuf,
    roots: Vec<u32>,
}

impl Processes {
    /// Of some processes and their descendants; `None` if there are none.
    ///
    /// # Errors
    /// If one of them does not run or may not be read.
    pub(crate) fn new(roots: &[u32]) -> Result<Option<Self>> {
        if roots.is_empty() {
            return Ok(None);
        }
        let processes = Self { proc: PathBuf::from("/proc"), roots: roots.to_vec() };
        for pid in roots {
            processes.of(*pid).with_context(|| {
                format!("read what process {pid} uses; is it the server's, and is this its machine?")
            })?;
        }
        Ok(Some(processes))
    }

    /// The processes now.
    pub(crate) fn pids(&self) -> BTreeSet<u32> {
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for entry in fs::read_dir(&self.proc).into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if let Ok(stat) = Stat::read(&entry.path().join("stat")) {
                children.entry(stat.parent).or_default().push(pid);
            }
        }
        let mut found: BTreeSet<u32> = self.roots.iter().copied().collect();
        let mut waiting: Vec<u32> = self.roots.clone();
        while let Some(pid) = waiting.pop() {
            for child in children.get(&pid).into_iter().flatten() {
                if found.len() < PROCESSES_MAX && found.insert(*child) {
                    waiting.push(*child);
                }
            }
        }
        found
    }

    /// What they used until now.
    ///
    /// # Errors
    /// If a root process is gone.
    pub(crate) fn read(&self) -> Result<Reading> {
        let mut sum = Reading::default();
        for pid in self.pids() {
            match self.of(pid) {
                Ok(one) => {
                    sum.cpu_s += one.cpu_s;
                    sum.rss_bytes += one.rss_bytes;
                    sum.written_bytes += one.written_bytes;
                }
                // A child that ended meanwhile is in its parent's times.
                Err(error) => ensure!(!self.roots.contains(&pid), "process {pid} is gone: {error:#}"),
            }
        }
        Ok(sum)
    }

    fn of(&self, pid: u32) -> Result<Reading> {
        let folder = self.proc.join(pid.to_string());
        let stat = Stat::read(&folder.join("stat"))?;
        let io = fs::read_to_string(folder.join("io")).context("read its io (root or its user may)")?;
        let status = fs::read_to_string(folder.join("status")).context("read its status")?;
        Ok(Reading {
            cpu_s: precise(stat.ticks) / TICKS_PER_S,
            rss_bytes: field(&status, "VmRSS:") << 10,
            written_bytes: field(&io, "write_bytes:").saturating_sub(field(&io, "cancelled_write_bytes:")),
        })
    }
}

/// The number behind a name in a file of lines `NAME NUMBER [UNIT]`.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[expect(clippy::cast_precision_loss, reason = "counts of ticks are small")]
fn precise(count: u64) -> f64 {
    count as f64
}

/// What is used of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// User and system, its own and of children it waited for.
    ticks: u64,
}

impl Stat {
    fn read(path: &Path) -> Result<Self> {
        Self::parse(&fs::read_to_string(path)?).context("an odd stat file")
    }

    /// The name in the second field may hold blanks and brackets: the fields are counted from its last bracket.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |place: usize| fields.get(place)?.parse::<u64>().ok();
        let ticks = [11, 12, 13, 14].into_iter().map(number).sum::<Option<u64>>()?;
        Some(Self { parent: fields.get(1)?.parse().ok()?, ticks })
    }
}

/// Looks at the memory while a round runs.
pub(crate) struct Peak {
    stop: Arc<AtomicBool>,
    most: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Peak {
    /// Begins to look.
    ///
    /// # Errors
    /// If there is no thread.
    pub(crate) fn start(processes: Processes) -> Result<Self> {
        let (stop, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (to_hear, to_tell) = (Arc::clone(&stop), Arc::clone(&most));
        let thread = std::thread::Builder::new()
            .name("memory".to_owned())
            .spawn(move || {
                while !to_hear.load(Ordering::Relaxed) {
                    if let Ok(reading) = processes.read() {
                        to_tell.fetch_max(reading.rss_bytes, Ordering::Relaxed);
                    }
                    std::thread::sleep(LOOK_EVERY);
                }
            })
            .context("start the thread that looks at memory")?;
        Ok(Self { stop, most, thread: Some(thread) })
    }

    /// Ends; answers the most that was seen.
    pub(crate) fn end(mut self) -> u64 {
        self.join();
        self.most.load(Ordering::Relaxed)
    }

    fn join(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Peak {
    fn drop(&mut self) {
        self.join();
    }
}

/// CPU-seconds of the harness' own threads whose name begins so.
pub(crate) fn own_cpu_s(name: &str) -> f64 {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let of = |folder: PathBuf| {
        let comm = fs::read_to_string(folder.join("comm")).ok()?;
        let run = fs::read_to_string(folder.join("schedstat")).ok()?;
        comm.starts_with(name).then(|| run.split_whitespace().next()?.parse::<u64>().ok()).flatten()
    };
    precise(tasks.filter_map(|task| of(task.path())).sum()) / 1e9
}

#[cfg(test)]
mod tests {
    use std::{
        process::{Command, Stdio},
        time::Instant,
    };

    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let text = "42 (a (b) c) S 7 1 1 0 -1 4194304 100 0 0 0 11 12 13 14 20 0 5 0 100 1000 99 18446744073709551615";
        assert_eq!(Stat::parse(text), Some(Stat { parent: 7, ticks: 50 }));
        assert_eq!(Stat::parse("42 (x) S 7"), None);
    }

    /// A shell whose child burns CPU and writes, and then ends.
    #[test]
    fn an_ended_childs_cpu_counts() {
        let script = "i=0; sh -c 'i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done'; echo done; read line";
        let mut shell =
            Command::new("sh").args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let processes = Processes::new(&[shell.id()]).unwrap().unwrap();
        assert!(processes.pids().contains(&shell.id()));
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut word = [0; 5];
        std::io::Read::read_exact(shell.stdout.as_mut().unwrap(), &mut word).unwrap();
        let used = processes.read().unwrap();
        assert!(used.cpu_s > 0.02, "the child's {} s are missing", used.cpu_s);
        assert!(used.rss_bytes > 0 && Instant::now() < deadline);
        drop(shell.stdin.take());
        shell.wait().unwrap();
        assert!(processes.read().unwrap_err().to_string().contains("is gone"));
        assert!(Processes::new(&[shell.id()]).is_err());
    }

    #[test]
    fn own_threads_are_told_apart_by_name() {
        let burn = |name: &str| {
            let thread = std::thread::Builder::new().name(name.to_owned()).spawn(|| {
                let begun = Instant::now();
                let mut state = 1;
                while begun.elapsed() < Duration::from_millis(60) {
                    state = std::hint::black_box(crate::content::mix(state));
                }
                (own_cpu_s("burning"), state)
            });
            thread.unwrap().join().unwrap().0
        };
        assert!(burn("burning one") > 0.01);
        assert!(burn("another").abs() < 1e-9);
    }
}
