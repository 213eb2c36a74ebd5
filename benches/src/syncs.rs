//! Counts a server's syncs by the kernel's own tracepoints, through `perf stat`: nobody is stopped at a call, as a tracer
//! would, and calls that pass by the C library (Go) count too. A file opened with `O_SYNC` or `O_DSYNC` counts once, when
//! it is opened: it is there to be written with a sync. Not counted: what io_uring does.

use std::{collections::BTreeSet, path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
};

/// What makes bytes durable.
const CALLS: [&str; 5] = ["fsync", "fdatasync", "msync", "syncfs", "sync"];
/// Opens that ask for synced writes (`O_DSYNC`, which is part of `O_SYNC`): the same bit on x86-64 and arm64.
const OPEN: &str = "syscalls:sys_enter_openat";
const OPEN_FILTER: &str = "flags & 4096";
/// perf answers at once, or never.
const WITHIN: Duration = Duration::from_secs(10);

/// A counter that runs.
pub(crate) struct SyncCounter {
    child: Child,
    control: ChildStdin,
    answers: BufReader<ChildStdout>,
    output: PathBuf,
    _folder: TempDir,
}

impl SyncCounter {
    /// Begins to count. When it returns, every sync counts.
    ///
    /// # Errors
    /// If there is no perf, or it may not look at these processes.
    pub(crate) async fn start(pids: &BTreeSet<u32>) -> Result<Self> {
        let folder = tempfile::tempdir().context("make a folder for what perf tells")?;
        let output = folder.path().join("counts");
        let events = CALLS.map(|call| format!("syscalls:sys_enter_{call}")).join(",");
        let pids = pids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let mut child = Command::new("perf")
            .args([
                "stat",
                "--control",
                "fd:0,1",
                "--delay=-1",
                "--field-separator=,",
                "--event",
                &events,
                "--pid",
                &pids,
            ])
            // The filter is that of the event before it.
            .args(["--event", OPEN, "--filter", OPEN_FILTER])
            .arg("--output")
            .arg(&output)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // Ctrl-C is for the harness: it ends perf itself, after the last count.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("start perf")?;
        let control = child.stdin.take().context("perf's input")?;
        let answers = BufReader::new(child.stdout.take().context("perf's output")?);
        let mut counter = Self { child, control, answers, output, _folder: folder };
        counter.order("enable").await.context("perf cannot count system calls of these processes")?;
        Ok(counter)
    }

    /// Gives perf an order and waits until it was carried out.
    async fn order(&mut self, order: &str) -> Result<()> {
        let done = async {
            self.control.write_all(format!("{order}\n").as_bytes()).await?;
            let mut answer = Vec::new();
            self.answers.read_until(b'\n', &mut answer).await?;
            ensure!(String::from_utf8_lossy(&answer).contains("ack"), "perf ended");
            Ok(())
        };
        tokio::time::timeout(WITHIN, done).await.context("perf does not answer")?
    }

    /// Ends; answers how many syncs there were.
    ///
    /// # Errors
    /// If perf gives no count.
    pub(crate) async fn end(mut self) -> Result<u64> {
        self.order("disable").await?;
        let perf = self.child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)).context("perf ended")?;
        kill_process(perf, Signal::INT).context("end perf")?;
        tokio::time::timeout(WITHIN, self.child.wait()).await.context("perf does not end")??;
        let text = tokio::fs::read_to_string(&self.output).await.context("read what perf counted")?;
        count(&text)
    }
}

/// Adds up perf's lines `COUNT,,EVENT,…`. Processes that made no system call at all are "not counted": zero.
fn count(text: &str) -> Result<u64> {
    let mut sum = 0;
    let mut events = 0;
    for line in text.lines().filter(|line| line.contains("syscalls:sys_enter_")) {
        events += 1;
        match line.split(',').next().unwrap_or_default() {
            "<not counted>" => {}
            number => sum += number.parse::<u64>().with_context(|| format!("perf says {line}"))?,
        }
    }
    if events != CALLS.len() + 1 {
        bail!("perf counted {events} calls instead of {}", CALLS.len() + 1);
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::unix::fs::OpenOptionsExt as _};

    use super::*;

    #[test]
    fn perfs_lines_are_added_up() {
        let lines = |first: &str| {
            let rest = CALLS[1..].iter().map(|call| format!("2,,syscalls:sys_enter_{call},1,100.00,,"));
            let rest: Vec<_> = rest.chain([format!("3,,{OPEN},1,100.00,,")]).collect();
            format!("# started\n\n{first},,syscalls:sys_enter_fsync,0,100.00,,\n{}\n", rest.join("\n"))
        };
        assert_eq!(count(&lines("5")).unwrap(), 16);
        assert_eq!(count(&lines("<not counted>")).unwrap(), 11);
        assert!(count(&lines("<not supported>")).is_err());
        assert!(count("").is_err());
    }

    /// Whether perf counts system calls here, asked past the counter: without perf, or the right to it, there is nothing to
    /// test, and the harness says so in its report.
    fn perf_may_count() -> bool {
        let mut perf = std::process::Command::new("perf");
        let outcome = perf.args(["stat", "--event", "syscalls:sys_enter_fsync", "--", "true"]).output();
        let may = outcome.as_ref().is_ok_and(|output| output.status.success());
        if !may {
            eprintln!("skipped: perf may not count system calls here: {outcome:?}");
        }
        may
    }

    /// Counts the syncs of this very process, made by a thread that begins after the counter.
    #[tokio::test(flavor = "multi_thread")]
    async fn syncs_are_counted_exactly_where_perf_may() {
        if !perf_may_count() {
            return;
        }
        let counter = SyncCounter::start(&[std::process::id()].into()).await.unwrap();
        tokio::task::spawn_blocking(|| {
            let file = tempfile::tempfile().unwrap();
            for _ in 0..17 {
                File::sync_data(&file).unwrap();
            }
            file.sync_all().unwrap();
            let folder = tempfile::tempdir().unwrap();
            let mut open = File::options();
            // O_DSYNC.
            open.write(true).create(true).custom_flags(4096).open(folder.path().join("synced")).unwrap();
        })
        .await
        .unwrap();
        assert!(counter.end().await.unwrap() >= 19);
    }
}
