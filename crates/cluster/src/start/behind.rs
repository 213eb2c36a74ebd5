//! Whether the metadata is older than a disk: a copy of before was put in its place.
//!
//! What such a group gives out again (ids of writers, so of segments) is taken already, and what it never heard of it
//! would call dead. So nothing is written or deleted under it. Three things on a disk only ever follow the group:
//!
//! ```text
//! attach number     the group counts it up, durably, before the disk learns it
//! index answered    an order's, or what upkeep notes now and then (`upkeep/progress.rs`)
//! shards            their writers were opened by the group before
//! ```
//!
//! A life that began from a snapshot is older by nature: its ids begin over all that was given out before.

use std::sync::Arc;

use cairn_proto::{AttachNumber, Index};
use cairn_shard_store::{ShardKey, ShardStore};

use crate::error::EngineError;
use crate::shared::Shared;

/// What shows that the group is behind the disk; none where nothing does.
pub(super) async fn compare(shared: &Shared, store: &Arc<dyn ShardStore>) -> Result<Option<String>, EngineError> {
    let disk = store.id();
    let view = shared.meta.read().await?;
    let index = view.index();
    let read = move |view: &cairn_meta::MetaView| {
        let floor = view.lives()?.last().map_or(0, |life| life.writers_through.0);
        Ok((view.disk(disk)?.map(|row| row.attach), floor))
    };
    let (known, floor) = view.fetch(read).await?;
    let (held, known) = (store.attach(), known.unwrap_or_default().max(AttachNumber(floor)));
    if held > known {
        return Ok(Some(format!("was taken into service {held} times, and the metadata knows of {known}")));
    }
    if store.answered() > index.max(Index(floor)) {
        return Ok(Some(format!("heard of index {}, and the metadata is at index {index}", store.answered())));
    }
    let after = ShardKey { segment: shared.writer.next_segment(), slot: Default::default() };
    let unknown = store.list(Some(after), 1).await.map_err(EngineError::Disk)?;
    Ok(unknown
        .first()
        .map(|shard| format!("holds segment {}, which the metadata has not given out yet", shard.key.segment)))
}
