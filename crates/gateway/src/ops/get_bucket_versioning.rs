//! GetBucketVersioning: never switched on.

use cairn_s3::{S3Error, xml::VersioningConfiguration};

use crate::{
    authorize::Action,
    call::Call,
    respond::{self, Answer},
};

pub(crate) async fn get_bucket_versioning(call: Call) -> Result<Answer, S3Error> {
    call.authorize(Action::ReadBucket { bucket: call.bucket_name() })?;
    call.bucket().await?;
    Ok(respond::xml(VersioningConfiguration.to_xml()))
}
