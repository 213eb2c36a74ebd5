//! AbortMultipartUpload.

use cairn_s3::S3Error;
use http::StatusCode;

use super::upload_id;
use crate::{
    call::Call,
    respond::{self, Answer},
};

pub(crate) async fn abort_multipart_upload(call: Call) -> Result<Answer, S3Error> {
    call.authorize_write()?;
    let upload = upload_id(&call)?;
    let bucket = call.bucket().await?.id;
    let (engine, key) = (call.engine().clone(), call.key().to_owned());
    call.settle(async move { engine.abort_upload(bucket, &key, upload).await }).await?;
    Ok(respond::empty(StatusCode::NO_CONTENT))
}
