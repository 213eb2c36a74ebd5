//! Lifting: a segment that too few disks have is read back from those and written into another group under a new id.
//! The client is not asked for its bytes again.

use std::sync::Arc;

use cairn_erasure::StripeLayout;
use cairn_proto::PgId;

use super::segment::{SegmentPlace, SegmentWriter, Written};
use super::stored::StoredSegment;
use crate::error::EngineError;
use crate::label::SegmentOwner;
use crate::map::profile_of;
use crate::read::{SegmentReader, SegmentSource};
use crate::shared::Shared;

/// Lifts of one segment before the request fails.
pub(super) const LIFTS_MAX: usize = 2;

/// Lifts until enough disks have the segment.
pub(super) async fn lift_until_enough(
    shared: &Arc<Shared>,
    owner: &Arc<SegmentOwner>,
    written: Written,
) -> Result<StoredSegment, EngineError> {
    let mut written = written;
    let mut avoid = Vec::new();
    for _ in 0..LIFTS_MAX {
        if written.enough {
            break;
        }
        avoid.push(written.stored.new.pg);
        written = lift(shared, owner, &written.stored, &avoid).await?;
    }
    if !written.enough {
        return Err(EngineError::unavailable("disks failed again and again while a segment was written"));
    }
    Ok(written.stored)
}

/// Reads a segment back and writes it into a group that is not in `avoid`.
pub(super) async fn lift(
    shared: &Arc<Shared>,
    owner: &Arc<SegmentOwner>,
    stored: &StoredSegment,
    avoid: &[PgId],
) -> Result<Written, EngineError> {
    let (new, bytes) = (&stored.new, stored.new.bytes);
    let source = SegmentSource {
        pg: new.pg,
        segment: new.id,
        layout: StripeLayout::new(profile_of(new.profile)?, bytes)?,
        disks: new.answered.iter().map(|answer| answer.map(|(disk, _)| disk)).collect(),
        missing: Vec::new(),
    };
    let stripes = source.layout.stripes();
    let reader = SegmentReader::new(Arc::clone(shared), source);
    let place = SegmentPlace { owner: Arc::clone(owner), offset: stored.offset, bytes, want: stored.want };
    let mut segment = SegmentWriter::begin(shared, &place, avoid).await?;
    tracing::warn!(segment = %new.id, pg = %new.pg, "too few disks took a segment: it is lifted into another group");
    for stripe in 0..stripes {
        for piece in reader.read_stripes(stripe..stripe + 1).await? {
            segment.write(piece).await?;
        }
    }
    segment.finish().await
}
