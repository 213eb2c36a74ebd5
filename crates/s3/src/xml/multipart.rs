//! The answers of the multipart operations.

use std::borrow::Cow;

use time::OffsetDateTime;

use super::{
    Owner, XmlWriter,
    listing::{listed, lister, write_common_prefixes},
};
use crate::{Checksum, ChecksumAlgorithm, ChecksumType, dates, etag};

/// The answer of CreateMultipartUpload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitiateMultipartUploadResult {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The upload.
    pub upload_id: String,
}

impl InitiateMultipartUploadResult {
    /// The document.
    #[must_use]
    pub fn to_xml(&self) -> String {
        let mut xml = XmlWriter::root("InitiateMultipartUploadResult");
        xml.text("Bucket", &self.bucket);
        xml.text("Key", &self.key);
        xml.text("UploadId", &self.upload_id);
        xml.finish()
    }
}

/// The answer of CompleteMultipartUpload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompleteMultipartUploadResult {
    /// The object's URL.
    pub location: String,
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// Without quotes.
    pub etag: String,
    /// The object's checksum.
    pub checksum: Option<Checksum>,
}

impl CompleteMultipartUploadResult {
    /// The document.
    #[must_use]
    pub fn to_xml(&self) -> String {
        let mut xml = XmlWriter::root("CompleteMultipartUploadResult");
        xml.text("Location", &self.location);
        xml.text("Bucket", &self.bucket);
        xml.text("Key", &self.key);
        xml.text("ETag", &etag::quoted(&self.etag));
        write_checksum(&mut xml, self.checksum.as_ref(), true);
        xml.finish()
    }
}

pub(super) fn write_checksum(xml: &mut XmlWriter, checksum: Option<&Checksum>, with_type: bool) {
    if let Some(checksum) = checksum {
        xml.value(checksum.algorithm.element_name(), checksum);
        if with_type {
            xml.text("ChecksumType", checksum.checksum_type().as_str());
        }
    }
}

/// One part of ListParts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedPart {
    /// 1 to 10,000.
    pub part_number: u32,
    /// When it was written.
    pub last_modified: OffsetDateTime,
    /// Without quotes.
    pub etag: String,
    /// Bytes.
    pub size: u64,
    /// The part's checksum.
    pub checksum: Option<Checksum>,
}

/// The answer of ListParts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPartsResult {
    /// The bucket.
    pub bucket: String,
    /// The key.
    pub key: String,
    /// The upload.
    pub upload_id: String,
    /// Who began it and owns it.
    pub owner: Owner,
    /// Mostly `STANDARD`.
    pub storage_class: Cow<'static, str>,
    /// As asked.
    pub part_number_marker: u32,
    /// The last part of the page.
    pub next_part_number_marker: Option<u32>,
    /// As asked, at most 1,000.
    pub max_parts: u32,
    /// Whether there is more.
    pub is_truncated: bool,
    /// Whether the key is percent-encoded.
    pub encode_url: bool,
    /// The checksum the upload was begun with.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
    /// The parts.
    pub parts: Vec<ListedPart>,
}

impl ListPartsResult {
    /// The document.
    #[must_use]
    pub fn to_xml(&self) -> String {
        let mut xml = XmlWriter::root("ListPartsResult");
        xml.text("Bucket", &self.bucket);
        xml.optional("EncodingType", self.encode_url.then_some("url"));
        xml.text("Key", &listed(&self.key, self.encode_url));
        xml.text("UploadId", &self.upload_id);
        self.owner.write(&mut xml, "Initiator");
        self.owner.write(&mut xml, "Owner");
        xml.text("StorageClass", &self.storage_class);
        xml.value("PartNumberMarker", self.part_number_marker);
        xml.value("NextPartNumberMarker", self.next_part_number_marker.unwrap_or(0));
        xml.value("MaxParts", self.max_parts);
        xml.value("IsTruncated", self.is_truncated);
        if let Some((algorithm, checksum_type)) = self.checksum {
            xml.text("ChecksumAlgorithm", algorithm.as_str());
            xml.text("ChecksumType", checksum_type.as_str());
        }
        for part in &self.parts {
            xml.open("Part");
            xml.value("PartNumber", part.part_number);
            xml.text("LastModified", &dates::format_iso8601(part.last_modified));
            xml.text("ETag", &etag::quoted(&part.etag));
            xml.value("Size", part.size);
            write_checksum(&mut xml, part.checksum.as_ref(), false);
            xml.close();
        }
        xml.finish()
    }
}

/// One upload of ListMultipartUploads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedUpload {
    /// The key.
    pub key: String,
    /// The upload.
    pub upload_id: String,
    /// When it was begun.
    pub initiated: OffsetDateTime,
    /// Mostly `STANDARD`.
    pub storage_class: Cow<'static, str>,
    /// Who began it and owns it.
    pub owner: Owner,
    /// The checksum it was begun with.
    pub checksum: Option<(ChecksumAlgorithm, ChecksumType)>,
}

/// The answer of ListMultipartUploads.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ListMultipartUploadsResult {
    /// The bucket.
    pub bucket: String,
    /// As asked.
    pub prefix: String,
    /// As asked.
    pub delimiter: Option<String>,
    /// As asked.
    pub key_marker: String,
    /// As asked.
    pub upload_id_marker: String,
    /// The last key of the page.
    pub next_key_marker: Option<String>,
    /// The last upload of the page.
    pub next_upload_id_marker: Option<String>,
    /// As asked, at most 1,000.
    pub max_uploads: u32,
    /// Whether there is more.
    pub is_truncated: bool,
    /// Whether names are percent-encoded.
    pub encode_url: bool,
    /// The uploads.
    pub uploads: Vec<ListedUpload>,
    /// The common prefixes.
    pub common_prefixes: Vec<String>,
}

impl ListMultipartUploadsResult {
    /// The document.
    #[must_use]
    pub fn to_xml(&self) -> String {
        let text = lister(self.encode_url);
        let mut xml = XmlWriter::root("ListMultipartUploadsResult");
        xml.text("Bucket", &self.bucket);
        xml.text("KeyMarker", &text(&self.key_marker));
        xml.text("UploadIdMarker", &self.upload_id_marker);
        xml.optional("NextKeyMarker", self.next_key_marker.as_deref().map(text).as_deref());
        xml.optional("NextUploadIdMarker", self.next_upload_id_marker.as_deref());
        xml.text("Prefix", &text(&self.prefix));
        xml.optional("Delimiter", self.delimiter.as_deref().map(text).as_deref());
        xml.optional("EncodingType", self.encode_url.then_some("url"));
        xml.value("MaxUploads", self.max_uploads);
        xml.value("IsTruncated", self.is_truncated);
        for upload in &self.uploads {
            upload.write(&mut xml, self.encode_url);
        }
        write_common_prefixes(&mut xml, &self.common_prefixes, self.encode_url);
        xml.finish()
    }
}

impl ListedUpload {
    fn write(&self, xml: &mut XmlWriter, encode_url: bool) {
        xml.open("Upload");
        xml.text("Key", &listed(&self.key, encode_url));
        xml.text("UploadId", &self.upload_id);
        self.owner.write(xml, "Initiator");
        self.owner.write(xml, "Owner");
        xml.text("StorageClass", &self.storage_class);
        xml.text("Initiated", &dates::format_iso8601(self.initiated));
        if let Some((algorithm, checksum_type)) = self.checksum {
            xml.text("ChecksumAlgorithm", algorithm.as_str());
            xml.text("ChecksumType", checksum_type.as_str());
        }
        xml.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner { id: "o".into(), display_name: "n".into() }
    }

    #[test]
    fn initiate_and_complete() {
        let begun = InitiateMultipartUploadResult { bucket: "b".into(), key: "k&".into(), upload_id: "u".into() };
        assert!(begun.to_xml().ends_with(
            "<InitiateMultipartUploadResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Bucket>b</Bucket><Key>k&amp;</Key><UploadId>u</UploadId></InitiateMultipartUploadResult>"
        ));
        let checksum = Checksum::parse(ChecksumAlgorithm::Crc32, "AAAAAA==-2").unwrap();
        let done = CompleteMultipartUploadResult {
            location: "l".into(),
            bucket: "b".into(),
            key: "k".into(),
            etag: "e-2".into(),
            checksum: Some(checksum),
        };
        assert!(done.to_xml().contains(
            "<ETag>&quot;e-2&quot;</ETag><ChecksumCRC32>AAAAAA==-2</ChecksumCRC32><ChecksumType>COMPOSITE</ChecksumType></Complete"
        ));
    }

    #[test]
    fn parts() {
        let part = ListedPart {
            part_number: 3,
            last_modified: OffsetDateTime::UNIX_EPOCH,
            etag: "e".into(),
            size: 5,
            checksum: Some(Checksum::parse(ChecksumAlgorithm::Crc32, "AAAAAA==").unwrap()),
        };
        let result = ListPartsResult {
            bucket: "b".into(),
            key: "k k".into(),
            upload_id: "u".into(),
            owner: owner(),
            storage_class: "STANDARD".into(),
            part_number_marker: 2,
            next_part_number_marker: Some(3),
            max_parts: 1,
            is_truncated: true,
            encode_url: true,
            checksum: Some((ChecksumAlgorithm::Crc32, ChecksumType::Composite)),
            parts: vec![part],
        };
        let xml = result.to_xml();
        assert!(xml.contains("<Key>k%20k</Key>"));
        assert!(xml.contains(
            "<NextPartNumberMarker>3</NextPartNumberMarker><MaxParts>1</MaxParts><IsTruncated>true</IsTruncated>"
        ));
        assert!(xml.contains("<Part><PartNumber>3</PartNumber><LastModified>1970-01-01T00:00:00.000Z</LastModified><ETag>&quot;e&quot;</ETag><Size>5</Size><ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part>"));
    }

    #[test]
    fn uploads() {
        let upload = ListedUpload {
            key: "k".into(),
            upload_id: "u".into(),
            initiated: OffsetDateTime::UNIX_EPOCH,
            storage_class: "STANDARD".into(),
            owner: owner(),
            checksum: None,
        };
        let result = ListMultipartUploadsResult {
            bucket: "b".into(),
            max_uploads: 1,
            uploads: vec![upload],
            common_prefixes: vec!["p/".into()],
            ..ListMultipartUploadsResult::default()
        };
        let xml = result.to_xml();
        assert!(xml.contains("<Upload><Key>k</Key><UploadId>u</UploadId><Initiator><ID>o</ID>"));
        assert!(xml.contains("<Initiated>1970-01-01T00:00:00.000Z</Initiated></Upload><CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes>"));
        assert!(xml.contains("<UploadIdMarker></UploadIdMarker>"));
    }
}
