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

use crate::engine::Engine;
use crate::error::EngineError;

impl Engine {
    /// Compares rows, shards and, with `verify`, the checksum of every unit of all disks. What is damaged or absent is
    /// told to repair.
    ///
    /// # Errors
    /// When the metadata group does not answer. A disk that does not answer counts as away.
    pub async fn check(&self, verify: bool) -> Result<CheckReport, EngineError> {
        let shared = self.shared();
        let mut report = CheckReport { verified: verify, ..CheckReport::default() };
        segments::check_segments(shared, verify, &mut report).await?;
        objects::check_objects(shared, &mut report).await?;
        let garbage = shared.meta.read().await?.garbage_totals()?;
        report.garbage_rows = garbage.rows;
        report.garbage_bytes = garbage.bytes;
        Ok(report)
    }
}
