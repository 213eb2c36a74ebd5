//! The canonical request: what a signature covers.

use http::HeaderMap;

use super::RequestParts;
use crate::{Query, S3Error, S3ErrorCode, uri};

/// The most headers one signature names.
const SIGNED_HEADERS_MAX: usize = 256;

/// Names of signed headers, in the order they were given.
pub(super) struct SignedHeaders<'a> {
    list: &'a str,
}

impl<'a> SignedHeaders<'a> {
    /// Checks the list against the headers that were sent.
    pub(super) fn check(list: &'a str, headers: &HeaderMap) -> Result<Self, S3Error> {
        let names: Vec<&str> = list.split(';').collect();
        if names.len() > SIGNED_HEADERS_MAX {
            return Err(S3Error::new(S3ErrorCode::AccessDenied, "the signature names too many headers"));
        }
        // The order must be the sorted one, without repetition; so says the specification and so does every client.
        let is_sorted = names.windows(2).all(|pair| pair[0] < pair[1]);
        let is_lower = names.iter().all(|name| !name.is_empty() && !name.bytes().any(|byte| byte.is_ascii_uppercase()));
        if !is_sorted || !is_lower {
            return Err(S3Error::new(
                S3ErrorCode::AccessDenied,
                "the signed headers must be listed in lower case and in order, each once",
            ));
        }
        if !names.contains(&"host") {
            return Err(unsigned(&["host"]));
        }
        let missing: Vec<&str> = headers
            .keys()
            .map(http::HeaderName::as_str)
            .filter(|name| name.starts_with("x-amz-") && !names.contains(name))
            .collect();
        if !missing.is_empty() {
            return Err(unsigned(&missing));
        }
        Ok(Self { list })
    }
}

fn unsigned(names: &[&str]) -> S3Error {
    let names = names.join(", ");
    let message = format!("headers were sent that are not signed: {names}; sign them or leave them out");
    S3Error::new(S3ErrorCode::AccessDenied, message).with("HeadersNotSigned", names)
}

/// Builds the canonical request. `without` is a parameter left out: the signature itself.
pub(super) fn canonical_request(
    request: &RequestParts<'_>,
    query: &Query,
    without: Option<&str>,
    signed: &SignedHeaders<'_>,
    payload_hash: &str,
) -> Result<String, S3Error> {
    let mut out = String::with_capacity(512);
    out.push_str(request.method.as_str());
    out.push('\n');
    // Decoded and encoded once, so that it does not matter which characters the client left raw.
    out.push_str(&uri::aws_encode(uri::decode_path(request.path)?.as_bytes(), true));
    out.push('\n');
    out.push_str(&canonical_query(query, without));
    out.push('\n');
    for name in signed.list.split(';') {
        out.push_str(name);
        out.push(':');
        out.push_str(&canonical_value(request, name)?);
        out.push('\n');
    }
    out.push('\n');
    out.push_str(signed.list);
    out.push('\n');
    out.push_str(payload_hash);
    Ok(out)
}

pub(super) fn canonical_query(query: &Query, without: Option<&str>) -> String {
    let mut pairs: Vec<(String, String)> = query
        .iter()
        .filter(|(name, _)| without.is_none_or(|without| !name.eq_ignore_ascii_case(without)))
        .map(|(name, value)| (uri::aws_encode(name.as_bytes(), false), uri::aws_encode(value.as_bytes(), false)))
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

fn canonical_value(request: &RequestParts<'_>, name: &str) -> Result<String, S3Error> {
    if name == "host" {
        return Ok(request.host.trim().to_owned());
    }
    let mut values = Vec::new();
    for value in request.headers.get_all(name) {
        let text = std::str::from_utf8(value.as_bytes())
            .map_err(|_| S3Error::invalid_argument(name, "", "a signed header must be UTF-8"))?;
        values.push(text.split_ascii_whitespace().collect::<Vec<_>>().join(" "));
    }
    if values.is_empty() {
        let message = format!("the header {name} is signed but was not sent; a proxy may have taken it out");
        return Err(S3Error::new(S3ErrorCode::SignatureDoesNotMatch, message));
    }
    Ok(values.join(","))
}
