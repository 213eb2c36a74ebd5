//! Writing a snapshot: rows into segments, a row for it, the list onto every disk, and what it does not name removed.

use std::sync::Arc;

use cairn_meta::Command;
use cairn_proto::{BucketId, Index};

use super::frames::Frames;
use super::list::RecoveryList;
use super::on_disks::{list_on_disks, read_lists, write_lists};
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

    /// Gives up what a recovery forgot: its segments are dead from now on, and an inventory of each disk, which begins
    /// now, deletes them.
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
        self.propose(Command::DropForgotten {}).await?;
        for disk in shared.disks.all() {
            shared.inventories.push(disk.id);
        }
        // Snapshots of before go off the lists with what was given up.
        if let Err(error) = list_on_disks(shared).await {
            tracing::warn!(%error, "the disks' lists of snapshots are not renewed yet");
        }
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
    // Listed first: a snapshot is removed when no disk is told of it any more.
    let lists = read_lists(shared).await?;
    let disks = write_lists(&lists).await?;
    if let Some(listed) = &lists.wanted {
        remove_unlisted(shared, listed).await?;
    }
    tracing::info!(%snapshot, bytes, disks, "a snapshot of the metadata was written into segments");
    Ok(SnapshotWritten { snapshot, bytes, disks })
}

/// Removes snapshots that are not listed, of this life and of earlier ones, and what earlier attempts left unfinished.
async fn remove_unlisted(shared: &Shared, listed: &RecoveryList) -> Result<(), EngineError> {
    let (whole, mut old) = look(shared, |view| {
        Ok(([view.earlier_snapshots()?, view.snapshots()?].concat(), view.unfinished_snapshots()?))
    })
    .await?;
    old.extend(whole.iter().map(|row| row.snapshot).filter(|snapshot| !listed.names(*snapshot)));
    for snapshot in old {
        shared.meta.propose(Command::RemoveSnapshot { snapshot }).await?;
    }
    Ok(())
}
