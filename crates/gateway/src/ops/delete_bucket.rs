//! DeleteBucket: only an empty one. The access keys limited to it go with it.

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
    let deleted = call.settle(async move { engine.delete_bucket(&name).await }).await;
    // The bucket's access keys went with it, perhaps even where the answer did not come.
    call.shared.identities.invalidate();
    deleted?;
    Ok(respond::empty(StatusCode::NO_CONTENT))
}
