//! The checksums of S3: streaming, as headers and trailers, and of objects made of parts; and Content-MD5.

use base64::{Engine, engine::general_purpose::STANDARD};
use crc_fast::CrcAlgorithm;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};
use sha2::Sha256;

use crate::{S3Error, S3ErrorCode, headers::single_header};

/// A checksum algorithm of S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ChecksumAlgorithm {
    /// CRC-32 (ISO-HDLC).
    Crc32,
    /// CRC-32C (Castagnoli).
    Crc32C,
    /// CRC-64/NVME.
    Crc64Nvme,
    /// SHA-1.
    Sha1,
    /// SHA-256.
    Sha256,
}

/// How the checksum of an object made of parts comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChecksumType {
    /// A checksum of the parts' checksums, with their number.
    Composite,
    /// The checksum of all bytes.
    FullObject,
}

impl ChecksumType {
    /// The word of S3.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Composite => "COMPOSITE",
            Self::FullObject => "FULL_OBJECT",
        }
    }
}

impl ChecksumAlgorithm {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Crc32, Self::Crc32C, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// The name in `x-amz-checksum-algorithm` and in XML.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32C => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// The header or trailer that carries the value.
    #[must_use]
    pub const fn header_name(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32C => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// The element that carries the value.
    #[must_use]
    pub const fn element_name(self) -> &'static str {
        match self {
            Self::Crc32 => "ChecksumCRC32",
            Self::Crc32C => "ChecksumCRC32C",
            Self::Crc64Nvme => "ChecksumCRC64NVME",
            Self::Sha1 => "ChecksumSHA1",
            Self::Sha256 => "ChecksumSHA256",
        }
    }

    /// Bytes of a value.
    #[must_use]
    pub const fn digest_bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32C => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// By its name in any case.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str().eq_ignore_ascii_case(name))
    }

    /// By the name of its header, in lower case.
    #[must_use]
    pub fn by_header_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.header_name() == name)
    }

    /// The type an upload has when it names none.
    #[must_use]
    pub const fn default_type(self) -> ChecksumType {
        match self {
            Self::Crc64Nvme => ChecksumType::FullObject,
            _ => ChecksumType::Composite,
        }
    }

    /// Whether an upload may have this type.
    #[must_use]
    pub const fn allows(self, checksum_type: ChecksumType) -> bool {
        match checksum_type {
            ChecksumType::Composite => !matches!(self, Self::Crc64Nvme),
            ChecksumType::FullObject => !matches!(self, Self::Sha1 | Self::Sha256),
        }
    }

    fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32C => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }
}

/// A value, with the number of parts if it is a composite one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    /// The algorithm.
    pub algorithm: ChecksumAlgorithm,
    /// The value, as many bytes as the algorithm has.
    pub digest: Vec<u8>,
    /// Number of parts of a composite checksum.
    pub parts: Option<u32>,
}

impl Checksum {
    /// Reads a value in base64, with `-N` behind it or not.
    ///
    /// # Errors
    /// `InvalidRequest` that names the header, as S3 says it.
    pub fn parse(algorithm: ChecksumAlgorithm, text: &str) -> Result<Self, S3Error> {
        let invalid = || {
            let name = algorithm.header_name();
            S3Error::new(S3ErrorCode::InvalidRequest, format!("value for {name} header is invalid; send base64"))
        };
        let text = text.trim();
        let (value, parts) = match text.rsplit_once('-') {
            Some((value, parts)) if parts.bytes().all(|byte| byte.is_ascii_digit()) => {
                (value, Some(parts.parse::<u32>().map_err(|_| invalid())?))
            }
            Some(_) => return Err(invalid()),
            None => (text, None),
        };
        let digest = STANDARD.decode(value).map_err(|_| invalid())?;
        if digest.len() != algorithm.digest_bytes() || parts == Some(0) {
            return Err(invalid());
        }
        Ok(Self { algorithm, digest, parts })
    }

    /// Composite or of all bytes.
    #[must_use]
    pub fn checksum_type(&self) -> ChecksumType {
        if self.parts.is_some() { ChecksumType::Composite } else { ChecksumType::FullObject }
    }

    /// The composite checksum of parts in their order. `None` if there is no part, or one of another algorithm.
    #[must_use]
    pub fn composite(algorithm: ChecksumAlgorithm, parts: &[Checksum]) -> Option<Self> {
        let mut hasher = ChecksumHasher::new(algorithm);
        for part in parts {
            if part.algorithm != algorithm {
                return None;
            }
            hasher.update(&part.digest);
        }
        let count = u32::try_from(parts.len()).ok().filter(|count| *count > 0)?;
        Some(Self { parts: Some(count), ..hasher.finish() })
    }

    /// The checksum of all bytes from those of the parts and their lengths. `None` if the algorithm cannot do that,
    /// there is no part, or one of another algorithm.
    #[must_use]
    pub fn combine(algorithm: ChecksumAlgorithm, parts: &[(Checksum, u64)]) -> Option<Self> {
        let crc = algorithm.crc()?;
        let mut combined: Option<u64> = None;
        for (part, length) in parts {
            if part.algorithm != algorithm {
                return None;
            }
            let value = from_big_endian(&part.digest);
            combined = Some(match combined {
                None => value,
                Some(before) => crc_fast::checksum_combine(crc, before, value, *length),
            });
        }
        combined.map(|value| Self { algorithm, digest: to_big_endian(value, algorithm), parts: None })
    }
}

impl std::fmt::Display for Checksum {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&STANDARD.encode(&self.digest))?;
        match self.parts {
            Some(parts) => write!(formatter, "-{parts}"),
            None => Ok(()),
        }
    }
}

fn from_big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

fn to_big_endian(value: u64, algorithm: ChecksumAlgorithm) -> Vec<u8> {
    value.to_be_bytes()[8 - algorithm.digest_bytes()..].to_vec()
}

/// Computes a checksum as bytes come.
#[derive(Debug)]
pub struct ChecksumHasher {
    algorithm: ChecksumAlgorithm,
    state: State,
}

#[derive(Debug)]
enum State {
    Crc(crc_fast::Digest),
    Sha1(Sha1),
    Sha256(Sha256),
}

impl ChecksumHasher {
    /// Begins.
    #[must_use]
    pub fn new(algorithm: ChecksumAlgorithm) -> Self {
        let state = match (algorithm.crc(), algorithm) {
            (Some(crc), _) => State::Crc(crc_fast::Digest::new(crc)),
            (None, ChecksumAlgorithm::Sha1) => State::Sha1(Sha1::new()),
            (None, _) => State::Sha256(Sha256::new()),
        };
        Self { algorithm, state }
    }

    /// Takes bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Crc(digest) => digest.update(bytes),
            State::Sha1(hasher) => hasher.update(bytes),
            State::Sha256(hasher) => hasher.update(bytes),
        }
    }

    /// The checksum of all bytes taken.
    #[must_use]
    pub fn finish(self) -> Checksum {
        let digest = match self.state {
            State::Crc(digest) => to_big_endian(digest.finalize(), self.algorithm),
            State::Sha1(hasher) => hasher.finalize().to_vec(),
            State::Sha256(hasher) => hasher.finalize().to_vec(),
        };
        Checksum { algorithm: self.algorithm, digest, parts: None }
    }
}

/// What a request says of its body's checksums.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RequestChecksums {
    /// The value sent as a header.
    pub value: Option<Checksum>,
    /// The algorithm whose value comes as a trailer.
    pub trailer: Option<ChecksumAlgorithm>,
    /// The algorithm named for the upload (`x-amz-checksum-algorithm`), by a copy or by the SDK.
    pub algorithm: Option<ChecksumAlgorithm>,
    /// The type named for the upload.
    pub checksum_type: Option<ChecksumType>,
    /// Content-MD5.
    pub content_md5: Option<[u8; 16]>,
}

impl RequestChecksums {
    /// Reads all checksum headers of a request with a body.
    ///
    /// # Errors
    /// `InvalidRequest` for unknown, malformed, several or contradicting checksums; `InvalidDigest` for a Content-MD5
    /// that is none.
    pub fn parse(headers: &HeaderMap) -> Result<Self, S3Error> {
        let mut parsed = Self { content_md5: parse_content_md5(headers)?, ..Self::default() };
        for name in headers.keys().map(http::HeaderName::as_str).filter(|name| name.starts_with("x-amz-checksum-")) {
            if matches!(name, "x-amz-checksum-algorithm" | "x-amz-checksum-type" | "x-amz-checksum-mode") {
                continue;
            }
            let algorithm = ChecksumAlgorithm::by_header_name(name).ok_or_else(|| unknown_algorithm(name))?;
            if parsed.value.is_some() {
                return Err(invalid("send one x-amz-checksum- header, not several"));
            }
            parsed.value = single_header(headers, name)?.map(|value| Checksum::parse(algorithm, value)).transpose()?;
        }
        parsed.trailer = parse_trailer(headers)?;
        parsed.checksum_type = parse_type(headers)?;
        parsed.algorithm = parse_algorithm(headers)?;
        if headers.contains_key(SDK_ALGORITHM) && parsed.value.is_none() && parsed.trailer.is_none() {
            // What the client computed was lost on the way; nothing would be verified, against its wish.
            return Err(invalid(format!("{SDK_ALGORITHM} is there and no x-amz-checksum- header or x-amz-trailer is")));
        }
        parsed.check_agreement()?;
        Ok(parsed)
    }

    /// The algorithm the body is to be hashed with, if any was asked for.
    #[must_use]
    pub fn wanted(&self) -> Option<ChecksumAlgorithm> {
        self.value.as_ref().map(|value| value.algorithm).or(self.trailer).or(self.algorithm)
    }

    fn check_agreement(&self) -> Result<(), S3Error> {
        if self.value.is_some() && self.trailer.is_some() {
            return Err(invalid("send the checksum as a header or as a trailer, not both"));
        }
        let sent = self.value.as_ref().map(|value| value.algorithm).or(self.trailer);
        if let (Some(sent), Some(named)) = (sent, self.algorithm)
            && sent != named
        {
            return Err(invalid("the checksum sent is not of the algorithm that is named"));
        }
        if let (Some(named), Some(checksum_type)) = (self.wanted(), self.checksum_type)
            && !named.allows(checksum_type)
        {
            return Err(invalid(format!(
                "the {} checksum type cannot be used with {}",
                checksum_type.as_str(),
                named.as_str()
            )));
        }
        Ok(())
    }
}

/// What an SDK says of the checksum that it sends with the same request.
const SDK_ALGORITHM: &str = "x-amz-sdk-checksum-algorithm";

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> S3Error {
    S3Error::new(S3ErrorCode::InvalidRequest, message)
}

fn unknown_algorithm(name: &str) -> S3Error {
    invalid(format!("{name} is no checksum known here; use CRC32, CRC32C, CRC64NVME, SHA1 or SHA256"))
}

fn parse_algorithm(headers: &HeaderMap) -> Result<Option<ChecksumAlgorithm>, S3Error> {
    let mut found = None;
    for name in ["x-amz-checksum-algorithm", SDK_ALGORITHM] {
        let Some(value) = single_header(headers, name)? else { continue };
        let algorithm = ChecksumAlgorithm::by_name(value.trim()).ok_or_else(|| unknown_algorithm(value))?;
        if found.is_some_and(|other| other != algorithm) {
            return Err(invalid("x-amz-checksum-algorithm and x-amz-sdk-checksum-algorithm name different ones"));
        }
        found = Some(algorithm);
    }
    Ok(found)
}

fn parse_type(headers: &HeaderMap) -> Result<Option<ChecksumType>, S3Error> {
    match single_header(headers, "x-amz-checksum-type")?.map(str::trim) {
        None => Ok(None),
        Some("COMPOSITE") => Ok(Some(ChecksumType::Composite)),
        Some("FULL_OBJECT") => Ok(Some(ChecksumType::FullObject)),
        Some(_) => Err(invalid("x-amz-checksum-type must be COMPOSITE or FULL_OBJECT")),
    }
}

fn parse_trailer(headers: &HeaderMap) -> Result<Option<ChecksumAlgorithm>, S3Error> {
    let Some(value) = single_header(headers, "x-amz-trailer")? else { return Ok(None) };
    let name = value.trim().to_ascii_lowercase();
    ChecksumAlgorithm::by_header_name(&name)
        .map(Some)
        .ok_or_else(|| invalid("x-amz-trailer must name one x-amz-checksum- trailer known here"))
}

/// Whether a GET or HEAD asks for the stored checksum (`x-amz-checksum-mode: ENABLED`).
#[must_use]
pub fn is_checksum_wanted(headers: &HeaderMap) -> bool {
    headers.get("x-amz-checksum-mode").is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"enabled"))
}

/// Reads `Content-MD5`.
///
/// # Errors
/// `InvalidDigest`.
pub fn parse_content_md5(headers: &HeaderMap) -> Result<Option<[u8; 16]>, S3Error> {
    let Some(value) = single_header(headers, "content-md5")? else { return Ok(None) };
    let bytes = STANDARD.decode(value.trim()).map_err(|_| S3ErrorCode::InvalidDigest)?;
    Ok(Some(bytes.try_into().map_err(|_| S3ErrorCode::InvalidDigest)?))
}

#[cfg(test)]
#[path = "checksum_test.rs"]
mod checksum_test;
