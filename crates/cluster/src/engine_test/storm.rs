//! Writers and readers at once while disks fail and come back: whatever is read is what was written.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cairn_shard_store::{MemoryFaults, MemoryShardStore};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::error::EngineError;
use crate::testing::{World, bytes_of};

const WRITERS: u64 = 6;
const ROUNDS: u64 = 12;
const LENGTHS: [usize; 6] = [0, 10_000, 300_000, 1 << 20, (1 << 20) + 1, 4_000_000];

type Fault = fn(&MemoryFaults, bool);
const FAULTS: [Fault; 5] =
    [MemoryFaults::fail_writes, MemoryFaults::fail_reads, MemoryFaults::full, MemoryFaults::gone, MemoryFaults::hang];

/// Harms two disks at a time, others each time, until told to stop.
async fn harm(disks: Vec<MemoryShardStore>, stop: Arc<AtomicBool>, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    while !stop.load(Ordering::Relaxed) {
        let first = random.random_range(0..disks.len());
        let second = (first + random.random_range(1..disks.len())) % disks.len();
        let faults = [FAULTS[random.random_range(0..FAULTS.len())], FAULTS[random.random_range(0..FAULTS.len())]];
        for (disk, fault) in [first, second].into_iter().zip(faults) {
            fault(disks[disk].faults(), true);
        }
        tokio::time::sleep(std::time::Duration::from_millis(random.random_range(1..60))).await;
        for (disk, fault) in [first, second].into_iter().zip(faults) {
            fault(disks[disk].faults(), false);
        }
    }
}

/// One key's life: puts that may fail, gets that may fail; a get that succeeds gives one of the versions that may
/// stand.
async fn live(world: Arc<World>, number: u64, seed: u64, served: Arc<AtomicU64>) {
    let mut random = StdRng::seed_from_u64(seed + number);
    let key = format!("key-{number}");
    let mut standing: Option<u64> = None;
    let mut versions = HashMap::new();
    for round in 0..ROUNDS {
        let version = number * 1000 + round;
        let bytes = bytes_of(LENGTHS[random.random_range(0..LENGTHS.len())], version);
        versions.insert(version, bytes.clone());
        match world.put(&key, &bytes).await {
            Ok(_) => standing = Some(version),
            Err(EngineError::Unavailable { .. } | EngineError::NoSpace { .. } | EngineError::Corrupt { .. }) => {}
            Err(error) => panic!("seed {seed}: {error:?}"),
        }
        match (world.get(&key).await, standing) {
            (Ok(found), Some(standing)) => {
                assert!(found == versions[&standing], "seed {seed}: {key} after round {round}");
                served.fetch_add(1, Ordering::Relaxed);
            }
            (Ok(_), None) => panic!("seed {seed}: {key} is there though no write was acknowledged"),
            (Err(EngineError::NoSuchObject), standing) => assert_eq!(standing, None, "seed {seed}: {key}"),
            (Err(EngineError::Unavailable { .. } | EngineError::Corrupt { .. }), _) => {}
            (Err(error), _) => panic!("seed {seed}: {error:?}"),
        }
    }
    if let Some(standing) = standing {
        served.fetch_add(1, Ordering::Relaxed);
        versions.retain(|version, _| *version == standing);
        world.last.lock().unwrap().insert(key, versions.remove(&standing).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_read_is_what_was_acknowledged_whatever_two_disks_do() {
    let seed = 71;
    let world = Arc::new(World::new(8).await);
    let stop = Arc::new(AtomicBool::new(false));
    let disks = (0..8).map(|number| world.disk(number)).collect();
    let harming = tokio::spawn(harm(disks, Arc::clone(&stop), seed));
    let served = Arc::new(AtomicU64::new(0));
    let lives: Vec<_> =
        (0..WRITERS).map(|number| tokio::spawn(live(Arc::clone(&world), number, seed, Arc::clone(&served)))).collect();
    for life in lives {
        life.await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    harming.await.unwrap();
    let last: Vec<_> = world.last.lock().unwrap().drain().collect();
    for (key, bytes) in last {
        assert!(world.get(&key).await.unwrap() == bytes, "seed {seed}: {key} with all disks back");
    }
    assert!(served.load(Ordering::Relaxed) > WRITERS, "seed {seed}: almost nothing was served");
    world.engine.shared().writer.idle().await;
}
