//! Disks wiped and bits flipped while the server serves.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use cairn_tests::{Server, ServerOptions, client};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

use crate::{acknowledged_at_least, check_until_clean, load_during, seed, whole, workers};

const WHOLE_WITHIN: Duration = Duration::from_secs(180);

/// Waits until so many more requests were acknowledged.
async fn more(acknowledged: &std::sync::atomic::AtomicU64, number: u64) -> anyhow::Result<()> {
    acknowledged_at_least(acknowledged, acknowledged.load(Ordering::Relaxed) + number).await
}

/// Two of six disks are wiped during load: no wrong byte, writes go on, the data is rebuilt by itself.
#[tokio::test(flavor = "multi_thread")]
async fn two_disks_wiped_during_load() -> anyhow::Result<()> {
    let seed = seed();
    let server = Server::start(ServerOptions::default())?;
    server.run(&["bucket", "create", "wiped"])?;
    let s3 = client(&server)?;
    // What the load overwrites may all be new when the empty disks are looked through.
    let still = |number: u8| (format!("still/{number}"), vec![number; 300_000]);
    for (key, bytes) in (0..8).map(still) {
        s3.put_object().bucket("wiped").key(key).body(bytes.into()).send().await?;
    }
    let (mut loads, _) = load_during(workers("wiped", 4, seed), &s3, async |acknowledged| {
        more(&acknowledged, 150).await?;
        for disk in [1, 4] {
            wipe(&server.disk(disk))?;
        }
        more(&acknowledged, 100).await?;
        // The repair is seen in status: shards are missing once the new disks are in.
        server.until("the wiped disks are missed", WHOLE_WITHIN, |status| {
            status["missing_shards"].as_u64() > Some(0) || status["repaired_shards"].as_u64() > Some(0)
        })
    })
    .await?;
    for load in &mut loads {
        load.judge(&s3).await?;
    }
    server.until("all is whole", WHOLE_WITHIN, whole)?;
    ensure!(server.status()?["repaired_shards"].as_u64() > Some(0), "nothing was repaired");
    for load in &mut loads {
        load.judge(&s3).await?;
    }
    // With the two others gone now, what was rebuilt carries.
    for disk in [0, 2] {
        wipe(&server.disk(disk))?;
    }
    for load in &mut loads {
        load.judge(&s3).await?;
    }
    for (key, bytes) in (0..8).map(still) {
        let answer = s3.get_object().bucket("wiped").key(&key).send().await?;
        ensure!(answer.body.collect().await?.to_vec() == bytes, "{key} is another");
    }
    Ok(())
}

/// Two disks are gone at start; the server serves, and takes them back as empty folders.
#[tokio::test(flavor = "multi_thread")]
async fn two_disks_gone_at_start() -> anyhow::Result<()> {
    let seed = seed();
    let mut server = Server::start(ServerOptions::default())?;
    server.run(&["bucket", "create", "gone"])?;
    let s3 = client(&server)?;
    let (mut loads, _) =
        load_during(workers("gone", 4, seed), &s3, async |acknowledged| more(&acknowledged, 150).await).await?;
    server.stop()?;
    fs::remove_dir_all(server.disk(0))?;
    // A damaged disk, not an empty one: its marker is rubbish.
    for entry in fs::read_dir(server.disk(5))?.flatten() {
        if entry.path().is_file() {
            fs::write(entry.path(), b"rubbish")?;
        }
    }
    server.restart()?;
    let s3 = client(&server)?;
    for load in &mut loads {
        load.judge(&s3).await?;
    }
    (loads, _) = load_during(loads, &s3, async |acknowledged| more(&acknowledged, 50).await).await?;
    for disk in [0, 5] {
        let _ = fs::remove_dir_all(server.disk(disk));
        fs::create_dir(server.disk(disk))?;
    }
    server.until("all is whole", WHOLE_WITHIN, whole)?;
    for load in &mut loads {
        load.judge(&s3).await?;
    }
    Ok(())
}

/// Single bits flipped in stored values: never a wrong byte; `check` names them, and they are mended.
#[tokio::test(flavor = "multi_thread")]
async fn flipped_bits_are_never_served() -> anyhow::Result<()> {
    let seed = seed();
    let mut random = SmallRng::seed_from_u64(seed);
    let mut server = Server::start(ServerOptions::default())?;
    server.run(&["bucket", "create", "flipped"])?;
    let s3 = client(&server)?;
    let body: Vec<u8> = (0..24_u32 << 18).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    for key in ["a", "b", "c"] {
        s3.put_object().bucket("flipped").key(key).body(body.clone().into()).send().await?;
    }
    // Out of the page cache and of open readers: the damage is on the disk, and the server starts from it.
    server.stop()?;
    let mut flipped = 0;
    for disk in [2, 3] {
        let mut files = Vec::new();
        tables(&server.disk(disk).join("log-0"), &mut files);
        for file in files {
            flipped += flip(&file, &mut random)?;
        }
    }
    ensure!(flipped > 0, "no table was found to damage");
    server.restart()?;
    let s3 = client(&server)?;
    for key in ["a", "b", "c"] {
        let got = s3.get_object().bucket("flipped").key(key).send().await?.body.collect().await?.into_bytes();
        ensure!(got == body, "{key} came back as another one");
    }
    // Reading reported the bad units; repair writes them anew.
    server.until("the flipped units are repaired", WHOLE_WITHIN, |status| {
        whole(status) && status["repaired_shards"].as_u64() > Some(0)
    })?;
    check_until_clean(&server, WHOLE_WITHIN).await
}

/// The same while the server serves a load, in both lanes and in the index of two disks.
#[tokio::test(flavor = "multi_thread")]
async fn bits_flipped_during_load() -> anyhow::Result<()> {
    let seed = seed();
    let mut random = SmallRng::seed_from_u64(seed ^ 1);
    let mut server = Server::start(ServerOptions::default())?;
    server.run(&["bucket", "create", "load"])?;
    let s3 = client(&server)?;
    let (mut loads, _) =
        load_during(workers("load", 4, seed), &s3, async |acknowledged| more(&acknowledged, 200).await).await?;
    // Started anew, what the index and the WAL lane had in memory is in tables.
    server.stop()?;
    server.restart()?;
    let s3 = client(&server)?;
    let mut flipped = 0;
    (loads, _) = load_during(loads, &s3, async |acknowledged| {
        for _ in 0..3 {
            more(&acknowledged, 50).await?;
            for disk in [2, 3] {
                let mut files = Vec::new();
                tables(&server.disk(disk), &mut files);
                for file in files {
                    // A table may be dropped while it is looked at.
                    flipped += flip(&file, &mut random).unwrap_or(0);
                }
            }
        }
        more(&acknowledged, 50).await
    })
    .await?;
    ensure!(flipped > 20, "{flipped} tables were damaged");
    for load in &mut loads {
        load.judge(&s3).await?;
    }
    check_until_clean(&server, WHOLE_WITHIN).await?;
    server.until("all is whole", WHOLE_WITHIN, whole)?;
    for load in &mut loads {
        load.judge(&s3).await?;
    }
    Ok(())
}

/// Removes all in a folder, the folder stays: as an empty disk put in the old one's place.
fn wipe(folder: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry?.path();
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.with_context(|| format!("remove {}", path.display()))?;
    }
    Ok(())
}

fn tables(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            tables(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "sst") {
            files.push(path);
        }
    }
}

/// Flips one bit in the first half of a table, where its values are.
fn flip(path: &Path, random: &mut SmallRng) -> anyhow::Result<u64> {
    let length = File::open(path)?.metadata()?.len();
    if length < 4096 {
        return Ok(0);
    }
    let at = random.random_range(512..length / 2);
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut byte)?;
    byte[0] ^= 1 << random.random_range(0..8);
    file.seek(SeekFrom::Start(at))?;
    file.write_all(&byte)?;
    file.sync_all()?;
    Ok(1)
}
