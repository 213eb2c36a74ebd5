//! ListMultipartUploads.

use cairn_meta::{UploadPage, UploadQuery};
use cairn_s3::{
    S3Error,
    params::ListMultipartUploadsParams,
    xml::{ListMultipartUploadsResult, ListedUpload},
};

use super::{owner, storage_class, stored_checksum};
use crate::{
    authorize::Action,
    call::{Call, moment},
    error::answer_for,
    respond::{self, Answer},
};

pub(crate) async fn list_multipart_uploads(call: Call) -> Result<Answer, S3Error> {
    let params = ListMultipartUploadsParams::parse(&call.query)?;
    call.authorize(Action::List { bucket: call.bucket_name(), prefix: &params.prefix })?;
    let bucket = call.bucket().await?.id;
    let page = if params.max_uploads == 0 {
        UploadPage::default()
    } else {
        let query = UploadQuery {
            bucket,
            prefix: params.prefix.clone(),
            delimiter: params.delimiter.clone(),
            after: after(&params)?,
            limit: usize::try_from(params.max_uploads).unwrap_or(usize::MAX),
        };
        call.engine().uploads(query).await.map_err(answer_for)?
    };
    let uploads = page.uploads.into_iter().map(|(key, row)| ListedUpload {
        key,
        upload_id: row.id.to_string(),
        initiated: moment(row.opened_ms),
        storage_class: storage_class(row.attributes.storage_class),
        owner: owner(),
        checksum: stored_checksum::announced(row.checksum.as_ref()),
    });
    let (next_key_marker, next_upload) = page.next.clone().unzip();
    let result = ListMultipartUploadsResult {
        bucket: call.bucket_name().to_owned(),
        prefix: params.prefix,
        delimiter: params.delimiter,
        key_marker: params.key_marker.unwrap_or_default(),
        upload_id_marker: params.upload_id_marker.unwrap_or_default(),
        next_key_marker,
        next_upload_id_marker: next_upload.flatten().map(|upload| upload.to_string()),
        max_uploads: params.max_uploads,
        is_truncated: page.next.is_some(),
        encode_url: params.encode_url,
        uploads: uploads.collect(),
        common_prefixes: page.prefixes,
    };
    Ok(respond::xml(result.to_xml()))
}

/// Where the page begins. A marker that is no upload id was never given out.
fn after(params: &ListMultipartUploadsParams) -> Result<Option<(String, Option<cairn_proto::UploadId>)>, S3Error> {
    let Some(key) = params.key_marker.clone() else { return Ok(None) };
    let upload = params.upload_id_marker.as_deref().map(|marker| {
        let unknown = "the upload-id-marker is not one of this server's";
        marker.parse().map_err(|_| S3Error::invalid_argument("upload-id-marker", marker, unknown))
    });
    Ok(Some((key, upload.transpose()?)))
}
