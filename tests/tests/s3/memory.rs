//! Memory stays bounded whatever the objects' size.

use std::{os::unix::fs::MetadataExt as _, path::Path, process::Command};

use anyhow::{Context as _, ensure};
use aws_sdk_s3::{Client, config::StalledStreamProtectionConfig};
use bytes::Bytes;
use cairn_tests::{Server, ServerOptions, client};

const TRANSFERS: usize = 32;
/// What a transfer may add to the idle server.
const TRANSFER_BYTES_MAX: usize = 16 << 20;
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

    let limit = idle + TRANSFERS * TRANSFER_BYTES_MAX;
    ensure!(written <= limit && read <= limit, "idle {idle}, at PUTs {written}, at GETs {read}, limit {limit}");
    ensure!(on_disk <= disk_bytes_max, "{on_disk} bytes on the disks, limit {disk_bytes_max}");
    Ok(())
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
