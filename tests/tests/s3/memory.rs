//! Memory stays bounded whatever the objects' size.

use anyhow::{Context as _, ensure};
use cairn_tests::{Server, ServerOptions, client};

const TRANSFERS: usize = 32;
/// What a transfer may add to the idle server.
const TRANSFER_BYTES_MAX: usize = 16 << 20;

/// 32 PUTs and GETs at once, of 40 MiB each; of 200 MiB with `CAIRN_LONG=1` (20 GB of disk).
#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded() -> anyhow::Result<()> {
    let bytes = if std::env::var_os("CAIRN_LONG").is_some() { 200 << 20 } else { 40 << 20 };
    let server = Server::start(ServerOptions::default())?;
    let s3 = client(&server)?;
    s3.create_bucket().bucket("memory").send().await?;
    let idle = peak_bytes(server.pid())?;
    let body = bytes::Bytes::from(vec![5; bytes]);
    let puts = (0..TRANSFERS).map(|n| {
        let put = s3.put_object().bucket("memory").key(n.to_string()).body(body.clone().into()).send();
        tokio::spawn(async move { put.await.map(|_| ()) })
    });
    for put in puts.collect::<Vec<_>>() {
        put.await??;
    }
    let written = peak_bytes(server.pid())?;
    let gets = (0..TRANSFERS).map(|n| {
        let get = s3.get_object().bucket("memory").key(n.to_string()).send();
        tokio::spawn(async move {
            let mut got = 0;
            let mut body = get.await?.body;
            while let Some(piece) = body.try_next().await? {
                got += piece.len();
            }
            anyhow::Ok(got)
        })
    });
    for get in gets.collect::<Vec<_>>() {
        ensure!(get.await?? == bytes, "a GET ended early");
    }
    let read = peak_bytes(server.pid())?;
    let limit = idle + TRANSFERS * TRANSFER_BYTES_MAX;
    ensure!(written <= limit && read <= limit, "idle {idle}, after PUTs {written}, after GETs {read}, limit {limit}");
    Ok(())
}

/// The most memory the process ever had resident.
fn peak_bytes(pid: u32) -> anyhow::Result<usize> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("VmHWM")?;
    let kib: usize = line.split_whitespace().nth(1).context("a number")?.parse()?;
    Ok(kib << 10)
}
