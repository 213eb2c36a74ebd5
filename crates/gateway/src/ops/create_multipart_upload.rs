//! CreateMultipartUpload.

use cairn_s3::{RequestChecksums, S3Error, S3ErrorCode, xml::InitiateMultipartUploadResult};

use super::{attributes, stored_checksum};
use crate::{
    call::Call,
    respond::{self, Answer},
};

pub(crate) async fn create_multipart_upload(call: Call) -> Result<Answer, S3Error> {
    call.authorize_write()?;
    let attributes = attributes::from_headers(&call)?;
    let checksums = RequestChecksums::parse(&call.headers)?;
    if checksums.checksum_type.is_some() && checksums.algorithm.is_none() {
        return Err(S3Error::new(S3ErrorCode::InvalidRequest, "x-amz-checksum-type needs x-amz-checksum-algorithm"));
    }
    let announced =
        checksums.algorithm.map(|algorithm| (algorithm, checksums.checksum_type.unwrap_or(algorithm.default_type())));
    let bucket = call.bucket().await?.id;

    let checksum = announced.map(|(algorithm, kind)| stored_checksum::announced_row(algorithm, kind));
    let (engine, key, initiator) = (call.engine().clone(), call.key().to_owned(), call.identity.access_key.clone());
    let upload =
        call.settle(async move { engine.create_upload(bucket, &key, attributes, checksum, &initiator).await }).await?;

    let result = InitiateMultipartUploadResult {
        bucket: call.bucket_name().to_owned(),
        key: call.key().to_owned(),
        upload_id: upload.to_string(),
    };
    let mut answer = respond::xml(result.to_xml());
    if let Some((algorithm, kind)) = announced {
        respond::set(answer.headers_mut(), "x-amz-checksum-algorithm", algorithm.as_str());
        respond::set(answer.headers_mut(), "x-amz-checksum-type", kind.as_str());
    }
    Ok(answer)
}
