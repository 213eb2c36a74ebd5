//! The commit of a snapshot of the metadata: a row lists so many segments, so it goes in pieces; the last makes it whole.

use cairn_meta::{Command, NewSegment, SNAPSHOT_PIECES_MAX};
use cairn_proto::Index;

use super::commit::SegmentCommit;
use super::stored::{StoredBody, StoredBytes, StoredSegment};
use crate::error::EngineError;

/// Commits a snapshot that was written. One that fails half-way stays unfinished, and is removed by the next.
pub(crate) async fn commit_snapshot(stored: StoredBytes, snapshot: Index) -> Result<(), EngineError> {
    let StoredBody::Segments(segments) = stored.body else {
        return Err(EngineError::invalid("the bytes were not written as a snapshot"));
    };
    let extents_max = stored.shared.options.extents_max;
    if segments.is_empty() || segments.len().div_ceil(extents_max) > usize::from(SNAPSHOT_PIECES_MAX) {
        return Err(EngineError::invalid("the metadata is too long for a snapshot in segments"));
    }
    let commit = SegmentCommit { shared: &stored.shared, owner: &stored.owner };
    let mut segments = segments.into_iter().peekable();
    for piece in 0.. {
        let row: Vec<StoredSegment> = segments.by_ref().take(extents_max).collect();
        let last = segments.peek().is_none();
        let put = |segments: Vec<NewSegment>| Command::PutSnapshot { snapshot, piece, segments, last };
        commit.run(row, put).await?;
        if last {
            break;
        }
    }
    Ok(())
}
