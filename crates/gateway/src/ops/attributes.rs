//! Metadata of an object between headers and the row.

use cairn_meta::{Attributes, ObjectRow};
use cairn_s3::{ObjectHeaders, S3Error, headers::USER_METADATA_PREFIX};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::respond;

/// What S3 says of a body whose type nobody named.
const CONTENT_TYPE_DEFAULT: &str = "binary/octet-stream";

/// Reads the metadata of a write.
///
/// # Errors
/// Metadata that S3 refuses.
pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Attributes, S3Error> {
    let parsed = ObjectHeaders::parse(headers, &[])?;
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
    let system = row.attributes.system.iter().map(|(name, value)| (name.clone(), value));
    for (name, value) in system.chain(user) {
        // They were headers when they came.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_bytes(value.as_bytes())) {
            headers.insert(name, value);
        }
    }
    if let Some(class) = &row.attributes.storage_class {
        respond::set(headers, "x-amz-storage-class", class);
    }
    respond::set_sse(headers, row.attributes.sse);
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
        let attributes = from_headers(&sent).unwrap();
        let row = ObjectRow {
            version: cairn_proto::VersionId::default(),
            bytes: 0,
            etag: String::new(),
            modified_ms: 0,
            checksum: None,
            attributes,
            body: Body::Inline(Bytes::new()),
        };
        let mut answered = HeaderMap::new();
        set_headers(&mut answered, &row);
        assert_eq!(answered["content-type"], "text/plain");
        assert_eq!(answered["content-encoding"], "gzip");
        assert_eq!(answered["x-amz-meta-cachekey"].as_bytes(), "größe/1".as_bytes());
        assert_eq!(answered["x-amz-server-side-encryption"], "AES256");
        assert!(!answered.contains_key("x-amz-date"));
    }
}
