//! The writer's life: what happens when the group closes it.

use cairn_meta::Command;
use futures_util::StreamExt;

use crate::error::EngineError;
use crate::testing::{World, bytes_of, collect};

const SEGMENT: usize = 3 << 20;

#[tokio::test]
async fn a_closed_writer_fails_what_runs_and_the_next_write_has_a_new_one() {
    let world = World::new(6).await;
    let bytes = bytes_of(SEGMENT, 51);
    let writer = world.engine.shared().writer.id();
    let running = world.store(world.target("key", Some(u64::try_from(SEGMENT).unwrap())), &bytes).await.unwrap();
    world.meta.propose(Command::CloseWriter { writer }).await.unwrap();
    let failed = world.engine.commit_object(running, world.commit("key")).await;
    assert!(matches!(failed, Err(EngineError::Unavailable { .. })), "{failed:?}");
    let anew = world.engine.shared().writer.id();
    assert!(anew > writer);
    world.put("key", &bytes).await.unwrap();
    assert_eq!(world.engine.shared().writer.id(), anew);
    assert!(world.get("key").await.unwrap() == bytes);
}

#[tokio::test]
async fn a_read_goes_on_under_a_new_writer_only_if_its_version_still_stands() {
    let world = World::new(6).await;
    let bytes = bytes_of(4 * SEGMENT, 52);
    for (key, overwritten) in [("stands", false), ("overwritten", true)] {
        world.put(key, &bytes).await.unwrap();
        let mut body = world.open(key).await.unwrap().body(0..u64::MAX);
        let mut found = body.next().await.unwrap().unwrap().to_vec();
        let writer = world.engine.shared().writer.id();
        world.meta.propose(Command::CloseWriter { writer }).await.unwrap();
        assert!(world.put("other", &bytes_of(1, 53)).await.is_err(), "the first write finds its writer closed");
        if overwritten {
            world.put(key, &bytes_of(1, 54)).await.unwrap();
        }
        let mut error = None;
        while let Some(piece) = body.next().await {
            match piece {
                Ok(piece) => found.extend_from_slice(&piece),
                Err(failed) => error = Some(failed),
            }
        }
        assert!(bytes.starts_with(&found));
        assert_eq!(matches!(error, Some(EngineError::Unavailable { .. })), overwritten, "{key}: {error:?}");
        assert_eq!(found.len() == bytes.len(), !overwritten);
    }
}

#[tokio::test]
async fn a_restart_closes_the_writer_and_keeps_the_objects() {
    let mut world = World::new(6).await;
    let bytes = bytes_of(SEGMENT, 55);
    world.put("key", &bytes).await.unwrap();
    let writer = world.engine.shared().writer.id();
    world.restart().await;
    let rows = world.meta.local().writers().unwrap();
    assert!(rows.iter().filter(|row| row.id == writer).all(|row| row.closed));
    assert!(world.engine.shared().writer.id() > writer);
    assert!(collect(world.open("key").await.unwrap(), 0..u64::MAX).await.unwrap() == bytes);
}
