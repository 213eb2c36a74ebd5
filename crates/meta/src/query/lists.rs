//! Lists: buckets, objects, uploads, parts, identities.

use cairn_proto::UploadId;

use super::Query;
use super::walk::{Found, Scope, Step};
use crate::keys::{self, Named};
use crate::row::{BucketRow, IdentityNameRow, IdentityRow, ListedRow, PartRow};
use crate::rows::{RowsError, StoredUpload, collect, decode, decode_front};
use crate::view::{ListEntry, ListPage, ListQuery, PartPage, UploadPage, UploadQuery};

impl Query<'_> {
    /// Buckets in order of name.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn buckets(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<BucketRow>, RowsError> {
        let range = keys::buckets(prefix).after(after.map(keys::bucket));
        collect(self.rows, &range.from, &range.end, limit, |key, value| Ok(Some(decode(key, value)?.value)))
    }

    /// Access keys in order.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn identities(&self, after: Option<&str>, limit: usize) -> Result<Vec<IdentityRow>, RowsError> {
        let range = keys::identities().after(after.map(keys::identity));
        collect(self.rows, &range.from, &range.end, limit, |key, value| Ok(Some(decode(key, value)?.value)))
    }

    /// Names of declared access keys in order.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn identity_names(&self, after: Option<&str>, limit: usize) -> Result<Vec<IdentityNameRow>, RowsError> {
        let range = keys::identity_names().after(after.map(keys::identity_name));
        collect(self.rows, &range.from, &range.end, limit, |key, value| Ok(Some(decode(key, value)?.value)))
    }

    /// A page of objects and common prefixes.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn list(&self, query: &ListQuery) -> Result<ListPage, RowsError> {
        let scope = Scope {
            kind: Named::Object,
            bucket: query.bucket,
            prefix: &query.prefix,
            delimiter: query.delimiter.as_deref(),
        };
        let mut page = ListPage::default();
        if query.limit == 0 {
            return Ok(page);
        }
        let from = query.after.as_deref().map_or_else(Vec::new, |after| scope.behind(after));
        scope.walk(self.rows, from, &|_, _| Ok(true), &mut |found| {
            if let Found::Row { key, .. } = &found
                && matches!(page.entries.last(), Some(ListEntry::Object { key: last, .. }) if last == key)
            {
                // Noncurrent versions of a key lie behind its present one.
                return Ok(Step::PastKey);
            }
            if page.entries.len() == query.limit {
                page.next = page.entries.last().map(|entry| entry_name(entry).to_owned());
                return Ok(Step::Stop);
            }
            page.entries.push(match found {
                Found::Prefix(prefix) => ListEntry::Prefix(prefix),
                Found::Row { key, value } => {
                    let row = decode_front(key.as_bytes(), value)?;
                    object_entry(key, &row)
                }
            });
            Ok(Step::Next)
        })?;
        Ok(page)
    }

    /// A page of open uploads and common prefixes. Those that large PUTs became by themselves are not shown.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn uploads(&self, query: &UploadQuery) -> Result<UploadPage, RowsError> {
        let scope = Scope {
            kind: Named::Upload,
            bucket: query.bucket,
            prefix: &query.prefix,
            delimiter: query.delimiter.as_deref(),
        };
        let mut page = UploadPage::default();
        if query.limit == 0 {
            return Ok(page);
        }
        let from = match &query.after {
            None => Vec::new(),
            Some((key, Some(upload))) if scope.is_line(key) => {
                keys::after_prefix(keys::upload(query.bucket, key, *upload))
            }
            Some((key, _)) => scope.behind(key),
        };
        let shown = |key: &[u8], value: &[u8]| Ok(decode::<StoredUpload>(key, value)?.value.row.writer.is_none());
        let mut last = None;
        scope.walk(self.rows, from, &shown, &mut |found| {
            if page.uploads.len() + page.prefixes.len() == query.limit {
                page.next = last.take();
                return Ok(Step::Stop);
            }
            match found {
                Found::Prefix(prefix) => {
                    last = Some((prefix.clone(), None));
                    page.prefixes.push(prefix);
                }
                Found::Row { key, value } => {
                    let row = decode::<StoredUpload>(key.as_bytes(), value)?.value.row;
                    last = Some((key.clone(), Some(row.id)));
                    page.uploads.push((key, row));
                }
            }
            Ok(Step::Next)
        })?;
        Ok(page)
    }

    /// A page of an upload's parts.
    ///
    /// # Errors
    /// Only for failed storage and damaged rows.
    pub fn parts(&self, upload: UploadId, after: Option<u16>, limit: usize) -> Result<PartPage, RowsError> {
        if limit == 0 {
            return Ok(PartPage::default());
        }
        let range = keys::parts(upload).after(after.map(|number| keys::part(upload, number)));
        let mut parts = collect(self.rows, &range.from, &range.end, limit.saturating_add(1), |key, value| {
            Ok(Some((keys::read_part(key)?.1, decode::<PartRow>(key, value)?.value)))
        })?;
        let more = parts.len() > limit;
        parts.truncate(limit);
        let next = if more { parts.last().map(|(number, _)| *number) } else { None };
        Ok(PartPage { parts, next })
    }
}

fn entry_name(entry: &ListEntry) -> &str {
    match entry {
        ListEntry::Object { key, .. } => key,
        ListEntry::Prefix(prefix) => prefix,
    }
}

fn object_entry(key: String, row: &ListedRow<'_>) -> ListEntry {
    ListEntry::Object {
        key,
        bytes: row.bytes,
        etag: row.etag.to_owned(),
        modified_ms: row.modified_ms,
        storage_class: row.attributes.storage_class.map(str::to_owned),
        checksum: row.checksum.as_ref().map(|checksum| (checksum.algorithm.to_owned(), checksum.kind.to_owned())),
    }
}
