//! UploadPartCopy: a part that refers to bytes of an object.

use std::ops::Range;

use cairn_cluster::{ObjectReader, PartCommit};
use cairn_s3::{
    Checksum, ChecksumAlgorithm, CopySource, RequestChecksums, S3Error, etag, headers::single_header, range,
    xml::CopyPartResult,
};

use super::{copy_source, part_number, stored_checksum, upload_id, upload_part::part_algorithm};
use crate::{
    call::Call,
    error::answer_for,
    respond::{self, Answer},
};

pub(crate) async fn upload_part_copy(mut call: Call) -> Result<Answer, S3Error> {
    call.authorize_write()?;
    let source = copy_source::named(&call)?;
    copy_source::refuse_body(&mut call).await?;
    let (upload, number) = (upload_id(&call)?, part_number(&call)?);
    let (bucket, settings) = call.bucket().await.map(|row| (row.id, row.settings))?;
    let row = call.engine().upload(bucket, call.key(), upload).await.map_err(answer_for)?;
    let algorithm = part_algorithm(&row, &RequestChecksums::parse(&call.headers)?)?;
    let reader = copy_source::open(&call, &source).await?;
    let range = source_range(&call, reader.row().bytes)?;
    // Before the digests: they read it all.
    call.engine().check_part_bytes(range.end - range.start).map_err(answer_for)?;
    call.hold_copy(reader.row(), settings, row.attributes.storage_class.as_deref(), range.end - range.start)?;

    let (etag, checksum) = digests(&call, &source, &reader, range.clone(), algorithm).await?;
    let commit = PartCommit {
        bucket,
        key: call.key().to_owned(),
        upload,
        number,
        etag: etag.clone(),
        checksum: checksum.as_ref().map(stored_checksum::to_row),
    };
    let engine = call.engine().clone();
    let committed = call.settle(async move { engine.copy_part(&reader, range, commit).await }).await?;

    let last_modified = call.shared.modified(committed.modified_ms);
    Ok(respond::xml(CopyPartResult { last_modified, etag, checksum }.to_xml()))
}

fn source_range(call: &Call, length: u64) -> Result<Range<u64>, S3Error> {
    match single_header(&call.headers, "x-amz-copy-source-range")? {
        None => Ok(0..length),
        Some(header) => {
            let range = range::resolve_copy_source(header, length)?;
            Ok(range.first..range.last + 1)
        }
    }
}

/// The part's ETag must be the MD5 of its bytes: the completed object's is made of them. A whole object that was
/// written at once has it already.
async fn digests(
    call: &Call,
    source: &CopySource,
    reader: &ObjectReader,
    range: Range<u64>,
    algorithm: Option<ChecksumAlgorithm>,
) -> Result<(String, Option<Checksum>), S3Error> {
    let row = reader.row();
    let is_whole = range == (0..row.bytes);
    let is_md5 = row.etag.len() == 32 && row.etag.bytes().all(|byte| byte.is_ascii_hexdigit());
    let stored = stored_checksum::from_row(row.checksum.as_ref()).filter(|stored| stored.parts.is_none());
    let stored = stored.filter(|stored| Some(stored.algorithm) == algorithm);
    if is_whole && is_md5 && (algorithm.is_none() || stored.is_some()) {
        return Ok((row.etag.clone(), stored));
    }
    let digests = copy_source::digest(call, source, reader, range, algorithm).await?;
    Ok((etag::of_body(digests.tag), digests.checksum))
}
