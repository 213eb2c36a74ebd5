//! Commits per second of the metadata group, one voter on disk, and what they share: entries and syncs.

#![expect(clippy::print_stdout, reason = "a bench prints its figures")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use cairn_meta::{Attributes, Command, MetaHandle, MetaOptions, NewBody, Preconditions, Reply, SystemClock};
use cairn_proto::BucketId;

const MEASURED_FOR: Duration = Duration::from_secs(3);

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("start a runtime");
    println!("| callers | commits/s | commits per sync |");
    println!("|---|---|---|");
    for callers in [1, 16, 64, 256] {
        runtime.block_on(measure(callers));
    }
}

async fn measure(callers: u32) {
    let folder = tempfile::tempdir().expect("make a folder");
    let options = MetaOptions { folder: folder.path().join("voter"), cluster_id: 1, voter: 1, memory: false };
    let meta = MetaHandle::start(options, Arc::new(SystemClock)).await.expect("start the group");
    let made = meta.propose(Command::CreateBucket { name: "bench".to_owned() }).await;
    let Ok(Reply::Bucket(bucket)) = made else { panic!("no bucket: {made:?}") };
    let (syncs, begin) = (meta.status().log_syncs, Instant::now());
    let tasks = (0..callers).map(|caller| tokio::spawn(put_until(meta.clone(), bucket, caller, begin)));
    let mut commits = 0_u32;
    for task in tasks.collect::<Vec<_>>() {
        commits += task.await.expect("a caller ends well");
    }
    let seconds = begin.elapsed().as_secs_f64();
    let syncs = u32::try_from(meta.status().log_syncs - syncs).unwrap_or(u32::MAX).max(1);
    println!("| {callers} | {:.0} | {:.1} |", f64::from(commits) / seconds, f64::from(commits) / f64::from(syncs));
    meta.shutdown().await.expect("end the group");
}

async fn put_until(meta: MetaHandle, bucket: BucketId, caller: u32, begin: Instant) -> u32 {
    let mut commits = 0;
    while begin.elapsed() < MEASURED_FOR {
        let put = Command::PutObject {
            bucket,
            key: format!("project/{caller}/{commits}"),
            etag: "d41d8cd98f00b204e9800998ecf8427e".to_owned(),
            checksum: None,
            attributes: Attributes::default(),
            body: NewBody::Inline(Bytes::from(vec![7; 1000])),
            preconditions: Preconditions::default(),
        };
        meta.propose(put).await.expect("a commit");
        commits += 1;
    }
    commits
}
