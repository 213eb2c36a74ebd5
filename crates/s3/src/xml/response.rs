//! The answers of copies, DeleteObjects and GetBucketVersioning.

use time::OffsetDateTime;

use super::{XmlWriter, multipart::write_checksum};
use crate::{Checksum, S3Error, dates, etag};

/// The answer of CopyObject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyObjectResult {
    /// When the copy was written.
    pub last_modified: OffsetDateTime,
    /// Without quotes.
    pub etag: String,
    /// The copy's checksum.
    pub checksum: Option<Checksum>,
}

impl CopyObjectResult {
    /// The document.
    #[must_use]
    pub fn to_xml(&self) -> String {
        copy_result("CopyObjectResult", self.last_modified, &self.etag, self.checksum.as_ref(), true)
    }
}

/// The answer of UploadPartCopy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyPartResult {
    /// When the part was written.
    pub last_modified: OffsetDateTime,
    /// Without quotes.
    pub etag: String,
    /// The part's checksum.
    pub checksum: Option<Checksum>,
}

impl CopyPartResult {
    /// The document.
    #[must_use]
    pub fn to_xml(&self) -> String {
        copy_result("CopyPartResult", self.last_modified, &self.etag, self.checksum.as_ref(), false)
    }
}

fn copy_result(
    root: &'static str,
    last_modified: OffsetDateTime,
    etag: &str,
    checksum: Option<&Checksum>,
    with_type: bool,
) -> String {
    let mut xml = XmlWriter::root(root);
    xml.text("LastModified", &dates::format_iso8601(last_modified));
    xml.text("ETag", &etag::quoted(etag));
    write_checksum(&mut xml, checksum, with_type);
    xml.finish()
}

/// What became of one key of DeleteObjects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteResultEntry {
    /// The key.
    pub key: String,
    /// The version named in the request.
    pub version_id: Option<String>,
    /// What went wrong, if it did. A key that did not exist is deleted all the same.
    pub error: Option<S3Error>,
}

/// The answer of DeleteObjects.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct DeleteResult {
    /// Whether only errors are named.
    pub quiet: bool,
    /// In the order of the request.
    pub entries: Vec<DeleteResultEntry>,
}

impl DeleteResult {
    /// The document.
    #[must_use]
    pub fn to_xml(&self) -> String {
        let mut xml = XmlWriter::root("DeleteResult");
        for entry in &self.entries {
            match &entry.error {
                None if self.quiet => {}
                None => {
                    xml.open("Deleted");
                    xml.text("Key", &entry.key);
                    xml.optional("VersionId", entry.version_id.as_deref());
                    xml.close();
                }
                Some(error) => {
                    xml.open("Error");
                    xml.text("Key", &entry.key);
                    xml.optional("VersionId", entry.version_id.as_deref());
                    xml.text("Code", error.code.as_str());
                    xml.text("Message", &error.message);
                    xml.close();
                }
            }
        }
        xml.finish()
    }
}

/// The answer of GetBucketVersioning: never switched on.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct VersioningConfiguration;

impl VersioningConfiguration {
    /// The document.
    #[must_use]
    pub fn to_xml(self) -> String {
        XmlWriter::root("VersioningConfiguration").finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChecksumAlgorithm, S3ErrorCode};

    #[test]
    fn copies() {
        let checksum = Some(Checksum::parse(ChecksumAlgorithm::Crc32, "AAAAAA==").unwrap());
        let last_modified = OffsetDateTime::UNIX_EPOCH;
        let object = CopyObjectResult { last_modified, etag: "e".into(), checksum: checksum.clone() }.to_xml();
        assert!(object.contains("<LastModified>1970-01-01T00:00:00.000Z</LastModified><ETag>&quot;e&quot;</ETag><ChecksumCRC32>AAAAAA==</ChecksumCRC32><ChecksumType>FULL_OBJECT</ChecksumType></CopyObjectResult>"));
        let part = CopyPartResult { last_modified, etag: "e".into(), checksum }.to_xml();
        assert!(part.contains("<ChecksumCRC32>AAAAAA==</ChecksumCRC32></CopyPartResult>"));
    }

    #[test]
    fn quiet_names_only_errors() {
        let gone = DeleteResultEntry { key: "a".into(), version_id: Some("null".into()), error: None };
        let kept =
            DeleteResultEntry { key: "b".into(), version_id: None, error: Some(S3ErrorCode::AccessDenied.into()) };
        let mut result = DeleteResult { quiet: false, entries: vec![gone, kept] };
        let xml = result.to_xml();
        assert!(xml.contains(
            "<Deleted><Key>a</Key><VersionId>null</VersionId></Deleted><Error><Key>b</Key><Code>AccessDenied</Code>"
        ));
        result.quiet = true;
        assert!(!result.to_xml().contains("<Deleted>") && result.to_xml().contains("<Error><Key>b</Key>"));
    }

    #[test]
    fn versioning_is_empty() {
        assert!(VersioningConfiguration.to_xml().ends_with("\"></VersioningConfiguration>"));
    }
}
