//! Writing a snapshot: rows into segments, a row for it, the oldest removed, the list onto every disk.

use std::sync::Arc;

use cairn_meta::{Command, MetaError};
use cairn_proto::{BucketId, Index};

use super::frames::Frames;
use super::list::{KEPT, RecoveryList};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::sealing::SealingError;
use crate::shared::Shared;
use crate::upkeep::look;
use crate::write::{ObjectWriter, WriteKind, WriteTarget, commit_snapshot};

/// Rows are read and sealed so many bytes at a time.
const PIECE_BYTES: usize = 1 << 20;

/// A snapshot that was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotWritten {
    /// The index of its rows.
    pub snapshot: Index,
    /// Its bytes, before coding.
    pub bytes: u64,
    /// Disks that list it now.
    pub disks: usize,
}

impl Engine {
    /// Writes a snapshot of the metadata into segments and lists it on the disks.
    ///
    /// # Errors
    /// As writing an object.
    pub async fn write_snapshot(&self) -> Result<SnapshotWritten, EngineError> {
        write_snapshot(self.shared()).await
    }

    /// Gives up what a recovery forgot: its segments are dead from now on, and the next inventory of
    /// each disk deletes them: within a day, or after a restart.
    ///
    /// The recovered snapshot is among them, since it is newer than itself: before it goes there is one of this life.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] where nothing was recovered; as [`Self::write_snapshot`].
    pub async fn drop_forgotten(&self) -> Result<(), EngineError> {
        let shared = self.shared();
        let (lives, snapshots) = look(shared, |view| Ok((view.lives()?, view.snapshots()?))).await?;
        if lives.is_empty() {
            return Err(EngineError::invalid("this store was never recovered: there is nothing to give up"));
        }
        if snapshots.is_empty() {
            self.write_snapshot().await?;
        }
        shared.meta.propose(Command::DropForgotten {}).await?;
        Ok(())
    }
}

pub(crate) async fn write_snapshot(shared: &Arc<Shared>) -> Result<SnapshotWritten, EngineError> {
    let _alone = shared.snapshots.lock().await;
    let mut export = shared.meta.read().await?.export();
    let snapshot = export.index();
    let target = WriteTarget {
        bucket: BucketId(0),
        key: String::new(),
        kind: WriteKind::Snapshot(snapshot),
        length: None,
        class: None,
    };
    let mut writer = ObjectWriter::begin(shared, target)?;
    let sealing = |error: SealingError| EngineError::unavailable(format!("the snapshot cannot be sealed: {error}"));
    let mut frames = Frames::new(&shared.key, snapshot);
    loop {
        let next = tokio::task::spawn_blocking(move || {
            let piece = export.next_piece(PIECE_BYTES);
            (export, piece)
        });
        let (back, piece) = next.await.map_err(|_| EngineError::Shutdown)?;
        export = back;
        let Some(piece) = piece? else { break };
        writer.write(frames.seal(&piece).map_err(sealing)?).await?;
    }
    writer.write(frames.end().map_err(sealing)?).await?;
    let stored = writer.finish().await?;
    let bytes = stored.bytes();
    commit_snapshot(stored, snapshot).await?;
    remove_old(shared).await?;
    let disks = list_on_disks(shared).await?;
    tracing::info!(%snapshot, bytes, disks, "a snapshot of the metadata was written into segments");
    Ok(SnapshotWritten { snapshot, bytes, disks })
}

/// Removes what is over the number kept, what earlier attempts left unfinished, and what an earlier life made.
async fn remove_old(shared: &Shared) -> Result<(), EngineError> {
    let (whole, mut old) = look(shared, |view| Ok((view.snapshots()?, view.stale_snapshots()?))).await?;
    let over = whole.len().saturating_sub(KEPT);
    old.extend(whole[..over].iter().map(|row| row.snapshot));
    for snapshot in old {
        shared.meta.propose(Command::RemoveSnapshot { snapshot }).await?;
    }
    Ok(())
}

/// Sees to it that every disk lists what the rows say. Answers how many do.
pub(crate) async fn list_on_disks(shared: &Shared) -> Result<usize, EngineError> {
    let Some(list) = look(shared, RecoveryList::of_rows).await? else { return Ok(0) };
    let encoded = list.encode().map_err(|error| EngineError::Meta(MetaError::Damaged { what: error.to_string() }))?;
    let mut listing = 0;
    for disk in shared.disks.all() {
        if !shared.disks.up(disk.id) {
            continue;
        }
        let known = disk.store.recovery_list().await;
        if known.as_ref().is_ok_and(|known| known.as_ref() == Some(&encoded)) {
            listing += 1;
            continue;
        }
        let known = known.ok().flatten().and_then(|known| RecoveryList::decode(&known).ok());
        if known.is_some_and(|known| known.life > list.life) {
            // Written over, a later recovery could take the number of that life again.
            tracing::error!(disk = %disk.id, "a disk heard of a newer life of the metadata: was an old copy put back?");
            continue;
        }
        match disk.store.set_recovery_list(encoded.clone()).await {
            Ok(()) => listing += 1,
            Err(error) => tracing::warn!(disk = %disk.id, %error, "a disk does not list the snapshots of the metadata"),
        }
    }
    Ok(listing)
}
