//! Whether the metadata is older than a disk: a copy of before was put in its place.
//!
//! What such a group gives out again (ids of writers, so of segments) is taken already, and what it never heard of it
//! would call dead. So nothing is written or deleted under it. Four things on a disk only ever follow the group:
//!
//! ```text
//! attach number     the group counts it up, durably, before the disk learns it
//! position told     of the group's log, by upkeep every few seconds and at the end (`upkeep/progress.rs`)
//! index answered    an order's
//! shards            their writers were opened by the group before
//! ```
//!
//! The first shows each copy of before the last start. One that was taken while the server ran has the same attach numbers:
//! the position tells. Each start begins a term (ADR 0002), and the rows say where: entries that the copy's own starts made
//! stand in later terms, so however many they are, they hide nothing (ADR 0008).
//!
//! A life that began from a snapshot is older by nature: its ids begin over all that was given out before.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cairn_proto::{AttachNumber, Index, SegmentId, Sequence, Slot};
use cairn_shard_store::{FolderState, ShardKey, ShardStore};
use futures_util::future::join_all;
use tokio::sync::{Notify, oneshot};

use crate::error::EngineError;
use crate::shared::Shared;

/// The start waits so long for disks to be compared. Who is late is compared when it is attached.
const COMPARED_WITHIN: Duration = Duration::from_secs(10);

/// What showed that the group is behind, if anything did.
#[derive(Default)]
pub(crate) struct Behind {
    why: OnceLock<String>,
    found: Notify,
}

impl Behind {
    /// Resolves once a disk shows it.
    pub(crate) async fn found(&self) -> String {
        loop {
            let found = self.found.notified();
            if let Some(why) = self.why.get() {
                return why.clone();
            }
            found.await;
        }
    }

    pub(crate) fn error(&self) -> Option<EngineError> {
        self.why.get().map(|why| EngineError::MetaBehind { why: why.clone() })
    }

    fn set(&self, why: String) {
        let _: Result<(), String> = self.why.set(why);
        self.found.notify_waiters();
    }
}

/// Opens the disks that are in these folders and compares each. They stay open for those who attach them.
pub(crate) async fn compare_all(shared: &Arc<Shared>, folders: Vec<PathBuf>) -> Result<(), EngineError> {
    let within = COMPARED_WITHIN.min(shared.options.open_within);
    let looks = folders.into_iter().map(|folder| {
        let (sender, receiver) = oneshot::channel();
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            let Some(store) = open(&shared, &folder).await else { return };
            let shows = compare(&shared, &folder, &store).await;
            if let Err((_, store, shows)) = sender.send((folder, store, shows)) {
                if let Ok(Some(why)) = shows {
                    shared.behind.set(why);
                }
                store.close().await;
            }
        });
        tokio::time::timeout(within, receiver)
    });
    let opened: Vec<_> = join_all(looks).await.into_iter().filter_map(|look| look.ok()?.ok()).collect();
    let (mut compared, mut showing) = (0, Vec::new());
    for (folder, store, shows) in opened {
        match shows {
            Ok(Some(why)) => showing.push(why),
            Ok(None) => compared += 1,
            // What cannot be compared now is, or fails, when it is attached.
            Err(_) => {}
        }
        shared.compared.lock().expect("no holder of this lock panics").insert(folder, store);
    }
    if let Some(why) = why(&showing, compared) {
        shared.behind.set(why);
    }
    if let Some(error) = shared.behind.error() {
        close_unused(shared).await;
        return Err(error);
    }
    // Not by the first that shows nothing: the others were looked at too.
    if compared > 0 {
        shared.writer.prove();
    }
    Ok(())
}

/// What disks show, if any does. Disks that served under an older copy, while those that would have shown it were away, are
/// ahead of the right metadata, with which the others agree. A life that begins from that loses nothing.
fn why(showing: &[String], agreeing: usize) -> Option<String> {
    let first = showing.first()?;
    Some(match (agreeing, showing.len()) {
        (0, 1) => first.clone(),
        (0, shown) => format!("{first}; so do {} other disks", shown - 1),
        (_, shown) => format!(
            "{first}; {shown} disks show it and {agreeing} do not: if this metadata is the newest all the same, those {shown} ran \
             with an older copy, and `cairn recover --copy` of this one goes on with all that it knows"
        ),
    })
}

/// Opens the disk of this cluster that a folder holds. Why one cannot be opened is told when it is to be attached.
async fn open(shared: &Arc<Shared>, folder: &Path) -> Option<Arc<dyn ShardStore>> {
    let (opener, path) = (Arc::clone(&shared.opener), folder.to_owned());
    let state = tokio::task::spawn_blocking(move || opener.inspect(&path)).await.ok()?;
    let is_own = matches!(state, FolderState::Disk { cluster_id, .. } if cluster_id == shared.options.cluster_id);
    if is_own { shared.opener.open(folder, None).await.ok() } else { None }
}

/// The disk of a folder, if it was opened to be compared.
pub(super) fn take_compared(shared: &Shared, folder: &Path) -> Option<Arc<dyn ShardStore>> {
    shared.compared.lock().expect("no holder of this lock panics").remove(folder)
}

/// Closes disks that were compared and not attached.
pub(crate) async fn close_unused(shared: &Shared) {
    let unused = std::mem::take(&mut *shared.compared.lock().expect("no holder of this lock panics"));
    join_all(unused.values().map(|store| store.close())).await;
}

/// Refuses a disk that shows that the group is behind it; and any disk once one did.
pub(crate) async fn check(shared: &Shared, folder: &Path, store: &Arc<dyn ShardStore>) -> Result<(), EngineError> {
    look(shared, folder, store).await?;
    shared.writer.prove();
    Ok(())
}

async fn look(shared: &Shared, folder: &Path, store: &Arc<dyn ShardStore>) -> Result<(), EngineError> {
    if let Some(why) = compare(shared, folder, store).await? {
        shared.behind.set(why);
    }
    shared.behind.error().map_or(Ok(()), Err)
}

/// What shows that the group is behind the disk; none where nothing does.
async fn compare(shared: &Shared, folder: &Path, store: &Arc<dyn ShardStore>) -> Result<Option<String>, EngineError> {
    let shown = shows(shared, store).await?;
    Ok(shown.map(|why| format!("{} (disk {}) {why}", folder.display(), store.id())))
}

async fn shows(shared: &Shared, store: &Arc<dyn ShardStore>) -> Result<Option<String>, EngineError> {
    let disk = store.id();
    let view = shared.meta.read().await?;
    let index = view.index();
    let told = store.told();
    let read = move |view: &cairn_meta::MetaView| {
        let floor = view.lives()?.last().map_or(0, |life| life.writers_through.0);
        Ok((view.disk(disk)?.map(|row| row.attach), floor, view.lacks(told)?))
    };
    let (known, floor, lacks) = view.fetch(read).await?;
    let (held, known) = (store.attach(), known.unwrap_or_default().max(AttachNumber(floor)));
    if held > known {
        return Ok(Some(format!("has attach number {held}, and the metadata knows of {known}")));
    }
    if let Some(why) = lacks {
        return Ok(Some(format!("was told of index {told}, but {why}")));
    }
    if store.answered() > index.max(Index(floor)) {
        return Ok(Some(format!("heard of index {}, which the metadata has not reached", store.answered())));
    }
    let next = shared.writer.next_segment();
    let before = SegmentId { sequence: Sequence(next.sequence.0.saturating_sub(1)), ..next };
    let after = ShardKey { segment: before, slot: Slot(u8::MAX) };
    let unknown = store.list(Some(after), 1).await.map_err(EngineError::Disk)?;
    let found = unknown.first().map(|shard| shard.key.segment);
    Ok(found.map(|segment| format!("holds segment {segment}, which the metadata has not given out yet")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_disks_show_names_the_way_where_others_agree() {
        let showing = |count: usize| (0..count).map(|n| format!("/d{n} is ahead")).collect::<Vec<_>>();
        assert_eq!(why(&[], 6), None);
        assert_eq!(why(&showing(1), 0).unwrap(), "/d0 is ahead");
        assert_eq!(why(&showing(3), 0).unwrap(), "/d0 is ahead; so do 2 other disks");
        let mixed = why(&showing(2), 4).unwrap();
        assert!(mixed.contains("2 disks show it and 4 do not") && mixed.contains("`cairn recover --copy`"), "{mixed}");
    }
}
