//! The XML bodies of requests. Unknown and repeated elements are refused: they might change the meaning.

use std::collections::HashSet;

use super::parse::{Element, XML_BODY_BYTES_MAX, malformed, parse_document};
use crate::{Checksum, ChecksumAlgorithm, S3Error, S3ErrorCode, etag, params, uri};

/// The highest part number.
pub const PART_NUMBER_MAX: u32 = 10_000;
/// Keys of one DeleteObjects.
pub const DELETE_OBJECTS_MAX: usize = 1000;
/// Bytes of a CreateBucketConfiguration.
const CONFIGURATION_BYTES_MAX: usize = 64 << 10;

/// A part as the complete request names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletedPart {
    /// 1 to 10,000.
    pub part_number: u32,
    /// Without quotes.
    pub etag: String,
    /// The checksums named, to be compared with the stored ones.
    pub checksums: Vec<Checksum>,
}

/// The body of CompleteMultipartUpload: at least one part, in ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompleteMultipartUpload {
    /// The parts.
    pub parts: Vec<CompletedPart>,
}

impl CompleteMultipartUpload {
    /// Reads the body.
    ///
    /// # Errors
    /// `MalformedXML`, `InvalidPartOrder`, or `InvalidArgument` for a part number.
    pub fn parse(body: &[u8]) -> Result<Self, S3Error> {
        let root = parse_document(body, XML_BODY_BYTES_MAX)?;
        if !matches!(root.name.as_str(), "CompleteMultipartUpload" | "CompletedMultipartUpload") {
            return Err(malformed("the root element must be CompleteMultipartUpload"));
        }
        let mut parts: Vec<CompletedPart> = Vec::with_capacity(root.children.len());
        for element in &root.children {
            if element.name != "Part" {
                return Err(unknown(element));
            }
            let part = parse_part(element)?;
            if parts.last().is_some_and(|previous| previous.part_number >= part.part_number) {
                return Err(S3ErrorCode::InvalidPartOrder.into());
            }
            parts.push(part);
        }
        if parts.is_empty() {
            return Err(malformed("name at least one part"));
        }
        Ok(Self { parts })
    }
}

fn parse_part(element: &Element) -> Result<CompletedPart, S3Error> {
    let mut part_number = None;
    let mut tag = None;
    let mut checksums = Vec::new();
    for (name, text) in scalars(element)? {
        let algorithm = ChecksumAlgorithm::ALL.into_iter().find(|algorithm| algorithm.element_name() == name);
        match (name, algorithm) {
            ("PartNumber", _) => part_number = Some(parse_number(text)?),
            ("ETag", _) => tag = Some(etag::unquoted(text).to_owned()),
            (_, Some(_)) if text.trim().is_empty() => {}
            (_, Some(algorithm)) => checksums.push(Checksum::parse(algorithm, text)?),
            (_, None) => return Err(malformed(format!("the element {name} is not known in Part"))),
        }
    }
    let part_number = part_number.ok_or_else(|| malformed("a Part has no PartNumber"))?;
    let etag = tag.filter(|tag| !tag.is_empty()).ok_or_else(|| malformed("a Part has no ETag"))?;
    Ok(CompletedPart { part_number, etag, checksums })
}

fn parse_number(text: &str) -> Result<u32, S3Error> {
    let text = text.trim();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(malformed("PartNumber must be a number"));
    }
    match text.parse() {
        Ok(number) if (1..=PART_NUMBER_MAX).contains(&number) => Ok(number),
        _ => Err(S3Error::invalid_argument("PartNumber", text, "a part number must be 1 to 10000")),
    }
}

/// One key of DeleteObjects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectToDelete {
    /// The key.
    pub key: String,
    /// `null`, if a version was named.
    pub version_id: Option<String>,
    /// Delete only if the object has this ETag (without quotes; `*`: any).
    pub etag: Option<String>,
    /// What is wrong with this entry alone: it is answered as that entry's error.
    pub refused: Option<S3Error>,
}

/// The body of DeleteObjects: 1 to 1,000 keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteRequest {
    /// Whether the answer names only errors.
    pub quiet: bool,
    /// The keys.
    pub objects: Vec<ObjectToDelete>,
}

impl DeleteRequest {
    /// Reads the body.
    ///
    /// # Errors
    /// `MalformedXML`, or `NotImplemented` for conditions of directory buckets.
    pub fn parse(body: &[u8]) -> Result<Self, S3Error> {
        let root = parse_document(body, XML_BODY_BYTES_MAX)?;
        if root.name != "Delete" {
            return Err(malformed("the root element must be Delete"));
        }
        let mut quiet = None;
        let mut objects = Vec::new();
        for element in &root.children {
            match element.name.as_str() {
                "Quiet" if quiet.is_none() => quiet = Some(parse_bool(element)?),
                "Object" if objects.len() < DELETE_OBJECTS_MAX => objects.push(parse_object(element)?),
                "Object" => return Err(malformed("one request deletes at most 1000 keys")),
                _ => return Err(unknown(element)),
            }
        }
        if objects.is_empty() {
            return Err(malformed("name at least one Object"));
        }
        Ok(Self { quiet: quiet.unwrap_or(false), objects })
    }
}

fn parse_object(element: &Element) -> Result<ObjectToDelete, S3Error> {
    let mut key = None;
    let mut version_id = None;
    let mut tag = None;
    for (name, text) in scalars(element)? {
        match name {
            "Key" => key = Some(text.to_owned()),
            "VersionId" => version_id = Some(text.to_owned()).filter(|version| !version.is_empty()),
            // A weak tag equals none (RFC 9110, section 13.1.1): as it is it is no object's.
            "ETag" if text.trim_start().starts_with("W/") => tag = Some(text.to_owned()),
            "ETag" => tag = Some(etag::unquoted(text).to_owned()),
            "LastModifiedTime" | "Size" => return Err(S3Error::not_implemented(format_args!("{name} in a delete"))),
            _ => return Err(malformed(format!("the element {name} is not known in Object"))),
        }
    }
    let key = key.ok_or_else(|| malformed("an Object has no Key"))?;
    let refused = uri::check_key(&key).and_then(|()| params::check_version_id(version_id.as_deref())).err();
    Ok(ObjectToDelete { key, version_id, etag: tag, refused })
}

fn parse_bool(element: &Element) -> Result<bool, S3Error> {
    match element.text.trim() {
        "true" | "True" | "TRUE" | "1" => Ok(true),
        "false" | "False" | "FALSE" | "0" | "" => Ok(false),
        _ => Err(malformed(format!("{} must be true or false", element.name))),
    }
}

/// The body of CreateBucket; an empty one is the default.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct CreateBucketConfiguration {
    /// The region asked for. Any is accepted.
    pub location_constraint: Option<String>,
}

impl CreateBucketConfiguration {
    /// Reads the body.
    ///
    /// # Errors
    /// `MalformedXML`, or `NotImplemented` for tags and directory buckets.
    pub fn parse(body: &[u8]) -> Result<Self, S3Error> {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        let root = parse_document(body, CONFIGURATION_BYTES_MAX)?;
        if root.name != "CreateBucketConfiguration" {
            return Err(malformed("the root element must be CreateBucketConfiguration"));
        }
        let mut configuration = Self::default();
        for element in &root.children {
            match element.name.as_str() {
                "LocationConstraint" if configuration.location_constraint.is_none() && element.children.is_empty() => {
                    configuration.location_constraint = Some(element.text.trim().to_owned());
                }
                "Location" | "Bucket" | "Tags" => {
                    return Err(S3Error::not_implemented(format_args!("{} of a new bucket", element.name)));
                }
                _ => return Err(unknown(element)),
            }
        }
        configuration.location_constraint = configuration.location_constraint.filter(|region| !region.is_empty());
        Ok(configuration)
    }
}

/// The elements inside one, each with text only and each once.
fn scalars(element: &Element) -> Result<Vec<(&str, &str)>, S3Error> {
    let mut seen = HashSet::new();
    let mut pairs = Vec::with_capacity(element.children.len());
    for child in &element.children {
        if !child.children.is_empty() || !seen.insert(child.name.as_str()) {
            return Err(malformed(format!("the element {} holds elements or is repeated", child.name)));
        }
        pairs.push((child.name.as_str(), child.text.as_str()));
    }
    Ok(pairs)
}

fn unknown(element: &Element) -> S3Error {
    malformed(format!("the element {} is not known here or is repeated", element.name))
}

#[cfg(test)]
#[path = "request_test.rs"]
mod request_test;
