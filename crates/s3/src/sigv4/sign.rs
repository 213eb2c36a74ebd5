//! The other side: signs requests and URLs, for tests and for a client of our own.

use http::{HeaderMap, HeaderValue};
use time::OffsetDateTime;

use super::{
    ALGORITHM, ChunkSigner, RequestParts,
    canonical::{SignedHeaders, canonical_query, canonical_request},
    key::{Scope, hmac_sha256},
    verify::string_to_sign,
};
use crate::{Query, S3Error, dates, uri};

/// A key that signs.
#[derive(Clone)]
pub struct Signer {
    access_key: String,
    secret_key: String,
    region: String,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Signer").field("access_key", &self.access_key).finish_non_exhaustive()
    }
}

impl Signer {
    /// A signer for a region.
    #[must_use]
    pub fn new(access_key: impl Into<String>, secret_key: impl Into<String>, region: impl Into<String>) -> Self {
        Self { access_key: access_key.into(), secret_key: secret_key.into(), region: region.into() }
    }

    /// Gives the headers to send: those of the request, all of them signed, with `x-amz-date`,
    /// `x-amz-content-sha256` and `authorization`. `payload_hash` is what `x-amz-content-sha256` shall say.
    /// The second value signs the chunks of a streaming body.
    ///
    /// # Errors
    /// A path, query or header that cannot be sent.
    pub fn sign(
        &self,
        request: &RequestParts<'_>,
        payload_hash: &str,
        now: OffsetDateTime,
    ) -> Result<(HeaderMap, ChunkSigner), S3Error> {
        let mut headers = request.headers.clone();
        let timestamp = dates::format_amz(now);
        headers.insert("x-amz-date", header_value("x-amz-date", &timestamp)?);
        headers.insert("x-amz-content-sha256", header_value("x-amz-content-sha256", payload_hash)?);
        let list = signed_list(&headers);
        let request = RequestParts { headers: &headers, ..*request };
        let query = Query::parse(request.query)?;
        let signed = SignedHeaders::check(&list, &headers)?;
        let canonical = canonical_request(&request, &query, None, &signed, payload_hash)?;
        let scope = self.scope(&timestamp);
        let key = scope.signing_key(&self.secret_key);
        let signature = hex::encode(hmac_sha256(&key, string_to_sign(&timestamp, &scope, &canonical).as_bytes()));
        let authorization =
            format!("{ALGORITHM} Credential={}/{scope},SignedHeaders={list},Signature={signature}", self.access_key);
        headers.insert("authorization", header_value("authorization", &authorization)?);
        Ok((headers, ChunkSigner::new(key, timestamp, scope.to_string(), signature)))
    }

    /// Gives the whole query of a presigned URL. All headers of the request are signed and must be sent with it.
    ///
    /// # Errors
    /// A path, query or header that cannot be sent.
    pub fn presign(&self, request: &RequestParts<'_>, expires_s: u64, now: OffsetDateTime) -> Result<String, S3Error> {
        let timestamp = dates::format_amz(now);
        let scope = self.scope(&timestamp);
        let list = signed_list(request.headers);
        let credential = uri::aws_encode(format!("{}/{scope}", self.access_key).as_bytes(), false);
        let separator = if request.query.is_empty() { "" } else { "&" };
        let raw = format!(
            "{}{separator}X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={credential}&X-Amz-Date={timestamp}&X-Amz-Expires={expires_s}&X-Amz-SignedHeaders={}",
            request.query,
            uri::aws_encode(list.as_bytes(), false)
        );
        let query = Query::parse(&raw)?;
        let signed = SignedHeaders::check(&list, request.headers)?;
        let canonical = canonical_request(request, &query, None, &signed, "UNSIGNED-PAYLOAD")?;
        let key = scope.signing_key(&self.secret_key);
        let signature = hmac_sha256(&key, string_to_sign(&timestamp, &scope, &canonical).as_bytes());
        Ok(format!("{}&X-Amz-Signature={}", canonical_query(&query, None), hex::encode(signature)))
    }

    fn scope(&self, timestamp: &str) -> Scope {
        Scope { date: timestamp[..8].to_owned(), region: self.region.clone(), service: "s3".to_owned() }
    }
}

fn signed_list(headers: &HeaderMap) -> String {
    let mut names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).filter(|name| *name != "host").collect();
    names.push("host");
    names.sort_unstable();
    names.join(";")
}

fn header_value(name: &str, value: &str) -> Result<HeaderValue, S3Error> {
    HeaderValue::from_str(value).map_err(|_| S3Error::invalid_argument(name, "", "no header can carry this value"))
}
