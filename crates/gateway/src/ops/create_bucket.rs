//! CreateBucket. Any region is accepted: there is one place.

use cairn_meta::BucketSettings;
use cairn_s3::{S3Error, uri::check_bucket_name, xml::CreateBucketConfiguration};
use http::StatusCode;

use crate::{
    authorize::Action,
    call::Call,
    respond::{self, Answer},
};

/// A configuration is a few elements.
const BODY_BYTES_MAX: usize = 64 << 10;

pub(crate) async fn create_bucket(mut call: Call) -> Result<Answer, S3Error> {
    call.authorize(Action::ManageBucket)?;
    check_bucket_name(call.bucket_name())?;
    let body = call.take_payload()?.collect(BODY_BYTES_MAX).await?;
    CreateBucketConfiguration::parse(&body)?;
    let (engine, name) = (call.engine().clone(), call.bucket_name().to_owned());
    call.settle(async move { engine.create_bucket(&name, BucketSettings::default(), None).await }).await?;
    let mut answer = respond::empty(StatusCode::OK);
    respond::set(answer.headers_mut(), "location", &format!("/{}", call.bucket_name()));
    Ok(answer)
}
