//! DeleteBucket: only an empty one.

use cairn_s3::S3Error;
use http::StatusCode;

use crate::{
    authorize::Action,
    call::Call,
    respond::{self, Answer},
};

pub(crate) async fn delete_bucket(call: Call) -> Result<Answer, S3Error> {
    call.authorize(Action::ManageBucket)?;
    let (engine, name) = (call.engine().clone(), call.bucket_name().to_owned());
    call.settle(async move { engine.delete_bucket(&name).await }).await?;
    Ok(respond::empty(StatusCode::NO_CONTENT))
}
