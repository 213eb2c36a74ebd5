//! Copies: by reference where the rows allow it, else the bytes are written anew.

use std::collections::HashSet;
use std::ops::Range;

use bytes::Bytes;
use cairn_meta::{Command, CopySource, Extent, MetaError, ProfileRow, Refusal, Reply};
use cairn_proto::BucketId;
use futures_util::StreamExt;

use super::{Committed, ObjectCommit, PartCommit, version_of};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::read::ObjectReader;
use crate::want::Want;
use crate::write::{StoredBytes, WriteKind, WriteTarget};

impl Engine {
    /// Copies an open object. The copy refers to the source's segments; it gets bytes of its own where those are of
    /// another profile than it would be written with, where it would refer to too many, or where the source was
    /// overwritten since it was opened.
    ///
    /// # Errors
    /// As [`Self::commit_object`], and as reading.
    pub async fn copy_object(&self, source: &ObjectReader, to: ObjectCommit) -> Result<Committed, EngineError> {
        let range = 0..source.row().bytes;
        let class = to.attributes.storage_class.clone();
        let want = self.shared().want(to.bucket, class.as_deref())?;
        // Inline bytes are sealed for their key: the copy's are sealed anew.
        let reference =
            if source.row().body.is_inline() { None } else { self.reference(source, range.clone(), want).await? };
        if let Some(reference) = reference {
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
        let target = anew(&range, to.bucket, &to.key, WriteKind::Object, class);
        let stored = self.write_anew(source, range, target).await?;
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
        let inline = source.row().body.is_inline() || range.is_empty();
        let upload = self.upload(part.bucket, &part.key, part.upload).await?;
        let class = upload.attributes.storage_class;
        let want = self.shared().want(part.bucket, class.as_deref())?;
        let reference = if inline { None } else { self.reference(source, range.clone(), want).await? };
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
        let kind = WriteKind::Part { upload: part.upload, number: part.number };
        let target = anew(&range, part.bucket, &part.key, kind, class);
        let stored = self.write_anew(source, range, target).await?;
        self.commit_part(stored, part).await
    }

    /// The rows a copy would refer to; none where they are too many for one row, or of another profile.
    async fn reference(
        &self,
        source: &ObjectReader,
        range: Range<u64>,
        want: Want,
    ) -> Result<Option<CopySource>, EngineError> {
        let row = source.row();
        // The reader's pin keeps the rows; what this member has applied covers the reader's index.
        let (view, body) = (self.meta().local(), row.body.clone());
        let extents = tokio::task::spawn_blocking(move || view.extents(&body, range));
        let extents = extents.await.map_err(|_| EngineError::Shutdown)??;
        if extents.len() > self.shared().options.extents_max || !self.agrees(&extents, want) {
            return Ok(None);
        }
        let (bucket, key, version) = (source.bucket(), source.key().to_owned(), row.version);
        Ok(Some(CopySource { bucket, key, version, extents, inline: None }))
    }

    /// Whether the bytes lie as they would be written now. A group's profile never changes.
    fn agrees(&self, extents: &[Extent], want: Want) -> bool {
        let map = self.shared().map.load();
        let groups = extents.iter().filter_map(|extent| map.pg(extent.pg));
        let profiles: HashSet<ProfileRow> = groups.map(|group| group.profile).collect();
        profiles.into_iter().all(|profile| self.shared().is_best(want, profile))
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
        target: WriteTarget,
    ) -> Result<StoredBytes, EngineError> {
        let mut writer = self.begin_write(target).await?;
        let mut body = source.stream(range);
        while let Some(piece) = body.next().await {
            let piece: Bytes = piece?;
            writer.write(piece).await?;
        }
        writer.finish().await
    }
}

/// Where a copy's own bytes go.
fn anew(range: &Range<u64>, bucket: BucketId, key: &str, kind: WriteKind, class: Option<String>) -> WriteTarget {
    WriteTarget { bucket, key: key.to_owned(), kind, length: Some(range.end - range.start), class }
}
