//! Measures a round: what the server's processes and the harness itself used meanwhile.

use std::time::Duration;

use anyhow::Result;

use crate::{
    metric::Usage,
    processes::{Peak, Processes, own_cpu_s},
    syncs::SyncCounter,
};

/// What a round used.
pub(crate) struct Measured {
    pub(crate) took: Duration,
    /// None if the server's processes are not known, or ended.
    pub(crate) usage: Option<Usage>,
    pub(crate) harness_s: f64,
}

/// Measures rounds; what it cannot measure becomes a note.
pub(crate) struct Meter {
    settle: Duration,
    count_syncs: bool,
    /// How the names of the threads begin that make the load.
    pub(crate) threads: String,
    pub(crate) notes: Vec<String>,
}

impl Meter {
    pub(crate) fn new(settle: Duration, count_syncs: bool, threads: String) -> Self {
        Self { settle, count_syncs, threads, notes: Vec::new() }
    }

    /// Measures what happens while `load` runs, and in the pause after it.
    ///
    /// # Errors
    /// That of the load.
    pub(crate) async fn measure(
        &mut self,
        processes: Option<&Processes>,
        load: impl Future<Output = Result<Duration>>,
    ) -> Result<Measured> {
        let Some(processes) = processes else {
            let before_s = own_cpu_s(&self.threads);
            let took = load.await?;
            return Ok(Measured { took, usage: None, harness_s: own_cpu_s(&self.threads) - before_s });
        };
        let counter = self.counter(processes).await;
        let peak = Peak::start(processes.clone())?;
        let before = processes.read();
        let before_s = own_cpu_s(&self.threads);
        let took = load.await?;
        let harness_s = own_cpu_s(&self.threads) - before_s;
        tokio::time::sleep(self.settle).await;
        let after = processes.read();
        let rss_bytes_max = tokio::task::spawn_blocking(|| peak.end()).await?;
        let syncs = match counter {
            Some(counter) => counter.end().await.map_err(|error| self.note(format!("syncs: {error:#}"))).ok(),
            None => None,
        };
        let usage = match (before, after) {
            (Ok(before), Ok(after)) => Some(Usage {
                cpu_s: after.cpu_s - before.cpu_s,
                written_bytes: after.written_bytes.saturating_sub(before.written_bytes),
                rss_bytes_max,
                syncs,
            }),
            (Err(error), _) | (_, Err(error)) => {
                self.note(format!("a round without usage: {error:#}"));
                None
            }
        };
        Ok(Measured { took, usage, harness_s })
    }

    async fn counter(&mut self, processes: &Processes) -> Option<SyncCounter> {
        if !self.count_syncs {
            return None;
        }
        match SyncCounter::start(&processes.pids()).await {
            Ok(counter) => Some(counter),
            Err(error) => {
                self.note(format!("syncs are not counted: {error:#}"));
                self.count_syncs = false;
                None
            }
        }
    }

    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}
