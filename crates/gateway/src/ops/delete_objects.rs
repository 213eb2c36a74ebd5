//! DeleteObjects: up to 1,000 keys, each with an answer of its own.

use cairn_meta::Preconditions;
use cairn_s3::{
    S3Error, S3ErrorCode,
    xml::{DeleteRequest, DeleteResult, DeleteResultEntry, ObjectToDelete, XML_BODY_BYTES_MAX},
};

use crate::{
    authorize::Action,
    body::Payload,
    call::Call,
    error::answer_for_refusal,
    respond::{self, Answer},
};

pub(crate) async fn delete_objects(mut call: Call) -> Result<Answer, S3Error> {
    let payload = call.take_payload()?;
    check_is_protected(&payload)?;
    let body = payload.collect(XML_BODY_BYTES_MAX).await?;
    let request = DeleteRequest::parse(&body)?;
    let errors: Vec<_> = request.objects.iter().map(|object| refused(&call, object)).collect();
    // Who may delete none of the keys is not told whether the bucket is there.
    if errors.iter().any(Option::is_none) {
        let result = delete_allowed(&call, &request, errors).await?;
        return Ok(respond::xml(result.to_xml()));
    }
    Ok(respond::xml(result(&request, errors).to_xml()))
}

/// S3 takes no list of deletions that a broken connection may have changed.
fn check_is_protected(payload: &Payload) -> Result<(), S3Error> {
    let checksums = payload.checksums();
    if checksums.content_md5.is_some() || checksums.value.is_some() || checksums.trailer.is_some() {
        return Ok(());
    }
    Err(S3Error::new(
        S3ErrorCode::InvalidRequest,
        "Missing required header for this request: Content-MD5 or a checksum",
    ))
}

fn refused(call: &Call, object: &ObjectToDelete) -> Option<S3Error> {
    let allowed = call.authorize(Action::Write { bucket: call.bucket_name(), key: &object.key });
    allowed.err().or_else(|| object.refused.clone())
}

async fn delete_allowed(
    call: &Call,
    request: &DeleteRequest,
    mut errors: Vec<Option<S3Error>>,
) -> Result<DeleteResult, S3Error> {
    let bucket = call.bucket().await?.id;
    let allowed = request.objects.iter().zip(&errors).filter(|(_, error)| error.is_none());
    let keys = allowed
        .map(|(object, _)| {
            let etags = object.etag.clone().map(|etag| vec![etag]);
            (object.key.clone(), Preconditions { absent: false, etags })
        })
        .collect();
    let engine = call.engine().clone();
    let outcomes = call.settle(async move { engine.delete_objects(bucket, keys).await }).await?;
    let mut outcomes = outcomes.into_iter();
    for error in errors.iter_mut().filter(|error| error.is_none()) {
        *error = match outcomes.next() {
            Some(outcome) => outcome.err().map(answer_for_refusal),
            None => Some(S3ErrorCode::InternalError.into()),
        };
    }
    Ok(result(request, errors))
}

fn result(request: &DeleteRequest, errors: Vec<Option<S3Error>>) -> DeleteResult {
    let entries = request
        .objects
        .iter()
        .zip(errors)
        .map(|(object, error)| DeleteResultEntry {
            key: object.key.clone(),
            version_id: object.version_id.clone(),
            error,
        })
        .collect();
    DeleteResult { quiet: request.quiet, entries }
}
