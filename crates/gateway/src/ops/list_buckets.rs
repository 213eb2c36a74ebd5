//! ListBuckets: all for a root key, its own one for a limited key.

use cairn_meta::{BucketRow, Scope};
use cairn_s3::{
    S3Error,
    params::{ListBucketsParams, encode_token},
    xml::{BucketEntry, ListAllMyBucketsResult},
};

use super::owner;
use crate::{
    authorize::Action,
    call::{Call, moment},
    error::answer_for,
    respond::{self, Answer},
};

pub(crate) async fn list_buckets(call: Call) -> Result<Answer, S3Error> {
    call.authorize(Action::ListBuckets)?;
    let params = ListBucketsParams::parse(&call.query)?;
    let limit = usize::try_from(params.max_buckets).unwrap_or(usize::MAX);
    let mut rows = match &call.identity.scope {
        Scope::Root => {
            let after = params.continue_after.as_deref();
            call.engine().buckets(&params.prefix, after, limit + 1).await.map_err(answer_for)?
        }
        Scope::Bucket { bucket, .. } => own_bucket(&call, bucket, &params).await?,
    };
    let continuation_token = (rows.len() > limit).then(|| {
        rows.truncate(limit);
        encode_token(rows.last().map_or("", |row| &row.name))
    });
    let buckets = rows
        .into_iter()
        .map(|row| BucketEntry { name: row.name, creation_date: moment(row.created_ms) })
        .collect();
    let result = ListAllMyBucketsResult { owner: owner(), buckets, prefix: params.prefix, continuation_token };
    Ok(respond::xml(result.to_xml()))
}

async fn own_bucket(call: &Call, bucket: &str, params: &ListBucketsParams) -> Result<Vec<BucketRow>, S3Error> {
    let is_asked = bucket.starts_with(&params.prefix) && params.continue_after.as_deref().is_none_or(|after| bucket > after);
    if !is_asked {
        return Ok(Vec::new());
    }
    match call.engine().bucket(bucket).await {
        Ok(row) => Ok(vec![row]),
        Err(cairn_cluster::EngineError::NoSuchBucket) => Ok(Vec::new()),
        Err(error) => Err(answer_for(error)),
    }
}
