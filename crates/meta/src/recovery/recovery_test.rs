//! A life that begins from a snapshot: nothing is given out twice, nothing newer is called dead.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use cairn_proto::{
    AttachNumber, BucketId, CommandNumber, DiskId, GroupId, Index, LogPosition, NodeId, PgId, SegmentId, Sequence,
    UploadId, WriterId,
};

use super::{MetaImport, NewLife, Recovered};
use crate::clock::ManualClock;
use crate::cluster_rows::{CLUSTER_VERSION, IDS_OF_A_LIFE};
use crate::command::{Command, NewBody, NewSegment, Origin, Preconditions, Reply};
use crate::error::MetaError;
use crate::handle::{MetaHandle, MetaOptions};
use crate::row::{Attributes, ProfileRow};
use crate::view::Verdict;

const CLUSTER: u128 = 7;
const PROFILE: ProfileRow = ProfileRow { data: 1, parity: 0 };

fn options(folder: &Path, voter: u64) -> MetaOptions {
    MetaOptions { folder: folder.join(voter.to_string()), cluster_id: CLUSTER, voter, memory: false }
}

async fn start(folder: &Path, voter: u64) -> Result<MetaHandle, MetaError> {
    MetaHandle::start(options(folder, voter), Arc::new(ManualClock::new(1_000))).await
}

/// A group with a disk, a writer and a bucket, and commands of that writer.
struct Group {
    meta: MetaHandle,
    writer: WriterId,
    bucket: BucketId,
    number: u64,
}

impl Group {
    async fn new(meta: MetaHandle) -> Self {
        let node = NodeId(1);
        let known = vec![(node, CLUSTER_VERSION)];
        meta.raise_version(known).await.unwrap();
        let (folder, disk) = ("d".to_owned(), DiskId(1));
        let attach = Command::AttachDisk { disk, node, folder, was_mount: false, bytes_total: 1, replaces: None };
        meta.propose(attach).await.unwrap();
        meta.propose(Command::CreatePgs { profile: PROFILE, groups: vec![vec![disk]] }).await.unwrap();
        let Reply::Writer(writer) = meta.propose(Command::OpenWriter { node }).await.unwrap() else { panic!() };
        let make = Command::CreateBucket { name: "b".to_owned() };
        let Reply::Bucket(bucket) = meta.propose(make).await.unwrap() else { panic!() };
        Self { meta, writer, bucket, number: 0 }
    }

    async fn commit(&mut self, command: Command) -> Result<Reply, MetaError> {
        self.number += 1;
        let number = CommandNumber(self.number);
        self.meta.commit(Origin { writer: self.writer, number, lowest_unanswered: number }, command).await
    }

    fn segment(&self, sequence: u64) -> NewSegment {
        let id = SegmentId { group: GroupId::ONLY, writer: self.writer, sequence: Sequence(sequence) };
        let answered = vec![Some((DiskId(1), AttachNumber(1)))];
        NewSegment { id, pg: PgId(1), bytes: 1 << 20, profile: PROFILE, answered }
    }

    async fn put(&mut self, key: &str, sequence: u64) -> SegmentId {
        let segment = self.segment(sequence);
        let id = segment.id;
        let (bucket, key) = (self.bucket, key.to_owned());
        let body = NewBody::Segments(vec![segment]);
        let (attributes, preconditions) = (Attributes::default(), Preconditions::default());
        let put =
            Command::PutObject { bucket, key, etag: String::new(), checksum: None, attributes, body, preconditions };
        self.commit(put).await.unwrap();
        id
    }

    async fn export(&self) -> Vec<Vec<u8>> {
        let mut export = self.meta.read().await.unwrap().export();
        let mut pieces = Vec::new();
        while let Some(piece) = export.next_piece(50).unwrap() {
            pieces.push(piece);
        }
        pieces
    }
}

fn import(folder: &Path, pieces: &[Vec<u8>], life: u64) -> Recovered {
    let new = NewLife { life, began_ms: 5 };
    let mut import = MetaImport::begin(&folder.join(new.voter().to_string()), CLUSTER).unwrap();
    for piece in pieces {
        import.add(piece).unwrap();
    }
    let recovered = import.begin_life(new).unwrap();
    import.finish().unwrap();
    recovered
}

async fn verdicts(meta: &MetaHandle, segments: &[SegmentId]) -> Vec<Verdict> {
    let answer = meta.read().await.unwrap().verdicts(segments).unwrap();
    answer.verdicts.into_iter().map(|(_, verdict)| verdict).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_life_has_the_rows_of_its_snapshot_and_ids_of_its_own() {
    let temp = tempfile::tempdir().unwrap();
    let mut group = Group::new(start(temp.path(), 1).await.unwrap()).await;
    let kept = group.put("kept", 1).await;
    let pieces = group.export().await;
    assert!(pieces.len() > 3, "{} pieces", pieces.len());
    let old_index = group.meta.applied();
    group.meta.shutdown().await.unwrap();

    let recovered = import(temp.path(), &pieces, 1);
    assert_eq!((recovered.snapshot, recovered.voter), (old_index, 2));
    assert!(recovered.index.0 > IDS_OF_A_LIFE);
    for round in 0..2 {
        let meta = start(temp.path(), 2).await.unwrap();
        let status = meta.status();
        assert_eq!(status.voters, [2]);
        assert!(status.applied > recovered.index && status.term > IDS_OF_A_LIFE, "{status:?}");
        let view = meta.read().await.unwrap();
        assert_eq!(view.object(group.bucket, "kept").unwrap().unwrap().bytes, 1 << 20);
        assert_eq!(verdicts(&meta, &[kept]).await, [Verdict::Alive]);
        let writers = view.writers().unwrap();
        assert!(writers.iter().all(|writer| writer.id == group.writer && writer.closed || writer.id.0 > IDS_OF_A_LIFE));
        let make = Command::CreateBucket { name: format!("b{round}") };
        let Reply::Bucket(bucket) = meta.propose(make).await.unwrap() else { panic!() };
        let open = Command::OpenWriter { node: NodeId(1) };
        let Reply::Writer(writer) = meta.propose(open).await.unwrap() else { panic!() };
        let pgs = Command::CreatePgs { profile: PROFILE, groups: vec![vec![DiskId(1)]] };
        let Reply::Pgs(pgs) = meta.propose(pgs).await.unwrap() else { panic!() };
        assert!(bucket.0 > IDS_OF_A_LIFE && writer.0 > IDS_OF_A_LIFE && pgs[0].0 > IDS_OF_A_LIFE);
        let disk = view.disk(DiskId(1)).unwrap().unwrap();
        assert_eq!((disk.attach, disk.inventory), (AttachNumber(IDS_OF_A_LIFE), None));
        let new = Command::AttachDisk {
            disk: DiskId(10 + round),
            node: NodeId(1),
            folder: "new".to_owned(),
            was_mount: false,
            bytes_total: 1,
            replaces: None,
        };
        assert_eq!(meta.propose(new).await.unwrap(), Reply::Attached(AttachNumber(IDS_OF_A_LIFE + 1)));
        meta.shutdown().await.unwrap();
    }
    assert!(MetaImport::begin(&temp.path().join("2"), CLUSTER).is_err(), "a voter's folder is not written over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_committed_after_the_snapshot_is_never_dead() {
    let temp = tempfile::tempdir().unwrap();
    let mut group = Group::new(start(temp.path(), 1).await.unwrap()).await;
    group.put("kept", 1).await;
    let dead = group.segment(2).id;
    let raise = Command::RaiseWatermark { writer: group.writer, sequence: Sequence(3) };
    group.meta.propose(raise).await.unwrap();
    let removed = group.put("removed", 3).await;
    let (bucket, keys) = (group.bucket, vec![("removed".to_owned(), Preconditions::default())]);
    group.commit(Command::DeleteObjects { bucket, keys }).await.unwrap();
    let mark = Command::MarkFree { from: Index(0), below: Index(u64::MAX), held: Vec::new() };
    group.meta.propose(mark).await.unwrap();
    // A large PUT under way.
    let key = "large".to_owned();
    let (attributes, initiator) = (Attributes::default(), String::new());
    let create = Command::CreateUpload { bucket, key, attributes, checksum: None, initiator, internal: true };
    let Reply::Upload(upload) = group.commit(create).await.unwrap() else { panic!() };
    let part = put_part(&mut group, upload, 4).await;
    let pieces = group.export().await;

    let newer = group.put("newer", 5).await;
    let Reply::Writer(second) = group.meta.propose(Command::OpenWriter { node: NodeId(1) }).await.unwrap() else {
        panic!()
    };
    (group.writer, group.number) = (second, 0);
    let newer_writer = group.put("newer still", 1).await;
    group.meta.shutdown().await.unwrap();

    import(temp.path(), &pieces, 1);
    let meta = start(temp.path(), 2).await.unwrap();
    let asked = [dead, removed, newer, newer_writer, part];
    let forgotten = [Verdict::Dead, Verdict::Dead, Verdict::Forgotten, Verdict::Forgotten, Verdict::Alive];
    assert_eq!(verdicts(&meta, &asked).await, forgotten);
    let view = meta.read().await.unwrap();
    assert_eq!(view.internal_uploads_of_closed_writers(10).unwrap(), [], "it may have been completed since");
    assert!(view.upload(bucket, "large", upload).unwrap().is_some());
    assert!(view.object(bucket, "newer").unwrap().is_none());
    // Not by time, not by a new writer, only by a person.
    meta.propose(Command::OpenWriter { node: NodeId(1) }).await.unwrap();
    assert_eq!(verdicts(&meta, &asked).await, forgotten);
    meta.shutdown().await.unwrap();

    // Lost again before there was another snapshot: the ids of the life between are not used again either.
    import(temp.path(), &pieces, 2);
    let meta = start(temp.path(), 3).await.unwrap();
    assert_eq!(verdicts(&meta, &asked).await, forgotten);
    let between = SegmentId { writer: WriterId(IDS_OF_A_LIFE + 1), ..newer };
    assert_eq!(verdicts(&meta, &[between]).await, [Verdict::Forgotten]);
    let Reply::Writer(writer) = meta.propose(Command::OpenWriter { node: NodeId(1) }).await.unwrap() else { panic!() };
    assert!(writer.0 > 2 * IDS_OF_A_LIFE);
    meta.propose(Command::DropForgotten {}).await.unwrap();
    let dropped = [Verdict::Dead, Verdict::Dead, Verdict::Dead, Verdict::Dead, Verdict::Alive];
    assert_eq!(verdicts(&meta, &asked).await, dropped);
    let foreign = SegmentId { group: GroupId(3), ..dead };
    assert_eq!(verdicts(&meta, &[foreign]).await, [Verdict::Unknown]);
    meta.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_of_an_earlier_life_are_told_from_those_of_this_one() {
    let temp = tempfile::tempdir().unwrap();
    let mut group = Group::new(start(temp.path(), 1).await.unwrap()).await;
    let snapshot = group.meta.applied();
    let segments = vec![group.segment(1)];
    group.commit(Command::PutSnapshot { snapshot, piece: 0, segments, last: true }).await.unwrap();
    let (half, segments) = (group.meta.applied(), vec![group.segment(2)]);
    group.commit(Command::PutSnapshot { snapshot: half, piece: 0, segments, last: false }).await.unwrap();
    let found = |view: &crate::MetaView| {
        let indexes = |whole: Vec<crate::WholeSnapshot>| whole.iter().map(|row| row.snapshot).collect::<Vec<_>>();
        (indexes(view.snapshots().unwrap()), indexes(view.earlier_snapshots().unwrap()))
    };
    let view = group.meta.read().await.unwrap();
    assert_eq!((found(&view), view.unfinished_snapshots().unwrap()), ((vec![snapshot], vec![]), vec![half]));
    let pieces = group.export().await;
    group.meta.shutdown().await.unwrap();
    import(temp.path(), &pieces, 1);
    let meta = start(temp.path(), 2).await.unwrap();
    let view = meta.read().await.unwrap();
    assert_eq!((found(&view), view.unfinished_snapshots().unwrap()), ((vec![], vec![snapshot]), vec![half]));
    meta.propose(Command::RemoveSnapshot { snapshot }).await.unwrap();
    assert_eq!(found(&meta.read().await.unwrap()), (vec![], vec![]));
    let forgets = |view: &crate::MetaView| view.lives().unwrap().iter().any(crate::LifeRow::forgets);
    assert!(forgets(&meta.read().await.unwrap()));
    meta.propose(Command::DropForgotten {}).await.unwrap();
    assert!(!forgets(&meta.read().await.unwrap()));
    meta.shutdown().await.unwrap();
}

/// A copy of before goes on by itself: what the right one had told is found missing, however far the copy has come. A life
/// that begins from the copy lacks it by nature.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_went_on_by_itself_lacks_what_was_told() {
    let temp = tempfile::tempdir().unwrap();
    let make = |name: String| Command::CreateBucket { name };
    let mut group = Group::new(start(temp.path(), 1).await.unwrap()).await;
    group.put("kept", 1).await;
    let meta = group.meta.clone();
    let before = meta.position();
    let (right, copy) = (temp.path().join("1"), temp.path().join("copy"));
    let copied = std::process::Command::new("cp").arg("-a").args([&right, &copy]).status().unwrap();
    assert!(copied.success());

    meta.propose(make("newer".to_owned())).await.unwrap();
    let told = meta.position();
    assert!(told.term == before.term && told.index > before.index);
    let lacks = async |meta: &MetaHandle, told| meta.read().await.unwrap().lacks(told).unwrap();
    for position in [before, told] {
        assert_eq!(lacks(&meta, position).await, None);
    }
    let why = lacks(&meta, LogPosition { term: told.term + 1, ..told }).await;
    assert!(why.unwrap().contains("ends at"));
    meta.shutdown().await.unwrap();
    for _ in 0..2 {
        let meta = start(temp.path(), 1).await.unwrap();
        assert_eq!((lacks(&meta, before).await, lacks(&meta, told).await), (None, None), "it is the right one");
        meta.shutdown().await.unwrap();
    }

    std::fs::remove_dir_all(&right).unwrap();
    std::fs::rename(&copy, &right).unwrap();
    let mut pieces = Vec::new();
    for round in 0..3 {
        let meta = start(temp.path(), 1).await.unwrap();
        for count in 0..5 {
            meta.propose(make(format!("copy-{round}-{count}"))).await.unwrap();
        }
        assert_eq!(lacks(&meta, before).await, None);
        let why = lacks(&meta, told).await.expect("the copy went on without it");
        assert!(why.contains("went on without it"), "{why}");
        let mut export = meta.read().await.unwrap().export();
        pieces = std::iter::from_fn(|| export.next_piece(1_000).unwrap()).collect();
        drop(export);
        meta.shutdown().await.unwrap();
    }
    import(temp.path(), &pieces, 1);
    let meta = start(temp.path(), 2).await.unwrap();
    assert_eq!((lacks(&meta, before).await, lacks(&meta, told).await), (None, None));
    meta.shutdown().await.unwrap();
}

async fn put_part(group: &mut Group, upload: UploadId, sequence: u64) -> SegmentId {
    let segment = group.segment(sequence);
    let id = segment.id;
    let put = Command::PutPart {
        bucket: group.bucket,
        key: "large".to_owned(),
        upload,
        number: 1,
        etag: String::new(),
        checksum: None,
        segments: vec![segment],
    };
    group.commit(put).await.unwrap();
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_was_cut_off_is_begun_anew_and_damage_is_an_error() {
    let temp = tempfile::tempdir().unwrap();
    let group = Group::new(start(temp.path(), 1).await.unwrap()).await;
    let pieces = group.export().await;
    group.meta.shutdown().await.unwrap();
    let folder = temp.path().join("2");
    let mut half = MetaImport::begin(&folder, CLUSTER).unwrap();
    half.add(&pieces[0][..pieces[0].len() - 1]).unwrap_err();
    half.add(&pieces[1]).unwrap();
    assert!(
        half.begin_life(NewLife { life: 1, began_ms: 5 }).is_err(),
        "the rows that say where it stands are missing"
    );
    drop(half);
    import(temp.path(), &pieces, 1);
    start(temp.path(), 2).await.unwrap().shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_kinds_wait_for_the_version_and_an_older_program_does_not_start() {
    let temp = tempfile::tempdir().unwrap();
    let meta = start(temp.path(), 1).await.unwrap();
    let newer = Command::DropForgotten {};
    let refused = meta.propose(newer.clone()).await.unwrap_err().to_string();
    assert!(refused.contains("needs cluster version 2, the cluster is at 1"), "{refused}");
    meta.raise_version(vec![(NodeId(1), CLUSTER_VERSION)]).await.unwrap();
    meta.propose(newer).await.unwrap();
    let key = crate::ClusterKeyRow { number: 1, sealed: Bytes::from_static(b"x"), created_ms: 1 };
    meta.propose(Command::PutClusterKey { row: key }).await.unwrap();
    // What a newer program would do.
    let version = CLUSTER_VERSION + 1;
    let known = vec![(NodeId(1), version)];
    meta.propose(Command::RaiseVersion { version, known }).await.unwrap();
    meta.shutdown().await.unwrap();
    drop(meta);
    let refused = start(temp.path(), 1).await.err().unwrap().to_string();
    let says = format!("the cluster is at version {version} and this program knows {CLUSTER_VERSION}");
    assert!(refused.contains(&says) && refused.contains("start that one again"), "{refused}");
}
