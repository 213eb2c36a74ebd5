//! What a server asks of the kernel: strace writes each system call of each thread down, this reads what was written
//! between two moments.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};

/// Calls that make bytes durable. `sync_file_range` does not.
const SYNCS: [&str; 5] = ["fsync", "fdatasync", "msync", "sync", "syncfs"];
const WRITES: [&str; 5] = ["write", "pwrite64", "writev", "pwritev", "pwritev2"];
/// Calls of waiting and waking, beside those on an eventfd: how many there are is up to the scheduler.
const WAITS: [&str; 9] = [
    "clock_nanosleep",
    "epoll_pwait",
    "epoll_wait",
    "futex",
    "nanosleep",
    "poll",
    "ppoll",
    "restart_syscall",
    "sched_yield",
];

/// By these each disk's watch asks how its file system stands, every second: not because of any request.
const LOOKS: [&str; 3] = ["fstatfs", "statfs", "statx"];

/// Has a server's calls written down, one file for each thread.
pub(crate) struct Trace {
    folder: tempfile::TempDir,
    /// What the paths of the server's files begin with.
    data: PathBuf,
}

/// How far each thread's file went at a moment.
#[derive(Clone)]
pub(crate) struct Moment(BTreeMap<OsString, u64>);

/// System calls between two moments.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Calls {
    /// But for waits and looks.
    pub(crate) calls: u64,
    /// Of these, on files and folders of the data folder.
    pub(crate) on_files: u64,
    /// Of these, that make bytes durable.
    pub(crate) syncs: u64,
    /// Bytes written to files of the data folder.
    pub(crate) written_bytes: u64,
    /// The same in whole pages, as the file system was told; nothing for one in memory.
    pub(crate) paged_bytes: u64,
    /// How often each call was made, waits and looks as well.
    by_name: BTreeMap<String, u64>,
}

impl Trace {
    /// Will follow a server of this data folder.
    pub(crate) fn new(data: &Path) -> anyhow::Result<Self> {
        let strace = Command::new("strace").args(["-o", "/dev/null", "true"]).stdin(Stdio::null()).output();
        let strace = strace.context("strace is missing: `make setup-test` brings it")?;
        ensure!(
            strace.status.success(),
            "strace may not follow a process here (ptrace is forbidden: allow it, e.g. by CAP_SYS_PTRACE): {}",
            String::from_utf8_lossy(&strace.stderr).trim()
        );
        Ok(Self { folder: tempfile::tempdir()?, data: data.to_owned() })
    }

    /// What the server is to be run by. strace follows from a process of its own, so that the child is the server.
    pub(crate) fn run_by(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = ["strace", "-D", "-ff", "-y", "-qq"].map(OsString::from).to_vec();
        words.extend(["--string-limit=0", "--signal=none", "-o"].map(OsString::from));
        words.push(self.folder.path().join("thread").into_os_string());
        words.push("--".into());
        words
    }

    /// Now.
    pub(crate) fn moment(&self) -> anyhow::Result<Moment> {
        let mut lengths = BTreeMap::new();
        for entry in fs::read_dir(self.folder.path())? {
            let entry = entry?;
            lengths.insert(entry.file_name(), entry.metadata()?.len());
        }
        ensure!(!lengths.is_empty(), "strace has written nothing");
        Ok(Moment(lengths))
    }

    /// The calls that were ended between two moments.
    pub(crate) fn between(&self, begin: &Moment, end: &Moment) -> anyhow::Result<Calls> {
        let data = self.data.to_str().context("a data folder whose path is text")?;
        let mut calls = Calls::default();
        for (name, to) in &end.0 {
            let from = begin.0.get(name).copied().unwrap_or(0);
            let mut file = File::open(self.folder.path().join(name))?;
            file.seek(SeekFrom::Start(from))?;
            let mut text = String::new();
            file.take(to.saturating_sub(from)).read_to_string(&mut text)?;
            text.lines().for_each(|line| calls.add(line, data));
        }
        Ok(calls)
    }
}

impl Calls {
    /// Adds a line `NAME(ARGUMENTS) = RESULT`; others tell of signals and ends.
    fn add(&mut self, line: &str, data: &str) {
        let Some((name, rest)) = line.split_once('(') else { return };
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            return;
        }
        *self.by_name.entry(name.to_owned()).or_default() += 1;
        if WAITS.contains(&name) || LOOKS.contains(&name) || rest.contains("<anon_inode:[eventfd]>") {
            return;
        }
        self.calls += 1;
        self.syncs += u64::from(SYNCS.contains(&name));
        if !rest.contains(data) {
            return;
        }
        self.on_files += 1;
        if WRITES.contains(&name) {
            let result = rest.rsplit_once(" = ").and_then(|(_, result)| result.split_whitespace().next());
            self.written_bytes += result.and_then(|result| result.parse::<u64>().ok()).unwrap_or(0);
        }
    }

    /// The calls that were made most often.
    pub(crate) fn most_often(&self, count: usize) -> Vec<(&str, u64)> {
        let mut names: Vec<(&str, u64)> = self.by_name.iter().map(|(name, times)| (name.as_str(), *times)).collect();
        names.sort_by_key(|(_, times)| std::cmp::Reverse(*times));
        names.truncate(count);
        names
    }

    /// The least of several rounds, each number by itself: what the server did beside the operations, by the clock, is
    /// in some rounds alone. The names are those of the first.
    pub(crate) fn least(rounds: &[Self]) -> Self {
        let least = |part: fn(&Self) -> u64| rounds.iter().map(part).min().unwrap_or(0);
        Self {
            calls: least(|round| round.calls),
            on_files: least(|round| round.on_files),
            syncs: least(|round| round.syncs),
            written_bytes: least(|round| round.written_bytes),
            paged_bytes: least(|round| round.paged_bytes),
            by_name: rounds.first().map(|round| round.by_name.clone()).unwrap_or_default(),
        }
    }
}

#[test]
fn lines_of_strace_are_counted() {
    let mut calls = Calls::default();
    for line in [
        r#"openat(AT_FDCWD</>, "/data/d/log-0/1.sst", O_RDONLY|O_CLOEXEC) = 17</data/d/log-0/1.sst>"#,
        r#"pwrite64(17</data/d/log-0/1.sst>, ""..., 4096, 0) = 4096"#,
        r#"write(17</data/d/log-0/1.sst>, ""..., 10) = -1 ENOSPC (No space left on device)"#,
        r"fdatasync(17</data/d/log-0/1.sst>) = 0",
        r#"sendto(9<socket:[7]>, ""..., 100, MSG_NOSIGNAL, NULL, 0) = 100"#,
        r#"write(12<anon_inode:[eventfd]>, ""..., 8) = 8"#,
        r"fstatfs(5</data/d/disk-1>, {f_type=EXT2_SUPER_MAGIC, ...}) = 0",
        r"futex(0x7f0000000000, FUTEX_WAKE_PRIVATE, 1) = 1",
        "+++ exited with 0 +++",
        "--- SIGTERM {si_signo=SIGTERM (1)} ---",
        "= 0",
    ] {
        calls.add(line, "/data/d");
    }
    assert_eq!((calls.calls, calls.on_files, calls.syncs, calls.written_bytes), (5, 4, 1, 4096), "{calls:?}");
    assert_eq!(calls.most_often(2), [("write", 2), ("fdatasync", 1)]);
    assert_eq!(calls.by_name.values().sum::<u64>(), 8, "waits are among them");
}
