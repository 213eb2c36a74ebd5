//! Copies: by reference where the rows allow it, else the bytes are written anew.

use std::ops::Range;

use bytes::Bytes;
use cairn_meta::{Body, Command, CopySource, MetaError, Refusal, Reply};
use cairn_proto::BucketId;
use futures_util::StreamExt;

use super::{Committed, ObjectCommit, PartCommit, version_of};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::read::ObjectReader;
use crate::write::{StoredBytes, WriteKind, WriteTarget};

impl Engine {
    /// Copies an open object. The copy refers to the source's segments; it gets bytes of its own where it would refer
    /// to too many, or where the source was overwritten since it was opened.
    ///
    /// # Errors
    /// As [`Self::commit_object`], and as reading.
    pub async fn copy_object(&self, source: &ObjectReader, to: ObjectCommit) -> Result<Committed, EngineError> {
        let range = 0..source.row().bytes;
        if let Some(reference) = self.reference(source, range.clone()).await? {
            let command = Command::CopyObject {
                bucket: to.bucket,
                key: to.key.clone(),
                source: reference,
                etag: to.etag.clone(),
                checksum: to.checksum.clone(),
                attributes: to.attributes.clone(),
                preconditions: to.preconditions.clone(),
            };
            if let Some(reply) = self.commit_copy(command).await? {
                return version_of(&reply);
            }
        }
        let stored = self.write_anew(source, range, to.bucket, &to.key, WriteKind::Object).await?;
        self.commit_object(stored, to).await
    }

    /// Makes a part of some bytes of an open object.
    ///
    /// # Errors
    /// As [`Self::commit_part`], and as reading.
    pub async fn copy_part(
        &self,
        source: &ObjectReader,
        range: Range<u64>,
        part: PartCommit,
    ) -> Result<Committed, EngineError> {
        if range.start > range.end || range.end > source.row().bytes {
            return Err(EngineError::invalid("the range lies outside of the source"));
        }
        let inline = matches!(source.row().body, Body::Inline(_)) || range.is_empty();
        let reference = if inline { None } else { self.reference(source, range.clone()).await? };
        if let Some(reference) = reference {
            let command = Command::CopyPart {
                bucket: part.bucket,
                key: part.key.clone(),
                upload: part.upload,
                number: part.number,
                source: reference,
                etag: part.etag.clone(),
                checksum: part.checksum.clone(),
            };
            if let Some(reply) = self.commit_copy(command).await? {
                return version_of(&reply);
            }
        }
        let stored = self.write_anew(source, range, part.bucket, &part.key, WriteKind::Part).await?;
        self.commit_part(stored, part).await
    }

    /// The rows a copy would refer to; none where they are too many for one row.
    async fn reference(&self, source: &ObjectReader, range: Range<u64>) -> Result<Option<CopySource>, EngineError> {
        let row = source.row();
        let (extents, inline) = match &row.body {
            Body::Inline(bytes) => (Vec::new(), Some(bytes.clone())),
            body => {
                // The reader's pin keeps the rows; what this member has applied covers the reader's index.
                let (view, body) = (self.meta().local(), body.clone());
                let extents = tokio::task::spawn_blocking(move || view.extents(&body, range));
                (extents.await.map_err(|_| EngineError::Shutdown)??, None)
            }
        };
        if extents.len() > self.shared().options.extents_max {
            return Ok(None);
        }
        let (bucket, key, version) = (source.bucket(), source.key().to_owned(), row.version);
        Ok(Some(CopySource { bucket, key, version, extents, inline }))
    }

    /// None where the source no longer stands as it was read.
    async fn commit_copy(&self, command: Command) -> Result<Option<Reply>, EngineError> {
        match self.shared().writer.commit(command).await {
            Ok(reply) => Ok(Some(reply)),
            Err(MetaError::Refused(Refusal::SourceChanged)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn write_anew(
        &self,
        source: &ObjectReader,
        range: Range<u64>,
        bucket: BucketId,
        key: &str,
        kind: WriteKind,
    ) -> Result<StoredBytes, EngineError> {
        let length = Some(range.end - range.start);
        let target = WriteTarget { bucket, key: key.to_owned(), kind, length };
        let mut writer = self.begin_write(target).await?;
        let mut body = source.stream(range);
        while let Some(piece) = body.next().await {
            let piece: Bytes = piece?;
            writer.write(piece).await?;
        }
        writer.finish().await
    }
}
