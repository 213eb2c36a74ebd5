//! `cairn check`: rows, shards and checksums of all disks against each other, while the store runs.
//!
//! ```text
//! segments: page of rows (all groups, by segment) ◀──▶ listings of all disks over the same range
//! objects:  page of a bucket ──▶ extents ──▶ is there a row for each segment?
//! ```
//!
//! Rows are read before listings, and what looks wrong is looked at again at a fresh index: running writes and the
//! garbage of a busy store are no findings. Memory is bounded by pages, and by the examples kept of each finding.

mod objects;
mod report;
mod segments;

pub use report::CheckReport;

use cairn_meta::MetaView;

use crate::engine::Engine;
use crate::error::EngineError;

impl Engine {
    /// Compares rows, shards and, with `verify`, the checksum of every unit of all disks. What is damaged or absent is
    /// told to repair.
    ///
    /// # Errors
    /// When the metadata group does not answer. A disk that does not answer counts as away.
    pub async fn check(&self, verify: bool) -> Result<CheckReport, EngineError> {
        self.check_up_to(verify, segments::SUSPECTS_MAX).await
    }

    async fn check_up_to(&self, verify: bool, orphans_max: usize) -> Result<CheckReport, EngineError> {
        let shared = self.shared();
        let mut report = CheckReport { verified: verify, ..CheckReport::default() };
        segments::check_segments(shared, verify, orphans_max, &mut report).await?;
        objects::check_objects(shared, &mut report).await?;
        let garbage = shared.meta.read().await?.fetch(MetaView::garbage_totals).await?;
        report.garbage_rows = garbage.rows;
        report.garbage_bytes = garbage.bytes;
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use crate::upkeep::testing::World;
    use cairn_proto::UploadId;

    use crate::write::WriteKind;

    #[tokio::test]
    async fn orphans_that_are_not_counted_are_told_of() {
        let world = World::new(6).await;
        drop(
            world
                .begin(WriteKind::Part { upload: UploadId::default(), number: 1 }, "key", 300_000)
                .await
                .finish()
                .await
                .unwrap(),
        );
        // What the life before this one did not commit is dead.
        let next = world.next_life().await;
        let orphaned = |report: super::CheckReport| (report.orphaned.count, report.orphaned.at_least);
        assert_eq!(orphaned(next.engine.check(false).await.unwrap()), (6, false));
        assert_eq!(orphaned(next.engine.check_up_to(false, 6).await.unwrap()), (6, false));
        assert_eq!(orphaned(next.engine.check_up_to(false, 5).await.unwrap()), (5, true));
    }
}
