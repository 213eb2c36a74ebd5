//! What the metadata costs a request: allocations, copies, and CPU time; rows in memory and in RocksDB.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

#[path = "../../../benches/counting/mod.rs"]
mod counting;

use std::{hint::black_box, sync::Arc};

use bytes::Bytes;
use cairn_meta::{
    Attributes, Command, Envelope, ListQuery, MemoryRows, MetaHandle, MetaOptions, NewBody, Preconditions, Query,
    Reply, SystemClock, apply_entry, decode_entry, encode_entry,
};
use cairn_proto::{BucketId, Index};
use counting::{Case, Counts};
use tokio::runtime::Runtime;

const OBJECT_BYTES: usize = 4096;
const KEYS: usize = 1000;
/// As the gateway makes them.
const ETAG: &str = "d41d8cd98f00b204e9800998ecf8427e";

fn main() {
    let mut counts = Counts::start();
    machine(&mut counts);
    let runtime = Runtime::new().expect("start a runtime");
    group(&mut counts, &runtime, true);
    group(&mut counts, &runtime, false);
    counts.end();
}

fn key(folder: &str, number: usize) -> String {
    format!("project/1234/{folder}/{number:06}/cache.zip")
}

/// A small object: its bytes travel in the command.
fn put(bucket: BucketId, key: String, body: &Bytes) -> Command {
    Command::PutObject {
        bucket,
        key,
        etag: ETAG.to_owned(),
        checksum: None,
        attributes: Attributes::default(),
        body: NewBody::Inline(body.clone()),
        preconditions: Preconditions::default(),
    }
}

fn list(bucket: BucketId) -> ListQuery {
    ListQuery { bucket, prefix: key("listed", 0)[..20].to_owned(), delimiter: None, after: None, limit: KEYS }
}

/// Bytes of a page's names and ETags.
fn page_bytes() -> usize {
    KEYS * (key("listed", 0).len() + ETAG.len())
}

/// The state machine alone: an entry is written and read back, as the log has it, applied, and its changes kept.
struct Machine {
    rows: MemoryRows,
    index: u64,
}

impl Machine {
    fn apply(&mut self, command: Command) -> Reply {
        self.index += 1;
        let entry = encode_entry(&[Envelope { origin: None, now_ms: self.index, command }]).expect("it can be written");
        let envelopes = decode_entry(&entry).expect("it was just written");
        let (changes, outcomes) = apply_entry(&self.rows, Index(self.index), &envelopes).expect("sound rows");
        self.rows.write(changes);
        outcomes.into_iter().next().expect("an outcome for each command").expect("a command that is taken")
    }
}

fn machine(counts: &mut Counts) {
    let mut machine = Machine { rows: MemoryRows::default(), index: 0 };
    let made = machine.apply(Command::CreateBucket { name: "bench".to_owned() });
    let Reply::Bucket(bucket) = made else { panic!("no bucket: {made:?}") };
    let body = Bytes::from(vec![7; OBJECT_BYTES]);
    for number in 0..KEYS {
        machine.apply(put(bucket, key("listed", number), &body));
    }
    let case = Case {
        name: "state machine: LIST of 1,000 keys",
        handled: 0,
        made: page_bytes(),
        allocations_max: 2_500,
        beyond_max: 340_000,
    };
    counts.case(&case, || {
        let page = Query::new(&machine.rows).list(&list(bucket)).expect("sound rows");
        assert_eq!(page.entries.len(), KEYS);
        black_box(page);
    });
    // The entry, what is read of it, the row.
    let case = Case {
        name: "state machine: PUT of 4 KiB",
        handled: 0,
        made: 3 * OBJECT_BYTES,
        allocations_max: 62,
        beyond_max: 23_000,
    };
    let mut number = 0;
    counts.case(&case, || {
        number += 1;
        machine.apply(put(bucket, key("put", number), &body));
    });
}

/// The whole road through the group: proposed, logged (in RocksDB: synced), applied, answered.
fn group(counts: &mut Counts, runtime: &Runtime, memory: bool) {
    let folder = tempfile::tempdir().expect("make a folder");
    let options = MetaOptions { folder: folder.path().join("voter"), cluster_id: 1, voter: 1, memory };
    let meta = runtime.block_on(MetaHandle::start(options, Arc::new(SystemClock))).expect("start the group");
    let propose = |command| runtime.block_on(meta.propose(command)).expect("a commit");
    let made = propose(Command::CreateBucket { name: "bench".to_owned() });
    let Reply::Bucket(bucket) = made else { panic!("no bucket: {made:?}") };
    let body = Bytes::from(vec![7; OBJECT_BYTES]);
    for number in 0..KEYS {
        propose(put(bucket, key("listed", number), &body));
    }
    let place = if memory { "memory" } else { "RocksDB" };
    let case = Case {
        name: &format!("group, {place}: LIST of 1,000 keys"),
        handled: 0,
        made: page_bytes(),
        allocations_max: 2_500,
        beyond_max: 340_000,
    };
    counts.case(&case, || {
        let view = runtime.block_on(meta.read()).expect("a leader");
        let page = view.list(&list(bucket)).expect("sound rows");
        assert_eq!(page.entries.len(), KEYS);
        black_box(page);
    });
    let name = format!("group, {place}: row of an object of 4 KiB");
    let (allocations_max, beyond_max) = if memory { (25, 3_700) } else { (30, 9_200) };
    let case = Case { name: &name, handled: 0, made: OBJECT_BYTES, allocations_max, beyond_max };
    counts.case(&case, || {
        let view = runtime.block_on(meta.read()).expect("a leader");
        black_box(view.object(bucket, &key("listed", 500)).expect("sound rows").expect("it was put"));
    });
    let name = format!("group, {place}: PUT of 4 KiB");
    let case = Case { name: &name, handled: 0, made: 3 * OBJECT_BYTES, allocations_max: 135, beyond_max: 54_000 };
    let mut number = 0;
    counts.case(&case, || {
        number += 1;
        propose(put(bucket, key("put", number), &body));
    });
    runtime.block_on(meta.shutdown()).expect("end the group");
}
