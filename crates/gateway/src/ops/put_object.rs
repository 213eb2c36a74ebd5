//! PutObject.

use cairn_cluster::{EngineError, ObjectCommit, ObjectWriter, WriteKind, WriteTarget};
use cairn_s3::{S3Error, WriteConditions, etag};
use http::StatusCode;

use super::{attributes, preconditions, stored_checksum};
use crate::{
    body::Payload,
    call::Call,
    error::answer_for,
    respond::{self, Answer},
};

pub(crate) async fn put_object(mut call: Call) -> Result<Answer, S3Error> {
    call.authorize_write()?;
    let mut attributes = attributes::from_headers(&call)?;
    let conditions = preconditions(WriteConditions::parse(&call.headers)?);
    let (bucket, settings) = call.bucket().await.map(|row| (row.id, row.settings))?;
    if settings.cache {
        attributes::keep_file_time(&mut attributes, &call.headers);
    }
    let mut payload = call.take_object(None, settings.etag)?;
    let length = payload.length()?;
    call.hold_write(settings, attributes.storage_class.as_deref(), length)?;

    let (key, kind, class) = (call.key().to_owned(), WriteKind::Object, attributes.storage_class.clone());
    let target = WriteTarget { bucket, key, kind, length: Some(length), class };
    let mut writer = call.engine().begin_write(target).await.map_err(answer_for)?;
    pour(&mut payload, &mut writer).await?;
    let digests = payload.finish().await?;
    let stored = writer.finish().await.map_err(answer_for)?;

    let etag = etag::of_body(digests.tag);
    let commit = ObjectCommit {
        bucket,
        key: call.key().to_owned(),
        etag: etag.clone(),
        checksum: digests.checksum.as_ref().map(stored_checksum::to_row),
        attributes,
        preconditions: conditions,
    };
    let engine = call.engine().clone();
    call.settle(async move { engine.commit_object(stored, commit).await }).await?;

    let mut answer = respond::empty(StatusCode::OK);
    let headers = answer.headers_mut();
    respond::set_etag(headers, &etag);
    respond::set_checksum(headers, digests.checksum.as_ref());
    Ok(answer)
}

/// Moves a body to the disks, piece by piece.
pub(super) async fn pour(payload: &mut Payload, writer: &mut ObjectWriter) -> Result<(), S3Error> {
    while let Some(bytes) = payload.next().await? {
        writer.write(bytes).await.map_err(|error: EngineError| answer_for(error))?;
    }
    Ok(())
}
