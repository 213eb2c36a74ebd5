//! HeadBucket.

use cairn_s3::S3Error;
use http::StatusCode;

use super::get_bucket_location::REGION;
use crate::{
    authorize::Action,
    call::Call,
    respond::{self, Answer},
};

pub(crate) async fn head_bucket(call: Call) -> Result<Answer, S3Error> {
    call.authorize(Action::ReadBucket { bucket: call.bucket_name() })?;
    call.bucket().await?;
    let mut answer = respond::empty(StatusCode::OK);
    respond::set(answer.headers_mut(), "x-amz-bucket-region", REGION);
    Ok(answer)
}
