//! The operations of S3, one file each: authorize, validate, plan, stream, commit, respond.

mod abort_multipart_upload;
mod attributes;
mod complete_multipart_upload;
mod copy_object;
mod copy_source;
mod create_bucket;
mod create_multipart_upload;
mod delete_bucket;
mod delete_object;
mod delete_objects;
mod get_bucket_location;
mod get_bucket_versioning;
mod get_object;
mod head_bucket;
mod list_buckets;
mod list_multipart_uploads;
mod list_objects;
mod list_parts;
mod put_object;
mod stored_checksum;
mod upload_part;
mod upload_part_copy;

pub(crate) use abort_multipart_upload::abort_multipart_upload;
pub(crate) use complete_multipart_upload::complete_multipart_upload;
pub(crate) use copy_object::copy_object;
pub(crate) use create_bucket::create_bucket;
pub(crate) use create_multipart_upload::create_multipart_upload;
pub(crate) use delete_bucket::delete_bucket;
pub(crate) use delete_object::delete_object;
pub(crate) use delete_objects::delete_objects;
pub(crate) use get_bucket_location::get_bucket_location;
pub(crate) use get_bucket_versioning::get_bucket_versioning;
pub(crate) use get_object::{get_object, head_object};
pub(crate) use head_bucket::head_bucket;
pub(crate) use list_buckets::list_buckets;
pub(crate) use list_multipart_uploads::list_multipart_uploads;
pub(crate) use list_objects::{list_objects, list_objects_v2};
pub(crate) use list_parts::list_parts;
pub(crate) use put_object::put_object;
pub(crate) use upload_part::upload_part;
pub(crate) use upload_part_copy::upload_part_copy;

use std::borrow::Cow;

use cairn_meta::Preconditions;
use cairn_proto::UploadId;
use cairn_s3::{S3Error, S3ErrorCode, WriteConditions, conditional::ETagCondition, xml::Owner};

use crate::call::Call;

/// There is one account: whoever has a key belongs to it.
pub(crate) fn owner() -> Owner {
    Owner { id: "cairn".to_owned(), display_name: "cairn".to_owned() }
}

/// The conditions of a write, as the metadata group checks them.
fn preconditions(conditions: WriteConditions) -> Preconditions {
    let etags = conditions.if_match.map(|condition| match condition {
        ETagCondition::Any => vec!["*".to_owned()],
        ETagCondition::OneOf(etags) => etags,
    });
    Preconditions { absent: conditions.if_none_match_any, etags }
}

/// The upload a request names. Text that is no id names none.
fn upload_id(call: &Call) -> Result<UploadId, S3Error> {
    let text = call.query.get("uploadId").unwrap_or_default();
    text.parse().map_err(|_| S3Error::from(S3ErrorCode::NoSuchUpload).with("UploadId", text))
}

/// The part number a request names.
fn part_number(call: &Call) -> Result<u16, S3Error> {
    let number = cairn_s3::params::parse_part_number(&call.query)?.ok_or(S3ErrorCode::InvalidArgument)?;
    u16::try_from(number).map_err(|_| S3ErrorCode::InvalidArgument.into())
}

/// The storage class as answers name it.
fn storage_class(stored: Option<String>) -> Cow<'static, str> {
    stored.map_or(Cow::Borrowed("STANDARD"), Cow::Owned)
}
