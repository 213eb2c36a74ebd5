//! GetBucketLocation: always the region whose name is not written.

use cairn_s3::{S3Error, xml::LocationConstraint};

use crate::{
    authorize::Action,
    call::Call,
    respond::{self, Answer},
};

/// The one region, as headers name it.
pub(super) const REGION: &str = "us-east-1";

pub(crate) async fn get_bucket_location(call: Call) -> Result<Answer, S3Error> {
    call.authorize(Action::ReadBucket { bucket: call.bucket_name() })?;
    call.bucket().await?;
    Ok(respond::xml(LocationConstraint { region: None }.to_xml()))
}
