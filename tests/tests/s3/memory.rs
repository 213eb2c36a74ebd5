//! Memory stays bounded whatever the objects' size.

use std::{
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context as _, bail, ensure};
use aws_sdk_s3::{
    Client,
    config::{StalledStreamProtectionConfig, retry::RetryConfig},
    error::SdkError,
    operation::put_object::PutObjectError,
};
use bytes::Bytes;
use cairn_tests::{Server, ServerOptions, client};

const TRANSFERS: usize = 32;
/// The idle server, as it has just started.
const IDLE_BYTES_MAX: usize = 100 << 20;
/// What a transfer may add to the idle server.
const TRANSFER_BYTES_MAX: usize = 16 << 20;
/// All of it under that load.
const LOADED_BYTES_MAX: usize = 500 << 20;
/// The downloads read so many of the objects, several at once each: what is in the page cache is not read again.
const READ: usize = 4;
/// Bytes on the disks for each byte stored, at most: 4+2 codes to one and a half, and what is merged is there twice.
const DISK_BYTES_PER_BYTE_MAX: usize = 3;
/// Room for the metadata and the memory tables' logs.
const DISK_BYTES_MORE: usize = 1 << 30;

/// 32 PUTs and GETs at once, of 80 MiB each: longer than a segment, so that all of them change to another one. With
/// `CAIRN_LONG=1` of 200 MiB: that takes up to 22 GB of disk, of which 10 GB are written (`make long`).
#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded() -> anyhow::Result<()> {
    let bytes = if std::env::var("CAIRN_LONG").is_ok_and(|long| long == "1") { 200 << 20 } else { 80 << 20 };
    let disk_bytes_max = TRANSFERS * bytes * DISK_BYTES_PER_BYTE_MAX + DISK_BYTES_MORE;
    ensure_room(disk_bytes_max)?;
    let server = Server::start(ServerOptions::default())?;
    // A disk that is busy may keep one of so many streams waiting for long.
    let patient = StalledStreamProtectionConfig::disabled();
    let s3 = Client::from_conf(client(&server)?.config().to_builder().stalled_stream_protection(patient).build());
    s3.create_bucket().bucket("memory").send().await?;
    let body = Bytes::from(vec![5; bytes]);

    let idle = resident(&server)?.now;
    forget_peak(&server);
    put_all(&s3, &body).await?;
    let written = resident(&server)?.peak;
    forget_peak(&server);
    get_all(&s3, &body).await?;
    let read = resident(&server)?.peak;
    let on_disk = disk_bytes(server.data())?;

    let limit = LOADED_BYTES_MAX.min(idle + TRANSFERS * TRANSFER_BYTES_MAX);
    ensure!(idle <= IDLE_BYTES_MAX, "idle {idle}, limit {IDLE_BYTES_MAX}");
    ensure!(written <= limit && read <= limit, "idle {idle}, at PUTs {written}, at GETs {read}, limit {limit}");
    ensure!(on_disk <= disk_bytes_max, "{on_disk} bytes on the disks, limit {disk_bytes_max}");
    Ok(())
}

/// What requests may hold together in the test of it: the least that is taken.
const REQUEST_MEMORY: &str = "96MiB";
const REQUEST_MEMORY_BYTES: usize = 96 << 20;
/// Uploads at once: together they would hold several times that.
const BURST: usize = 40;
/// Longer bodies hold no more.
const BURST_OBJECT_BYTES: usize = 8 << 20;

/// A burst gets `SlowDown` once the memory for requests is used up, and what holds little goes on beside it.
#[tokio::test(flavor = "multi_thread")]
async fn a_burst_beyond_the_memory_for_requests_is_told_to_slow_down() -> anyhow::Result<()> {
    let args = ["--request-memory", REQUEST_MEMORY].map(str::to_owned).to_vec();
    let server = Server::start(ServerOptions { args, ..ServerOptions::default() })?;
    let config = client(&server)?.config().to_builder().retry_config(RetryConfig::disabled());
    let patient = StalledStreamProtectionConfig::disabled();
    let s3 = Client::from_conf(config.stalled_stream_protection(patient).build());
    s3.create_bucket().bucket("burst").send().await?;
    let body = Bytes::from(vec![5; BURST_OBJECT_BYTES]);
    let put = |key: String| s3.put_object().bucket("burst").key(key).body(body.clone().into()).send();

    let idle = resident(&server)?.now;
    forget_peak(&server);
    let ended = Arc::new(AtomicBool::new(false));
    let beside = tokio::spawn(small_requests(s3.clone(), Arc::clone(&ended)));
    let puts: Vec<_> = (0..BURST).map(|n| tokio::spawn(put(n.to_string()))).collect();
    let (mut stored, mut refused) = (0, 0);
    for put in puts {
        match put.await? {
            Ok(_) => stored += 1,
            Err(error) if is_slow_down(&error) => refused += 1,
            Err(error) => bail!("neither stored nor told to slow down: {error:?}"),
        }
    }
    ended.store(true, Ordering::Relaxed);
    let rounds = beside.await??;
    let peak = resident(&server)?.peak;

    ensure!(stored > 0 && refused > 0 && rounds > 0, "{stored} stored, {refused} refused, {rounds} small rounds");
    let limit = idle + REQUEST_MEMORY_BYTES;
    ensure!(peak <= limit, "idle {idle}, peak {peak}, limit {limit}; {stored} stored, {refused} refused");
    put("after".to_owned()).await.context("memory comes back")?;
    Ok(())
}

fn is_slow_down(error: &SdkError<PutObjectError>) -> bool {
    let SdkError::ServiceError(refused) = error else { return false };
    refused.raw().status().as_u16() == 503 && refused.err().meta().code() == Some("SlowDown")
}

/// PUT, HEAD and GET of a small object until the burst has ended; each must go well at once. Answers how often.
async fn small_requests(s3: Client, ended: Arc<AtomicBool>) -> anyhow::Result<u64> {
    let mut rounds = 0;
    while !ended.load(Ordering::Relaxed) {
        let body = Bytes::from(vec![7; 64 << 10]);
        s3.put_object().bucket("burst").key("small").body(body.clone().into()).send().await.context("a small PUT")?;
        s3.head_object().bucket("burst").key("small").send().await.context("a HEAD")?;
        let found = s3.get_object().bucket("burst").key("small").send().await.context("a small GET")?;
        ensure!(found.body.collect().await?.into_bytes() == body, "a small GET answered other bytes");
        rounds += 1;
    }
    Ok(rounds)
}

async fn put_all(s3: &Client, body: &Bytes) -> anyhow::Result<()> {
    let puts = (0..TRANSFERS).map(|n| {
        let put = s3.put_object().bucket("memory").key(n.to_string()).body(body.clone().into()).send();
        tokio::spawn(async move { put.await.map(|_| ()) })
    });
    for put in puts.collect::<Vec<_>>() {
        put.await??;
    }
    Ok(())
}

async fn get_all(s3: &Client, body: &Bytes) -> anyhow::Result<()> {
    let gets = (0..TRANSFERS).map(|n| {
        let get = s3.get_object().bucket("memory").key((n % READ).to_string()).send();
        let expected = body.clone();
        tokio::spawn(async move {
            let mut rest = &expected[..];
            let mut body = get.await?.body;
            while let Some(piece) = body.try_next().await? {
                rest = rest.strip_prefix(&piece[..]).context("a GET answered other bytes")?;
            }
            ensure!(rest.is_empty(), "a GET ended {} bytes early", rest.len());
            anyhow::Ok(())
        })
    });
    for get in gets.collect::<Vec<_>>() {
        get.await??;
    }
    Ok(())
}

/// Bytes of the process that are resident.
struct Resident {
    now: usize,
    /// Most since [`forget_peak`].
    peak: usize,
}

fn resident(server: &Server) -> anyhow::Result<Resident> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()))?;
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).with_context(|| name.to_owned())?;
        let kib: usize = line.split_whitespace().next().context("a number")?.parse()?;
        anyhow::Ok(kib << 10)
    };
    Ok(Resident { now: bytes("VmRSS:")?, peak: bytes("VmHWM:")? })
}

/// The peak is counted from here on. Where the kernel cannot do that it is counted from the start, which is no less.
fn forget_peak(server: &Server) {
    let _ = std::fs::write(format!("/proc/{}/clear_refs", server.pid()), "5");
}

/// What a folder takes on its disk.
fn disk_bytes(folder: &Path) -> anyhow::Result<usize> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        // A file may go while the server cleans up.
        let Ok(found) = entry.metadata() else { continue };
        bytes += if found.is_dir() { disk_bytes(&entry.path())? } else { usize::try_from(found.blocks() * 512)? };
    }
    Ok(bytes)
}

/// Fails at once where the disk would become full on the way.
fn ensure_room(bytes: usize) -> anyhow::Result<()> {
    let folder = std::env::temp_dir();
    let output = Command::new("df").args(["--output=avail", "-B1"]).arg(&folder).output().context("run df")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let free: usize = text.lines().nth(1).context("df tells the free space")?.trim().parse()?;
    let folder = folder.display();
    ensure!(
        free > bytes,
        "{folder} has {free} bytes free and the test needs up to {bytes}: set TMPDIR to a larger one"
    );
    Ok(())
}
