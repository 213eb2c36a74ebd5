//! The list of snapshots on the disks: read from all of them, made one by the rows, and written where it is another.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use cairn_meta::MetaError;
use futures_util::future::join_all;

use super::list::{ListedSnapshot, RecoveryList};
use crate::disks::DiskEntry;
use crate::error::EngineError;
use crate::shared::Shared;
use crate::upkeep::look;

/// A disk that does not answer in this time is left for the next round.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// When the newest snapshot of an earlier life was made that the disks list, milliseconds since 1970, as it was last
/// seen. For status: no row says it.
#[derive(Default)]
pub(crate) struct EarlierSnapshot(Mutex<Option<u64>>);

impl EarlierSnapshot {
    pub(crate) fn created_ms(&self) -> Option<u64> {
        *self.0.lock().expect("no holder of this lock panics")
    }

    fn note(&self, list: Option<&RecoveryList>) {
        let newest = list.and_then(|list| list.snapshots.iter().rev().find(|listed| listed.life < list.life));
        *self.0.lock().expect("no holder of this lock panics") = newest.map(|listed| listed.created_ms);
    }
}

/// What a disk lists.
struct OnDisk {
    disk: DiskEntry,
    /// As it lies there; none where there is none or it is damaged.
    encoded: Option<Bytes>,
    list: Option<RecoveryList>,
}

/// What the disks should list, and what each does.
pub(super) struct Lists {
    /// None where nothing is to be listed.
    pub(super) wanted: Option<RecoveryList>,
    on_disks: Vec<OnDisk>,
}

/// Reads what the disks list, and notes for status what is newest. Nothing is written.
pub(crate) async fn look_at_lists(shared: &Shared) -> Result<(), EngineError> {
    read_lists(shared).await.map(|_| ())
}

/// Sees to it that every disk lists the same. Answers how many do.
pub(crate) async fn list_on_disks(shared: &Shared) -> Result<usize, EngineError> {
    // Not beside one that is being written: it would be left out.
    let _alone = shared.snapshots.lock().await;
    let lists = read_lists(shared).await?;
    write_lists(&lists).await
}

pub(super) async fn read_lists(shared: &Shared) -> Result<Lists, EngineError> {
    let up = shared.disks.all().into_iter().filter(|disk| shared.disks.up(disk.id));
    let on_disks: Vec<OnDisk> = join_all(up.map(read_list)).await.into_iter().flatten().collect();
    let known: Vec<ListedSnapshot> =
        on_disks.iter().filter_map(|on_disk| on_disk.list.as_ref()).flat_map(|list| list.snapshots.clone()).collect();
    let wanted = look(shared, move |view| RecoveryList::of_rows(view, &known)).await?;
    shared.earlier_snapshot.note(wanted.as_ref());
    Ok(Lists { wanted, on_disks })
}

/// None where the disk does not answer.
async fn read_list(disk: DiskEntry) -> Option<OnDisk> {
    let encoded = match tokio::time::timeout(ANSWERS_WITHIN, disk.store.recovery_list()).await {
        Ok(Ok(encoded)) => encoded,
        // A damaged list is written anew.
        Ok(Err(error)) => {
            tracing::warn!(disk = %disk.id, %error, "a disk's list of snapshots cannot be read");
            None
        }
        Err(_) => {
            tracing::warn!(disk = %disk.id, "a disk does not say which snapshots it lists");
            return None;
        }
    };
    let list = encoded.as_ref().and_then(|encoded| RecoveryList::decode(encoded).ok());
    Some(OnDisk { disk, encoded, list })
}

pub(super) async fn write_lists(lists: &Lists) -> Result<usize, EngineError> {
    let Some(wanted) = &lists.wanted else { return Ok(0) };
    let encoded = wanted.encode().map_err(|error| MetaError::Damaged { what: error.to_string() })?;
    let writes = lists.on_disks.iter().map(|on_disk| write_list(on_disk, wanted, &encoded));
    Ok(join_all(writes).await.into_iter().filter(|listing| *listing).count())
}

/// Answers whether the disk lists what it should.
async fn write_list(on_disk: &OnDisk, wanted: &RecoveryList, encoded: &Bytes) -> bool {
    let disk = on_disk.disk.id;
    if on_disk.encoded.as_ref() == Some(encoded) {
        return true;
    }
    if on_disk.list.as_ref().is_some_and(|known| known.life > wanted.life) {
        // Written over, a later recovery could take the number of that life again.
        tracing::error!(%disk, "a disk heard of a newer life of the metadata: was an old copy put back?");
        return false;
    }
    let written = on_disk.disk.store.set_recovery_list(encoded.clone());
    match tokio::time::timeout(ANSWERS_WITHIN, written).await {
        Ok(Ok(())) => return true,
        Ok(Err(error)) => tracing::warn!(%disk, %error, "a disk does not list the snapshots of the metadata"),
        Err(_) => tracing::warn!(%disk, "a disk does not list the snapshots of the metadata: it does not answer"),
    }
    false
}
