//! What must hold between all rows, recomputed from scratch after each entry of a test.

use std::collections::{BTreeMap, BTreeSet};

use cairn_proto::{BucketId, PgId, SegmentId, Slot, UploadId, VersionId};
use serde::de::DeserializeOwned;

use crate::cluster_rows::SnapshotRow;
use crate::keys::{self, Counter, KeyRange, Named};
use crate::query::Query;
use crate::row::{Body, BucketRow, Extent, Garbage, GarbageRow, IdentityRow, ObjectRow, PartRow, Scope, SegmentRow};
use crate::rows::{MemoryRows, RowsRead as _, StoredReference, StoredUpload, collect, decode, load_value};

type Segments = BTreeMap<(PgId, SegmentId), SegmentRow>;
type References = BTreeMap<(SegmentId, VersionId), (PgId, bool)>;

fn rows_of<T: DeserializeOwned>(rows: &MemoryRows, range: &KeyRange) -> Vec<(Vec<u8>, T)> {
    collect(rows, &range.from, &range.end, usize::MAX, |key, value| {
        Ok(Some((key.to_vec(), decode::<T>(key, value)?.value)))
    })
    .unwrap()
}

fn all_of(prefix: u8) -> KeyRange {
    KeyRange::of_prefix(vec![prefix])
}

fn counter(rows: &MemoryRows, counter: Counter) -> u64 {
    load_value(rows, &keys::counter(counter)).unwrap().unwrap_or(0)
}

/// Panics where the rows contradict each other.
pub(crate) fn check(rows: &MemoryRows) {
    let buckets: Vec<BucketRow> =
        rows_of(rows, &keys::buckets("")).into_iter().map(|(_, bucket): (_, BucketRow)| bucket).collect();
    let parts: BTreeMap<(UploadId, u16), PartRow> =
        rows_of(rows, &all_of(0x06)).into_iter().map(|(key, part)| (keys::read_part(&key).unwrap(), part)).collect();
    let garbage: Vec<GarbageRow> = [true, false]
        .into_iter()
        .flat_map(|free| {
            rows_of(rows, &keys::all_garbage(free)).into_iter().map(move |(_, row): (_, GarbageRow)| {
                assert_eq!(row.free, free);
                row
            })
        })
        .collect();
    let objects = rows_of::<ObjectRow>(rows, &all_of(0x04));
    let uploads = rows_of::<StoredUpload>(rows, &all_of(0x05));
    check_buckets(rows, &buckets, &objects, &uploads);
    check_parts(&parts, &objects, &uploads, &garbage);
    let snapshots: Vec<SnapshotRow> = rows_of(rows, &keys::snapshots()).into_iter().map(|(_, row)| row).collect();
    check_segments(rows, &references_of(&parts, &objects, &garbage, &snapshots));
    assert_eq!(counter(rows, Counter::GarbageRows), garbage.len() as u64);
    assert_eq!(counter(rows, Counter::GarbageBytes), garbage.iter().map(|row| row.bytes).sum::<u64>());
    check_identities(rows, &buckets);
}

/// The root keys are counted, and every other key is one of a bucket that stands.
fn check_identities(rows: &MemoryRows, buckets: &[BucketRow]) {
    let identities = rows_of::<IdentityRow>(rows, &keys::identities());
    let roots = identities.iter().filter(|(_, row)| row.enabled && row.scope == Scope::Root).count();
    assert_eq!(counter(rows, Counter::RootKeys), roots as u64);
    let ids: BTreeMap<&str, BucketId> = buckets.iter().map(|bucket| (bucket.name.as_str(), bucket.id)).collect();
    let wanted: BTreeSet<(BucketId, String)> = identities
        .into_iter()
        .filter_map(|(_, row)| match row.scope {
            Scope::Root => None,
            Scope::Bucket { bucket, .. } => Some((ids[bucket.as_str()], row.access_key)),
        })
        .collect();
    let links =
        rows_of::<()>(rows, &all_of(0x1a)).into_iter().map(|(key, ())| keys::read_bucket_identity(&key).unwrap());
    assert_eq!(links.collect::<BTreeSet<_>>(), wanted);
}

fn bucket_of(row: &[u8]) -> BucketId {
    BucketId(u64::from_be_bytes(row[1..9].try_into().unwrap()))
}

fn check_buckets(
    rows: &MemoryRows,
    buckets: &[BucketRow],
    objects: &[(Vec<u8>, ObjectRow)],
    uploads: &[(Vec<u8>, StoredUpload)],
) {
    let names = rows_of::<String>(rows, &all_of(0x03));
    assert_eq!(names.len(), buckets.len());
    let mut keys_seen = BTreeSet::new();
    for (key, _) in objects {
        assert!(keys_seen.insert((bucket_of(key), Named::read_key(key).unwrap())), "two versions of a key");
        assert!(buckets.iter().any(|bucket| bucket.id == bucket_of(key)), "an object without a bucket");
    }
    for bucket in buckets {
        let of = |key: &[u8]| bucket_of(key) == bucket.id;
        let sum = |bytes: &mut dyn Iterator<Item = u64>| bytes.sum::<u64>();
        assert_eq!(names.iter().filter(|(key, name)| of(key) && *name == bucket.name).count(), 1);
        assert_eq!(bucket.objects, objects.iter().filter(|(key, _)| of(key)).count() as u64);
        assert_eq!(bucket.bytes, sum(&mut objects.iter().filter(|(key, _)| of(key)).map(|(_, row)| row.bytes)));
        assert_eq!(bucket.uploads, uploads.iter().filter(|(key, _)| of(key)).count() as u64);
        assert_eq!(bucket.upload_bytes, sum(&mut uploads.iter().filter(|(key, _)| of(key)).map(|(_, row)| row.bytes)));
    }
    let mut internal = 0;
    for (key, upload) in uploads {
        let bucket = bucket_of(key);
        let dying = rows.get(&keys::dying_bucket(bucket)).unwrap().is_some();
        assert!(dying || buckets.iter().any(|row| row.id == bucket), "an upload without a bucket");
        if let Some(writer) = upload.row.writer {
            internal += 1;
            assert!(rows.get(&keys::internal_upload(writer, upload.row.id)).unwrap().is_some());
        }
    }
    let range = keys::internal_uploads();
    assert_eq!(collect(rows, &range.from, &range.end, usize::MAX, |_, _| Ok(Some(()))).unwrap().len(), internal);
}

/// Each part row belongs to one open upload, object or garbage row, whose bytes are theirs.
fn check_parts(
    parts: &BTreeMap<(UploadId, u16), PartRow>,
    objects: &[(Vec<u8>, ObjectRow)],
    uploads: &[(Vec<u8>, StoredUpload)],
    garbage: &[GarbageRow],
) {
    let mut owners: BTreeMap<UploadId, u64> = BTreeMap::new();
    let mut own = |upload, bytes| assert!(owners.insert(upload, bytes).is_none(), "two rows own {upload}");
    for (_, upload) in uploads {
        own(upload.row.id, upload.bytes);
    }
    for row in garbage {
        if let Garbage::Upload(upload) = row.what {
            own(upload, row.bytes);
        }
    }
    for (_, object) in objects {
        if let Body::Parts { upload, parts: refs } = &object.body {
            own(*upload, object.bytes);
            let range = (*upload, 0)..=(*upload, u16::MAX);
            let found: Vec<_> = parts.range(range).map(|((_, number), part)| (*number, part.bytes)).collect();
            assert_eq!(refs.iter().map(|part| (part.number, part.bytes)).collect::<Vec<_>>(), found);
        }
    }
    for (upload, bytes) in &owners {
        let range = (*upload, 0)..=(*upload, u16::MAX);
        assert_eq!(parts.range(range).map(|(_, part)| part.bytes).sum::<u64>(), *bytes, "{upload}");
    }
    assert!(parts.keys().all(|(upload, _)| owners.contains_key(upload)), "a part that nobody owns");
}

/// The references that must be there, each with whether it is free.
fn references_of(
    parts: &BTreeMap<(UploadId, u16), PartRow>,
    objects: &[(Vec<u8>, ObjectRow)],
    garbage: &[GarbageRow],
    snapshots: &[SnapshotRow],
) -> References {
    let mut references = References::new();
    let mut refer = |extents: &[Extent], version, free, bytes: u64| {
        assert_eq!(extents.iter().map(|extent| extent.bytes).sum::<u64>(), bytes);
        let segments: BTreeSet<_> = extents.iter().map(|extent| (extent.pg, extent.segment)).collect();
        for (pg, segment) in segments {
            assert!(references.insert((segment, version), (pg, free)).is_none(), "two rows refer as {version}");
        }
    };
    for part in parts.values() {
        refer(&part.extents, part.version, false, part.bytes);
    }
    for row in snapshots {
        refer(&row.extents, row.version, false, row.extents.iter().map(|extent| extent.bytes).sum());
    }
    for (_, object) in objects {
        match &object.body {
            Body::Extents(extents) => refer(extents, object.version, false, object.bytes),
            Body::Inline(bytes) => assert_eq!(bytes.len() as u64, object.bytes),
            Body::Parts { .. } | Body::Sealed(_) => {}
        }
    }
    for row in garbage {
        if let Garbage::Extents(extents) = &row.what {
            refer(extents, row.version, row.free, row.bytes);
        }
    }
    references
}

fn check_segments(rows: &MemoryRows, references: &References) {
    let segments: Segments =
        rows_of(rows, &all_of(0x07)).into_iter().map(|(key, row)| (keys::read_segment(&key).unwrap(), row)).collect();
    let stored = rows_of::<StoredReference>(rows, &all_of(0x09));
    assert_eq!(stored.len(), references.len(), "reference rows and rows that refer");
    for ((segment, version), (pg, _)) in references {
        let found: StoredReference = load_value(rows, &keys::reference(*segment, *version)).unwrap().unwrap();
        assert_eq!(found.pg, *pg);
        assert!(segments.contains_key(&(*pg, *segment)), "a row names segment {segment}, which is gone");
        assert!(rows.get(&keys::spent(*segment)).unwrap().is_none());
    }
    let mut missing: Vec<(PgId, SegmentId, Slot)> = Vec::new();
    for ((pg, segment), row) in &segments {
        let range = (*segment, VersionId::default())
            ..=(*segment, VersionId { index: cairn_proto::Index(u64::MAX), ordinal: u32::MAX });
        let of_segment: Vec<bool> = references.range(range).map(|(_, (_, free))| *free).collect();
        assert_eq!(row.references as usize, of_segment.len(), "{segment}");
        assert_eq!(row.free_references as usize, of_segment.iter().filter(|free| **free).count(), "{segment}");
        assert!(row.references > 0 && row.missing.is_sorted());
        missing.extend(row.missing.iter().map(|slot| (*pg, *segment, *slot)));
    }
    let query = Query::new(rows);
    assert_eq!(query.missing(None, usize::MAX).unwrap(), missing);
    assert_eq!(query.missing_count().unwrap(), missing.len() as u64);
}
