//! Multipart uploads.

use cairn_meta::{
    Attributes, ChecksumRow, ChosenPart, Command, PartPage, PartRow, Preconditions, Reply, UploadPage, UploadQuery,
    UploadRow,
};
use cairn_proto::{BucketId, UploadId};

use super::{Committed, PartCommit, unexpected_reply, version_of};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::write::{self, StoredBytes};

impl Engine {
    /// Whether a part of so many bytes can be made.
    ///
    /// # Errors
    /// [`EngineError::TooLarge`].
    pub fn check_part_bytes(&self, bytes: u64) -> Result<(), EngineError> {
        write::check_part_bytes(&self.shared().options, bytes)
    }

    /// Opens an upload.
    ///
    /// # Errors
    /// [`EngineError::NoSuchBucket`].
    pub async fn create_upload(
        &self,
        bucket: BucketId,
        key: &str,
        attributes: Attributes,
        checksum: Option<ChecksumRow>,
        initiator: &str,
    ) -> Result<UploadId, EngineError> {
        let (key, initiator) = (key.to_owned(), initiator.to_owned());
        let command = Command::CreateUpload { bucket, key, attributes, checksum, initiator, internal: false };
        match self.shared().writer.commit(command).await? {
            Reply::Upload(upload) => Ok(upload),
            _ => Err(unexpected_reply()),
        }
    }

    /// Makes written bytes a part of an open upload, in place of an earlier one of that number.
    ///
    /// # Errors
    /// [`EngineError::NoSuchUpload`], [`EngineError::QuotaExceeded`]; [`EngineError::Unknown`] where the answer never
    /// came.
    pub async fn commit_part(&self, stored: StoredBytes, part: PartCommit) -> Result<Committed, EngineError> {
        write::commit_part(stored, part).await
    }

    /// Makes an object of an upload's parts. A repeated call returns the version that the first one made.
    ///
    /// # Errors
    /// [`EngineError::InvalidPart`], [`EngineError::InvalidPartOrder`], [`EngineError::PartTooSmall`],
    /// [`EngineError::NoSuchUpload`], [`EngineError::PreconditionFailed`].
    #[expect(clippy::too_many_arguments, reason = "they are what the S3 call carries, each of its own type")]
    pub async fn complete_upload(
        &self,
        bucket: BucketId,
        key: &str,
        upload: UploadId,
        parts: Vec<ChosenPart>,
        etag: String,
        checksum: Option<ChecksumRow>,
        preconditions: Preconditions,
    ) -> Result<Committed, EngineError> {
        let command =
            Command::CompleteUpload { bucket, key: key.to_owned(), upload, parts, etag, checksum, preconditions };
        version_of(&self.shared().writer.commit(command).await?)
    }

    /// Ends an upload; its parts are given up.
    ///
    /// # Errors
    /// [`EngineError::NoSuchUpload`].
    pub async fn abort_upload(&self, bucket: BucketId, key: &str, upload: UploadId) -> Result<(), EngineError> {
        self.shared().writer.commit(Command::AbortUpload { bucket, key: key.to_owned(), upload }).await?;
        Ok(())
    }

    /// An open upload.
    ///
    /// # Errors
    /// [`EngineError::NoSuchUpload`].
    pub async fn upload(&self, bucket: BucketId, key: &str, upload: UploadId) -> Result<UploadRow, EngineError> {
        let (view, key) = (self.meta().read().await?, key.to_owned());
        view.fetch(move |view| view.upload(bucket, &key, upload)).await?.ok_or(EngineError::NoSuchUpload)
    }

    /// One page of a bucket's open uploads.
    ///
    /// # Errors
    /// When the metadata group cannot be read.
    pub async fn uploads(&self, query: UploadQuery) -> Result<UploadPage, EngineError> {
        self.read_rows(move |view| view.uploads(&query)).await
    }

    /// A part, if it is there.
    ///
    /// # Errors
    /// When the metadata group cannot be read.
    pub async fn part(&self, upload: UploadId, number: u16) -> Result<Option<PartRow>, EngineError> {
        Ok(self.meta().read().await?.fetch(move |view| view.part(upload, number)).await?)
    }

    /// Parts in order of number, at most `limit` after `after`.
    ///
    /// # Errors
    /// When the metadata group cannot be read.
    pub async fn parts(&self, upload: UploadId, after: Option<u16>, limit: usize) -> Result<PartPage, EngineError> {
        self.read_rows(move |view| view.parts(upload, after, limit)).await
    }
}
