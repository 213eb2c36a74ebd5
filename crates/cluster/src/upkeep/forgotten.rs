//! Shards that are newer than the snapshot the metadata was recovered from: kept, and counted for status, until a person
//! gives them up.

use std::collections::BTreeMap;
use std::sync::Mutex;

use cairn_meta::{LifeRow, Verdict};
use cairn_proto::{DiskId, SegmentId};
use cairn_shard_store::ShardKey;

use super::Upkeep;
use crate::error::EngineError;
use crate::label::{SegmentLabel, SegmentOwner};

/// How many each disk holds, as its last inventory saw it.
#[derive(Default)]
pub(crate) struct ForgottenShards(Mutex<BTreeMap<DiskId, u64>>);

impl ForgottenShards {
    pub(super) fn set(&self, disk: DiskId, shards: u64) {
        self.0.lock().expect("no holder of this lock panics").insert(disk, shards);
    }

    pub(crate) fn total(&self) -> u64 {
        self.0.lock().expect("no holder of this lock panics").values().sum()
    }
}

impl Upkeep {
    /// How many of the shards on a disk are of objects that the present life forgot. Of the snapshots of before nobody
    /// misses anything.
    pub(super) async fn count_forgotten(&self, disk: DiskId, keys: &[ShardKey]) -> Result<u64, EngineError> {
        if keys.is_empty() {
            return Ok(0);
        }
        let asked: Vec<SegmentId> = keys.iter().map(|key| key.segment).collect();
        let verdicts = self.look(move |view| {
            let forgets = view.lives()?.iter().any(LifeRow::forgets);
            Ok(if forgets { view.verdicts(&asked)?.verdicts } else { Vec::new() })
        });
        let verdicts = verdicts.await?;
        let mut count = 0;
        for (key, _) in keys.iter().zip(verdicts).filter(|(_, (_, verdict))| *verdict == Verdict::Forgotten) {
            let key = *key;
            let header =
                self.calls.call(&self.shared.disks, disk, |store| async move { store.header(key).await }).await;
            let Ok(Some(header)) = header else { continue };
            let label = SegmentLabel::open(&self.shared.key, key.segment, &header.label);
            if !matches!(label, Some(SegmentLabel { owner: SegmentOwner::Snapshot(_), .. })) {
                count += 1;
            }
        }
        Ok(count)
    }
}
