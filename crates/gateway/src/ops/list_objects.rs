//! ListObjects in both versions: one query, two documents.

use cairn_meta::{ListEntry, ListPage, ListQuery};
use cairn_s3::{
    S3Error,
    params::{ListObjectsParams, encode_token},
    xml::{ListBucketResultV1, ListBucketResultV2, ListedObject},
};

use super::{owner, storage_class, stored_checksum};
use crate::{
    authorize::Action,
    call::{Call, Shared},
    error::answer_for,
    respond::{self, Answer},
};

pub(crate) async fn list_objects(call: Call) -> Result<Answer, S3Error> {
    let params = ListObjectsParams::parse(&call.query)?;
    let page = list(&call, &params, params.marker.clone()).await?;
    let (contents, common_prefixes) = entries(&call.shared, page.entries);
    let result = ListBucketResultV1 {
        name: call.bucket_name().to_owned(),
        prefix: params.prefix,
        marker: params.marker.unwrap_or_default(),
        delimiter: params.delimiter,
        max_keys: params.max_keys,
        encode_url: params.encode_url,
        is_truncated: page.next.is_some(),
        next_marker: page.next,
        owner: Some(owner()),
        contents,
        common_prefixes,
    };
    Ok(respond::xml(result.to_xml()))
}

pub(crate) async fn list_objects_v2(call: Call) -> Result<Answer, S3Error> {
    let params = ListObjectsParams::parse(&call.query)?;
    let after = params.continue_after.clone().or_else(|| params.start_after.clone());
    let page = list(&call, &params, after).await?;
    let (contents, common_prefixes) = entries(&call.shared, page.entries);
    let result = ListBucketResultV2 {
        name: call.bucket_name().to_owned(),
        prefix: params.prefix,
        delimiter: params.delimiter,
        max_keys: params.max_keys,
        encode_url: params.encode_url,
        start_after: params.start_after,
        continuation_token: params.continuation_token,
        next_continuation_token: page.next.as_deref().map(encode_token),
        is_truncated: page.next.is_some(),
        owner: params.fetch_owner.then(owner),
        contents,
        common_prefixes,
    };
    Ok(respond::xml(result.to_xml()))
}

async fn list(call: &Call, params: &ListObjectsParams, after: Option<String>) -> Result<ListPage, S3Error> {
    call.authorize(Action::List { bucket: call.bucket_name(), prefix: &params.prefix })?;
    let bucket = call.bucket().await?.id;
    if params.max_keys == 0 {
        return Ok(ListPage::default());
    }
    let query = ListQuery {
        bucket,
        prefix: params.prefix.clone(),
        delimiter: params.delimiter.clone(),
        after,
        limit: usize::try_from(params.max_keys).unwrap_or(usize::MAX),
    };
    call.engine().list(query).await.map_err(answer_for)
}

fn entries(shared: &Shared, entries: Vec<ListEntry>) -> (Vec<ListedObject>, Vec<String>) {
    let mut contents = Vec::new();
    let mut common_prefixes = Vec::new();
    for entry in entries {
        match entry {
            ListEntry::Prefix(prefix) => common_prefixes.push(prefix),
            ListEntry::Object { key, bytes, etag, modified_ms, storage_class: class, checksum } => {
                contents.push(ListedObject {
                    key,
                    last_modified: shared.modified(modified_ms),
                    etag,
                    size: bytes,
                    storage_class: storage_class(class),
                    checksum: checksum.and_then(|(algorithm, kind)| stored_checksum::named(&algorithm, &kind)),
                });
            }
        }
    }
    (contents, common_prefixes)
}
