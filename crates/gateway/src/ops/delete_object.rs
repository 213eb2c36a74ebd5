//! DeleteObject: a key that is not there is deleted all the same, unless a condition wanted it.

use cairn_s3::{S3Error, S3ErrorCode, WriteConditions};
use http::StatusCode;

use super::preconditions;
use crate::{
    call::Call,
    error::answer_for_refusal,
    respond::{self, Answer},
};

pub(crate) async fn delete_object(call: Call) -> Result<Answer, S3Error> {
    call.authorize_write()?;
    let conditions = preconditions(WriteConditions::parse(&call.headers)?);
    let bucket = call.bucket().await?.id;
    let (engine, keys) = (call.engine().clone(), vec![(call.key().to_owned(), conditions)]);
    let deleted = call.settle(async move { engine.delete_objects(bucket, keys).await }).await?;
    match deleted.into_iter().next() {
        Some(Ok(_)) => Ok(respond::empty(StatusCode::NO_CONTENT)),
        Some(Err(refusal)) => Err(answer_for_refusal(refusal)),
        None => Err(S3ErrorCode::InternalError.into()),
    }
}
