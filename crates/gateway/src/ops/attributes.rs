//! Metadata of an object between headers and the row.

use cairn_meta::{Attributes, BucketSettings, ObjectRow};
use cairn_s3::{
    ObjectHeaders, S3Error, dates,
    headers::{USER_METADATA_PREFIX, last_modified},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use time::OffsetDateTime;

use crate::{
    call::{Call, Shared},
    respond,
};

/// What S3 says of a body whose type nobody named.
const CONTENT_TYPE_DEFAULT: &str = "binary/octet-stream";

/// When the uploaded file was last written: kept in buckets that are caches, and shown instead of the upload's time. A
/// runner that finds its own archive no older than the object does not download it again.
pub(crate) const FILE_TIME: &str = "last-modified";

/// Reads the metadata of a write. That encryption was asked for is remembered; no answer says that it was done, since
/// objects are not encrypted at rest yet.
///
/// # Errors
/// Metadata that S3 refuses.
pub(crate) fn from_headers(call: &Call) -> Result<Attributes, S3Error> {
    parse(&call.headers, &call.shared.options.storage_classes)
}

/// Keeps the time that came with an upload. One that cannot be read is none.
pub(crate) fn keep_file_time(attributes: &mut Attributes, headers: &HeaderMap) {
    let sent = headers.get(http::header::LAST_MODIFIED).and_then(|value| dates::parse_http(value.to_str().ok()?));
    if let Some(moment) = sent {
        attributes.system.push((FILE_TIME.to_owned(), last_modified(moment)));
    }
}

/// When an object was last modified, as clients see it: never after it was stored, and never in the future.
pub(crate) fn modified(shared: &Shared, row: &ObjectRow, settings: BucketSettings) -> OffsetDateTime {
    let stored = shared.modified(row.modified_ms);
    let file_time = row.attributes.system.iter().find(|(name, _)| name == FILE_TIME).filter(|_| settings.cache);
    file_time.and_then(|(_, text)| dates::parse_http(text)).map_or(stored, |file_time| file_time.min(stored))
}

fn parse(headers: &HeaderMap, storage_classes: &[String]) -> Result<Attributes, S3Error> {
    let parsed = ObjectHeaders::parse(headers, storage_classes)?;
    let system = [
        ("content-type", parsed.system.content_type),
        ("content-encoding", parsed.system.content_encoding),
        ("content-disposition", parsed.system.content_disposition),
        ("content-language", parsed.system.content_language),
        ("cache-control", parsed.system.cache_control),
        ("expires", parsed.system.expires),
    ];
    Ok(Attributes {
        system: system.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect(),
        user: parsed.user,
        storage_class: parsed.storage_class,
        sse: parsed.sse_aes256,
    })
}

/// Sets the headers of a read.
pub(crate) fn set_headers(headers: &mut HeaderMap, row: &ObjectRow) {
    headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE_DEFAULT));
    let user = row.attributes.user.iter().map(|(name, value)| (format!("{USER_METADATA_PREFIX}{name}"), value));
    let system = row.attributes.system.iter().filter(|(name, _)| name != FILE_TIME);
    let system = system.map(|(name, value)| (name.clone(), value));
    for (name, value) in system.chain(user) {
        // They were headers when they came.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value.as_bytes())) {
            headers.insert(name, value);
        }
    }
    if let Some(class) = &row.attributes.storage_class {
        respond::set(headers, "x-amz-storage-class", class);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use cairn_meta::Body;

    use super::*;

    #[test]
    fn metadata_comes_back_as_it_came() {
        let mut sent = HeaderMap::new();
        for (name, value) in [
            ("content-type", "text/plain"),
            ("content-encoding", "gzip, aws-chunked"),
            ("cache-control", "no-store"),
            ("x-amz-meta-cachekey", "größe/1"),
            ("x-amz-server-side-encryption", "AES256"),
            ("x-amz-date", "ignored"),
        ] {
            sent.insert(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let attributes = parse(&sent, &[]).unwrap();
        let row = ObjectRow {
            version: cairn_proto::VersionId::default(),
            bytes: 0,
            etag: String::new(),
            modified_ms: 0,
            checksum: None,
            attributes,
            body: Body::Inline(Bytes::new()),
            data_key: None,
        };
        let mut answered = HeaderMap::new();
        set_headers(&mut answered, &row);
        assert_eq!(answered["content-type"], "text/plain");
        assert_eq!(answered["content-encoding"], "gzip");
        assert_eq!(answered["x-amz-meta-cachekey"].as_bytes(), "größe/1".as_bytes());
        assert!(row.attributes.sse, "it is remembered that encryption was asked for");
        assert!(!answered.contains_key("x-amz-server-side-encryption"), "and not said that it was done");
        assert!(!answered.contains_key("x-amz-date"));
    }
}
