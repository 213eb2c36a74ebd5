//! The real binary under faults: killed, its disks wiped or full, bits flipped. An acknowledged object always reads back.

#![expect(clippy::print_stdout, reason = "a failed test shows its seed and its rounds")]

mod crash;
mod disks;
mod full;
mod power_cut;
mod recover;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::ensure;
use aws_sdk_s3::Client;
use cairn_tests::{
    Server,
    load::{Load, run_all},
};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

/// The seed of a run: printed, and taken from `CAIRN_SEED` to repeat one.
fn seed() -> u64 {
    let seed: Option<u64> = std::env::var("CAIRN_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| SmallRng::from_os_rng().random());
    println!("CAIRN_SEED={seed}");
    seed
}

fn workers(bucket: &str, number: u64, seed: u64) -> Vec<Load> {
    (0..number).map(|worker| Load::new(bucket, worker, seed)).collect()
}

/// Runs the load while something happens; answers the loads and the number of acknowledged requests.
async fn load_during<F: Future<Output = anyhow::Result<()>>>(
    loads: Vec<Load>,
    client: &Client,
    happens: impl FnOnce(Arc<AtomicU64>) -> F,
) -> anyhow::Result<(Vec<Load>, u64)> {
    let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let running = tokio::spawn({
        let (client, stop, acknowledged) = (client.clone(), Arc::clone(&stop), Arc::clone(&acknowledged));
        async move { run_all(loads, &client, stop, acknowledged).await }
    });
    let happened = happens(Arc::clone(&acknowledged)).await;
    stop.store(true, Ordering::Relaxed);
    let loads = running.await??;
    happened?;
    Ok((loads, acknowledged.load(Ordering::Relaxed)))
}

/// A load that does not come so far in this time has got stuck.
const MOVES_WITHIN: Duration = Duration::from_secs(90);

/// Waits until so many requests in all were acknowledged.
async fn acknowledged_at_least(acknowledged: &AtomicU64, wanted: u64) -> anyhow::Result<()> {
    let deadline = Instant::now() + MOVES_WITHIN;
    while acknowledged.load(Ordering::Relaxed) < wanted {
        ensure!(Instant::now() < deadline, "the load does not move");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// All six disks serve and have been listed, and no shard is missing.
fn whole(status: &serde_json::Value) -> bool {
    let serving = |disk: &serde_json::Value| disk["state"] == "serving" && disk["inventory_pending"] == false;
    status["missing_shards"] == 0
        && status["disks"].as_array().is_some_and(|disks| disks.len() == 6 && disks.iter().all(serving))
}

/// Runs `check` until it finds nothing: what a fault left behind is put right by itself.
async fn check_until_clean(server: &Server, limit: Duration) -> anyhow::Result<()> {
    let deadline = Instant::now() + limit;
    while let Err(report) = server.run(&["check"]) {
        ensure!(Instant::now() < deadline, "check still finds something: {report}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}
