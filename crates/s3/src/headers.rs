//! Metadata of an object as headers: what a write stores, what a read may override.

use http::{HeaderMap, HeaderValue};

use crate::{S3Error, S3ErrorCode, dates, query::Query};

/// Bytes of the names (without `x-amz-meta-`) and values of user metadata together.
pub const USER_METADATA_BYTES_MAX: usize = 2048;
/// The prefix of user metadata.
pub const USER_METADATA_PREFIX: &str = "x-amz-meta-";
/// The longest value of a system metadata header that is stored.
pub const SYSTEM_METADATA_BYTES_MAX: usize = 4096;

/// S3's own storage classes beside `STANDARD`: known everywhere, configured or not.
const S3_STORAGE_CLASSES: [&str; 11] = [
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "ONEZONE_IA",
    "INTELLIGENT_TIERING",
    "GLACIER",
    "GLACIER_IR",
    "DEEP_ARCHIVE",
    "OUTPOSTS",
    "SNOW",
    "EXPRESS_ONEZONE",
    "FSX_OPENZFS",
];

/// The value of a header that may be there once.
///
/// # Errors
/// `InvalidArgument` if it is there twice or is not UTF-8.
pub fn single_header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, S3Error> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(S3Error::invalid_argument(name, "", "this header may be sent only once"));
    }
    std::str::from_utf8(value.as_bytes())
        .map(Some)
        .map_err(|_| S3Error::invalid_argument(name, "", "this header must be UTF-8"))
}

/// Headers S3 stores with an object and gives back as they came.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct SystemMetadata {
    /// Content-Type.
    pub content_type: Option<String>,
    /// Content-Encoding without `aws-chunked`.
    pub content_encoding: Option<String>,
    /// Content-Disposition.
    pub content_disposition: Option<String>,
    /// Content-Language.
    pub content_language: Option<String>,
    /// Cache-Control.
    pub cache_control: Option<String>,
    /// Expires, as it came.
    pub expires: Option<String>,
}

/// Whether a copy takes the source's metadata or the request's.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum MetadataDirective {
    /// Those of the source.
    #[default]
    Copy,
    /// Those of the request.
    Replace,
}

/// What the headers of a PUT, CopyObject or CreateMultipartUpload say of the object.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ObjectHeaders {
    /// Names without `x-amz-meta-` in lower case, and values; sorted by name.
    pub user: Vec<(String, String)>,
    /// The headers S3 itself knows.
    pub system: SystemMetadata,
    /// The storage class asked for, if it is not `STANDARD`.
    pub storage_class: Option<String>,
    /// Whether `x-amz-server-side-encryption: AES256` was sent, which the answer echoes.
    pub sse_aes256: bool,
}

impl ObjectHeaders {
    /// Reads them. `storage_classes` are those that are configured beside S3's own.
    ///
    /// # Errors
    /// `MetadataTooLarge`, `InvalidStorageClass`, `NotImplemented` for KMS, `InvalidArgument`.
    pub fn parse(headers: &HeaderMap, storage_classes: &[String]) -> Result<Self, S3Error> {
        Ok(Self {
            user: parse_user_metadata(headers)?,
            system: parse_system_metadata(headers)?,
            storage_class: parse_storage_class(headers, storage_classes)?,
            sse_aes256: parse_sse(headers)?,
        })
    }
}

fn parse_user_metadata(headers: &HeaderMap) -> Result<Vec<(String, String)>, S3Error> {
    let mut user = Vec::new();
    let mut byte_count = 0;
    for full_name in headers.keys().map(http::HeaderName::as_str) {
        let Some(name) = full_name.strip_prefix(USER_METADATA_PREFIX) else { continue };
        let values: Result<Vec<_>, _> = headers
            .get_all(full_name)
            .iter()
            .map(|value| std::str::from_utf8(value.as_bytes()).map(str::trim))
            .collect();
        let value = values
            .map_err(|_| S3Error::invalid_argument(full_name, "", "user metadata must be UTF-8 or ASCII"))?
            .join(",");
        byte_count += name.len() + value.len();
        if byte_count > USER_METADATA_BYTES_MAX {
            return Err(S3Error::from(S3ErrorCode::MetadataTooLarge)
                .with("MaxSizeAllowed", USER_METADATA_BYTES_MAX.to_string()));
        }
        user.push((name.to_owned(), value));
    }
    user.sort_unstable();
    Ok(user)
}

fn parse_system_metadata(headers: &HeaderMap) -> Result<SystemMetadata, S3Error> {
    let text = |name: &str| -> Result<Option<String>, S3Error> {
        let Some(value) = single_header(headers, name)?.map(str::trim).filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        if value.len() > SYSTEM_METADATA_BYTES_MAX {
            return Err(S3Error::invalid_argument(name, "", "this header is too long to be stored"));
        }
        Ok(Some(value.to_owned()))
    };
    Ok(SystemMetadata {
        content_type: text("content-type")?,
        content_encoding: stored_content_encoding(headers)?,
        content_disposition: text("content-disposition")?,
        content_language: text("content-language")?,
        cache_control: text("cache-control")?,
        expires: text("expires")?,
    })
}

/// Content-Encoding may come in several headers; `aws-chunked` is the transport's and is not stored.
fn stored_content_encoding(headers: &HeaderMap) -> Result<Option<String>, S3Error> {
    const NAME: &str = "content-encoding";
    let mut kept = Vec::new();
    for value in headers.get_all(NAME) {
        let value = std::str::from_utf8(value.as_bytes())
            .map_err(|_| S3Error::invalid_argument(NAME, "", "this header must be UTF-8"))?;
        let tokens = value.split(',').map(str::trim).filter(|token| !token.is_empty());
        kept.extend(tokens.filter(|token| !token.eq_ignore_ascii_case("aws-chunked")));
    }
    let joined = kept.join(",");
    if joined.len() > SYSTEM_METADATA_BYTES_MAX {
        return Err(S3Error::invalid_argument(NAME, "", "this header is too long to be stored"));
    }
    Ok((!joined.is_empty()).then_some(joined))
}

fn parse_storage_class(headers: &HeaderMap, configured: &[String]) -> Result<Option<String>, S3Error> {
    match single_header(headers, "x-amz-storage-class")?.map(str::trim) {
        None | Some("" | "STANDARD") => Ok(None),
        Some(class) if S3_STORAGE_CLASSES.contains(&class) || configured.iter().any(|known| known == class) => {
            Ok(Some(class.to_owned()))
        }
        Some(class) => {
            Err(S3Error::from(S3ErrorCode::InvalidStorageClass).with("StorageClassRequested", class.to_owned()))
        }
    }
}

fn parse_sse(headers: &HeaderMap) -> Result<bool, S3Error> {
    const NAME: &str = "x-amz-server-side-encryption";
    for name in ["x-amz-server-side-encryption-aws-kms-key-id", "x-amz-server-side-encryption-context"] {
        if headers.contains_key(name) {
            return Err(kms_refused());
        }
    }
    match single_header(headers, NAME)?.map(str::trim) {
        None => Ok(false),
        Some("AES256") => Ok(true),
        Some("aws:kms" | "aws:kms:dsse") => Err(kms_refused()),
        Some(other) => Err(S3Error::invalid_argument(NAME, other, "the encryption must be AES256")),
    }
}

fn kms_refused() -> S3Error {
    S3Error::new(
        S3ErrorCode::NotImplemented,
        "encryption with KMS keys is not implemented; use AES256 or leave the header out; nothing was stored",
    )
}

/// Reads `x-amz-metadata-directive` of a copy.
///
/// # Errors
/// `InvalidArgument` for another word.
pub fn parse_metadata_directive(headers: &HeaderMap) -> Result<MetadataDirective, S3Error> {
    const NAME: &str = "x-amz-metadata-directive";
    match single_header(headers, NAME)?.map(str::trim) {
        None | Some("COPY") => Ok(MetadataDirective::Copy),
        Some("REPLACE") => Ok(MetadataDirective::Replace),
        Some(other) => Err(S3Error::invalid_argument(NAME, other, "the directive must be COPY or REPLACE")),
    }
}

/// The decoded length of an aws-chunked body.
///
/// # Errors
/// `MissingContentLength` if it is not there, `InvalidArgument` if it is no number.
pub fn parse_decoded_content_length(headers: &HeaderMap) -> Result<u64, S3Error> {
    parse_byte_count(headers, "x-amz-decoded-content-length")?.ok_or_else(|| S3ErrorCode::MissingContentLength.into())
}

/// The size a completed upload must have, if the request says it; another size is `InvalidRequest`.
///
/// # Errors
/// `InvalidArgument` if it is no number.
pub fn parse_mp_object_size(headers: &HeaderMap) -> Result<Option<u64>, S3Error> {
    parse_byte_count(headers, "x-amz-mp-object-size")
}

fn parse_byte_count(headers: &HeaderMap, name: &'static str) -> Result<Option<u64>, S3Error> {
    let Some(text) = single_header(headers, name)?.map(str::trim) else { return Ok(None) };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|_| digits)
        .map(Some)
        .ok_or_else(|| S3Error::invalid_argument(name, text, "the length must be a number of bytes"))
}

/// `response-*` of a signed GET or HEAD: headers the answer carries instead of the stored ones.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ResponseOverrides {
    /// Header names in lower case and their values.
    pub headers: Vec<(&'static str, HeaderValue)>,
}

impl ResponseOverrides {
    /// Reads them from the query.
    ///
    /// # Errors
    /// `InvalidRequest` for an anonymous request, `InvalidArgument` for a value no header can carry.
    pub fn parse(query: &Query, is_signed: bool) -> Result<Self, S3Error> {
        const NAMES: [(&str, &str); 6] = [
            ("response-content-type", "content-type"),
            ("response-content-language", "content-language"),
            ("response-expires", "expires"),
            ("response-cache-control", "cache-control"),
            ("response-content-disposition", "content-disposition"),
            ("response-content-encoding", "content-encoding"),
        ];
        let mut headers = Vec::new();
        for (parameter, header) in NAMES {
            let Some(value) = query.get(parameter) else { continue };
            if !is_signed {
                return Err(S3Error::new(
                    S3ErrorCode::InvalidRequest,
                    "response-* parameters need a signed request; they are not for anonymous ones",
                ));
            }
            let value = HeaderValue::from_bytes(value.as_bytes())
                .map_err(|_| S3Error::invalid_argument(parameter, "", "no header can carry this value"))?;
            headers.push((header, value));
        }
        Ok(Self { headers })
    }
}

/// The `Last-Modified` header's value.
#[must_use]
pub fn last_modified(moment: time::OffsetDateTime) -> String {
    dates::format_http(moment)
}

#[cfg(test)]
#[path = "headers_test.rs"]
mod headers_test;
