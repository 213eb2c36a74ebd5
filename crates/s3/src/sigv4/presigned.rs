//! The presigned query.

use std::collections::HashSet;

use time::OffsetDateTime;

use super::{
    ALGORITHM, PayloadKind, RequestParts, SigV4Options, SignedRequest,
    canonical::{SignedHeaders, canonical_request},
    key::parse_credential,
    verify::parse_signature,
    version_refused,
};
use crate::{Query, S3Error, S3ErrorCode, dates, headers::single_header};

fn malformed(message: impl Into<std::borrow::Cow<'static, str>>) -> S3Error {
    S3Error::new(S3ErrorCode::AuthorizationQueryParametersError, message)
}

fn required<'a>(query: &'a Query, name: &str) -> Result<&'a str, S3Error> {
    query.get_ignore_case(name).ok_or_else(|| malformed(format!("the parameter {name} is missing")))
}

pub(super) fn parse(
    request: &RequestParts<'_>,
    query: &Query,
    now: OffsetDateTime,
    options: &SigV4Options,
) -> Result<SignedRequest, S3Error> {
    check_unrepeated(query)?;
    if required(query, "X-Amz-Algorithm")? != ALGORITHM {
        return Err(version_refused());
    }
    let (access_key, scope) =
        parse_credential(required(query, "X-Amz-Credential")?, options.service).map_err(malformed)?;
    let signature = parse_signature(required(query, "X-Amz-Signature")?)
        .ok_or_else(|| malformed("X-Amz-Signature must be 64 hex digits"))?;
    let signed_at = dates::parse_amz(required(query, "X-Amz-Date")?)
        .ok_or_else(|| malformed("X-Amz-Date must be YYYYMMDDTHHMMSSZ"))?;
    if dates::format_amz(signed_at)[..8] != scope.date {
        return Err(malformed("the credential's date is not the date of X-Amz-Date"));
    }
    let expires_at = parse_expiry(query, signed_at, options)?;
    let signed = SignedHeaders::check(required(query, "X-Amz-SignedHeaders")?, request.headers)?;
    check_valid_now(signed_at, expires_at, now, options)?;
    let payload_hash = payload_hash(request, query)?;
    Ok(SignedRequest {
        canonical_request: canonical_request(request, query, Some("X-Amz-Signature"), &signed, payload_hash)?,
        access_key,
        security_token: security_token(request, query)?,
        signed_at,
        expires_at: Some(expires_at),
        payload: PayloadKind::parse(payload_hash)?,
        scope,
        signature,
    })
}

/// A repeated parameter could be read one way here and another way where it takes effect.
fn check_unrepeated(query: &Query) -> Result<(), S3Error> {
    let mut seen = HashSet::new();
    for (name, _) in query.iter() {
        let name = name.to_ascii_lowercase();
        if name.starts_with("x-amz-") && !seen.insert(name) {
            return Err(malformed("an X-Amz- parameter is there twice"));
        }
    }
    Ok(())
}

fn parse_expiry(query: &Query, signed_at: OffsetDateTime, options: &SigV4Options) -> Result<OffsetDateTime, S3Error> {
    let text = required(query, "X-Amz-Expires")?;
    let seconds_max = options.presigned_expires_max.as_secs();
    let seconds = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    let seconds = seconds.filter(|seconds| (1..=seconds_max).contains(seconds)).ok_or_else(|| {
        malformed(format!("X-Amz-Expires must be 1 to {seconds_max} seconds; presign for a shorter time"))
    })?;
    signed_at
        .checked_add(time::Duration::seconds(i64::try_from(seconds).unwrap_or(i64::MAX)))
        .ok_or_else(|| malformed("X-Amz-Expires is too long"))
}

fn check_valid_now(
    signed_at: OffsetDateTime,
    expires_at: OffsetDateTime,
    now: OffsetDateTime,
    options: &SigV4Options,
) -> Result<(), S3Error> {
    if signed_at > now && (signed_at - now).unsigned_abs() > options.clock_skew_max {
        return Err(S3Error::new(S3ErrorCode::AccessDenied, "the URL is dated in the future; set the signer's clock")
            .with("RequestTime", dates::format_iso8601(signed_at))
            .with("ServerTime", dates::format_iso8601(now)));
    }
    if now > expires_at {
        return Err(S3Error::new(S3ErrorCode::AccessDenied, "the URL has expired; presign it again")
            .with("Expires", dates::format_iso8601(expires_at))
            .with("ServerTime", dates::format_iso8601(now)));
    }
    Ok(())
}

/// Mostly `UNSIGNED-PAYLOAD`, unless a (signed) header or parameter says otherwise.
fn payload_hash<'a>(request: &RequestParts<'a>, query: &'a Query) -> Result<&'a str, S3Error> {
    let header = single_header(request.headers, "x-amz-content-sha256")?.map(str::trim);
    match (header, query.get_ignore_case("X-Amz-Content-Sha256")) {
        (Some(header), Some(parameter)) if header != parameter => {
            Err(malformed("X-Amz-Content-Sha256 differs from the header of that name"))
        }
        (Some(value), _) | (None, Some(value)) => Ok(value),
        (None, None) => Ok("UNSIGNED-PAYLOAD"),
    }
}

fn security_token(request: &RequestParts<'_>, query: &Query) -> Result<Option<String>, S3Error> {
    let header = single_header(request.headers, "x-amz-security-token")?;
    match (header, query.get_ignore_case("X-Amz-Security-Token")) {
        (Some(_), Some(_)) => Err(malformed("the session token is there twice, as a header and as a parameter")),
        (header, parameter) => Ok(header.or(parameter).map(str::to_owned)),
    }
}
