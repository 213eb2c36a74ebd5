//! CopyObject: a new row that refers to the source's bytes.

use cairn_cluster::{ObjectCommit, ObjectReader};
use cairn_meta::{Attributes, ObjectRow};
use cairn_s3::{
    Checksum, CopySource, RequestChecksums, S3Error, S3ErrorCode, WriteConditions,
    headers::{MetadataDirective, parse_metadata_directive},
    xml::CopyObjectResult,
};

use super::{attributes, copy_source, preconditions, stored_checksum};
use crate::{
    call::Call,
    error::answer_for,
    respond::{self, Answer},
};

pub(crate) async fn copy_object(mut call: Call) -> Result<Answer, S3Error> {
    call.authorize_write()?;
    let source = copy_source::named(&call)?;
    copy_source::refuse_body(&mut call).await?;
    let directive = parse_metadata_directive(&call.headers)?;
    let asked = attributes::from_headers(&call)?;
    let conditions = preconditions(WriteConditions::parse(&call.headers)?);
    let (bucket, settings) = call.bucket().await.map(|row| (row.id, row.settings))?;
    let reader = copy_source::open(&call, &source).await?;
    let changes = Changes { directive, asked: &asked, class_named: call.headers.contains_key("x-amz-storage-class") };
    let class = asked.storage_class.as_deref();
    if is_itself(&call, &source)
        && !changes.any(reader.row())
        && !call.engine().is_recoded_by_copy(&reader, bucket, class).await.map_err(answer_for)?
    {
        return Err(S3Error::new(
            S3ErrorCode::InvalidRequest,
            "This copy request is illegal because it is trying to copy an object to itself without changing the \
             object's metadata, storage class, website redirect location or encryption attributes.",
        ));
    }

    let attributes = changes.apply(reader.row());
    call.hold_copy(reader.row(), settings, attributes.storage_class.as_deref(), reader.row().bytes)?;
    let checksum = checksum(&call, &source, &reader).await?;
    let etag = reader.row().etag.clone();
    let commit = ObjectCommit {
        bucket,
        key: call.key().to_owned(),
        etag: etag.clone(),
        checksum: checksum.as_ref().map(stored_checksum::to_row),
        attributes,
        preconditions: conditions,
    };
    let engine = call.engine().clone();
    let committed = call.settle(async move { engine.copy_object(&reader, commit).await }).await?;

    let last_modified = call.shared.modified(committed.modified_ms);
    Ok(respond::xml(CopyObjectResult { last_modified, etag, checksum }.to_xml()))
}

fn is_itself(call: &Call, source: &CopySource) -> bool {
    source.bucket == call.bucket_name() && source.key == call.key()
}

/// What the copy has of its own.
struct Changes<'a> {
    directive: MetadataDirective,
    asked: &'a Attributes,
    class_named: bool,
}

impl Changes<'_> {
    fn any(&self, source: &ObjectRow) -> bool {
        self.directive == MetadataDirective::Replace
            || (self.class_named && self.asked.storage_class != source.attributes.storage_class)
            || (self.asked.sse && !source.attributes.sse)
    }

    /// Storage class and encryption are the request's in any case, as in S3.
    fn apply(&self, source: &ObjectRow) -> Attributes {
        let kept = match self.directive {
            MetadataDirective::Copy => &source.attributes,
            MetadataDirective::Replace => self.asked,
        };
        Attributes {
            system: kept.system.iter().filter(|(name, _)| name != attributes::FILE_TIME).cloned().collect(),
            user: kept.user.clone(),
            storage_class: self.asked.storage_class.clone(),
            sse: self.asked.sse,
        }
    }
}

/// The source's checksum, or the one asked for: then the bytes are read once.
async fn checksum(call: &Call, source: &CopySource, reader: &ObjectReader) -> Result<Option<Checksum>, S3Error> {
    let stored = stored_checksum::from_row(reader.row().checksum.as_ref());
    match RequestChecksums::parse(&call.headers)?.algorithm {
        Some(asked) if stored.as_ref().is_none_or(|stored| stored.algorithm != asked) => {
            let whole = 0..reader.row().bytes;
            Ok(copy_source::digest(call, source, reader, whole, Some(asked)).await?.checksum)
        }
        _ => Ok(stored),
    }
}

#[cfg(test)]
mod tests {
    use cairn_meta::Body;

    use super::*;

    #[test]
    fn metadata_is_copied_or_replaced_and_a_copy_onto_itself_must_change_something() {
        let stored = Attributes {
            system: vec![("content-type".to_owned(), "a/b".to_owned())],
            user: vec![("k".to_owned(), "v".to_owned())],
            storage_class: None,
            sse: false,
        };
        let row = ObjectRow {
            version: cairn_proto::VersionId::default(),
            bytes: 0,
            etag: String::new(),
            modified_ms: 0,
            checksum: None,
            attributes: stored.clone(),
            body: Body::Extents(Vec::new()),
            data_key: None,
        };
        let mut of_a_cache = row.clone();
        of_a_cache
            .attributes
            .system
            .push((attributes::FILE_TIME.to_owned(), "Sun, 06 Nov 1994 08:49:37 GMT".to_owned()));
        let asked = Attributes { user: vec![("n".to_owned(), "w".to_owned())], ..Attributes::default() };
        let copy = Changes { directive: MetadataDirective::Copy, asked: &asked, class_named: false };
        assert!(!copy.any(&row));
        assert_eq!(copy.apply(&row), stored);
        assert_eq!(copy.apply(&of_a_cache), stored, "a copy is as new as it is");
        let replace = Changes { directive: MetadataDirective::Replace, ..copy };
        assert!(replace.any(&row));
        assert_eq!(replace.apply(&row), asked);
        let encrypted = Attributes { sse: true, ..Attributes::default() };
        let encrypt = Changes { directive: MetadataDirective::Copy, asked: &encrypted, class_named: false };
        assert!(encrypt.any(&row));
        assert_eq!((encrypt.apply(&row).user, encrypt.apply(&row).sse), (stored.user, true));
    }
}
