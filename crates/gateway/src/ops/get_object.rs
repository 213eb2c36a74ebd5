//! GetObject and HeadObject: the same answer, with and without its body.

use std::ops::Range;

use cairn_cluster::{EngineError, ObjectReader, UrlId, UrlRange};
use cairn_meta::{Body, BucketRow, ObjectRow, PartRef};
use cairn_s3::{
    ByteRange, ReadConditions, ResponseOverrides, S3Error, S3ErrorCode,
    checksum::is_checksum_wanted,
    dates, etag,
    headers::{last_modified, single_header},
    params, range,
};
use http::{HeaderMap, StatusCode};
use time::OffsetDateTime;

use super::{attributes, stored_checksum};
use crate::{
    body::{AnswerBody, stream_body},
    call::Call,
    error::answer_for,
    respond::{self, Answer},
};

/// The range that a download by many ranges begins with, to learn the length.
const FIRST_RANGE: &[u8] = b"bytes=0-0";

pub(crate) async fn get_object(call: Call) -> Result<Answer, S3Error> {
    read_object(call, true).await
}

pub(crate) async fn head_object(call: Call) -> Result<Answer, S3Error> {
    read_object(call, false).await
}

async fn read_object(call: Call, with_body: bool) -> Result<Answer, S3Error> {
    call.authorize_read()?;
    let conditions = ReadConditions::parse(&call.headers)?;
    let overrides = ResponseOverrides::parse(&call.query, true)?;
    let bucket = call.bucket().await?;
    let reader = open(&call, &bucket, with_body).await.map_err(|error| missing(&call, error))?;

    let modified = attributes::modified(&call.shared, reader.row(), bucket.settings);
    match conditions.check(&reader.row().etag, modified) {
        Err(error) if error.code == S3ErrorCode::NotModified => return Ok(not_modified(reader.row(), modified)),
        checked => checked?,
    }
    let slice = plan_slice(&call, &reader, modified).await?;

    let body = if with_body { open_body(&call, reader, &slice).await? } else { Opened::head(&reader) };
    let mut answer = respond::with_body(slice.status, body.body);
    let headers = answer.headers_mut();
    set_object_headers(headers, &body.row, modified);
    slice.set_headers(headers, &body.row);
    if is_checksum_wanted(&call.headers) && slice.is_whole {
        respond::set_checksum(headers, stored_checksum::from_row(body.row.checksum.as_ref()).as_ref());
    }
    for (name, value) in overrides.headers {
        headers.insert(name, value);
    }
    Ok(answer)
}

/// Opens the object, in a cache for all ranges of a presigned URL the same version of it.
async fn open(call: &Call, bucket: &BucketRow, with_body: bool) -> Result<ObjectReader, EngineError> {
    let range = call.headers.get(http::header::RANGE).filter(|_| with_body && bucket.settings.cache);
    let Some((url, range)) = call.presigned.zip(range) else {
        return call.engine().open_object(bucket.id, call.key()).await;
    };
    let range = UrlRange {
        url: UrlId(url.signature),
        signed_ms: u64::try_from(url.signed_at.unix_timestamp()).unwrap_or(0).saturating_mul(1000),
        ahead_ms_max: u64::try_from(url.ahead_max.as_millis()).unwrap_or(u64::MAX),
        now_ms: call.shared.clock.now_ms(),
        bucket_created_ms: bucket.created_ms,
        is_first: range.as_bytes().trim_ascii() == FIRST_RANGE,
    };
    call.engine().open_range(bucket.id, call.key(), &range).await
}

/// The row outlives the reader, which the body takes along.
struct Opened {
    body: AnswerBody,
    row: ObjectRow,
}

impl Opened {
    fn head(reader: &ObjectReader) -> Self {
        Self { body: AnswerBody::empty(), row: without_body(reader.row()) }
    }
}

async fn open_body(call: &Call, reader: ObjectReader, slice: &Slice) -> Result<Opened, S3Error> {
    let row = without_body(reader.row());
    let length = slice.range.end - slice.range.start;
    call.hold_read(reader.row(), length)?;
    let stream = reader.body(slice.range.clone());
    let body = stream_body(&call.shared.tasks, stream, length).await.map_err(answer_for)?;
    Ok(Opened { body, row })
}

/// A copy of the row for its headers.
fn without_body(row: &ObjectRow) -> ObjectRow {
    ObjectRow {
        version: row.version,
        bytes: row.bytes,
        etag: row.etag.clone(),
        modified_ms: row.modified_ms,
        checksum: row.checksum.clone(),
        attributes: row.attributes.clone(),
        body: Body::Extents(Vec::new()),
        data_key: None,
    }
}

/// Which bytes are sent, and how that is said.
#[derive(Debug, PartialEq, Eq)]
struct Slice {
    range: Range<u64>,
    status: StatusCode,
    is_whole: bool,
    parts_count: Option<usize>,
}

impl Slice {
    fn whole(row: &ObjectRow) -> Self {
        Self { range: 0..row.bytes, status: StatusCode::OK, is_whole: true, parts_count: None }
    }

    fn partial(range: Range<u64>) -> Self {
        Self { range, status: StatusCode::PARTIAL_CONTENT, is_whole: false, parts_count: None }
    }

    fn set_headers(&self, headers: &mut HeaderMap, row: &ObjectRow) {
        let length = self.range.end - self.range.start;
        respond::set(headers, "content-length", &length.to_string());
        if self.status == StatusCode::PARTIAL_CONTENT && length > 0 {
            let range = ByteRange { first: self.range.start, last: self.range.end - 1 };
            respond::set(headers, "content-range", &range.content_range(row.bytes));
        }
        if let Some(count) = self.parts_count {
            respond::set(headers, "x-amz-mp-parts-count", &count.to_string());
        }
    }
}

async fn plan_slice(call: &Call, reader: &ObjectReader, modified: OffsetDateTime) -> Result<Slice, S3Error> {
    let row = reader.row();
    if let Some(number) = params::parse_part_number(&call.query)? {
        return part_slice(row, reader.uploaded_parts().await.map_err(answer_for)?, number);
    }
    let header = single_header(&call.headers, "range")?.filter(|_| range_still_fits(&call.headers, row, modified));
    Ok(match range::resolve(header, row.bytes)? {
        None => Slice::whole(row),
        Some(range) => Slice::partial(range.first..range.last + 1),
    })
}

/// `If-Range`: the range counts only for the version the client has the rest of.
fn range_still_fits(headers: &HeaderMap, row: &ObjectRow, modified: OffsetDateTime) -> bool {
    let Some(condition) = headers.get("if-range").and_then(|value| value.to_str().ok()) else { return true };
    match dates::parse_http(condition) {
        Some(since) => modified.unix_timestamp() == since.unix_timestamp(),
        None => !etag::is_weak(condition) && etag::unquoted(condition) == row.etag,
    }
}

/// The bytes of a part; an object that was not uploaded in parts is its own part 1.
fn part_slice(row: &ObjectRow, parts: &[PartRef], number: u32) -> Result<Slice, S3Error> {
    if parts.is_empty() && number == 1 {
        return Ok(Slice { status: StatusCode::PARTIAL_CONTENT, ..Slice::whole(row) });
    }
    let mut start = 0;
    for part in parts {
        let range = start..start + part.bytes;
        if u32::from(part.number) == number {
            return Ok(Slice { parts_count: Some(parts.len()), ..Slice::partial(range) });
        }
        start = range.end;
    }
    Err(S3Error::from(S3ErrorCode::InvalidPartNumber)
        .with("PartNumberRequested", number.to_string())
        .with("ActualPartCount", parts.len().max(1).to_string()))
}

fn set_object_headers(headers: &mut HeaderMap, row: &ObjectRow, modified: OffsetDateTime) {
    attributes::set_headers(headers, row);
    respond::set_etag(headers, &row.etag);
    respond::set(headers, "last-modified", &last_modified(modified));
    respond::set(headers, "accept-ranges", "bytes");
}

fn not_modified(row: &ObjectRow, modified: OffsetDateTime) -> Answer {
    let mut answer = respond::empty(StatusCode::NOT_MODIFIED);
    let headers = answer.headers_mut();
    respond::set_etag(headers, &row.etag);
    respond::set(headers, "last-modified", &last_modified(modified));
    if let Some((_, value)) = row.attributes.system.iter().find(|(name, _)| name == "cache-control") {
        respond::set(headers, "cache-control", value);
    }
    answer
}

fn missing(call: &Call, error: EngineError) -> S3Error {
    let answer = answer_for(error);
    match answer.code {
        S3ErrorCode::NoSuchKey => answer.with("Key", call.key()),
        _ => answer,
    }
}

#[cfg(test)]
mod tests {
    use cairn_meta::Attributes;
    use cairn_proto::VersionId;

    use super::*;

    fn row(bytes: u64) -> ObjectRow {
        ObjectRow {
            version: VersionId::default(),
            bytes,
            etag: "tag".to_owned(),
            modified_ms: 1_790_000_000_500,
            checksum: None,
            attributes: Attributes::default(),
            body: Body::Extents(Vec::new()),
            data_key: None,
        }
    }

    #[test]
    fn parts_by_their_number() {
        let parts = [PartRef { number: 2, bytes: 10 }, PartRef { number: 5, bytes: 7 }];
        let row = row(17);
        let second = part_slice(&row, &parts, 5).unwrap();
        assert_eq!((second.range.clone(), second.parts_count), (10..17, Some(2)));
        let mut headers = HeaderMap::new();
        second.set_headers(&mut headers, &row);
        assert_eq!(headers["content-range"], "bytes 10-16/17");
        assert_eq!(headers["x-amz-mp-parts-count"], "2");
        let missing = part_slice(&row, &parts, 1).unwrap_err();
        assert_eq!((missing.code, missing.status().as_u16()), (S3ErrorCode::InvalidPartNumber, 416));
        assert!(missing.details.iter().any(|(name, value)| *name == "ActualPartCount" && value == "2"));
    }

    #[test]
    fn an_object_without_parts_is_its_own_first() {
        let whole = part_slice(&row(17), &[], 1).unwrap();
        assert_eq!((whole.range, whole.status.as_u16(), whole.parts_count), (0..17, 206, None));
        assert_eq!(part_slice(&row(17), &[], 2).unwrap_err().code, S3ErrorCode::InvalidPartNumber);
    }

    #[test]
    fn if_range_by_tag_and_by_date() {
        let row = row(17);
        let modified = crate::call::moment(row.modified_ms);
        let fits = |value: &str| {
            let headers = [(http::header::IF_RANGE, value.parse().unwrap())].into_iter().collect();
            range_still_fits(&headers, &row, modified)
        };
        assert!(range_still_fits(&HeaderMap::new(), &row, modified));
        assert!(fits("\"tag\"") && fits(&last_modified(modified)));
        assert!(!fits("W/\"tag\""), "it may be of other bytes");
        assert!(!fits("\"other\"") && !fits("Sun, 06 Nov 1994 08:49:37 GMT"));
    }
}
