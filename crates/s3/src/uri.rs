//! Where a request points: service, bucket or object, by path or by host; and S3's percent encoding.
//!
//! Keys are bytes to S3: `..`, `//` and `.` are kept as they are sent, nothing is normalized.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr},
};

use crate::{S3Error, S3ErrorCode};

/// Bytes of a key in UTF-8.
pub const KEY_BYTES_MAX: usize = 1024;

/// What a request is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The service itself: the list of buckets.
    Service,
    /// A bucket.
    Bucket(String),
    /// A key in a bucket.
    Object(String, String),
}

impl Target {
    /// The bucket, if there is one.
    #[must_use]
    pub fn bucket(&self) -> Option<&str> {
        match self {
            Self::Service => None,
            Self::Bucket(bucket) | Self::Object(bucket, _) => Some(bucket),
        }
    }

    /// The key, if there is one.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Object(_, key) => Some(key),
            _ => None,
        }
    }
}

/// Reads the target from the host (with or without port) and the raw path. A host `bucket.domain` of one of
/// `domains` is virtual-hosted style; every other host, and every IP address, is path style.
///
/// # Errors
/// `InvalidURI`, `InvalidBucketName`, `KeyTooLongError`, or `InvalidArgument` for a NUL in the key.
pub fn parse_target(host: &str, raw_path: &str, domains: &[String]) -> Result<Target, S3Error> {
    let path = raw_path.strip_prefix('/').ok_or(S3ErrorCode::InvalidUri)?;
    if let Some(bucket) = virtual_bucket(host, domains) {
        check_bucket_name(&bucket)?;
        return object_or_bucket(bucket, path);
    }
    let (bucket, key) = path.split_once('/').unwrap_or((path, ""));
    if bucket.is_empty() {
        if !key.is_empty() {
            return Err(S3ErrorCode::InvalidBucketName.into());
        }
        return Ok(Target::Service);
    }
    let bucket = decode_path(bucket)?;
    check_bucket_name(&bucket)?;
    object_or_bucket(bucket, key)
}

fn object_or_bucket(bucket: String, raw_key: &str) -> Result<Target, S3Error> {
    if raw_key.is_empty() {
        return Ok(Target::Bucket(bucket));
    }
    let key = decode_path(raw_key)?;
    check_key(&key)?;
    Ok(Target::Object(bucket, key))
}

fn virtual_bucket(host: &str, domains: &[String]) -> Option<String> {
    let name = host_without_port(host).to_ascii_lowercase();
    // A name that ends with the root's dot is the same one.
    let name = name.strip_suffix('.').unwrap_or(&name);
    if name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok() {
        return None;
    }
    let longest = domains
        .iter()
        .map(|domain| domain.to_ascii_lowercase())
        .filter(|domain| name == domain || name.ends_with(&format!(".{domain}")))
        .max_by_key(String::len)?;
    let bucket = name.strip_suffix(&longest)?.strip_suffix('.')?;
    (!bucket.is_empty()).then(|| bucket.to_owned())
}

fn host_without_port(host: &str) -> &str {
    if host.starts_with('[') {
        return host.find(']').map_or(host, |end| &host[..=end]);
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

/// Checks a bucket's name by the rules of S3.
///
/// # Errors
/// `InvalidBucketName`.
pub fn check_bucket_name(name: &str) -> Result<(), S3Error> {
    const RESERVED_PREFIXES: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];
    const RESERVED_SUFFIXES: [&str; 5] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3"];
    let alphanumeric = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let bytes = name.as_bytes();
    let well_formed = (3..=63).contains(&bytes.len())
        && alphanumeric(bytes.first())
        && alphanumeric(bytes.last())
        && bytes.iter().all(|byte| alphanumeric(Some(byte)) || matches!(byte, b'.' | b'-'))
        && !name.contains("..")
        && name.parse::<Ipv4Addr>().is_err();
    let mut reserved = RESERVED_PREFIXES.iter().filter(|prefix| name.starts_with(**prefix));
    let mut reserved_end = RESERVED_SUFFIXES.iter().filter(|suffix| name.ends_with(**suffix));
    let message = match (well_formed, reserved.next(), reserved_end.next()) {
        (true, None, None) => return Ok(()),
        (false, _, _) => {
            "a bucket name has 3 to 63 lower-case letters, digits, dots and hyphens, with a letter or digit \
                          at both ends and no two dots in a row, and is no IP address"
                .to_owned()
        }
        (true, Some(prefix), _) => format!("S3 reserves bucket names that begin with {prefix}"),
        (true, None, Some(suffix)) => format!("S3 reserves bucket names that end with {suffix}"),
    };
    let shown: String = name.chars().take(80).collect();
    Err(S3Error::new(S3ErrorCode::InvalidBucketName, message).with("BucketName", shown))
}

/// Checks a key: 1 to 1,024 bytes, no NUL.
///
/// # Errors
/// `KeyTooLongError` or `InvalidArgument`.
pub fn check_key(key: &str) -> Result<(), S3Error> {
    if key.len() > KEY_BYTES_MAX {
        return Err(S3Error::from(S3ErrorCode::KeyTooLongError)
            .with("Size", key.len().to_string())
            .with("MaxSizeAllowed", KEY_BYTES_MAX.to_string()));
    }
    if key.is_empty() || key.contains('\0') {
        return Err(S3Error::invalid_argument("key", "", "a key has at least one byte and no NUL"));
    }
    Ok(())
}

/// Percent encoding as signing wants it: everything but unreserved characters, `/` kept if asked.
#[must_use]
pub fn aws_encode(text: &[u8], keep_slash: bool) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(text.len());
    for &byte in text {
        if is_kept(byte, keep_slash) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    out
}

/// [`aws_encode`] with `/` kept; most texts are their own encoding.
pub(crate) fn aws_encoded(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| is_kept(byte, true)) { text.into() } else { aws_encode(text.as_bytes(), true).into() }
}

fn is_kept(byte: u8, keep_slash: bool) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') || (keep_slash && byte == b'/')
}

/// Percent decoding of a path: `+` stays `+`.
///
/// # Errors
/// `InvalidURI` for broken percent signs or bytes that are not UTF-8.
pub fn decode_path(raw: &str) -> Result<String, S3Error> {
    decode(raw, false)
}

/// Percent decoding of a query's name or value: `+` is a space.
///
/// # Errors
/// `InvalidURI` for broken percent signs or bytes that are not UTF-8.
pub fn decode_query_component(raw: &str) -> Result<String, S3Error> {
    decode(raw, true)
}

fn decode(raw: &str, plus_is_space: bool) -> Result<String, S3Error> {
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let high = bytes.next().and_then(hex_digit).ok_or(S3ErrorCode::InvalidUri)?;
                let low = bytes.next().and_then(hex_digit).ok_or(S3ErrorCode::InvalidUri)?;
                out.push(high << 4 | low);
            }
            b'+' if plus_is_space => out.push(b' '),
            other => out.push(other),
        }
    }
    String::from_utf8(out).map_err(|_| S3ErrorCode::InvalidUri.into())
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
#[path = "uri_test.rs"]
mod uri_test;
