//! File systems that fill up: two of six disks while the server serves, and the one of the metadata before a start.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use cairn_tests::{Server, ServerOptions, Tmpfs, client, may_mount};
use tempfile::TempDir;

use crate::{check_until_clean, whole};

const WHOLE_WITHIN: Duration = Duration::from_secs(180);
/// More would fill disks of any size a test has.
const OBJECTS_MAX: u32 = 200;

fn body(number: u32, length: u32) -> Vec<u8> {
    (0..length / 4).flat_map(|at| (at ^ number << 20).wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

fn full_disks(status: &serde_json::Value) -> usize {
    let disks = status["disks"].as_array().map_or(&[][..], Vec::as_slice);
    let is_full = |disk: &&serde_json::Value| {
        disk["state"] == "read-only" && disk["reason"].as_str().is_some_and(|reason| reason.starts_with("full"))
    };
    disks.iter().filter(is_full).count()
}

fn takes_writes(status: &serde_json::Value, profile: &str) -> bool {
    let groups = status["groups"].as_array().map_or(&[][..], Vec::as_slice);
    groups.iter().any(|group| group["profile"] == profile && group["writable"] != 0 && group["writable"] != "0")
}

/// Two disks fill up under PUTs: all are acknowledged, with two parities on what is left; given room they serve again.
#[tokio::test(flavor = "multi_thread")]
async fn two_disks_that_fill_up_stop_no_write() -> anyhow::Result<()> {
    const LENGTH: u32 = 8 << 20;
    if !may_mount("full::two_disks_that_fill_up_stop_no_write")? {
        return Ok(());
    }
    let folder = TempDir::new()?;
    let data = folder.path().join("data");
    let mounts = [1, 4].map(|number| Tmpfs::mount(&data.join(format!("disk-{number}")), 96));
    let [first, second] = mounts;
    let (first, second) = (first?, second?);
    let server = Server::start(ServerOptions { data: Some(data), ..ServerOptions::default() })?;
    server.run(&["bucket", "create", "full"])?;
    let s3 = client(&server)?;
    let put = async |number: u32| {
        let put = s3.put_object().bucket("full").key(number.to_string()).body(body(number, LENGTH).into());
        put.send().await.map(drop).with_context(|| format!("PUT of object {number}"))
    };
    let mut objects = 0;
    while full_disks(&server.status()?) < 2 {
        ensure!(objects < OBJECTS_MAX, "the disks did not fill up: {:#}", server.status()?);
        put(objects).await?;
        objects += 1;
    }
    // A write that was given up gives its bytes back; with this both stay full.
    for mount in [&first, &second] {
        mount.fill_but(8)?;
    }
    server.until("both are full", WHOLE_WITHIN, |status| full_disks(status) == 2)?;
    server.until("groups of the other four", WHOLE_WITHIN, |status| takes_writes(status, "2+2"))?;
    for _ in 0..5 {
        put(objects).await?;
        objects += 1;
    }
    let read_all = async || {
        for number in 0..objects {
            let got = s3.get_object().bucket("full").key(number.to_string()).send().await?;
            let got = got.body.collect().await?.into_bytes();
            ensure!(got == body(number, LENGTH), "object {number} came back as another one");
        }
        Ok(())
    };
    read_all().await?;
    ensure!(full_disks(&server.status()?) == 2, "{:#}", server.status()?);

    for mount in [&first, &second] {
        mount.resize(2048)?;
    }
    server.until("all serve again, and nothing is missing", WHOLE_WITHIN, whole)?;
    server.until("groups of all six", WHOLE_WITHIN, |status| takes_writes(status, "4+2"))?;
    put(objects).await?;
    read_all().await?;
    check_until_clean(&server, WHOLE_WITHIN).await
}

/// With little room left for the metadata the server starts: it reads, deletes, and takes writes once there is room.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_starts_on_a_nearly_full_metadata_disk() -> anyhow::Result<()> {
    if !may_mount("full::a_server_starts_on_a_nearly_full_metadata_disk")? {
        return Ok(());
    }
    let folder = TempDir::new()?;
    let data = folder.path().join("data");
    let meta = Tmpfs::mount(&data.join("meta"), 512)?;
    let mut server = Server::start(ServerOptions { data: Some(data), ..ServerOptions::default() })?;
    server.run(&["bucket", "create", "tight"])?;
    let s3 = client(&server)?;
    for (number, length) in [(1, 1000), (2, 1 << 20), (3, 5000)] {
        s3.put_object().bucket("tight").key(number.to_string()).body(body(number, length).into()).send().await?;
    }
    server.stop()?;
    // Over the floor of what makes room, far under that of what adds.
    let ballast = meta.fill_but(48)?;
    server.restart()?;
    println!("{} MiB are free for the metadata", meta.mib_free()?);
    let s3 = client(&server)?;
    for (number, length) in [(1, 1000), (2, 1 << 20)] {
        let got = s3.get_object().bucket("tight").key(number.to_string()).send().await?.body.collect().await?;
        ensure!(got.into_bytes() == body(number, length), "object {number} came back as another one");
    }
    let one_try =
        aws_sdk_s3::config::Config::builder().retry_config(aws_sdk_s3::config::retry::RetryConfig::disabled());
    let refused = s3.put_object().bucket("tight").key("4").body(vec![4].into());
    let refused = refused.customize().config_override(one_try).send().await;
    let status = refused.err().and_then(|error| error.raw_response().map(|answer| answer.status().as_u16()));
    ensure!(status.is_some_and(|status| status >= 500), "a PUT was answered with {status:?}");
    s3.delete_object().bucket("tight").key("3").send().await.context("a delete makes room")?;

    fs::remove_file(ballast)?;
    // The server looks at its space every second; the client's own tries may all lie within one.
    let deadline = Instant::now() + WHOLE_WITHIN;
    while let Err(error) = s3.put_object().bucket("tight").key("4").body(vec![4].into()).send().await {
        ensure!(Instant::now() < deadline, "a PUT with room again: {error:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    check_until_clean(&server, WHOLE_WITHIN).await
}
