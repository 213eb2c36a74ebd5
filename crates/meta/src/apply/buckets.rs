//! Buckets and their exact counters.

use cairn_proto::{BucketId, Record};

use super::context::{Applied, Context, require};
use super::{identities, pgs, uploads};
use crate::command::{Refusal, Reply};
use crate::keys::{self, Counter, Named};
use crate::row::BucketRow;
use crate::rows::{RowsError, StoredUpload, collect, decode};
use crate::settings::{BucketSettings, SettingsChange};

/// Open uploads of a deleted bucket that one command discards.
const DYING_UPLOADS_MAX: usize = 100;
const NAME_BYTES_MAX: usize = 255;

/// By how much a command changes a bucket's counters.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    pub(super) bytes: i128,
    pub(super) objects: i128,
    pub(super) upload_bytes: i128,
    pub(super) uploads: i128,
}

/// The bucket of a commit, which names its life.
pub(super) fn load(context: &Context<'_, '_>, bucket: BucketId) -> Applied<Record<BucketRow>> {
    let Some(name) = context.load::<String>(&keys::bucket_name(bucket))? else {
        return Err(Refusal::NoSuchBucket.into());
    };
    Ok(context.expect(&keys::bucket(&name.value))?)
}

/// Changes a bucket's counters; refused if it grows over its quota.
pub(super) fn charge(context: &mut Context<'_, '_>, mut bucket: Record<BucketRow>, usage: Usage) -> Applied<()> {
    let key = keys::bucket(&bucket.value.name);
    let add = |counter: u64, change: i128| {
        u64::try_from(i128::from(counter) + change).map_err(|_| RowsError::damaged(&key, "a counter leaves its range"))
    };
    let row = &mut bucket.value;
    row.bytes = add(row.bytes, usage.bytes)?;
    row.objects = add(row.objects, usage.objects)?;
    row.upload_bytes = add(row.upload_bytes, usage.upload_bytes)?;
    row.uploads = add(row.uploads, usage.uploads)?;
    let grows = usage.bytes + usage.upload_bytes > 0;
    let total = u128::from(row.bytes) + u128::from(row.upload_bytes);
    if let Some(quota_bytes) = row.quota_bytes
        && grows
        && total > u128::from(quota_bytes)
    {
        return Err(Refusal::QuotaExceeded { quota_bytes }.into());
    }
    context.store(key, &bucket)?;
    Ok(())
}

/// `CreateBucket`, `CreateBucketWith`.
pub(super) fn create(
    context: &mut Context<'_, '_>,
    name: &str,
    settings: BucketSettings,
    quota_bytes: Option<u64>,
) -> Applied<Reply> {
    require((1..=NAME_BYTES_MAX).contains(&name.len()), "a bucket's name has 1 to 255 bytes")?;
    settings.profile.map_or(Ok(()), pgs::check_profile)?;
    if context.load::<BucketRow>(&keys::bucket(name))?.is_some() {
        return Err(Refusal::BucketExists.into());
    }
    let id = BucketId(context.count_up(Counter::LastBucket)?);
    let row = BucketRow {
        id,
        name: name.to_owned(),
        created_ms: context.now_ms,
        quota_bytes,
        bytes: 0,
        objects: 0,
        upload_bytes: 0,
        uploads: 0,
        settings,
    };
    context.put(keys::bucket(name), row)?;
    context.put(keys::bucket_name(id), name)?;
    Ok(Reply::Bucket(id))
}

/// `DeleteBucket`: the name is free at once, and the access keys limited to the bucket are gone; open uploads that are too many for one command go with later ones.
pub(super) fn delete(context: &mut Context<'_, '_>, name: &str) -> Applied<Reply> {
    let key = keys::bucket(name);
    let Some(bucket) = context.load::<BucketRow>(&key)? else {
        return Err(Refusal::NoSuchBucket.into());
    };
    let bucket = bucket.value;
    if bucket.objects > 0 {
        return Err(Refusal::BucketNotEmpty.into());
    }
    context.rows.delete(key);
    context.rows.delete(keys::bucket_name(bucket.id));
    identities::remove_of_bucket(context, bucket.id)?;
    if bucket.uploads > 0 {
        context.put(keys::dying_bucket(bucket.id), ())?;
        sweep(context, bucket.id)?;
    }
    Ok(Reply::Done)
}

/// `SetBucketQuota`.
pub(super) fn set_quota(context: &mut Context<'_, '_>, name: &str, quota_bytes: Option<u64>) -> Applied<Reply> {
    let key = keys::bucket(name);
    let Some(mut bucket) = context.load::<BucketRow>(&key)? else {
        return Err(Refusal::NoSuchBucket.into());
    };
    bucket.value.quota_bytes = quota_bytes;
    context.store(key, &bucket)?;
    Ok(Reply::Done)
}

/// `SetBucketSettings`.
pub(super) fn set_settings(context: &mut Context<'_, '_>, name: &str, change: SettingsChange) -> Applied<Reply> {
    let key = keys::bucket(name);
    let Some(mut bucket) = context.load::<BucketRow>(&key)? else {
        return Err(Refusal::NoSuchBucket.into());
    };
    bucket.value.settings = change.on(bucket.value.settings);
    bucket.value.settings.profile.map_or(Ok(()), pgs::check_profile)?;
    context.store(key, &bucket)?;
    Ok(Reply::Done)
}

/// Goes on with a deleted bucket that still has uploads. Every marking of garbage does this first: each upload leaves
/// garbage, so there is another marking as long as a bucket is left.
pub(super) fn sweep_dying(context: &mut Context<'_, '_>) -> Result<(), RowsError> {
    let range = keys::dying_buckets();
    let first = collect(context.rows, &range.from, &range.end, 1, |key, _| keys::read_dying_bucket(key).map(Some))?;
    first.first().map_or(Ok(()), |bucket| sweep(context, *bucket))
}

fn sweep(context: &mut Context<'_, '_>, bucket: BucketId) -> Result<(), RowsError> {
    let range = Named::Upload.beginning(bucket, "");
    let uploads = collect(context.rows, &range.from, &range.end, DYING_UPLOADS_MAX + 1, |key, value| {
        Ok(Some((Named::read_key(key)?, decode::<StoredUpload>(key, value)?.value)))
    })?;
    for (key, upload) in uploads.iter().take(DYING_UPLOADS_MAX) {
        uploads::discard(context, bucket, key, upload)?;
    }
    if uploads.len() <= DYING_UPLOADS_MAX {
        context.rows.delete(keys::dying_bucket(bucket));
    }
    Ok(())
}
