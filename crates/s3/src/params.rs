//! The query parameters of the operations, read into what they mean.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::{S3Error, S3ErrorCode, query::Query, xml::PART_NUMBER_MAX};

/// Entries of one page, at most and by default.
pub const PAGE_ENTRIES_MAX: u32 = 1000;
/// Buckets of one page, at most and by default.
pub const PAGE_BUCKETS_MAX: u32 = 10_000;

/// Parameters of both ListObjects operations. Empty strings count as not sent.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ListObjectsParams {
    /// Only keys that begin so.
    pub prefix: String,
    /// Keys with this after the prefix are one common prefix.
    pub delimiter: Option<String>,
    /// Entries of the page, 0 to 1,000.
    pub max_keys: u32,
    /// `encoding-type=url`.
    pub encode_url: bool,
    /// Version 1: list after this key.
    pub marker: Option<String>,
    /// Version 2: list after this key.
    pub start_after: Option<String>,
    /// Version 2: the token as it was sent.
    pub continuation_token: Option<String>,
    /// Version 2: the cursor inside the token.
    pub continue_after: Option<String>,
    /// Version 2: whether to name the owner.
    pub fetch_owner: bool,
}

impl ListObjectsParams {
    /// Reads them.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub fn parse(query: &Query) -> Result<Self, S3Error> {
        let continuation_token = query.get("continuation-token").map(str::to_owned);
        Ok(Self {
            prefix: query.get("prefix").unwrap_or_default().to_owned(),
            delimiter: non_empty(query, "delimiter"),
            max_keys: page_size(query, "max-keys", PAGE_ENTRIES_MAX)?,
            encode_url: encoding_type(query)?,
            marker: non_empty(query, "marker"),
            start_after: non_empty(query, "start-after"),
            continue_after: continuation_token.as_deref().map(decode_token).transpose()?,
            continuation_token,
            fetch_owner: query.get("fetch-owner").is_some_and(|value| value.eq_ignore_ascii_case("true")),
        })
    }
}

/// Parameters of ListBuckets.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ListBucketsParams {
    /// Only names that begin so.
    pub prefix: String,
    /// Entries of the page.
    pub max_buckets: u32,
    /// The cursor inside the token.
    pub continue_after: Option<String>,
}

impl ListBucketsParams {
    /// Reads them.
    ///
    /// # Errors
    /// `InvalidArgument`, or `NotImplemented` for a region: a list of all buckets would not be what was asked for.
    pub fn parse(query: &Query) -> Result<Self, S3Error> {
        if non_empty(query, "bucket-region").is_some() {
            return Err(S3Error::not_implemented("listing buckets by bucket-region"));
        }
        let max_buckets = page_size(query, "max-buckets", PAGE_BUCKETS_MAX)?;
        if max_buckets == 0 {
            return Err(S3Error::invalid_argument("max-buckets", "0", "max-buckets must be 1 to 10000"));
        }
        Ok(Self {
            prefix: query.get("prefix").unwrap_or_default().to_owned(),
            max_buckets,
            continue_after: query.get("continuation-token").map(decode_token).transpose()?,
        })
    }
}

/// Parameters of ListParts.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ListPartsParams {
    /// List parts with higher numbers.
    pub part_number_marker: u32,
    /// Entries of the page, 0 to 1,000.
    pub max_parts: u32,
    /// `encoding-type=url`.
    pub encode_url: bool,
}

impl ListPartsParams {
    /// Reads them.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub fn parse(query: &Query) -> Result<Self, S3Error> {
        Ok(Self {
            part_number_marker: number(query, "part-number-marker")?.unwrap_or(0),
            max_parts: page_size(query, "max-parts", PAGE_ENTRIES_MAX)?,
            encode_url: encoding_type(query)?,
        })
    }
}

/// Parameters of ListMultipartUploads.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ListMultipartUploadsParams {
    /// Only keys that begin so.
    pub prefix: String,
    /// Keys with this after the prefix are one common prefix.
    pub delimiter: Option<String>,
    /// Entries of the page, 0 to 1,000.
    pub max_uploads: u32,
    /// List after this key.
    pub key_marker: Option<String>,
    /// Of that key, also uploads after this one. Without a key marker it is ignored.
    pub upload_id_marker: Option<String>,
    /// `encoding-type=url`.
    pub encode_url: bool,
}

impl ListMultipartUploadsParams {
    /// Reads them.
    ///
    /// # Errors
    /// `InvalidArgument`.
    pub fn parse(query: &Query) -> Result<Self, S3Error> {
        let key_marker = non_empty(query, "key-marker");
        Ok(Self {
            prefix: query.get("prefix").unwrap_or_default().to_owned(),
            delimiter: non_empty(query, "delimiter"),
            max_uploads: page_size(query, "max-uploads", PAGE_ENTRIES_MAX)?,
            upload_id_marker: key_marker.as_ref().and_then(|_| non_empty(query, "upload-id-marker")),
            key_marker,
            encode_url: encoding_type(query)?,
        })
    }
}

/// Reads `partNumber`, 1 to 10,000.
///
/// # Errors
/// `InvalidArgument`.
pub fn parse_part_number(query: &Query) -> Result<Option<u32>, S3Error> {
    let Some(value) = query.only("partNumber")? else { return Ok(None) };
    match number(query, "partNumber")? {
        Some(number) if (1..=PART_NUMBER_MAX).contains(&number) => Ok(Some(number)),
        _ => Err(S3Error::invalid_argument("partNumber", value, "a part number must be 1 to 10000")),
    }
}

/// Checks `versionId`: this store keeps the version `null` only.
///
/// # Errors
/// `NoSuchVersion`, or `InvalidArgument` for an empty one.
pub fn check_version_id(version: Option<&str>) -> Result<(), S3Error> {
    match version {
        None | Some("null") => Ok(()),
        Some("") => Err(S3Error::invalid_argument("versionId", "", "the version id may not be empty")),
        Some(other) => Err(S3Error::from(S3ErrorCode::NoSuchVersion).with("VersionId", other.to_owned())),
    }
}

/// A continuation token that carries a cursor.
#[must_use]
pub fn encode_token(cursor: &str) -> String {
    // The digit is the version of the token's form.
    format!("1{}", URL_SAFE_NO_PAD.encode(cursor))
}

/// The cursor of a token.
///
/// # Errors
/// `InvalidArgument` for what this server never gave out.
pub fn decode_token(token: &str) -> Result<String, S3Error> {
    let decode = || String::from_utf8(URL_SAFE_NO_PAD.decode(token.strip_prefix('1')?).ok()?).ok();
    decode().ok_or_else(|| {
        S3Error::invalid_argument("continuation-token", token, "the continuation token is not one of this server's")
    })
}

fn non_empty(query: &Query, name: &str) -> Option<String> {
    query.get(name).filter(|value| !value.is_empty()).map(str::to_owned)
}

fn number(query: &Query, name: &'static str) -> Result<Option<u32>, S3Error> {
    let Some(value) = query.get(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    if !value.bytes().all(|byte| byte.is_ascii_digit()) || value.len() > 10 {
        return Err(S3Error::invalid_argument(name, value, "the value must be a number of 0 to 2147483647"));
    }
    value
        .parse()
        .ok()
        .filter(|number| *number <= 0x7fff_ffff)
        .map(Some)
        .ok_or_else(|| S3Error::invalid_argument(name, value, "the value must be a number of 0 to 2147483647"))
}

fn page_size(query: &Query, name: &'static str, max: u32) -> Result<u32, S3Error> {
    Ok(number(query, name)?.unwrap_or(max).min(max))
}

fn encoding_type(query: &Query) -> Result<bool, S3Error> {
    match query.get("encoding-type") {
        None | Some("") => Ok(false),
        Some("url") => Ok(true),
        Some(other) => Err(S3Error::invalid_argument("encoding-type", other, "the encoding type must be url")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(raw: &str) -> Query {
        Query::parse(raw).unwrap()
    }

    #[test]
    fn list_objects() {
        let plain = ListObjectsParams::parse(&query("list-type=2&prefix=&delimiter=")).unwrap();
        assert_eq!((plain.max_keys, plain.delimiter, plain.encode_url), (1000, None, false));
        let token = encode_token("a/b é");
        let raw = format!(
            "prefix=a%2F&delimiter=/&max-keys=5000&encoding-type=url&continuation-token={token}&fetch-owner=true"
        );
        let full = ListObjectsParams::parse(&query(&raw)).unwrap();
        assert_eq!((full.prefix.as_str(), full.delimiter.as_deref(), full.max_keys), ("a/", Some("/"), 1000));
        assert_eq!((full.continue_after.as_deref(), full.fetch_owner, full.encode_url), (Some("a/b é"), true, true));
        assert_eq!(ListObjectsParams::parse(&query("max-keys=0")).unwrap().max_keys, 0);
        for raw in [
            "max-keys=-1",
            "max-keys=x",
            "max-keys=2147483648",
            "encoding-type=xml",
            "continuation-token=x",
            "continuation-token=",
        ] {
            assert_eq!(ListObjectsParams::parse(&query(raw)).unwrap_err().code, S3ErrorCode::InvalidArgument, "{raw}");
        }
    }

    #[test]
    fn other_lists() {
        let uploads = ListMultipartUploadsParams::parse(&query("uploads&upload-id-marker=x&max-uploads=7")).unwrap();
        assert_eq!((uploads.upload_id_marker, uploads.max_uploads), (None, 7));
        let uploads = ListMultipartUploadsParams::parse(&query("uploads&key-marker=k&upload-id-marker=x")).unwrap();
        assert_eq!(uploads.upload_id_marker.as_deref(), Some("x"));
        let parts = ListPartsParams::parse(&query("uploadId=u&part-number-marker=3&max-parts=2")).unwrap();
        assert_eq!((parts.part_number_marker, parts.max_parts), (3, 2));
        assert_eq!(ListBucketsParams::parse(&query("prefix=a")).unwrap().max_buckets, 10_000);
        assert!(ListBucketsParams::parse(&query("max-buckets=0")).is_err());
        assert!(ListBucketsParams::parse(&query("bucket-region=")).is_ok());
        let by_region = ListBucketsParams::parse(&query("bucket-region=eu")).unwrap_err();
        assert_eq!(by_region.code, S3ErrorCode::NotImplemented);
    }

    #[test]
    fn numbers_and_versions() {
        assert_eq!(parse_part_number(&query("")).unwrap(), None);
        assert_eq!(parse_part_number(&query("partNumber=10000")).unwrap(), Some(10_000));
        for raw in ["partNumber", "partNumber=0", "partNumber=10001", "partNumber=+1", "partNumber=1.5"] {
            assert_eq!(parse_part_number(&query(raw)).unwrap_err().code, S3ErrorCode::InvalidArgument, "{raw}");
        }
        assert!(check_version_id(None).is_ok() && check_version_id(Some("null")).is_ok());
        assert_eq!(check_version_id(Some("x")).unwrap_err().code, S3ErrorCode::NoSuchVersion);
        assert_eq!(check_version_id(Some("")).unwrap_err().code, S3ErrorCode::InvalidArgument);
    }

    proptest::proptest! {
        #[test]
        fn tokens_round_trip(cursor: String, junk: String) {
            proptest::prop_assert_eq!(decode_token(&encode_token(&cursor)).unwrap(), cursor);
            let _ = decode_token(&junk);
        }
    }
}
