//! What a shard costs on a disk: bytes written per byte stored, syncs, and time, by size of shard, 16 writers at once.
//! Syncs are counted by perf; where it is not there, or may not look, none are shown.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

// As the harness counts those of any server.
#[cfg_attr(test, expect(unused_imports, dead_code, reason = "its tests run with the harness, a bench has none"))]
#[path = "../../../benches/src/syncs.rs"]
mod syncs;

use std::{fs, sync::Arc, time::Instant};

use bytes::Bytes;
use cairn_erasure::{ErasureProfile, StripeLayout, UNIT_BYTES_MAX};
use cairn_proto::{DiskId, Epoch, GroupId, PgId, SegmentId, Sequence, Slot, WriterId};
use cairn_shard_store::{
    DiskOptions, RocksShardStore, SealedUnit, ShardHeader, ShardKey, ShardStore, SpaceUse, UnitPlace, WriteMode,
};

use syncs::SyncCounter;

const WRITERS: u64 = 16;
const TOTAL_BYTES: u64 = 256 << 20;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("start a runtime");
    println!("| shard | shards/s | MB/s | bytes written per byte | syncs per shard | CPU-s per GiB |");
    println!("|---|---|---|---|---|---|");
    for bytes in [16 << 10, 64 << 10, 256 << 10, 2560 << 10, 16 << 20] {
        runtime.block_on(measure(bytes));
    }
}

async fn measure(shard_bytes: u64) {
    let folder = tempfile::tempdir().expect("make a folder");
    let disk = RocksShardStore::open(&DiskOptions::new(folder.path().to_owned(), 1, DiskId(1))).expect("open a disk");
    let count = (TOTAL_BYTES / shard_bytes).min(4096);
    let syncs = SyncCounter::start(&[std::process::id()].into()).await.ok();
    let (written, cpu, begin) = (written_bytes(), cpu_seconds(), Instant::now());
    let writers = (0..WRITERS).map(|writer| {
        let disk = Arc::clone(&disk);
        tokio::spawn(async move {
            for sequence in (writer..count).step_by(usize::try_from(WRITERS).expect("few writers")) {
                write(disk.as_ref(), sequence, shard_bytes).await;
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.expect("a writer ends well");
    }
    let seconds = begin.elapsed().as_secs_f64();
    disk.close().await;
    let counted = match syncs {
        Some(syncs) => syncs.end().await.ok(),
        None => None,
    };
    let syncs = counted.map(|syncs| as_f64(syncs) / as_f64(count));
    let stored = as_f64(count * shard_bytes);
    println!(
        "| {} KiB | {:.0} | {:.0} | {:.2} | {} | {:.2} |",
        shard_bytes >> 10,
        as_f64(count) / seconds,
        stored / seconds / 1e6,
        as_f64(written_bytes() - written) / stored,
        syncs.map_or_else(|| "not counted".to_owned(), |syncs| format!("{syncs:.2}")),
        (cpu_seconds() - cpu) / (stored / f64::from(1 << 30)),
    );
}

async fn write(disk: &RocksShardStore, sequence: u64, shard_bytes: u64) {
    let profile = ErasureProfile::new(1, 0).expect("a known profile");
    let segment = SegmentId { group: GroupId(0), writer: WriterId(1), sequence: Sequence(sequence) };
    let key = ShardKey { segment, slot: Slot(0) };
    let layout = StripeLayout::new(profile, shard_bytes).expect("a segment's length");
    let header =
        ShardHeader { key, pg: PgId(1), epoch: Epoch(1), profile, segment_bytes: shard_bytes, label: Bytes::new() };
    let mut shard = disk.begin(header, WriteMode::New, SpaceUse::Client).await.expect("begin");
    let payload = Bytes::from(vec![7; usize::try_from(UNIT_BYTES_MAX).expect("a unit is small")]);
    for stripe in 0..layout.stripes() {
        let unit = payload.slice(..usize::try_from(layout.unit_bytes(stripe)).expect("a unit is small"));
        let unit = SealedUnit::seal(UnitPlace { key, stripe, profile }, &unit).expect("a unit");
        shard.write_unit(unit).await.expect("write");
    }
    shard.finish().await.expect("finish");
}

fn as_f64(number: u64) -> f64 {
    f64::from(u32::try_from(number >> 4).unwrap_or(u32::MAX)) * 16.0
        + f64::from(u32::try_from(number & 15).unwrap_or(0))
}

/// Bytes this process had written to disks.
fn written_bytes() -> u64 {
    let io = fs::read_to_string("/proc/self/io").expect("read /proc/self/io");
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).expect("write_bytes");
    line.parse().expect("a number")
}

fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("read /proc/self/stat");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().expect("user") + fields[12].parse::<u64>().expect("system");
    as_f64(ticks) / 100.0
}
