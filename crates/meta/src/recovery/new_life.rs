//! What a new life changes in the rows of a snapshot, so that nothing given out since is given out again, and nothing
//! committed since is called dead.

use cairn_proto::{AttachNumber, DiskId, Epoch, Index, PgId, Record, WriterId};

use crate::cluster_rows::{IDS_OF_A_LIFE, LifeRow};
use crate::keys::{self, Counter};
use crate::query::Query;
use crate::row::{DiskRow, PgRow};
use crate::rows::{
    Overlay, RowsError, StoredInternalUpload, StoredUpload, StoredWriter, collect, decode, encode, load, load_value,
};

/// The beginning of a life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewLife {
    /// Its number: over that of every life any disk heard of.
    pub life: u64,
    /// When it begins, milliseconds since 1970.
    pub began_ms: u64,
}

impl NewLife {
    /// Where its ids begin.
    pub(super) const fn ids(self) -> u64 {
        self.life.saturating_mul(IDS_OF_A_LIFE)
    }

    /// Its voter: the first life has voter 1.
    #[must_use]
    pub const fn voter(self) -> u64 {
        self.life + 1
    }
}

/// Begins a life on the rows of a snapshot.
pub(super) fn begin_life(rows: &mut Overlay<'_>, snapshot: Index, new: NewLife) -> Result<(), RowsError> {
    let writers_over = WriterId(raise_counter(rows, Counter::LastWriter, new)?);
    raise_counter(rows, Counter::LastBucket, new)?;
    raise_counter(rows, Counter::LastPg, new)?;
    let mut open_writers = Vec::new();
    for writer in Query::new(rows).writers()?.into_iter().filter(|writer| !writer.closed) {
        change::<StoredWriter>(rows, keys::writer(writer.id), |stored| stored.row.closed = true)?;
        keep_uploads(rows, writer.id)?;
        open_writers.push((writer.id, writer.watermark));
    }
    let disks: Vec<DiskId> = Query::new(rows).disks()?.iter().map(|disk| disk.id).collect();
    for disk in disks {
        change::<DiskRow>(rows, keys::disk(disk), |row| {
            row.attach = row.attach.max(AttachNumber(new.ids()));
            row.inventory = None;
        })?;
    }
    let pgs: Vec<PgId> = Query::new(rows).pgs()?.iter().map(|pg| pg.id).collect();
    for pg in pgs {
        change::<PgRow>(rows, keys::pg(pg), |row| row.epoch = row.epoch.max(Epoch(new.ids())))?;
    }
    // Positions that disks were told are of lives before. Copies of one of those may have gone on without them.
    let terms = keys::terms();
    for term in collect(rows, &terms.from, &terms.end, usize::MAX, |key, _| Ok(Some(key.to_vec())))? {
        rows.delete(term);
    }
    let writers_through = WriterId(writers_over.0.max(new.ids()));
    let NewLife { life, began_ms } = new;
    let row = LifeRow { life, snapshot, began_ms, writers_over, writers_through, open_writers };
    put(rows, keys::life(life), &Record::new(row))
}

/// Raises a counter to where the life's ids begin; tells what it was.
fn raise_counter(rows: &mut Overlay<'_>, counter: Counter, new: NewLife) -> Result<u64, RowsError> {
    let key = keys::counter(counter);
    let before: u64 = load_value(rows, &key)?.unwrap_or(0);
    put(rows, key, &Record::new(before.max(new.ids())))?;
    Ok(before)
}

/// Large PUTs that were under way may have been completed since: their uploads stay, as if a client had opened them.
/// Aborted, their segments would be deleted.
fn keep_uploads(rows: &mut Overlay<'_>, writer: WriterId) -> Result<(), RowsError> {
    let range = keys::internal_uploads_of(writer);
    let uploads = collect(rows, &range.from, &range.end, usize::MAX, |key, value| {
        let (_, upload) = keys::read_internal_upload(key)?;
        Ok(Some((key.to_vec(), upload, decode::<StoredInternalUpload>(key, value)?.value)))
    })?;
    for (key, upload, place) in uploads {
        rows.delete(key);
        change::<StoredUpload>(rows, keys::upload(place.bucket, &place.key, upload), |stored| {
            stored.row.writer = None;
        })?;
    }
    Ok(())
}

fn change<T: serde::Serialize + serde::de::DeserializeOwned>(
    rows: &mut Overlay<'_>,
    key: Vec<u8>,
    with: impl FnOnce(&mut T),
) -> Result<(), RowsError> {
    let Some(mut record) = load::<T>(rows, &key)? else {
        return Err(RowsError::damaged(&key, "the row is gone while others name it"));
    };
    with(&mut record.value);
    put(rows, key, &record)
}

fn put<T: serde::Serialize>(rows: &mut Overlay<'_>, key: Vec<u8>, record: &Record<T>) -> Result<(), RowsError> {
    let bytes = encode(&key, record)?;
    rows.put(key, bytes);
    Ok(())
}
