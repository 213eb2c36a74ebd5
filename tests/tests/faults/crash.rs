//! The whole server killed with -9 at random under load.

use std::time::Duration;

use anyhow::Context as _;
use cairn_tests::{Server, ServerOptions, client};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

use crate::{acknowledged_at_least, check_until_clean, load_during, seed, workers};

const WORKERS: u64 = 4;
/// How long garbage may take to go once nobody reads.
const REAPED_WITHIN: Duration = Duration::from_secs(120);

#[tokio::test(flavor = "multi_thread")]
async fn crash_loses_no_acknowledged_object() -> anyhow::Result<()> {
    let rounds = std::env::var("CAIRN_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20_u32);
    let seed = seed();
    let mut random = SmallRng::seed_from_u64(seed);
    let mut server = Server::start(ServerOptions::default())?;
    server.run(&["bucket", "create", "crash"])?;
    let mut loads = workers("crash", WORKERS, seed);
    for round in 0..rounds {
        let s3 = client(&server)?;
        let wanted = random.random_range(1..120);
        let more = Duration::from_millis(random.random_range(0..40));
        let acknowledged;
        (loads, acknowledged) = load_during(loads, &s3, async |acknowledged| {
            acknowledged_at_least(&acknowledged, wanted).await.with_context(|| format!("round {round}"))?;
            tokio::time::sleep(more).await;
            server.kill()
        })
        .await?;
        server.restart()?;
        let s3 = client(&server)?;
        let mut objects = 0;
        for load in &mut loads {
            objects += load.judge(&s3).await?.objects;
        }
        println!("round {round}: {acknowledged} acknowledged, {objects} objects stand");
    }
    // Nobody reads any more: the reaper takes all garbage, and every shard on the disks has a row.
    server
        .until("no garbage", REAPED_WITHIN, |status| status["garbage"]["rows"] == 0 && status["missing_shards"] == 0)?;
    // Shards of requests that the last kill cut short are swept by the inventory of the new attach.
    check_until_clean(&server, REAPED_WITHIN).await
}
