//! The answers of ListBuckets, GetBucketLocation and ListObjects in both versions.

use std::borrow::Cow;

use time::OffsetDateTime;

use super::XmlWriter;
use crate::{ChecksumAlgorithm, ChecksumType, dates, dates::Iso8601, uri};

/// Who owns a bucket or object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The canonical id.
    pub id: String,
    /// The name shown.
    pub display_name: String,
}

impl Owner {
    pub(super) fn write(&self, xml: &mut XmlWriter, element: &'static str) {
        xml.open(element);
        xml.text("ID", &self.id);
        xml.text("DisplayName", &self.display_name);
        xml.close();
    }
}

/// Text as a listing carries it: percent-encoded with `encoding-type=url`. A space is `%20`, which every client
/// decodes, whether it reads `+` as a space or not.
pub(super) fn listed(text: &str, encode_url: bool) -> Cow<'_, str> {
    if encode_url { uri::aws_encoded(text) } else { text.into() }
}

/// [`listed`] for all texts of a document.
pub(super) fn lister<'a>(encode_url: bool) -> impl Fn(&'a str) -> Cow<'a, str> + Copy {
    move |text| listed(text, encode_url)
}

pub(super) fn write_common_prefixes(xml: &mut XmlWriter, prefixes: &[String], encode_url: bool) {
    for prefix in prefixes {
        xml.open("CommonPrefixes");
        xml.text("Prefix", &listed(prefix, encode_url));
        xml.close();
    }
}

/// One bucket of ListBuckets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketEntry {
    /// The name.
    pub name: String,
    /// When it was made.
    pub creation_date: OffsetDateTime,
}

/// The answer of ListBuckets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListAllMyBucketsResult {
    /// The caller.
    pub owner: Owner,
    /// The page.
    pub buckets: Vec<BucketEntry>,
    /// The prefix asked for; not written if empty.
    pub prefix: String,
    /// Where the next page begins.
    pub continuation_token: Option<String>,
}

impl ListAllMyBucketsResult {
    /// The document.
    #[must_use]
    pub fn to_xml(&self) -> String {
        let mut xml = XmlWriter::root("ListAllMyBucketsResult");
        self.owner.write(&mut xml, "Owner");
        xml.open("Buckets");
        for bucket in &self.buckets {
            xml.open("Bucket");
            xml.text("Name", &bucket.name);
            xml.text("CreationDate", &dates::format_iso8601(bucket.creation_date));
            xml.close();
        }
        xml.close();
        xml.optional("Prefix", Some(self.prefix.as_str()).filter(|prefix| !prefix.is_empty()));
        xml.optional("ContinuationToken", self.continuation_token.as_deref());
        xml.finish()
    }
}

/// The answer of GetBucketLocation. `None` is `us-east-1`, which S3 writes as an empty element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocationConstraint {
    /// The region.
    pub region: Option<String>,
}

impl LocationConstraint {
    /// The document.
    #[must_use]
    pub fn to_xml(&self) -> String {
        let mut xml = XmlWriter::root("LocationConstraint");
        xml.content(self.region.as_deref().filter(|region| *region != "us-east-1").unwrap_or_default());
        xml.finish()
    }
}

/// One object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedObject {
    /// The key.
    pub key: String,
    /// When it was written.
    pub last_modified: OffsetDateTime,
    /// Without quotes.
    pub etag: String,
    /// Bytes.
    pub size: u64,
    /// Mostly `STANDARD`.
    pub storage_class: Cow<'static, str>,
    /// The checksum it is stored with.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
}

/// What a line takes beside its key: room is made once for a page.
const LINE_BYTES: usize = 256;
/// What it takes more where it names its owner.
const OWNER_BYTES: usize = 80;

impl ListedObject {
    fn write(&self, xml: &mut XmlWriter, encode_url: bool, owner: Option<&Owner>) {
        xml.open("Contents");
        xml.text("Key", &listed(&self.key, encode_url));
        xml.value("LastModified", Iso8601(self.last_modified));
        xml.value("ETag", format_args!("\"{}\"", self.etag));
        if let Some((algorithm, checksum_type)) = self.checksum {
            xml.text("ChecksumAlgorithm", algorithm.as_str());
            xml.text("ChecksumType", checksum_type.as_str());
        }
        xml.value("Size", self.size);
        if let Some(owner) = owner {
            owner.write(xml, "Owner");
        }
        xml.text("StorageClass", &self.storage_class);
        xml.close();
    }
}

fn write_contents(xml: &mut XmlWriter, contents: &[ListedObject], encode_url: bool, owner: Option<&Owner>) {
    let line_bytes = LINE_BYTES + owner.map_or(0, |_| OWNER_BYTES);
    xml.reserve(contents.iter().map(|object| line_bytes + object.key.len()).sum());
    for object in contents {
        object.write(xml, encode_url, owner);
    }
}

/// The answer of ListObjects, version 1.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ListBucketResultV1 {
    /// The bucket.
    pub name: String,
    /// As asked.
    pub prefix: String,
    /// As asked.
    pub marker: String,
    /// As asked.
    pub delimiter: Option<String>,
    /// As asked, at most 1,000.
    pub max_keys: u32,
    /// Whether names are percent-encoded.
    pub encode_url: bool,
    /// Whether there is more.
    pub is_truncated: bool,
    /// The last name of the page; S3 gives it only with a delimiter, we give it whenever it is truncated.
    pub next_marker: Option<String>,
    /// The owner of all objects.
    pub owner: Option<Owner>,
    /// The objects.
    pub contents: Vec<ListedObject>,
    /// The common prefixes.
    pub common_prefixes: Vec<String>,
}

impl ListBucketResultV1 {
    /// The document.
    #[must_use]
    pub fn to_xml(&self) -> String {
        let text = lister(self.encode_url);
        let mut xml = XmlWriter::root("ListBucketResult");
        xml.text("Name", &self.name);
        xml.text("Prefix", &text(&self.prefix));
        xml.text("Marker", &text(&self.marker));
        xml.optional("NextMarker", self.next_marker.as_deref().map(text).as_deref());
        xml.value("MaxKeys", self.max_keys);
        xml.optional("Delimiter", self.delimiter.as_deref().map(text).as_deref());
        xml.optional("EncodingType", self.encode_url.then_some("url"));
        xml.value("IsTruncated", self.is_truncated);
        write_contents(&mut xml, &self.contents, self.encode_url, self.owner.as_ref());
        write_common_prefixes(&mut xml, &self.common_prefixes, self.encode_url);
        xml.finish()
    }
}

/// The answer of ListObjectsV2. `KeyCount` is computed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ListBucketResultV2 {
    /// The bucket.
    pub name: String,
    /// As asked.
    pub prefix: String,
    /// As asked.
    pub delimiter: Option<String>,
    /// As asked, at most 1,000.
    pub max_keys: u32,
    /// Whether names are percent-encoded.
    pub encode_url: bool,
    /// As asked.
    pub start_after: Option<String>,
    /// The token as it was sent.
    pub continuation_token: Option<String>,
    /// Where the next page begins (see [`crate::params::encode_token`]).
    pub next_continuation_token: Option<String>,
    /// Whether there is more.
    pub is_truncated: bool,
    /// The owner of all objects, where it was asked for.
    pub owner: Option<Owner>,
    /// The objects.
    pub contents: Vec<ListedObject>,
    /// The common prefixes.
    pub common_prefixes: Vec<String>,
}

impl ListBucketResultV2 {
    /// The document.
    #[must_use]
    pub fn to_xml(&self) -> String {
        let text = lister(self.encode_url);
        let mut xml = XmlWriter::root("ListBucketResult");
        xml.text("Name", &self.name);
        xml.text("Prefix", &text(&self.prefix));
        xml.optional("ContinuationToken", self.continuation_token.as_deref());
        xml.optional("NextContinuationToken", self.next_continuation_token.as_deref());
        xml.optional("StartAfter", self.start_after.as_deref().map(text).as_deref());
        xml.value("KeyCount", self.contents.len() + self.common_prefixes.len());
        xml.value("MaxKeys", self.max_keys);
        xml.optional("Delimiter", self.delimiter.as_deref().map(text).as_deref());
        xml.optional("EncodingType", self.encode_url.then_some("url"));
        xml.value("IsTruncated", self.is_truncated);
        write_contents(&mut xml, &self.contents, self.encode_url, self.owner.as_ref());
        write_common_prefixes(&mut xml, &self.common_prefixes, self.encode_url);
        xml.finish()
    }
}

#[cfg(test)]
#[path = "listing_test.rs"]
mod listing_test;
