//! UploadPart.

use cairn_cluster::{PartCommit, WriteKind, WriteTarget};
use cairn_meta::UploadRow;
use cairn_s3::{ChecksumAlgorithm, RequestChecksums, S3Error, S3ErrorCode, etag};
use http::StatusCode;

use super::{part_number, put_object::pour, stored_checksum, upload_id};
use crate::{
    call::Call,
    error::answer_for,
    respond::{self, Answer},
};

pub(crate) async fn upload_part(mut call: Call) -> Result<Answer, S3Error> {
    call.authorize_write()?;
    let (upload, number) = (upload_id(&call)?, part_number(&call)?);
    let (bucket, settings) = call.bucket().await.map(|row| (row.id, row.settings))?;
    let row = call.engine().upload(bucket, call.key(), upload).await.map_err(answer_for)?;
    let algorithm = part_algorithm(&row, &RequestChecksums::parse(&call.headers)?)?;
    let mut payload = call.take_object(algorithm, settings.etag)?;
    let length = payload.length()?;
    call.hold_write(settings, row.attributes.storage_class.as_deref(), length)?;

    let (kind, class) = (WriteKind::Part { upload, number }, row.attributes.storage_class.clone());
    let target = WriteTarget { bucket, key: call.key().to_owned(), kind, length: Some(length), class };
    let mut writer = call.engine().begin_write(target).await.map_err(answer_for)?;
    pour(&mut payload, &mut writer).await?;
    let digests = payload.finish().await?;
    let stored = writer.finish().await.map_err(answer_for)?;

    let etag = etag::of_body(digests.tag);
    let commit = PartCommit {
        bucket,
        key: call.key().to_owned(),
        upload,
        number,
        etag: etag.clone(),
        checksum: digests.checksum.as_ref().map(stored_checksum::to_row),
    };
    let engine = call.engine().clone();
    call.settle(async move { engine.commit_part(stored, commit).await }).await?;

    let mut answer = respond::empty(StatusCode::OK);
    let headers = answer.headers_mut();
    respond::set_etag(headers, &etag);
    if let Some(checksum) = &digests.checksum {
        respond::set(headers, checksum.algorithm.header_name(), &checksum.to_string());
    }
    Ok(answer)
}

/// The checksum a part is stored with: the upload's, and no other if the upload has one.
pub(super) fn part_algorithm(
    upload: &UploadRow,
    sent: &RequestChecksums,
) -> Result<Option<ChecksumAlgorithm>, S3Error> {
    let announced = stored_checksum::announced(upload.checksum.as_ref()).map(|(algorithm, _)| algorithm);
    match (announced, sent.wanted()) {
        (Some(announced), Some(sent)) if announced != sent => Err(S3Error::new(
            S3ErrorCode::InvalidRequest,
            format!(
                "Checksum Type mismatch occurred, expected checksum Type: {}, actual checksum Type: {}",
                announced.as_str().to_lowercase(),
                sent.as_str().to_lowercase()
            ),
        )),
        (announced, sent) => Ok(announced.or(sent)),
    }
}
