//! What every [`ShardStore`] must do, as a suite that runs against any of them.
//!
//! It panics where a store does not conform: it is for tests.

use bytes::Bytes;
use cairn_erasure::{ErasureProfile, StripeLayout};
use cairn_proto::{AttachNumber, Epoch, GroupId, Index, LogPosition, PgId, SegmentId, Sequence, Slot, WriterId};

use crate::{
    DeleteOrder, DeleteReason, Finished, SealedUnit, ShardHeader, ShardKey, ShardStore, ShardStoreError, ShardWriter,
    SpaceUse, UnitPlace, WriteMode,
};

/// A shard whose bytes follow from its number.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What was written with it.
    pub header: ShardHeader,
    layout: StripeLayout,
}

impl Sample {
    /// Shard `number`, slot 1 of a 4+2 segment of so many bytes.
    ///
    /// # Panics
    /// For segments that are too long.
    #[must_use]
    pub fn new(number: u64, segment_bytes: u64) -> Self {
        Self::with_profile(number, segment_bytes, (4, 2))
    }

    /// Shard `number` of a profile of one's own.
    ///
    /// # Panics
    /// For segments that are too long and profiles that do not exist.
    #[must_use]
    pub fn with_profile(number: u64, segment_bytes: u64, (data, parity): (u8, u8)) -> Self {
        let profile = ErasureProfile::new(data, parity).expect("a valid profile");
        let segment = SegmentId { group: GroupId(1), writer: WriterId(number >> 32), sequence: Sequence(number) };
        let slot = Slot(u8::from(profile.slots() > 1));
        let header = ShardHeader {
            key: ShardKey { segment, slot },
            pg: PgId(number % 7),
            epoch: Epoch(3),
            profile,
            segment_bytes,
            label: Bytes::from(format!("label of {number}")),
        };
        Self::of(header)
    }

    /// A shard of this header.
    ///
    /// # Panics
    /// For segments that are too long.
    #[must_use]
    pub fn of(header: ShardHeader) -> Self {
        let layout = StripeLayout::new(header.profile, header.segment_bytes).expect("a segment of allowed length");
        Self { header, layout }
    }

    /// Its key.
    #[must_use]
    pub const fn key(&self) -> ShardKey {
        self.header.key
    }

    /// How many units it has.
    #[must_use]
    pub fn stripes(&self) -> u32 {
        self.layout.stripes()
    }

    /// The place of one of its units.
    #[must_use]
    pub const fn place(&self, stripe: u32) -> UnitPlace {
        UnitPlace { key: self.header.key, stripe, profile: self.header.profile }
    }

    /// The bytes of one of its units.
    #[must_use]
    pub fn payload(&self, stripe: u32) -> Bytes {
        let mut state = self.header.key.segment.sequence.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(stripe);
        let mut bytes = Vec::new();
        while bytes.len() < self.layout.unit_bytes(stripe) as usize {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            bytes.extend_from_slice(&state.to_be_bytes());
        }
        bytes.truncate(self.layout.unit_bytes(stripe) as usize);
        bytes.into()
    }

    /// One of its units, sealed.
    ///
    /// # Panics
    /// Never for stripes it has.
    #[must_use]
    pub fn unit(&self, stripe: u32) -> SealedUnit {
        SealedUnit::seal(self.place(stripe), &self.payload(stripe)).expect("units of a layout are short enough")
    }

    /// Begins to write it as a client does.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn begin(
        &self,
        store: &dyn ShardStore,
        mode: WriteMode,
    ) -> Result<Box<dyn ShardWriter>, ShardStoreError> {
        store.begin(self.header.clone(), mode, SpaceUse::Client).await
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn write(&self, store: &dyn ShardStore, mode: WriteMode) -> Result<Finished, ShardStoreError> {
        let mut writer = self.begin(store, mode).await?;
        for stripe in 0..self.stripes() {
            writer.write_unit(self.unit(stripe)).await?;
        }
        writer.finish().await
    }

    /// Whether the store has all of it, verified.
    pub async fn is_whole(&self, store: &dyn ShardStore) -> bool {
        let Ok(units) = store.read_units(self.key(), 0..self.stripes()).await else { return false };
        let is_sound = |(stripe, unit): (u32, &Option<Bytes>)| {
            let payload = unit.as_ref().and_then(|unit| SealedUnit::open(self.place(stripe), unit).ok());
            payload.is_some_and(|payload| payload == self.payload(stripe))
        };
        (0..).zip(&units).all(is_sound)
            && store.header(self.key()).await.is_ok_and(|h| h.as_ref() == Some(&self.header))
    }

    /// Asserts that the store has all of it.
    ///
    /// # Panics
    /// If not.
    pub async fn check(&self, store: &dyn ShardStore) {
        assert!(self.is_whole(store).await, "shard {:?} is not whole", self.key());
    }

    /// Asserts that the store has nothing of it.
    ///
    /// # Panics
    /// If it has.
    pub async fn check_absent(&self, store: &dyn ShardStore) {
        assert_eq!(store.header(self.key()).await.expect("a header or none"), None);
        let read = store.read_units(self.key(), 0..self.stripes()).await;
        assert!(matches!(read, Err(ShardStoreError::NotFound { .. })), "{:?}: {read:?}", self.key());
    }
}

/// Lengths around every border: none, a byte, the WAL lane, its border, several stripes, a whole segment.
const SEGMENT_BYTES: [u64; 8] =
    [0, 1, 4096, (64 << 10) * 4 - 4, (64 << 10) * 4, (1 << 20) + 1, (3 << 20) + 77, 16 << 20];

/// Runs the suite against an empty store.
///
/// # Panics
/// Where the store does not conform.
pub async fn run(store: &dyn ShardStore) {
    write_read_list_delete(store).await;
    ranges(store).await;
    new_twice_and_replace(store).await;
    broken_writers(store).await;
    interleaved(store).await;
    orders(store).await;
    positions(store).await;
    dead_for_ever(store).await;
    attach_numbers(store).await;
    recovery_lists(store).await;
}

async fn recovery_lists(store: &dyn ShardStore) {
    assert_eq!(store.recovery_list().await.expect("a read"), None);
    for list in [&b"first"[..], b"", b"second"] {
        store.set_recovery_list(Bytes::copy_from_slice(list)).await.expect("a write");
        assert_eq!(store.recovery_list().await.expect("a read").as_deref(), Some(list));
    }
}

async fn delete(store: &dyn ShardStore, keys: &[ShardKey], index: u64) -> Result<u64, ShardStoreError> {
    store.delete(keys, DeleteOrder { index: Index(index), reason: DeleteReason::Dead }).await
}

/// A write that was on its way does not bring a dead shard back; one that moved away may return.
async fn dead_for_ever(store: &dyn ShardStore) {
    for (number, bytes) in (700..).zip([1000, 4 << 20]) {
        let sample = Sample::new(number, bytes);
        let mut writers = Vec::new();
        for mode in [WriteMode::New, WriteMode::New, WriteMode::Replace] {
            let mut writer = sample.begin(store, mode).await.expect("a writer");
            for stripe in 0..sample.stripes() {
                writer.write_unit(sample.unit(stripe)).await.expect("a unit");
            }
            writers.push(writer);
        }
        let order = DeleteOrder { index: Index(100), reason: DeleteReason::Moved };
        assert_eq!(store.delete(&[sample.key()], order).await.expect("a delete"), 0);
        writers.remove(0).finish().await.expect("a shard that came back");
        sample.check(store).await;
        assert_eq!(delete(store, &[sample.key()], 100).await.expect("a delete"), 1);
        for writer in writers {
            assert!(matches!(writer.finish().await, Err(ShardStoreError::Invalid(_))));
        }
        sample.check_absent(store).await;
    }
}

async fn write_read_list_delete(store: &dyn ShardStore) {
    let samples: Vec<_> = (10..).zip(SEGMENT_BYTES).map(|(number, bytes)| Sample::new(number, bytes)).collect();
    for sample in &samples {
        sample.check_absent(store).await;
        sample.write(store, WriteMode::New).await.expect("a write");
        sample.check(store).await;
        assert!(store.scrub(sample.key()).await.expect("a scrub").is_empty());
    }
    let mut listed = Vec::new();
    loop {
        let page = store.list(listed.last().copied(), 3).await.expect("a page");
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 3);
        listed.extend(page.iter().map(|summary| summary.key));
    }
    assert_eq!(listed, samples.iter().map(Sample::key).collect::<Vec<_>>(), "in order, each once");
    let first = store.list(None, 1).await.expect("a page")[0];
    let header = &samples[0].header;
    assert_eq!((first.pg, first.profile, first.segment_bytes), (header.pg, header.profile, header.segment_bytes));

    let status = store.status();
    assert_eq!(status.shards, 8);
    assert_eq!(status.bytes_live, samples.iter().map(|sample| sample.layout.shard_bytes()).sum::<u64>());

    let (gone, kept) = samples.split_at(5);
    let gone_keys: Vec<_> = gone.iter().map(Sample::key).collect();
    assert_eq!(delete(store, &gone_keys, 5).await.expect("a delete"), 5);
    assert_eq!(delete(store, &gone_keys, 5).await.expect("a delete of nothing"), 0);
    for sample in gone {
        sample.check_absent(store).await;
    }
    store.clean().await.expect("a round of cleaning");
    for sample in kept {
        sample.check(store).await;
    }
    let kept: Vec<_> = kept.iter().map(Sample::key).collect();
    assert_eq!(delete(store, &kept, 5).await.expect("a delete"), 3);
    assert_eq!((store.status().shards, store.status().bytes_live), (0, 0));
    assert!(store.list(None, 10).await.expect("a page").is_empty());
}

async fn ranges(store: &dyn ShardStore) {
    let sample = Sample::new(30, 7 << 20);
    sample.write(store, WriteMode::New).await.expect("a write");
    for range in [0..0, 0..1, 2..5, 6..7, 7..7] {
        let units = store.read_units(sample.key(), range.clone()).await.expect("a range");
        assert_eq!(units.len(), range.len());
        for (stripe, unit) in range.zip(units) {
            let unit = unit.expect("a unit");
            assert_eq!(SealedUnit::open(sample.place(stripe), &unit).expect("a sound unit"), sample.payload(stripe));
        }
    }
    let beyond = store.read_units(sample.key(), 6..9).await;
    assert!(matches!(beyond, Err(ShardStoreError::Invalid(_))), "{beyond:?}");
}

async fn new_twice_and_replace(store: &dyn ShardStore) {
    for (number, bytes) in [(40, 1000), (41, 2 << 20)] {
        let sample = Sample::new(number, bytes);
        sample.write(store, WriteMode::New).await.expect("a write");
        let before = store.status();
        sample.write(store, WriteMode::New).await.expect("a second write is answered");
        sample.write(store, WriteMode::Replace).await.expect("a replacement");
        sample.check(store).await;
        let after = store.status();
        assert_eq!((before.shards, before.bytes_live), (after.shards, after.bytes_live));

        let mut other = sample.clone();
        other.header.label = Bytes::from_static(b"of another segment");
        let conflict = other.write(store, WriteMode::New).await;
        assert!(matches!(conflict, Err(ShardStoreError::Conflict { .. })), "{conflict:?}");
        sample.check(store).await;

        // Two at once: the second to finish finds the row.
        let twin = Sample::new(number + 10, bytes);
        let mut writers = [
            twin.begin(store, WriteMode::New).await.expect("a writer"),
            twin.begin(store, WriteMode::New).await.expect("a writer"),
        ];
        for stripe in 0..twin.stripes() {
            for writer in &mut writers {
                writer.write_unit(twin.unit(stripe)).await.expect("a unit");
            }
        }
        for writer in writers {
            writer.finish().await.expect("an answer");
        }
        twin.check(store).await;
        assert_eq!(store.status().shards, after.shards + 1);
    }
}

async fn broken_writers(store: &dyn ShardStore) {
    let before = store.status().shards;
    for (number, bytes) in [(60, 5000), (61, 3 << 20)] {
        let sample = Sample::new(number, bytes);
        let mut writer = sample.begin(store, WriteMode::New).await.expect("a writer");
        let foreign = Sample::new(number + 1, bytes).unit(0);
        assert!(writer.write_unit(foreign).await.is_err(), "a unit of another shard");
        let short = SealedUnit::seal(sample.place(0), b"short").expect("a unit");
        assert!(writer.write_unit(short).await.is_err(), "a unit of another length");
        let early = SealedUnit::seal(sample.place(1), &sample.payload(0)).expect("a unit");
        assert!(writer.write_unit(early).await.is_err(), "a unit out of order");
        let unfinished = writer.finish().await;
        assert!(matches!(unfinished, Err(ShardStoreError::Invalid(_))), "{unfinished:?}");
        sample.check_absent(store).await;

        let mut writer = sample.begin(store, WriteMode::New).await.expect("a writer");
        writer.write_unit(sample.unit(0)).await.expect("a unit");
        assert!(writer.write_unit(sample.unit(0)).await.is_err(), "a unit twice");
        drop(writer);
        sample.check_absent(store).await;
    }
    assert_eq!(store.status().shards, before);
    let mut header = Sample::new(62, 10).header;
    header.label = Bytes::from(vec![0; 2049]);
    assert!(store.begin(header, WriteMode::New, SpaceUse::Client).await.is_err(), "a label that is too long");
    let mut header = Sample::new(62, 10).header;
    header.key.slot = Slot(6);
    assert!(store.begin(header, WriteMode::New, SpaceUse::Client).await.is_err(), "a slot the profile has not");
}

async fn interleaved(store: &dyn ShardStore) {
    let samples: Vec<_> = (70..76).map(|number| Sample::new(number, (number - 69) << 20)).collect();
    let mut writers = Vec::new();
    for sample in &samples {
        writers.push(Some(sample.begin(store, WriteMode::New).await.expect("a writer")));
    }
    for stripe in 0..6 {
        for (sample, slot) in samples.iter().zip(&mut writers) {
            if stripe < sample.stripes()
                && let Some(writer) = slot
            {
                writer.write_unit(sample.unit(stripe)).await.expect("a unit");
            }
            if stripe + 1 == sample.stripes()
                && let Some(writer) = slot.take()
            {
                writer.finish().await.expect("a finish");
            }
        }
    }
    for sample in &samples {
        sample.check(store).await;
    }
}

async fn orders(store: &dyn ShardStore) {
    let sample = Sample::new(80, 100);
    sample.write(store, WriteMode::New).await.expect("a write");
    assert_eq!(delete(store, &[], 100).await.expect("an order without keys"), 0);
    let stale = delete(store, &[sample.key()], 99).await;
    assert!(matches!(stale, Err(ShardStoreError::StaleOrder { order: Index(99), seen: Index(100) })), "{stale:?}");
    sample.check(store).await;
    assert_eq!(delete(store, &[sample.key()], 100).await.expect("an order of the same index"), 1);
}

/// What a disk was told stands beside the indexes of orders.
async fn positions(store: &dyn ShardStore) {
    let position = |term, index| LogPosition { term, index: Index(index) };
    store.tell(position(2, 500)).await.expect("a position");
    for older in [position(2, 499), position(1, 900)] {
        store.tell(older).await.expect("an older position");
        assert_eq!(store.told(), position(2, 500));
    }
    store.tell(position(3, 400)).await.expect("a later term");
    assert_eq!((store.told(), store.answered()), (position(3, 400), Index(100)));
}

async fn attach_numbers(store: &dyn ShardStore) {
    store.set_attach(AttachNumber(7)).await.expect("an attach number");
    assert_eq!(store.attach(), AttachNumber(7));
    let finished = Sample::new(90, 100).write(store, WriteMode::New).await.expect("a write");
    assert_eq!(finished.attach, AttachNumber(7));
    let finished = Sample::new(91, 1 << 20).write(store, WriteMode::New).await.expect("a write");
    assert_eq!(finished.attach, AttachNumber(7));
}
