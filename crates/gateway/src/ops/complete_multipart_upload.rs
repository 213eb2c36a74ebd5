//! CompleteMultipartUpload. Sent again after it was done, it answers as it did the first time.

use std::collections::HashMap;

use cairn_cluster::EngineError;
use cairn_meta::{Body, ChosenPart, EtagKind, PartRow, UploadRow};
use cairn_proto::{BucketId, UploadId};
use cairn_s3::{
    Checksum, ChecksumAlgorithm, ChecksumType, RequestChecksums, S3Error, S3ErrorCode, WriteConditions, etag,
    headers::parse_mp_object_size,
    xml::{CompleteMultipartUpload, CompleteMultipartUploadResult, CompletedPart, XML_BODY_BYTES_MAX},
};
use http::HeaderMap;

use super::{preconditions, stored_checksum, upload_id};
use crate::{
    body::{Payload, PayloadOptions},
    call::Call,
    error::answer_for,
    respond::{self, Answer},
};

/// Part rows read at once.
const PARTS_PAGE: usize = 1000;

pub(crate) async fn complete_multipart_upload(mut call: Call) -> Result<Answer, S3Error> {
    call.authorize_write()?;
    let upload = upload_id(&call)?;
    let conditions = preconditions(WriteConditions::parse(&call.headers)?);
    let sent = RequestChecksums::parse(&call.headers)?;
    let body = document(&mut call)?.collect(XML_BODY_BYTES_MAX).await?;
    let request = CompleteMultipartUpload::parse(&body)?;
    let etag = object_etag(&request.parts)?;
    let bucket = call.bucket().await?.id;

    let row = match call.engine().upload(bucket, call.key(), upload).await {
        Err(EngineError::NoSuchUpload) => return completed_before(&call, bucket, upload, &etag).await,
        row => row.map_err(answer_for)?,
    };
    check_kind(&row, &sent)?;
    let rows = part_rows(&call, upload, &request.parts).await?;
    check_part_checksums(&request.parts, &rows)?;
    check_size(&call.headers, &rows)?;
    let checksum = object_checksum(&row, &rows, sent.value.as_ref())?;

    let parts = request.parts.iter().map(chosen).collect();
    let (engine, key, tag) = (call.engine().clone(), call.key().to_owned(), etag.clone());
    let checksum_row = checksum.as_ref().map(stored_checksum::to_row);
    call.settle(
        async move { engine.complete_upload(bucket, &key, upload, parts, tag, checksum_row, conditions).await },
    )
    .await?;
    Ok(answer(&call, etag, checksum))
}

/// The body is the list of parts: a checksum header is the object's, not the body's.
fn document(call: &mut Call) -> Result<Payload, S3Error> {
    let mut headers = call.headers.clone();
    for algorithm in ChecksumAlgorithm::ALL {
        headers.remove(algorithm.header_name());
    }
    headers.remove("x-amz-checksum-type");
    let inbound = call.inbound.take().ok_or(S3ErrorCode::InternalError)?;
    let (kind, chunk_signer) = (call.payload, call.chunk_signer.take());
    let hasher = call.shared.hasher.clone();
    let options = PayloadOptions { hasher, kind, chunk_signer, fallback: None, etag: EtagKind::Md5 };
    Payload::new(inbound, &headers, options)
}

/// The parts' ETags are their digests; `apply` compares them with the stored ones.
fn object_etag(parts: &[CompletedPart]) -> Result<String, S3Error> {
    let digest = |part: &CompletedPart| {
        let unknown = || S3Error::from(S3ErrorCode::InvalidPart).with("PartNumber", part.part_number.to_string());
        etag::part_digest(&part.etag).ok_or_else(unknown)
    };
    let all = parts.iter().map(digest).collect::<Result<Vec<_>, S3Error>>()?;
    Ok(etag::of_parts(&all))
}

fn chosen(part: &CompletedPart) -> ChosenPart {
    ChosenPart {
        number: u16::try_from(part.part_number).unwrap_or(u16::MAX),
        etag: part.etag.to_ascii_lowercase(),
        // Of several one at most is of the part's algorithm, and another is refused before.
        checksum: part.checksums.first().map(ToString::to_string),
    }
}

/// A value of another algorithm, or of another type, than the upload's cannot be compared with anything.
fn check_kind(upload: &UploadRow, sent: &RequestChecksums) -> Result<(), S3Error> {
    let Some((algorithm, kind)) = stored_checksum::announced(upload.checksum.as_ref()) else {
        let of_value = sent.value.as_ref().map(|value| value.algorithm.header_name());
        let of_type = sent.checksum_type.map(|_| "x-amz-checksum-type");
        let Some(name) = of_value.or(of_type) else { return Ok(()) };
        let message =
            format!("the upload was begun without checksums, so that {name} cannot be compared: leave it out");
        return Err(S3Error::new(S3ErrorCode::InvalidRequest, message));
    };
    let refused = |own: &str, other: &str, name: &str| {
        let message = format!("the upload was begun with {own} checksums, not with {other}: send {name}, or none");
        Err(S3Error::new(S3ErrorCode::InvalidRequest, message))
    };
    if let Some(other) = sent.value.as_ref().map(|value| value.algorithm).filter(|other| *other != algorithm) {
        return refused(algorithm.as_str(), other.as_str(), algorithm.header_name());
    }
    match sent.checksum_type {
        Some(other) if other != kind => {
            refused(kind.as_str(), other.as_str(), &format!("x-amz-checksum-type: {}", kind.as_str()))
        }
        _ => Ok(()),
    }
}

/// The checksums that are listed must be of the algorithm the parts are stored with: the upload's, if it has one.
/// Whether their values are right `apply` compares.
fn check_part_checksums(parts: &[CompletedPart], rows: &[PartRow]) -> Result<(), S3Error> {
    for (part, row) in parts.iter().zip(rows) {
        let stored = row.checksum.as_ref().map(|checksum| checksum.algorithm.as_str());
        let Some(other) = part.checksums.iter().find(|listed| Some(listed.algorithm.as_str()) != stored) else {
            continue;
        };
        let message = format!(
            "{} cannot be compared: the part was stored with {}; list the checksum that its upload answered, or none",
            other.algorithm.element_name(),
            stored.unwrap_or("no checksum"),
        );
        let error = S3Error::new(S3ErrorCode::InvalidPart, message);
        return Err(error.with("PartNumber", part.part_number.to_string()));
    }
    Ok(())
}

/// The rows of the chosen parts, in their order.
async fn part_rows(call: &Call, upload: UploadId, parts: &[CompletedPart]) -> Result<Vec<PartRow>, S3Error> {
    let mut stored = HashMap::new();
    let mut after = None;
    loop {
        let page = call.engine().parts(upload, after, PARTS_PAGE).await.map_err(answer_for)?;
        // Its extents are not needed, and 10,000 of them are large.
        let light =
            page.parts.into_iter().map(|(number, row)| (u32::from(number), PartRow { extents: Vec::new(), ..row }));
        stored.extend(light);
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    parts
        .iter()
        .map(|part| {
            stored
                .remove(&part.part_number)
                .filter(|row| row.etag.eq_ignore_ascii_case(&part.etag))
                .ok_or_else(|| S3Error::from(S3ErrorCode::InvalidPart).with("PartNumber", part.part_number.to_string()))
        })
        .collect()
}

fn check_size(headers: &HeaderMap, rows: &[PartRow]) -> Result<(), S3Error> {
    let total: u64 = rows.iter().map(|row| row.bytes).sum();
    match parse_mp_object_size(headers)? {
        Some(announced) if announced != total => {
            let message = format!("the parts have {total} bytes together, not what x-amz-mp-object-size says");
            Err(S3Error::new(S3ErrorCode::InvalidRequest, message))
        }
        _ => Ok(()),
    }
}

/// The object's checksum from those of its parts, compared with the one the request names.
fn object_checksum(
    upload: &UploadRow,
    rows: &[PartRow],
    announced: Option<&Checksum>,
) -> Result<Option<Checksum>, S3Error> {
    let Some((algorithm, kind)) = stored_checksum::announced(upload.checksum.as_ref()) else { return Ok(None) };
    let parts: Option<Vec<(Checksum, u64)>> =
        rows.iter().map(|row| Some((stored_checksum::from_row(row.checksum.as_ref())?, row.bytes))).collect();
    let computed = parts.and_then(|parts| match kind {
        ChecksumType::FullObject => Checksum::combine(algorithm, &parts),
        ChecksumType::Composite => {
            let parts: Vec<Checksum> = parts.into_iter().map(|(checksum, _)| checksum).collect();
            Checksum::composite(algorithm, &parts)
        }
    });
    if let Some(announced) = announced
        && !same_value(announced, computed.as_ref())
    {
        let message = format!("the {} you specified did not match the calculated checksum", algorithm.as_str());
        return Err(S3Error::new(S3ErrorCode::BadDigest, message));
    }
    Ok(computed)
}

/// SDKs send a composite value with and without its number of parts.
fn same_value(announced: &Checksum, computed: Option<&Checksum>) -> bool {
    computed.is_some_and(|computed| {
        announced.algorithm == computed.algorithm
            && announced.digest == computed.digest
            && (announced.parts.is_none() || announced.parts == computed.parts)
    })
}

/// The upload is gone: if the key's object is what it became, this is a repetition.
async fn completed_before(call: &Call, bucket: BucketId, upload: UploadId, etag: &str) -> Result<Answer, S3Error> {
    let gone = || S3Error::from(S3ErrorCode::NoSuchUpload).with("UploadId", upload.to_string());
    let reader = match call.engine().open_object(bucket, call.key()).await {
        Err(EngineError::NoSuchObject) => return Err(gone()),
        reader => reader.map_err(answer_for)?,
    };
    let row = reader.row();
    match &row.body {
        Body::Parts { upload: became, .. } if *became == upload && row.etag == etag => {
            let checksum = stored_checksum::from_row(row.checksum.as_ref());
            Ok(answer(call, row.etag.clone(), checksum))
        }
        _ => Err(gone()),
    }
}

fn answer(call: &Call, etag: String, checksum: Option<Checksum>) -> Answer {
    let result = CompleteMultipartUploadResult {
        location: call.object_url(),
        bucket: call.bucket_name().to_owned(),
        key: call.key().to_owned(),
        etag,
        checksum,
    };
    respond::xml(result.to_xml())
}

#[cfg(test)]
#[path = "complete_multipart_upload_test.rs"]
mod complete_multipart_upload_test;
