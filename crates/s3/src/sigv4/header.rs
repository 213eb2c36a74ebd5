//! The `Authorization` header.

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
    S3Error::new(S3ErrorCode::AuthorizationHeaderMalformed, message)
}

pub(super) fn parse(
    request: &RequestParts<'_>,
    query: &Query,
    header: &str,
    now: OffsetDateTime,
    options: &SigV4Options,
) -> Result<SignedRequest, S3Error> {
    let fields = parse_fields(header)?;
    let (access_key, scope) = parse_credential(fields.credential, options.service).map_err(malformed)?;
    let signature =
        parse_signature(fields.signature).ok_or_else(|| malformed("the signature must be 64 hex digits"))?;
    let signed = SignedHeaders::check(fields.signed_headers, request.headers)?;
    let signed_at = parse_date(request)?;
    if dates::format_amz(signed_at)[..8] != scope.date {
        return Err(malformed("the credential's date is not the date of the request"));
    }
    check_clock(signed_at, now, options)?;
    let payload_hash = single_header(request.headers, "x-amz-content-sha256")?
        .ok_or_else(|| {
            S3Error::new(S3ErrorCode::InvalidRequest, "the header x-amz-content-sha256 is missing; send it signed")
        })?
        .trim();
    Ok(SignedRequest {
        canonical_request: canonical_request(request, query, None, &signed, payload_hash)?,
        access_key,
        security_token: single_header(request.headers, "x-amz-security-token")?.map(str::to_owned),
        signed_at,
        expires_at: None,
        payload: PayloadKind::parse(payload_hash)?,
        scope,
        signature,
    })
}

struct Fields<'a> {
    credential: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
}

fn parse_fields(header: &str) -> Result<Fields<'_>, S3Error> {
    let Some((ALGORITHM, rest)) = header.trim().split_once(' ') else {
        return Err(version_refused());
    };
    let (mut credential, mut signed_headers, mut signature) = (None, None, None);
    for field in rest.split(',') {
        let (name, value) = field.trim().split_once('=').ok_or_else(|| malformed("a field has no value"))?;
        let place = match name {
            "Credential" => &mut credential,
            "SignedHeaders" => &mut signed_headers,
            "Signature" => &mut signature,
            _ => return Err(malformed("only Credential, SignedHeaders and Signature are known")),
        };
        if place.replace(value).is_some() {
            return Err(malformed("a field is there twice"));
        }
    }
    match (credential, signed_headers, signature) {
        (Some(credential), Some(signed_headers), Some(signature)) => {
            Ok(Fields { credential, signed_headers, signature })
        }
        _ => Err(malformed("Credential, SignedHeaders and Signature must all be there")),
    }
}

fn parse_date(request: &RequestParts<'_>) -> Result<OffsetDateTime, S3Error> {
    if let Some(text) = single_header(request.headers, "x-amz-date")? {
        return dates::parse_amz(text.trim())
            .ok_or_else(|| S3Error::new(S3ErrorCode::AccessDenied, "x-amz-date must be YYYYMMDDTHHMMSSZ"));
    }
    // Signing needs a date, and `date` is a header that may be unsigned: the string to sign holds it all the same.
    single_header(request.headers, "date")?
        .and_then(|text| dates::parse_http(text).or_else(|| dates::parse_amz(text)))
        .ok_or_else(|| {
            S3Error::new(S3ErrorCode::AccessDenied, "a signed request needs a valid x-amz-date or date header")
        })
}

fn check_clock(signed_at: OffsetDateTime, now: OffsetDateTime, options: &SigV4Options) -> Result<(), S3Error> {
    if (now - signed_at).unsigned_abs() <= options.clock_skew_max {
        return Ok(());
    }
    Err(S3Error::from(S3ErrorCode::RequestTimeTooSkewed)
        .with("RequestTime", dates::format_amz(signed_at))
        .with("ServerTime", dates::format_iso8601(now))
        .with("MaxAllowedSkewMilliseconds", options.clock_skew_max.as_millis().to_string()))
}
