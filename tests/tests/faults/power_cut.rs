//! The server on a file layer that forgets what was not synced: contents, names, renames.
//!
//! `kill -9` keeps the page cache and proves no sync. Here the process is killed under load and its folders are
//! replaced by what was synced at that moment, by the journal of `power_cut/layer.c`.

use std::{
    fmt,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use aws_sdk_s3::primitives::ByteStream;
use cairn_tests::{Server, ServerOptions, client};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use tempfile::TempDir;

use crate::{acknowledged_at_least, check_until_clean, load_during, seed, workers};

/// Power cuts in a row on the same data: what a minute has room for.
const ROUNDS: u32 = 25;
/// A sync that is left out shows within so many.
const ROUNDS_WITHOUT: u32 = 5;
/// How long garbage may take to go once nobody reads.
const REAPED_WITHIN: Duration = Duration::from_secs(120);

/// After a power cut an acknowledged write does not stand, the server does not start, or rows and disks do not agree. Whatever
/// else fails is no finding.
#[derive(Debug)]
struct Loss;

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a power cut lost what was acknowledged")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_loses_no_acknowledged_object() -> anyhow::Result<()> {
    let rounds = std::env::var("CAIRN_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    cuts(seed(), rounds, None).await
}

/// With the syncs of one place left out, the layer must show a loss: else it shows nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_sync_is_found() -> anyhow::Result<()> {
    let seed = seed();
    for place in ["voter-1/log", "/index", "/log-0"] {
        let Err(found) = cuts(seed, ROUNDS_WITHOUT, Some(place)).await else {
            bail!("the syncs of {place} were left out and nothing was lost");
        };
        ensure!(found.is::<Loss>(), "without the syncs of {place} something else failed: {found:#}");
        println!("without the syncs of {place}: {found:#}");
    }
    Ok(())
}

async fn cuts(seed: u64, rounds: u32, without: Option<&str>) -> anyhow::Result<()> {
    let mut random = SmallRng::seed_from_u64(seed);
    let scratch = TempDir::new()?;
    let (base, live, journal) =
        (scratch.path().join("base"), scratch.path().join("live"), scratch.path().join("journal"));
    std::fs::create_dir(&live)?;
    std::fs::create_dir(&base)?;
    let mut loads = workers("cut", 4, seed);
    for round in 0..rounds {
        let mut env = vec![
            ("LD_PRELOAD".to_owned(), layer().display().to_string()),
            ("POWERCUT_ROOT".to_owned(), live.display().to_string()),
            ("POWERCUT_JOURNAL".to_owned(), journal.display().to_string()),
        ];
        env.extend(without.map(|place| ("POWERCUT_SKIP".to_owned(), place.to_owned())));
        let started = Server::start(ServerOptions { env, data: Some(live.clone()), ..ServerOptions::default() });
        let mut server = if round == 0 { started? } else { started.context(Loss)? };
        let s3 = client(&server)?;
        for load in &mut loads {
            load.judge(&s3).await.context(Loss)?;
        }
        if round == 0 {
            server.run(&["bucket", "create", "cut"])?;
        }
        let wanted = random.random_range(20..100);
        let more = Duration::from_millis(random.random_range(0..40));
        let acknowledged;
        (loads, acknowledged) = load_during(loads, &s3, async |acknowledged| {
            acknowledged_at_least(&acknowledged, wanted).await.with_context(|| format!("round {round}"))?;
            tokio::time::sleep(more).await;
            server.kill()
        })
        .await?;
        drop(server);
        let image = scratch.path().join("image");
        let replayed = Command::new("python3")
            .arg(source("replay.py"))
            .args([&journal, &base, &image])
            .output()
            .context("run replay.py")?;
        ensure!(replayed.status.success(), "replay.py: {}", String::from_utf8_lossy(&replayed.stderr));
        println!("round {round}: {acknowledged} acknowledged, {}", String::from_utf8_lossy(&replayed.stdout).trim());
        std::fs::remove_dir_all(&live)?;
        std::fs::remove_dir_all(&base)?;
        std::fs::remove_file(&journal)?;
        copy(&image, &base)?;
        std::fs::rename(&image, &live)?;
    }
    // Once more, without the layer.
    let server = Server::start(ServerOptions { data: Some(live), ..ServerOptions::default() }).context(Loss)?;
    let s3 = client(&server)?;
    let mut objects = 0;
    for load in &mut loads {
        objects += load.judge(&s3).await.context(Loss)?.objects;
    }
    ensure!(objects > 0, "no object was left to judge by");
    // Nobody reads any more: the reaper takes all garbage, and rows and disks agree on all that is left.
    server
        .until("no garbage", REAPED_WITHIN, |status| status["garbage"]["rows"] == 0 && status["missing_shards"] == 0)
        .context(Loss)?;
    check_until_clean(&server, REAPED_WITHIN).await.context(Loss)
}

/// The metadata's disk dies under a running server: it answers that it cannot serve, and ends with an error, so that
/// whoever watches over it starts another, which has all that was acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_write_of_the_metadata_log_ends_the_server() -> anyhow::Result<()> {
    let scratch = TempDir::new()?;
    let (live, journal) = (scratch.path().join("live"), scratch.path().join("journal"));
    std::fs::create_dir(&live)?;
    let env = vec![
        ("LD_PRELOAD".to_owned(), layer().display().to_string()),
        ("POWERCUT_ROOT".to_owned(), live.display().to_string()),
        ("POWERCUT_JOURNAL".to_owned(), journal.display().to_string()),
        ("POWERCUT_BREAK".to_owned(), "voter-1/log".to_owned()),
    ];
    let mut server = Server::start(ServerOptions { env, data: Some(live.clone()), ..ServerOptions::default() })?;
    let s3 = client(&server)?;
    server.run(&["bucket", "create", "kept"])?;
    let put = |key: &str| s3.put_object().bucket("kept").key(key).body(ByteStream::from_static(b"value")).send();
    put("before").await?;
    let broken = scratch.path().join("live.broken");
    std::fs::write(&broken, "")?;
    let refused = put("after").await.err().context("a write that was not synced was acknowledged")?;
    let status = refused.raw_response().map(|answer| answer.status().as_u16());
    // Later attempts of the client may find nobody.
    ensure!(status.is_none_or(|status| status >= 500), "it was answered {status:?}");
    let status = server.ended_within(Duration::from_secs(40))?;
    ensure!(!status.success(), "it ended as if all were well: {status}");
    let last = server.log().lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().to_owned();
    ensure!(last.contains("metadata") && last.contains("start the server again"), "its last line: {last}");
    std::fs::remove_file(&broken)?;
    server.restart()?;
    let kept = s3.get_object().bucket("kept").key("before").send().await?.body.collect().await?;
    ensure!(kept.into_bytes().as_ref() == b"value", "an acknowledged object is gone");
    Ok(())
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("power_cut").join(name)
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let copied = Command::new("cp").arg("-a").args([from, to]).status()?;
    ensure!(copied.success(), "cp: {copied}");
    Ok(())
}

/// The layer, compiled once per test program.
fn layer() -> &'static Path {
    static LAYER: OnceLock<PathBuf> = OnceLock::new();
    LAYER.get_or_init(|| {
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("power_cut_{}.so", std::process::id()));
        let compiled = Command::new("gcc")
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(&library)
            .arg(source("layer.c"))
            .args(["-ldl", "-lpthread"])
            .status()
            .expect("run gcc");
        assert!(compiled.success(), "gcc: {compiled}");
        library
    })
}
