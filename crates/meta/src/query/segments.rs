//! Segments: their rows, what refers to them, and whether they are dead.

use cairn_proto::{GroupId, Index, PgId, SegmentId, Slot, WriterId};

use super::Query;
use crate::cluster_rows::LifeRow;
use crate::keys::{self, Counter};
use crate::row::{Referrer, SegmentRow, WriterRow};
use crate::rows::{RowsError, RowsRead, StoredReference, StoredWriter, collect, decode, load_value};
use crate::view::{Verdict, Verdicts};

/// Most referrers of a segment that a question answers.
const REFERRERS_MAX: usize = 1000;

/// What the rows know of a writer id.
pub(crate) enum WriterState {
    Open(WriterRow),
    /// For ever; its row may be gone.
    Closed,
    /// Never given out, as far as these rows know.
    Unknown,
}

pub(crate) fn writer_state(rows: &dyn RowsRead, writer: WriterId) -> Result<WriterState, RowsError> {
    if let Some(stored) = load_value::<StoredWriter>(rows, &keys::writer(writer))? {
        return Ok(if stored.row.closed { WriterState::Closed } else { WriterState::Open(stored.row) });
    }
    let last = load_value::<u64>(rows, &keys::counter(Counter::LastWriter))?.unwrap_or(0);
    Ok(if (1..=last).contains(&writer.0) { WriterState::Closed } else { WriterState::Unknown })
}

fn first_reference(rows: &dyn RowsRead, segment: SegmentId) -> Result<Option<StoredReference>, RowsError> {
    let range = keys::references(segment);
    let first = collect(rows, &range.from, &range.end, 1, |key, value| Ok(Some(decode(key, value)?.value)))?;
    Ok(first.into_iter().next())
}

/// Whether a segment that no row names may have been committed between a life's snapshot and its beginning.
fn forgot(life: &LifeRow, segment: SegmentId) -> bool {
    let given_out = life.writers_over < segment.writer && segment.writer <= life.writers_through;
    given_out || life.open_writers.iter().any(|(writer, from)| *writer == segment.writer && *from <= segment.sequence)
}

impl Query<'_> {
    /// A segment of a group.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn segment(&self, pg: PgId, segment: SegmentId) -> Result<Option<SegmentRow>, RowsError> {
        load_value(self.rows, &keys::segment(pg, segment))
    }

    /// Segments of a group in order of id.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn segments(
        &self,
        pg: PgId,
        after: Option<SegmentId>,
        limit: usize,
    ) -> Result<Vec<(SegmentId, SegmentRow)>, RowsError> {
        let range = keys::segments(pg).after(after.map(|segment| keys::segment(pg, segment)));
        collect(self.rows, &range.from, &range.end, limit, |key, value| {
            Ok(Some((keys::read_segment(key)?.1, decode(key, value)?.value)))
        })
    }

    /// The rows that refer to a segment, those in garbage too; the first 1,000.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn referrers(&self, segment: SegmentId) -> Result<Vec<Referrer>, RowsError> {
        let range = keys::references(segment);
        collect(self.rows, &range.from, &range.end, REFERRERS_MAX, |key, value| {
            Ok(Some(decode::<StoredReference>(key, value)?.value.referrer))
        })
    }

    /// Missing shards in order of group, segment and slot.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn missing(
        &self,
        after: Option<(PgId, SegmentId, Slot)>,
        limit: usize,
    ) -> Result<Vec<(PgId, SegmentId, Slot)>, RowsError> {
        let range = keys::all_missing().after(after.map(|(pg, segment, slot)| keys::missing(pg, segment, slot)));
        collect(self.rows, &range.from, &range.end, limit, |key, _| keys::read_missing(key).map(Some))
    }

    /// What the group says of segments that a disk holds. `index` is the one these rows were applied to.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn verdicts(&self, index: Index, segments: &[SegmentId]) -> Result<Verdicts, RowsError> {
        let lives = self.lives()?;
        let verdicts = segments.iter().map(|segment| Ok((*segment, self.verdict(*segment, &lives)?)));
        Ok(Verdicts { index, verdicts: verdicts.collect::<Result<_, RowsError>>()? })
    }

    fn verdict(&self, segment: SegmentId, lives: &[LifeRow]) -> Result<Verdict, RowsError> {
        if segment.group != GroupId::ONLY {
            return Ok(Verdict::Unknown);
        }
        if let Some(reference) = first_reference(self.rows, segment)? {
            let row = self.segment(reference.pg, segment)?.ok_or_else(|| {
                RowsError::damaged(&keys::segment(reference.pg, segment), "the row is gone while others name it")
            })?;
            return Ok(if row.is_dead() { Verdict::Dead } else { Verdict::Alive });
        }
        if self.rows.get(&keys::spent(segment))?.is_some() {
            return Ok(Verdict::Dead);
        }
        if lives.iter().any(|life| forgot(life, segment)) {
            return Ok(Verdict::Forgotten);
        }
        Ok(match writer_state(self.rows, segment.writer)? {
            WriterState::Unknown => Verdict::Unknown,
            WriterState::Closed => Verdict::Dead,
            WriterState::Open(writer) if segment.sequence < writer.watermark => Verdict::Dead,
            WriterState::Open(_) => Verdict::Pending,
        })
    }
}
