//! The source of a copy: found, allowed, checked; and hashed where the copy needs a digest the source has not.

use std::ops::Range;

use cairn_cluster::ObjectReader;
use cairn_s3::{
    BodyVerifier, ChecksumAlgorithm, CopySource, PayloadKind, ReadConditions, RequestChecksums, S3Error, S3ErrorCode,
    VerifiedBody,
};
use futures_util::StreamExt;

use crate::{
    authorize::Action,
    body::Digester,
    call::{Call, find_bucket},
    error::answer_for,
};

/// Opens the source that a request names.
pub(super) async fn open(call: &Call, source: &CopySource) -> Result<ObjectReader, S3Error> {
    let conditions = ReadConditions::parse_copy_source(&call.headers)?;
    let reader = reopen(call, source).await?;
    let row = reader.row();
    conditions.check(&row.etag, call.shared.modified(row.modified_ms))?;
    Ok(reader)
}

/// Reads which source the request names, and whether its sender may read it.
pub(super) fn named(call: &Call) -> Result<CopySource, S3Error> {
    let source = CopySource::parse(&call.headers)?.ok_or(S3ErrorCode::InvalidRequest)?;
    call.authorize(Action::Read { bucket: &source.bucket, key: &source.key })?;
    Ok(source)
}

/// A copy has no body: a checksum of one, and what is sent all the same, would be ignored.
pub(super) async fn refuse_body(call: &mut Call) -> Result<(), S3Error> {
    let invalid = |message| Err(S3Error::new(S3ErrorCode::InvalidRequest, message));
    let sent = RequestChecksums::parse(&call.headers)?;
    if sent.value.is_some() || sent.trailer.is_some() {
        return invalid("a copy takes no checksum value: send x-amz-checksum-algorithm, and it is computed");
    }
    if call.take_payload()?.next().await?.is_some() {
        return invalid("a copy has no body: send none, or leave out x-amz-copy-source to store the body");
    }
    Ok(())
}

async fn reopen(call: &Call, source: &CopySource) -> Result<ObjectReader, S3Error> {
    let bucket = find_bucket(call.engine(), &source.bucket).await?.id;
    call.engine().open_object(bucket, &source.key).await.map_err(|error| {
        let answer = answer_for(error);
        match answer.code {
            S3ErrorCode::NoSuchKey => answer.with("Key", source.key.clone()),
            _ => answer,
        }
    })
}

/// Reads a range of the source once and hashes it. The copy itself moves no bytes; this is for the digests alone.
pub(super) async fn digest(
    call: &Call,
    source: &CopySource,
    opened: &ObjectReader,
    range: Range<u64>,
    algorithm: Option<ChecksumAlgorithm>,
) -> Result<VerifiedBody, S3Error> {
    let again = reopen(call, source).await?;
    if again.row().version != opened.row().version {
        return Err(S3Error::new(
            S3ErrorCode::OperationAborted,
            "the source was overwritten during the copy; try again",
        ));
    }
    let verifier = BodyVerifier::new(PayloadKind::Unsigned, RequestChecksums::default(), algorithm);
    let mut digester = Digester::new(call.shared.hasher.clone(), verifier);
    let mut body = again.body(range);
    while let Some(bytes) = body.next().await {
        digester.update(bytes.map_err(answer_for)?).await?;
    }
    digester.finish(None).await
}
