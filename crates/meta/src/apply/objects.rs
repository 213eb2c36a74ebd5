//! Objects: versions are made, replaced and deleted.

use cairn_proto::{BucketId, Record};

use super::buckets::{self, Usage};
use super::context::{Applied, Context, require};
use super::copies;
use super::garbage;
use super::segments;
use crate::command::{CopySource, NewBody, Preconditions, Refusal, Reply};
use crate::keys;
use crate::query::present_object;
use crate::row::{Attributes, Body, BucketRow, ChecksumRow, ObjectRow, Referrer};
use crate::rows::RowsError;
use crate::{INLINE_BYTES_MAX, SEALED_MORE_MAX};

/// Longest key, in bytes of UTF-8.
const KEY_BYTES_MAX: usize = 1024;
/// Most keys of one deletion.
const DELETED_KEYS_MAX: usize = 1000;

/// What a new version says of its bytes.
pub(super) struct Label<'a> {
    pub(super) etag: &'a str,
    pub(super) checksum: &'a Option<ChecksumRow>,
    pub(super) attributes: &'a Attributes,
}

/// A key whose conditions held, with what stands there.
pub(super) struct Target<'a> {
    bucket: Record<BucketRow>,
    key: &'a str,
    old: Option<ObjectRow>,
}

/// Finds the place for a new version.
pub(super) fn open_target<'a>(
    context: &Context<'_, '_>,
    bucket: BucketId,
    key: &'a str,
    preconditions: &Preconditions,
) -> Applied<Target<'a>> {
    check_key(key)?;
    let bucket = buckets::load(context, bucket)?;
    let old = present_object(context.rows, bucket.value.id, key)?;
    if let Some(refusal) = unmet(preconditions, old.as_ref(), Refusal::NoSuchObject) {
        return Err(refusal.into());
    }
    Ok(Target { bucket, key, old })
}

pub(super) fn check_key(key: &str) -> Applied<()> {
    require((1..=KEY_BYTES_MAX).contains(&key.len()), "a key has 1 to 1024 bytes")
}

/// The condition that does not hold, if any. S3 tells a missing object apart where a version is to be made.
fn unmet(preconditions: &Preconditions, present: Option<&ObjectRow>, if_missing: Refusal) -> Option<Refusal> {
    if preconditions.absent && present.is_some() {
        return Some(Refusal::PreconditionFailed);
    }
    let wanted = preconditions.etags.as_ref()?;
    match present {
        None => Some(if_missing),
        Some(row) => {
            let met = wanted.iter().any(|etag| etag == "*" || *etag == row.etag);
            (!met).then_some(Refusal::PreconditionFailed)
        }
    }
}

/// Puts the new version in the old one's place.
pub(super) fn fill(
    context: &mut Context<'_, '_>,
    target: Target<'_>,
    label: &Label<'_>,
    (bytes, body): (u64, Body),
    uploads: Usage,
) -> Applied<Reply> {
    let id = target.bucket.value.id;
    let old_bytes = target.old.as_ref().map_or(0, |old| old.bytes);
    let usage = Usage {
        bytes: i128::from(bytes) - i128::from(old_bytes),
        objects: i128::from(target.old.is_none()),
        ..uploads
    };
    buckets::charge(context, target.bucket, usage)?;
    if let Some(old) = target.old {
        remove_version(context, id, target.key, old)?;
    }
    let version = context.version();
    let row = ObjectRow {
        version,
        bytes,
        etag: label.etag.to_owned(),
        modified_ms: context.now_ms,
        checksum: label.checksum.clone(),
        attributes: label.attributes.clone(),
        body,
        data_key: None,
    };
    context.put(keys::object(id, target.key, version), row)?;
    Ok(Reply::Version { version, modified_ms: context.now_ms })
}

fn remove_version(context: &mut Context<'_, '_>, bucket: BucketId, key: &str, old: ObjectRow) -> Result<(), RowsError> {
    context.rows.delete(keys::object(bucket, key, old.version));
    garbage::discard_body(context, old.version, old.bytes, old.body)
}

fn referrer(context: &Context<'_, '_>, bucket: BucketId, key: &str) -> Referrer {
    Referrer::Object { bucket, key: key.to_owned(), version: context.version() }
}

/// `PutObject`.
pub(super) fn put(
    context: &mut Context<'_, '_>,
    bucket: BucketId,
    key: &str,
    label: &Label<'_>,
    body: &NewBody,
    preconditions: &Preconditions,
) -> Applied<Reply> {
    let target = open_target(context, bucket, key, preconditions)?;
    let body = match body {
        NewBody::Inline(bytes) => {
            require(bytes.len() <= INLINE_BYTES_MAX, "too many bytes for a row")?;
            (bytes.len() as u64, Body::Inline(bytes.clone()))
        }
        NewBody::Sealed { sealed, bytes } => {
            require(*bytes <= INLINE_BYTES_MAX as u64, "too many bytes for a row")?;
            require(sealed.len() <= INLINE_BYTES_MAX + SEALED_MORE_MAX, "too many sealed bytes for a row")?;
            (*bytes, Body::Sealed(sealed.clone()))
        }
        NewBody::Segments(segments) => {
            require(!segments.is_empty(), "an object without segments is inline")?;
            let referrer = referrer(context, bucket, key);
            let (bytes, extents) = segments::bring_in(context, segments, &referrer)?;
            (bytes, Body::Extents(extents))
        }
    };
    fill(context, target, label, body, Usage::default())
}

/// `CopyObject`.
pub(super) fn copy(
    context: &mut Context<'_, '_>,
    bucket: BucketId,
    key: &str,
    label: &Label<'_>,
    source: &CopySource,
    preconditions: &Preconditions,
) -> Applied<Reply> {
    let target = open_target(context, bucket, key, preconditions)?;
    let row = copies::standing_source(context, source)?;
    let body = match &source.inline {
        Some(bytes) => {
            require(source.extents.is_empty(), "a copy is inline or has extents")?;
            require(row.body == Body::Inline(bytes.clone()), "the inline bytes are not the source's")?;
            Body::Inline(bytes.clone())
        }
        None => {
            let bytes = copies::check_extents(context, source, &row)?;
            require(bytes == row.bytes, "a copy of an object takes all its bytes")?;
            segments::refer(context, &source.extents, &referrer(context, bucket, key))?;
            Body::Extents(source.extents.clone())
        }
    };
    fill(context, target, label, (row.bytes, body), Usage::default())
}

/// `DeleteObjects`.
pub(super) fn delete(
    context: &mut Context<'_, '_>,
    bucket: BucketId,
    keys: &[(String, Preconditions)],
) -> Applied<Reply> {
    require(keys.len() <= DELETED_KEYS_MAX, "too many keys for one deletion")?;
    let row = buckets::load(context, bucket)?;
    let mut usage = Usage::default();
    let mut outcomes = Vec::with_capacity(keys.len());
    for (key, preconditions) in keys {
        let old = present_object(context.rows, bucket, key)?;
        if let Some(refusal) = unmet(preconditions, old.as_ref(), Refusal::PreconditionFailed) {
            outcomes.push(Err(refusal));
            continue;
        }
        outcomes.push(Ok(old.is_some()));
        if let Some(old) = old {
            usage.bytes -= i128::from(old.bytes);
            usage.objects -= 1;
            remove_version(context, bucket, key, old)?;
        }
    }
    buckets::charge(context, row, usage)?;
    Ok(Reply::Deleted(outcomes))
}
