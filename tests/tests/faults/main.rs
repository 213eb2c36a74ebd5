//! The real binary under faults: killed, its disks wiped, bits flipped. An acknowledged object always reads back.

#![expect(clippy::print_stdout, reason = "a failed test shows its seed and its rounds")]

mod crash;
mod disks;
mod power_cut;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use aws_sdk_s3::Client;
use cairn_tests::load::{Load, run_all};
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
