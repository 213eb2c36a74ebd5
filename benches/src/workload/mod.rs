//! What is asked of the servers. Step `number` of a workload is the same on every server and in every round: what it
//! does follows from the seed.

mod delete;
mod list;
mod mixed;
mod reads;
mod runner;
mod writes;

use std::{future::Future, sync::Arc, time::Instant};

use async_trait::async_trait;
use clap::ValueEnum;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;

use crate::{
    content::Content,
    failure::{Failure, Failures},
    recorder::{Done, Kind, Recorder},
    target::{How, Target},
};

/// A kind of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// New objects of one size
    Put,
    /// Whole objects of one size, in random order
    Get,
    /// Heads of objects
    Head,
    /// Full pages of up to 1,000 keys, from random places
    List,
    /// Deletes of objects, one by one
    Delete,
    /// New objects written in parts
    Multipart,
    /// Ranges at random places of objects
    Ranged,
    /// 45 % GET, 30 % HEAD, 15 % PUT, 10 % DELETE
    Mixed,
    /// A GitLab runner's cache: presigned, a connection per stage, misses, bursts of one key, overwrites
    Runner,
}

impl Workload {
    /// The kind whose latency stands for the whole.
    #[must_use]
    pub const fn main_kind(self) -> Kind {
        match self {
            Self::Put => Kind::Put,
            Self::Get | Self::Mixed => Kind::Get,
            Self::Head => Kind::Head,
            Self::List => Kind::List,
            Self::Delete => Kind::Delete,
            Self::Multipart => Kind::Multipart,
            Self::Ranged => Kind::Range,
            Self::Runner => Kind::Restore,
        }
    }

    /// As it is typed and shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Head => "head",
            Self::List => "list",
            Self::Delete => "delete",
            Self::Multipart => "multipart",
            Self::Ranged => "ranged",
            Self::Mixed => "mixed",
            Self::Runner => "runner",
        }
    }

    /// How many objects lie ready if nothing else is said.
    const fn objects(self) -> u64 {
        match self {
            Self::List | Self::Delete => 2000,
            Self::Runner => 32,
            _ => 128,
        }
    }
}

/// A workload with its sizes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spec {
    pub(crate) workload: Workload,
    /// Bytes of an object; for the runner the most.
    pub(crate) object_bytes: u64,
    pub(crate) part_bytes: u64,
    pub(crate) range_bytes: u64,
    /// Objects that lie ready, if it was said.
    pub(crate) objects: Option<u64>,
    /// Most bytes that lie on a server at once because of one round, or because of what lies ready.
    pub(crate) bytes_max: u64,
    pub(crate) concurrency: usize,
    pub(crate) seed: u64,
}

impl Spec {
    /// How many objects lie ready.
    pub(crate) fn objects(&self) -> u64 {
        let fitting = (self.bytes_max / self.object_bytes.max(1)).max(1);
        match self.workload {
            Workload::Runner => self.objects.unwrap_or(Workload::Runner.objects()),
            workload => self.objects.unwrap_or(workload.objects()).min(fitting),
        }
    }

    /// A number drawn for a step.
    pub(crate) fn draw(&self, number: u64, what: u64) -> u64 {
        crate::content::mix(self.seed ^ crate::content::mix(number ^ (what << 56)))
    }
}

/// A workload on one server.
#[async_trait]
pub(crate) trait Load: Send + Sync {
    /// Lays ready what all rounds need. Not measured.
    async fn prepare(&self) -> Result<(), Failure> {
        Ok(())
    }

    /// Lays ready what one round needs. Not measured.
    async fn before_round(&self, _round: u32) -> Result<(), Failure> {
        Ok(())
    }

    /// One step, begun at `from`. False: nothing is left to do in this round.
    async fn step(&self, number: u64, from: Instant, recorder: &Recorder) -> bool;

    /// Reads back a sample of what was written, and removes what the round left. Not measured.
    async fn after_round(&self) -> Failures {
        Failures::default()
    }
}

/// Makes the workload of a server.
pub(crate) fn load(spec: Spec, target: Arc<Target>) -> Arc<dyn Load> {
    match spec.workload {
        Workload::Put | Workload::Multipart => Arc::new(writes::Writes::new(spec, target)),
        Workload::Get | Workload::Head | Workload::Ranged => Arc::new(reads::Reads::new(spec, target)),
        Workload::List => Arc::new(list::Lists::new(spec, target)),
        Workload::Delete => Arc::new(delete::Deletes::new(spec, target)),
        Workload::Mixed => Arc::new(mixed::Mixed::new(spec, target)),
        Workload::Runner => Arc::new(runner::Runner::new(spec, target)),
    }
}

/// Carries an operation out and records it. Answers whether it went well.
async fn timed(
    recorder: &Recorder,
    kind: Kind,
    from: Instant,
    operation: impl Future<Output = Result<Done, Failure>>,
) -> bool {
    let outcome = operation.await;
    recorder.record(kind, from.elapsed(), &outcome);
    outcome.is_ok()
}

/// Objects of one size that lie ready under a folder, named by their number.
struct Shelf {
    target: Arc<Target>,
    spec: Spec,
    folder: String,
    bytes: u64,
}

impl Shelf {
    fn new(spec: Spec, target: Arc<Target>, folder: &str, bytes: u64) -> Self {
        let folder = format!("{}{folder}/", target.prefix);
        Self { target, spec, folder, bytes }
    }

    fn key(&self, number: u64) -> String {
        format!("{}{number:08}", self.folder)
    }

    fn content(&self, key: &str) -> Content {
        Content::new(self.spec.seed, key, 0, self.bytes)
    }

    /// Writes object `number`.
    async fn put(&self, number: u64) -> Result<Done, Failure> {
        let key = self.key(number);
        self.target.put(&key, self.content(&key), 0, How::default()).await
    }

    /// Writes all of them.
    async fn fill(&self, count: u64) -> Result<(), Failure> {
        let puts = stream::iter(0..count).map(|number| self.put(number)).buffer_unordered(self.spec.concurrency);
        let failed = puts.filter_map(async |outcome| outcome.err());
        match std::pin::pin!(failed).next().await {
            Some(failure) => Err(Failure::new(format!("lay objects ready: {failure}"))),
            None => Ok(()),
        }
    }
}

/// Removes what may lie under a folder. Answers what could not be removed.
pub(crate) async fn remove(target: &Target, folder: &str, concurrency: usize) -> Failures {
    let uploads = target.uploads_left().into_iter().filter(|(_, key)| key.starts_with(folder));
    let mut failures = Failures::default();
    for (upload, key) in uploads {
        if let Err(failure) = target.abort(&upload, &key).await {
            failures.add(&format!("remove: {failure}"));
        }
    }
    let keys: Vec<String> = target.keys_left().into_iter().filter(|key| key.starts_with(folder)).collect();
    let deletes = stream::iter(keys).map(|key| async move { target.delete(&key).await });
    let deletes = deletes.buffer_unordered(concurrency.max(16));
    let failed: Vec<Failure> = deletes.filter_map(async |outcome| outcome.err()).collect().await;
    for failure in failed {
        failures.add(&format!("remove: {failure}"));
    }
    failures
}
