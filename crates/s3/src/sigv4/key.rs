//! HMAC and the key of a scope.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// Hex of the SHA-256 of nothing.
pub(crate) const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

pub(crate) fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac.finalize().into_bytes().into()
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Date, region, service: what a signature is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scope {
    /// `YYYYMMDD`.
    pub(crate) date: String,
    pub(crate) region: String,
    pub(crate) service: String,
}

impl Scope {
    pub(crate) fn signing_key(&self, secret: &str) -> [u8; 32] {
        let key = hmac_sha256(format!("AWS4{secret}").as_bytes(), self.date.as_bytes());
        let key = hmac_sha256(&key, self.region.as_bytes());
        let key = hmac_sha256(&key, self.service.as_bytes());
        hmac_sha256(&key, b"aws4_request")
    }
}

impl std::fmt::Display for Scope {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}/{}/aws4_request", self.date, self.region, self.service)
    }
}

/// Reads `KEY/DATE/REGION/SERVICE/aws4_request`. The message says what is wrong.
pub(crate) fn parse_credential(text: &str, service: &str) -> Result<(String, Scope), String> {
    let mut fields = text.rsplitn(5, '/');
    let mut next = || fields.next().unwrap_or_default();
    let (terminator, named_service, region, date, access_key) = (next(), next(), next(), next(), next());
    if terminator != "aws4_request" {
        return Err("the credential must be KEY/DATE/REGION/SERVICE/aws4_request".to_owned());
    }
    if named_service != service {
        return Err(format!("the credential's service must be {service}"));
    }
    if date.len() != 8 || !date.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("the credential's date must be YYYYMMDD".to_owned());
    }
    let printable = |text: &str, bytes_max| text.len() <= bytes_max && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !printable(region, 128) || !printable(access_key, 256) || access_key.is_empty() {
        return Err("the credential's key or region is empty, too long or not printable".to_owned());
    }
    let scope = Scope { date: date.to_owned(), region: region.to_owned(), service: service.to_owned() };
    Ok((access_key.to_owned(), scope))
}
