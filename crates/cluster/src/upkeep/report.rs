//! Tells the metadata group which shards are not where rows want them, after a last look at the rows.

use std::collections::BTreeMap;

use cairn_meta::{BATCH_ROWS_MAX, Command};
use cairn_proto::{DiskId, Epoch, PgId, SegmentId, Slot};
use tracing::warn;

use super::Upkeep;
use super::plan_inventory::WantedShard;
use crate::error::EngineError;

impl Upkeep {
    /// Records shards as missing that `disk` should hold and was found not to: those whose rows still stand, want them
    /// there, and do not say so yet. Answers how many were recorded.
    pub(crate) async fn report_missing(&self, disk: DiskId, shards: Vec<WantedShard>) -> Result<usize, EngineError> {
        if shards.is_empty() {
            return Ok(0);
        }
        let confirmed = self
            .look(move |view| {
                let mut by_slot: BTreeMap<(PgId, Slot, Epoch), Vec<SegmentId>> = BTreeMap::new();
                for shard in shards {
                    let Some(pg) = view.pg(shard.pg)? else { continue };
                    let Some(row) = view.segment(shard.pg, shard.segment)? else { continue };
                    let holder = pg.slots.get(usize::from(shard.slot.0));
                    if !row.is_dead() && holder == Some(&disk) && !row.missing.contains(&shard.slot) {
                        by_slot.entry((shard.pg, shard.slot, pg.epoch)).or_default().push(shard.segment);
                    }
                }
                Ok(by_slot)
            })
            .await?;
        let mut count = 0;
        for ((pg, slot, epoch), segments) in confirmed {
            for segments in segments.chunks(BATCH_ROWS_MAX) {
                let segments = segments.to_vec();
                count += segments.len();
                self.shared.meta.propose(Command::ReportMissing { pg, epoch, slot, segments }).await?;
            }
        }
        if count > 0 {
            warn!(%disk, count, "shards are missing or bad: repair makes them anew");
            self.wakes.repair.notify_one();
        }
        Ok(count)
    }
}
