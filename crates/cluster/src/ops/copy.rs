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
use crate::write::{OwnUpload, StoredBytes, WriteKind, WriteTarget};

/// A source's extents are read for the bytes of so many segments at a time.
const WINDOW_SEGMENTS: u64 = 16;

impl Engine {
    /// Copies an open object. The copy refers to the source's segments; it gets bytes of its own where those are of
    /// another profile than it would be written with, or where the source was overwritten since it was opened.
    ///
    /// # Errors
    /// As [`Self::commit_object`], and as reading.
    pub async fn copy_object(&self, source: &ObjectReader, to: ObjectCommit) -> Result<Committed, EngineError> {
        let range = 0..source.row().bytes;
        let class = to.attributes.storage_class.clone();
        let want = self.shared().want(to.bucket, class.as_deref()).await?;
        // Inline bytes are sealed for their key: the copy's are sealed anew.
        if !source.row().body.is_inline() {
            let mut references = References::new(self, source, range.clone(), want);
            let first = references.next().await?.unwrap_or_else(|| references.name(Vec::new()));
            let copied = match references.next().await? {
                _ if !references.agree => None,
                None => self.copy_row(&to, first).await?,
                Some(second) => self.copy_rows(&to, vec![first, second], references).await?,
            };
            if let Some(committed) = copied {
                return Ok(committed);
            }
        }
        let target = anew(&range, to.bucket, &to.key, WriteKind::Object, class);
        let stored = self.write_anew(source, range, target).await?;
        self.commit_object(stored, to).await
    }

    /// Whether a copy would get bytes of its own, since the source's lie otherwise than they would be written.
    ///
    /// # Errors
    /// As reading.
    pub async fn is_recoded_by_copy(
        &self,
        source: &ObjectReader,
        bucket: BucketId,
        class: Option<&str>,
    ) -> Result<bool, EngineError> {
        if source.row().body.is_inline() {
            return Ok(false);
        }
        let want = self.shared().want(bucket, class).await?;
        let mut references = References::new(self, source, 0..source.row().bytes, want);
        while references.agree && references.next().await?.is_some() {}
        Ok(!references.agree)
    }

    /// A copy whose row lists all it refers to. None where the source no longer stands as it was read.
    async fn copy_row(&self, to: &ObjectCommit, source: CopySource) -> Result<Option<Committed>, EngineError> {
        let command = Command::CopyObject {
            bucket: to.bucket,
            key: to.key.clone(),
            source,
            etag: to.etag.clone(),
            checksum: to.checksum.clone(),
            attributes: to.attributes.clone(),
            preconditions: to.preconditions.clone(),
        };
        self.commit_copy(command).await?.as_ref().map(version_of).transpose()
    }

    /// A copy that refers to more than a row lists: an upload of our own, of parts that are copies. None where the
    /// source no longer stands as it was read, or some of it is of another profile.
    async fn copy_rows(
        &self,
        to: &ObjectCommit,
        first: Vec<CopySource>,
        mut rest: References<'_>,
    ) -> Result<Option<Committed>, EngineError> {
        let mut upload = OwnUpload::open(self.shared(), to).await?;
        let mut changed = false;
        let put = async {
            let mut waiting = first.into_iter();
            loop {
                let next = match waiting.next() {
                    Some(source) => Some(source),
                    None => rest.next().await?,
                };
                let Some(source) = next else { return Ok(()) };
                if !rest.agree {
                    changed = true;
                    return Err(EngineError::unavailable("the source is not of one profile"));
                }
                let part = upload.next_part()?;
                let command = Command::CopyPart {
                    bucket: to.bucket,
                    key: to.key.clone(),
                    upload: upload.id,
                    number: part.number,
                    source,
                    etag: part.etag,
                    checksum: None,
                };
                if self.commit_copy(command).await?.is_none() {
                    changed = true;
                    return Err(EngineError::unavailable("the source was overwritten while it was copied"));
                }
            }
        };
        let put = put.await;
        match upload.end(put).await {
            Err(_) if changed => Ok(None),
            committed => committed.map(Some),
        }
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
        self.check_part_bytes(range.end - range.start)?;
        let inline = source.row().body.is_inline() || range.is_empty();
        let class = self.upload(part.bucket, &part.key, part.upload).await?.attributes.storage_class;
        let want = self.shared().want(part.bucket, class.as_deref()).await?;
        let mut references = References::new(self, source, range.clone(), want);
        let reference = if inline { None } else { references.next().await? };
        // A part has one row: what a row cannot list is written anew.
        if let Some(reference) = reference
            && references.next().await?.is_none()
            && references.agree
        {
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

/// What a copy refers to, in pieces that a row can list.
struct References<'a> {
    engine: &'a Engine,
    source: &'a ObjectReader,
    want: Want,
    /// Bytes whose extents are still to be read.
    range: Range<u64>,
    read: Vec<Extent>,
    /// Whether all that was read lies as it would be written now.
    agree: bool,
}

impl<'a> References<'a> {
    fn new(engine: &'a Engine, source: &'a ObjectReader, range: Range<u64>, want: Want) -> Self {
        Self { engine, source, want, range, read: Vec::new(), agree: true }
    }

    /// The next piece; none at the end, and for a source without extents.
    async fn next(&mut self) -> Result<Option<CopySource>, EngineError> {
        let most = self.engine.shared().options.extents_max;
        while self.read.len() < most && !self.range.is_empty() {
            self.read_window().await?;
        }
        let piece: Vec<Extent> = self.read.drain(..self.read.len().min(most)).collect();
        Ok((!piece.is_empty()).then(|| self.name(piece)))
    }

    async fn read_window(&mut self) -> Result<(), EngineError> {
        let window_bytes = self.engine.shared().options.segment_bytes_max.saturating_mul(WINDOW_SEGMENTS);
        let mut end = self.range.end.min(self.range.start.saturating_add(window_bytes));
        let window = self.range.start..end;
        // The reader's pin keeps the rows; what this member has applied covers the reader's index.
        let (view, body) = (self.engine.meta().local(), self.source.row().body.clone());
        let extents = tokio::task::spawn_blocking(move || view.extents(&body, window)).await;
        let mut extents = extents.map_err(|_| EngineError::Shutdown)??;
        // The last one may go on behind the window: it is read whole with the next.
        if end < self.range.end && extents.len() > 1 {
            end -= extents.pop().map_or(0, |extent| extent.bytes);
        }
        self.agree &= self.agrees(&extents);
        self.read.append(&mut extents);
        self.range.start = end;
        Ok(())
    }

    /// A group's profile never changes.
    fn agrees(&self, extents: &[Extent]) -> bool {
        let map = self.engine.shared().map.load();
        let groups = extents.iter().filter_map(|extent| map.pg(extent.pg));
        let profiles: HashSet<ProfileRow> = groups.map(|group| group.profile).collect();
        profiles.into_iter().all(|profile| self.engine.shared().is_best(self.want, profile))
    }

    fn name(&self, extents: Vec<Extent>) -> CopySource {
        let (bucket, key, version) = (self.source.bucket(), self.source.key().to_owned(), self.source.row().version);
        CopySource { bucket, key, version, extents, inline: None }
    }
}
