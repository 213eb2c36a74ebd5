//! Lists against a naive oracle that walks everything.

use bytes::Bytes;
use cairn_proto::{BucketId, Index, Record, UploadId, VersionId, WriterId};
use proptest::prelude::*;

use crate::keys;
use crate::query::Query;
use crate::row::{Attributes, Body, ChecksumRow, DataKey, ObjectRow, UploadRow};
use crate::rows::{MemoryRows, StoredUpload, encode};
use crate::view::{ListEntry, ListQuery, UploadQuery};

const BUCKET: BucketId = BucketId(7);

fn text(length: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    let chars = vec!['\0', '\u{1}', '/', '/', 'a', 'b', 'ä', '\u{10ffff}'];
    prop::collection::vec(prop::sample::select(chars), length).prop_map(|chars| chars.into_iter().collect())
}

fn delimiter() -> impl Strategy<Value = Option<String>> {
    prop::option::weighted(0.8, prop::sample::select(vec!["/", "/", "a", "//", "\0", "ä", ""]).prop_map(str::to_owned))
}

fn version(index: u64) -> VersionId {
    VersionId { index: Index(index), ordinal: 0 }
}

fn put<T: serde::Serialize>(rows: &mut MemoryRows, key: Vec<u8>, value: T) {
    let bytes = encode(&key, &Record::new(value)).unwrap();
    rows.write([(key, Some(bytes))]);
}

/// Rows of a bucket between two others; each key has as many versions (or uploads) as said, the last is the newest.
fn objects(names: &[(String, u64)]) -> MemoryRows {
    let mut rows = MemoryRows::default();
    let row = |bytes| ObjectRow {
        version: version(bytes),
        bytes,
        etag: String::new(),
        modified_ms: 0,
        checksum: None,
        attributes: Attributes::default(),
        body: Body::Inline(Bytes::new()),
        data_key: None,
    };
    for (name, versions) in names {
        for number in 1..=*versions {
            put(&mut rows, keys::object(BUCKET, name, version(number)), row(number));
        }
    }
    for bucket in [6, 8] {
        put(&mut rows, keys::object(BucketId(bucket), "a/other", version(1)), row(1));
    }
    rows
}

/// A key's place in a list: its common prefix or itself.
fn line(key: &str, prefix: &str, delimiter: Option<&str>) -> (String, bool) {
    let at = delimiter.filter(|delimiter| !delimiter.is_empty()).and_then(|delimiter| {
        let at = key.strip_prefix(prefix)?.find(delimiter)?;
        Some(prefix.len() + at + delimiter.len())
    });
    at.map_or((key.to_owned(), false), |end| (key[..end].to_owned(), true))
}

/// All lines behind `after`, in order: name, and whether it is a common prefix.
fn naive(names: &[(String, u64)], prefix: &str, delimiter: Option<&str>, after: Option<&str>) -> Vec<(String, bool)> {
    let mut sorted: Vec<&String> = names.iter().map(|(name, _)| name).filter(|name| name.starts_with(prefix)).collect();
    sorted.sort();
    let mut lines: Vec<(String, bool)> = Vec::new();
    for key in sorted {
        let found = line(key, prefix, delimiter);
        let behind = after.is_none_or(|after| {
            let hidden = found.1 && after.starts_with(prefix) && after.starts_with(&found.0);
            key.as_str() > after && !hidden
        });
        if behind && lines.last() != Some(&found) {
            lines.push(found);
        }
    }
    lines
}

fn list_lines(rows: &MemoryRows, query: &ListQuery) -> (Vec<(String, bool)>, Option<String>) {
    let page = Query::new(rows).list(query).unwrap();
    let lines = page.entries.into_iter().map(|entry| match entry {
        ListEntry::Prefix(prefix) => (prefix, true),
        ListEntry::Object { key, .. } => (key, false),
    });
    (lines.collect(), page.next)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn objects_are_listed_as_the_oracle_does(
        names in prop::collection::btree_map(text(1..6), 1..4_u64, 0..25),
        prefix in text(0..3), delimiter in delimiter(), after in prop::option::of(text(0..5)), limit in 1..7_usize,
    ) {
        let names: Vec<_> = names.into_iter().collect();
        let rows = objects(&names);
        let wanted = naive(&names, &prefix, delimiter.as_deref(), after.as_deref());
        let mut query = ListQuery { bucket: BUCKET, prefix, delimiter, after, limit };
        let mut found = Vec::new();
        loop {
            let (lines, next) = list_lines(&rows, &query);
            prop_assert!(lines.len() <= limit);
            prop_assert!(next.is_none() || lines.len() == limit);
            found.extend(lines);
            prop_assert!(found.len() <= wanted.len());
            if next.is_none() { break }
            query.after = next;
        }
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn uploads_are_listed_as_the_oracle_does(
        names in prop::collection::btree_map(text(1..6), 1..4_u64, 0..25),
        prefix in text(0..3), delimiter in delimiter(), limit in 1..7_usize,
    ) {
        let names: Vec<_> = names.into_iter().collect();
        let mut rows = MemoryRows::default();
        for (name, uploads) in &names {
            for number in 1..=*uploads {
                // The first of three is a large PUT's own.
                let writer = (*uploads == 3 && number == 1).then_some(WriterId(1));
                let id = UploadId(version(number));
                let (attributes, initiator) = (Attributes::default(), String::new());
                let row = UploadRow { id, opened_ms: 0, attributes, checksum: None, initiator, writer };
                put(&mut rows, keys::upload(BUCKET, name, id), StoredUpload { row, bytes: 0 });
            }
        }
        let mut wanted = Vec::new();
        for (name, is_prefix) in naive(&names, &prefix, delimiter.as_deref(), None) {
            let uploads = names.iter().find(|(key, _)| *key == name).map_or(0, |(_, uploads)| *uploads);
            if is_prefix { wanted.push((name, 0)) } else {
                wanted.extend((1..=uploads).filter(|number| uploads != 3 || *number > 1).map(|n| (name.clone(), n)));
            }
        }
        let mut query = UploadQuery { bucket: BUCKET, prefix, delimiter, after: None, limit };
        let mut found = Vec::new();
        loop {
            let page = Query::new(&rows).uploads(&query).unwrap();
            prop_assert!(page.uploads.len() + page.prefixes.len() <= limit);
            found.extend(page.prefixes.into_iter().map(|prefix| (prefix, 0)));
            found.extend(page.uploads.into_iter().map(|(key, row)| (key, row.id.0.index.0)));
            prop_assert!(found.len() <= wanted.len());
            if page.next.is_none() { break }
            query.after = page.next;
        }
        found.sort();
        wanted.sort();
        prop_assert_eq!(found, wanted);
    }
}

#[test]
fn a_common_prefix_is_seeked_over() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    struct Counting(MemoryRows, AtomicUsize);
    impl crate::rows::RowsRead for Counting {
        fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, crate::rows::RowsError> {
            self.0.get(key)
        }
        fn scan(
            &self,
            from: &[u8],
            end: &[u8],
            visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
        ) -> Result<(), crate::rows::RowsError> {
            self.0.scan(from, end, &mut |key, value| {
                self.1.fetch_add(1, Ordering::Relaxed);
                visit(key, value)
            })
        }
    }
    let mut names: Vec<_> = (0..500).map(|number| (format!("a/{number}"), 1)).collect();
    names.push(("b".to_owned(), 500));
    names.push(("c".to_owned(), 1));
    let rows = Counting(objects(&names), AtomicUsize::new(0));
    let query =
        ListQuery { bucket: BUCKET, prefix: String::new(), delimiter: Some("/".to_owned()), after: None, limit: 9 };
    let page = Query::new(&rows).list(&query).unwrap();
    assert_eq!(page.entries.len(), 3);
    assert!(matches!(page.entries[1], ListEntry::Object { bytes: 500, .. }), "the newest version");
    assert!(rows.1.load(Ordering::Relaxed) < 10);
}

#[test]
fn buckets_are_listed_in_pages() {
    let mut rows = MemoryRows::default();
    for name in ["a", "ab", "abc", "b"] {
        let name = name.to_owned();
        let key = keys::bucket(&name);
        let row = crate::row::BucketRow {
            id: BUCKET,
            name,
            created_ms: 0,
            quota_bytes: None,
            bytes: 0,
            objects: 0,
            upload_bytes: 0,
            uploads: 0,
            settings: crate::BucketSettings::default(),
        };
        put(&mut rows, key, row);
    }
    let list = |prefix, after, limit| {
        let rows = Query::new(&rows).buckets(prefix, after, limit).unwrap();
        rows.into_iter().map(|row| row.name).collect::<Vec<_>>()
    };
    assert_eq!(list("", None, 9), ["a", "ab", "abc", "b"]);
    assert_eq!(list("a", Some("a"), 1), ["ab"]);
    assert_eq!(list("a", Some("abb"), 9), ["abc"]);
    assert_eq!(list("b", Some("a"), 9), ["b"]);
    assert!(list("", None, 0).is_empty());
}

/// A list reads the beginning of each row alone, by a type of its own: it has to say what the whole row says.
#[test]
fn a_line_says_what_the_row_says() {
    let text = |text: &str| text.to_owned();
    let mut checksum = None;
    let mut attributes = Attributes::default();
    for (number, body) in [
        Body::Inline(Bytes::from(vec![0xff; 300])),
        Body::Sealed(Bytes::from(vec![7; 20])),
        Body::Extents(Vec::new()),
        Body::Parts { upload: UploadId(version(3)), parts: Vec::new() },
    ]
    .into_iter()
    .enumerate()
    {
        let row = ObjectRow {
            version: version(u64::MAX),
            bytes: 1 << (16 * number),
            etag: format!("etag-{number}"),
            modified_ms: u64::MAX - number as u64,
            checksum: checksum.clone(),
            attributes: attributes.clone(),
            body,
            data_key: Some(DataKey { key_id: text("id"), wrapped: Bytes::from_static(b"wrapped") }),
        };
        let mut rows = MemoryRows::default();
        put(&mut rows, keys::object(BUCKET, "key", row.version), row.clone());
        let query = ListQuery { bucket: BUCKET, prefix: String::new(), delimiter: None, after: None, limit: 10 };
        let expected = ListEntry::Object {
            key: text("key"),
            bytes: row.bytes,
            etag: row.etag,
            modified_ms: row.modified_ms,
            storage_class: row.attributes.storage_class,
            checksum: row.checksum.map(|checksum| (checksum.algorithm, checksum.kind)),
        };
        assert_eq!(Query::new(&rows).list(&query).unwrap().entries, [expected]);
        checksum = Some(ChecksumRow { algorithm: text("CRC32"), value: text("AAAAAA=="), kind: text("FULL_OBJECT") });
        attributes = Attributes {
            system: vec![(text("content-type"), text("text/plain")), (text("expires"), text(""))],
            user: vec![(text("ä"), text("é"))],
            storage_class: (number > 0).then(|| text("STANDARD_IA")),
            sse: true,
        };
    }
}
