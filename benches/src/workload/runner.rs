//! `runner`: what the jobs of a GitLab runner ask of their cache, in their order and with their headers.
//!
//! A step is a job. Its restore is a connection of its own: HEAD of the key, HEAD of the name the key would have under
//! the other setting of `FF_HASH_CACHE_KEYS` (never there), GET, which is sent also after a 404. Its save is another
//! connection: nothing (a third of the jobs only pull), HEAD alone (a third: nothing changed), or PUT over the old
//! archive (a third). All URLs are presigned, `Content-Type` and `Last-Modified` unsigned.
//!
//! Eight jobs in a row want the same key, as the jobs of one pipeline do, so that GETs come in bursts and overwrites meet
//! reads and other overwrites. A third of the keys was never saved: with the alternate names, two thirds of the HEADs
//! miss. Sizes are those of [`crate::runner_sizes`].

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;
use http::Method;

use super::{Load, Spec, timed};
use crate::{
    client::Stage,
    content::{Content, mix},
    failure::Failure,
    recorder::{Done, Kind, Recorder},
    runner_sizes::archive_bytes,
    target::{How, Target},
    versions::{Sightline, Versions},
};

/// Jobs in a row that want the same key.
const BURST: u64 = 8;

pub(super) struct Runner {
    spec: Spec,
    target: Arc<Target>,
    /// One for each key that is saved.
    saved: Vec<Versions>,
}

impl Runner {
    pub(super) fn new(spec: Spec, target: Arc<Target>) -> Self {
        Self { spec, target, saved: (0..spec.objects()).map(|_| Versions::default()).collect() }
    }

    fn key(&self, slot: u64) -> String {
        format!("{}runner/project/{}/build job {slot}/main-non_protected", self.target.prefix, slot / 4)
    }

    /// The name it would have if keys were hashed.
    fn other_key(&self, slot: u64) -> String {
        let hash = [0, 1, 2, 3].map(|part| format!("{:016x}", mix(self.spec.seed ^ slot ^ (part << 32)))).concat();
        format!("{}runner/project/{}/{}/{hash}", self.target.prefix, slot / 4, &hash[..2])
    }

    fn content(&self, slot: u64, version: u64) -> Content {
        let number = mix(self.spec.seed ^ mix(slot ^ (version << 32)));
        Content::new(self.spec.seed, &self.key(slot), version, archive_bytes(number, self.spec.object_bytes))
    }

    /// Which key a job wants: one of those saved, or, a third, one that never was.
    fn slot(&self, job: u64) -> u64 {
        let saved = self.saved.len() as u64;
        self.spec.draw(job / BURST, 0) % (saved + saved.div_ceil(2))
    }

    async fn save(&self, slot: u64, versions: &Versions, how: How<'_>) -> Result<Done, Failure> {
        let version = versions.begin();
        let outcome = self.target.put(&self.key(slot), self.content(slot, version), version, how).await;
        match &outcome {
            Ok(_) => versions.acknowledge(version),
            Err(failure) if failure.is_refusal() => versions.refuse(version),
            Err(_) => {}
        }
        outcome
    }

    /// What a reader may find.
    fn may_be(&self, slot: u64, versions: &Versions, line: &Sightline) -> Result<Vec<Content>, Failure> {
        let admissible = versions.admissible(line).ok_or_else(|| Failure::new("too many unknown writes to judge"))?;
        Ok(admissible.into_iter().map(|version| self.content(slot, version)).collect())
    }

    async fn head(&self, slot: u64, versions: &Versions, how: How<'_>) -> Result<Done, Failure> {
        let line = versions.look();
        let length = self.target.head(&self.key(slot), how).await?;
        // Asked when the answer is there: a version that began meanwhile may be in it.
        match self.may_be(slot, versions, &line)?.iter().any(|content| content.length() == length) {
            true => Ok(Done::default()),
            false => Err(Failure::new("wrong length")),
        }
    }

    async fn get(&self, slot: u64, versions: &Versions, how: How<'_>) -> Result<Done, Failure> {
        let line = versions.look();
        self.target.get(&self.key(slot), || self.may_be(slot, versions, &line), how).await
    }

    async fn restore(&self, slot: u64, from: Instant, recorder: &Recorder) {
        let stage = Stage::default();
        let how = How { stage: Some(&stage) };
        let (key, now) = (self.key(slot), Instant::now);
        let versions = self.versions(slot);
        let mut went_well = match versions {
            Some(versions) => timed(recorder, Kind::Head, now(), self.head(slot, versions, how)).await,
            None => timed(recorder, Kind::HeadMiss, now(), self.target.miss(Method::HEAD, &key, how)).await,
        };
        let other = self.other_key(slot);
        went_well &= timed(recorder, Kind::HeadMiss, now(), self.target.miss(Method::HEAD, &other, how)).await;
        went_well &= match versions {
            Some(versions) => timed(recorder, Kind::Get, now(), self.get(slot, versions, how)).await,
            None => timed(recorder, Kind::GetMiss, now(), self.target.miss(Method::GET, &key, how)).await,
        };
        sum(recorder, Kind::Restore, from, went_well);
    }

    fn versions(&self, slot: u64) -> Option<&Versions> {
        self.saved.get(usize::try_from(slot).ok()?)
    }
}

/// Records a stage. What failed in it is counted by its own kind, not twice.
fn sum(recorder: &Recorder, kind: Kind, from: Instant, went_well: bool) {
    if went_well {
        recorder.record(kind, from.elapsed(), &Ok(Done::default()));
    }
}

#[async_trait]
impl Load for Runner {
    async fn prepare(&self) -> Result<(), Failure> {
        for (slot, versions) in (0..).zip(&self.saved) {
            self.save(slot, versions, How::default())
                .await
                .map_err(|failure| Failure::new(format!("lay objects ready: {failure}")))?;
        }
        Ok(())
    }

    async fn step(&self, job: u64, from: Instant, recorder: &Recorder) -> bool {
        let slot = self.slot(job);
        self.restore(slot, from, recorder).await;
        let Some(versions) = self.versions(slot) else { return true };
        let stage = Stage::default();
        let how = How { stage: Some(&stage) };
        let begun = Instant::now();
        let went_well = match self.spec.draw(job, 1) % 3 {
            0 => return true,
            1 => timed(recorder, Kind::Head, begun, self.head(slot, versions, how)).await,
            _ => timed(recorder, Kind::Put, begun, self.save(slot, versions, how)).await,
        };
        sum(recorder, Kind::Save, begun, went_well);
        true
    }
}
