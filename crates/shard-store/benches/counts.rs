//! What a shard costs the process that keeps it: allocations, copies, and CPU time.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

#[path = "../../../benches/counting/mod.rs"]
mod counting;

use std::{hint::black_box, sync::Arc};

use bytes::Bytes;
use cairn_erasure::{ErasureProfile, StripeLayout, UNIT_BYTES_MAX};
use cairn_proto::{DiskId, Epoch, GroupId, PgId, SegmentId, Sequence, Slot, WriterId};
use cairn_shard_store::{
    DiskOptions, RocksShardStore, SealedUnit, ShardHeader, ShardKey, ShardStore, SpaceUse, UnitPlace, WriteMode,
};
use counting::{Case, Counts};
use tokio::runtime::Runtime;

const UNIT_BYTES: usize = UNIT_BYTES_MAX as usize;
const SMALL_BYTES: usize = 4 << 10;
const LARGE_BYTES: usize = 4 << 20;

fn main() {
    let mut counts = Counts::start();
    let runtime = Runtime::new().expect("start a runtime");
    let folder = tempfile::tempdir().expect("make a folder");
    let options = DiskOptions::new(folder.path().to_owned(), 1, DiskId(1));
    let disk = RocksShardStore::open(&options).expect("open a disk");
    let mut shards = Shards { disk: Arc::clone(&disk), payload: Bytes::from(vec![7; UNIT_BYTES]), sequence: 0 };

    let unit = shards.seal(ShardKey { segment: shards.segment(), slot: Slot(0) }, 0, UNIT_BYTES);
    let place = unit.place();
    let stored = unit.stored();
    let none = |name| Case { name, handled: UNIT_BYTES, made: 0, allocations_max: 0, beyond_max: 0 };
    let sealed =
        Case { made: SealedUnit::HEADROOM + UNIT_BYTES, allocations_max: 1, ..none("collect and seal a unit") };
    counts.case(&sealed, || {
        let mut buffer = Vec::with_capacity(SealedUnit::HEADROOM + UNIT_BYTES);
        buffer.resize(SealedUnit::HEADROOM, 0);
        buffer.extend_from_slice(&shards.payload);
        black_box(SealedUnit::seal_in(place, buffer).expect("a unit"));
    });
    counts.case(&none("open a unit"), || {
        black_box(SealedUnit::open(place, &stored).expect("a sound unit"));
    });

    // What is sealed is copied by RocksDB alone.
    write(&mut counts, &runtime, &mut shards, SMALL_BYTES, (21, 9_800));
    write(&mut counts, &runtime, &mut shards, LARGE_BYTES, (90, 17_000));
    read(&mut counts, &runtime, &mut shards, SMALL_BYTES);
    read(&mut counts, &runtime, &mut shards, LARGE_BYTES);
    runtime.block_on(disk.close());
    counts.end();
}

/// Writes shards of one unit and of many.
struct Shards {
    disk: Arc<RocksShardStore>,
    payload: Bytes,
    sequence: u64,
}

impl Shards {
    fn segment(&self) -> SegmentId {
        SegmentId { group: GroupId(0), writer: WriterId(1), sequence: Sequence(self.sequence) }
    }

    fn profile() -> ErasureProfile {
        ErasureProfile::new(1, 0).expect("a known profile")
    }

    fn seal(&self, key: ShardKey, stripe: u32, bytes: usize) -> SealedUnit {
        let place = UnitPlace { key, stripe, profile: Self::profile() };
        SealedUnit::seal(place, &self.payload[..bytes]).expect("a unit")
    }

    async fn write(&mut self, shard_bytes: usize) -> ShardKey {
        self.sequence += 1;
        let key = ShardKey { segment: self.segment(), slot: Slot(0) };
        let (profile, segment_bytes) = (Self::profile(), shard_bytes as u64);
        let layout = StripeLayout::new(profile, segment_bytes).expect("a segment's length");
        let header = ShardHeader { key, pg: PgId(1), epoch: Epoch(1), profile, segment_bytes, label: Bytes::new() };
        let mut shard = self.disk.begin(header, WriteMode::New, SpaceUse::Client).await.expect("begin");
        for stripe in 0..layout.stripes() {
            let bytes = usize::try_from(layout.unit_bytes(stripe)).expect("a unit is small");
            shard.write_unit(self.seal(key, stripe, bytes)).await.expect("write");
        }
        shard.finish().await.expect("finish");
        key
    }
}

fn write(
    counts: &mut Counts,
    runtime: &Runtime,
    shards: &mut Shards,
    bytes: usize,
    (allocations_max, beyond_max): (u64, u64),
) {
    let name = format!("write a shard of {} KiB, synced", bytes >> 10);
    // The units of this bench are sealed from a copy, each in an allocation.
    let units = bytes.div_ceil(UNIT_BYTES);
    let made = bytes + units * SealedUnit::HEADROOM;
    let allocations_max = allocations_max + units as u64;
    let case = Case { name: &name, handled: bytes, made, allocations_max, beyond_max };
    counts.case(&case, || {
        runtime.block_on(shards.write(bytes));
    });
}

fn read(counts: &mut Counts, runtime: &Runtime, shards: &mut Shards, bytes: usize) {
    let key = runtime.block_on(shards.write(bytes));
    let name = format!("read the first unit of a shard of {} KiB", bytes >> 10);
    let unit_bytes = bytes.min(UNIT_BYTES);
    let case = Case {
        name: &name,
        handled: unit_bytes,
        made: unit_bytes + SealedUnit::OVERHEAD_BYTES,
        allocations_max: 6,
        beyond_max: 720,
    };
    counts.case(&case, || {
        let units = runtime.block_on(shards.disk.read_units(key, 0..1)).expect("the shard is there");
        assert!(units[0].is_some(), "the unit is there");
        black_box(units);
    });
}
