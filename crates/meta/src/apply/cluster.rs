//! The cluster as a whole: its version, its keys, snapshots of its metadata.

use std::collections::BTreeSet;

use cairn_proto::{Index, NodeId, Record};

use super::context::{Applied, Context, Stop, require};
use super::{garbage, segments};
use crate::cluster_rows::{ClusterKeyRow, FIRST_VERSION, LifeRow, SNAPSHOT_PIECES_MAX, SnapshotRow};
use crate::command::{NewSegment, Refusal, Reply};
use crate::keys::{self, KeyRange};
use crate::query::Query;
use crate::row::{Garbage, Referrer};
use crate::rows::{RowsError, collect, decode};

/// `RaiseVersion`: only up, and only where every node of the map said that it knows it.
pub(super) fn raise_version(context: &mut Context<'_, '_>, version: u32, known: &[(NodeId, u32)]) -> Applied<Reply> {
    let key = keys::version();
    let before = context.load::<u32>(&key)?;
    if version <= before.as_ref().map_or(FIRST_VERSION, |row| row.value) {
        return Ok(Reply::Done);
    }
    for node in nodes(context)? {
        if !known.iter().any(|(known, newest)| *known == node && *newest >= version) {
            return Err(Stop::invalid(format!(
                "node {node} does not know cluster version {version}: renew its cairn first"
            )));
        }
    }
    context.store(key, &Record { value: version, tail: before.map_or_else(Vec::new, |row| row.tail) })?;
    Ok(Reply::Done)
}

/// Nodes that hold a disk or write.
fn nodes(context: &Context<'_, '_>) -> Result<BTreeSet<NodeId>, RowsError> {
    let query = Query::new(&*context.rows);
    let holding = query.disks()?.into_iter().filter(|disk| disk.replaced_by.is_none()).map(|disk| disk.node);
    let writing = query.writers()?.into_iter().filter(|writer| !writer.closed).map(|writer| writer.node);
    Ok(holding.chain(writing).collect())
}

/// `PutClusterKey`.
pub(super) fn put_key(context: &mut Context<'_, '_>, row: &ClusterKeyRow) -> Applied<Reply> {
    let key = keys::cluster_key(row.number);
    if context.load::<ClusterKeyRow>(&key)?.is_some() {
        return Err(Stop::invalid("there is a cluster key of that number"));
    }
    context.put(key, row)?;
    Ok(Reply::Done)
}

/// `PutSnapshot`.
pub(super) fn put_snapshot(
    context: &mut Context<'_, '_>,
    (snapshot, piece, last): (Index, u16, bool),
    new: &[NewSegment],
) -> Applied<Reply> {
    require(piece < SNAPSHOT_PIECES_MAX, "a snapshot has at most 64 pieces")?;
    require(!new.is_empty(), "a piece of a snapshot has bytes")?;
    let key = keys::snapshot(snapshot, piece);
    require(context.load::<SnapshotRow>(&key)?.is_none(), "the piece is there")?;
    if let Some(before) = piece.checked_sub(1) {
        let before = context.load::<SnapshotRow>(&keys::snapshot(snapshot, before))?;
        require(before.is_some_and(|row| !row.value.last), "the piece before it is not there, or was the last")?;
    }
    let version = context.version();
    let (_, extents) = segments::bring_in(context, new, &Referrer::Snapshot { snapshot, piece, version })?;
    let created_ms = context.now_ms;
    context.put(key, SnapshotRow { snapshot, piece, last, created_ms, extents, version })?;
    Ok(Reply::Done)
}

/// `RemoveSnapshot`.
pub(super) fn remove_snapshot(context: &mut Context<'_, '_>, snapshot: Index) -> Applied<Reply> {
    let pieces = all::<SnapshotRow>(context, &keys::snapshot_pieces(snapshot))?;
    if pieces.is_empty() {
        return Err(Refusal::Unknown("snapshot".to_owned()).into());
    }
    for Record { value: row, .. } in pieces {
        context.rows.delete(keys::snapshot(snapshot, row.piece));
        let bytes = row.extents.iter().map(|extent| extent.bytes).sum();
        garbage::discard(context, row.version, bytes, Garbage::Extents(row.extents))?;
    }
    Ok(Reply::Done)
}

/// `DropForgotten`: the lives stay, since their numbers are never used again.
pub(super) fn drop_forgotten(context: &mut Context<'_, '_>) -> Applied<Reply> {
    for mut row in all::<LifeRow>(context, &keys::lives())? {
        row.value.writers_over = row.value.writers_through;
        row.value.open_writers = Vec::new();
        context.store(keys::life(row.value.life), &row)?;
    }
    Ok(Reply::Done)
}

fn all<T: serde::de::DeserializeOwned>(
    context: &Context<'_, '_>,
    range: &KeyRange,
) -> Result<Vec<Record<T>>, RowsError> {
    collect(context.rows, &range.from, &range.end, usize::MAX, |key, value| decode(key, value).map(Some))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::testing::{World, refusal};
    use super::*;
    use crate::command::Command;

    #[test]
    fn the_version_rises_when_all_nodes_know_it_and_never_falls() {
        let (mut world, _) = World::ready();
        let raise = |version, known: &[(u64, u32)]| Command::RaiseVersion {
            version,
            known: known.iter().map(|(node, version)| (NodeId(*node), *version)).collect(),
        };
        assert_eq!(world.query().version().unwrap(), FIRST_VERSION);
        for known in [&[][..], &[(1, 1)], &[(2, 2)]] {
            assert!(refusal(world.run(raise(2, known))).to_string().contains("node 1 does not know"), "{known:?}");
        }
        world.done(raise(2, &[(1, 2)]));
        world.open_writer(NodeId(5));
        assert!(refusal(world.run(raise(3, &[(1, 3)]))).to_string().contains("node 5"));
        world.done(raise(3, &[(1, 3), (5, 4)]));
        world.done(raise(2, &[(1, 2), (5, 2)]));
        assert_eq!(world.query().version().unwrap(), 3);
    }

    #[test]
    fn a_cluster_key_is_put_once() {
        let mut world = World::default();
        let key =
            |sealed: &'static [u8]| ClusterKeyRow { number: 1, sealed: Bytes::from_static(sealed), created_ms: 5 };
        world.done(Command::PutClusterKey { row: key(b"one") });
        assert!(matches!(world.run(Command::PutClusterKey { row: key(b"other") }), Err(Refusal::Invalid(_))));
        assert_eq!(world.query().cluster_keys().unwrap(), [key(b"one")]);
    }

    #[test]
    fn a_snapshot_is_whole_with_its_last_piece_and_garbage_when_it_is_removed() {
        let (mut world, _) = World::ready();
        let put = |world: &mut World, piece, last| {
            let segments = vec![world.segment(7)];
            world.write(Command::PutSnapshot { snapshot: Index(9), piece, segments, last })
        };
        assert!(matches!(put(&mut world, 1, false), Err(Refusal::Invalid(_))), "a piece without the one before it");
        put(&mut world, 0, false).unwrap();
        assert!(matches!(put(&mut world, 0, false), Err(Refusal::Invalid(_))), "a piece twice");
        assert_eq!(world.query().snapshots().unwrap(), []);
        assert_eq!(world.query().unfinished_snapshots().unwrap(), [Index(9)]);
        put(&mut world, 1, true).unwrap();
        assert!(matches!(put(&mut world, 2, true), Err(Refusal::Invalid(_))), "a piece behind the last one");
        let whole = world.query().snapshots().unwrap();
        assert_eq!((whole.len(), whole[0].snapshot, whole[0].extents.len()), (1, Index(9), 2));
        assert_eq!(world.query().unfinished_snapshots().unwrap(), []);
        world.done(Command::RemoveSnapshot { snapshot: Index(9) });
        assert_eq!(world.query().garbage_totals().unwrap().bytes, 14);
        assert!(world.run(Command::RemoveSnapshot { snapshot: Index(9) }).is_err());
        world.reap();
    }
}
