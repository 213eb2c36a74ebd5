//! Objects: writing, opening, deleting, listing.

use cairn_meta::{Command, ListPage, ListQuery, MetaError, MetaView, Preconditions, Refusal, Reply};
use cairn_proto::BucketId;

use super::{Committed, ObjectCommit, unexpected_reply};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::read::{ObjectReader, UrlRange};
use crate::write::{self, ObjectWriter, StoredBytes, WriteTarget};

impl Engine {
    /// Begins to write bytes. Nothing is visible before the commit.
    ///
    /// # Errors
    /// [`EngineError::TooLarge`]; a writer that cannot get disks says so at the first bytes that need one.
    #[expect(clippy::unused_async, reason = "admission of writes will wait here")]
    pub async fn begin_write(&self, target: WriteTarget) -> Result<ObjectWriter, EngineError> {
        ObjectWriter::begin(self.shared(), target)
    }

    /// Makes written bytes an object: one command, with its conditions.
    ///
    /// # Errors
    /// [`EngineError::PreconditionFailed`], [`EngineError::QuotaExceeded`], [`EngineError::NoSuchBucket`];
    /// [`EngineError::Unknown`] where the answer never came.
    pub async fn commit_object(&self, stored: StoredBytes, object: ObjectCommit) -> Result<Committed, EngineError> {
        write::commit_object(stored, object).await
    }

    /// Opens an object for reading; its bytes stay readable while the reader or its body is held.
    ///
    /// # Errors
    /// [`EngineError::NoSuchObject`].
    pub async fn open_object(&self, bucket: BucketId, key: &str) -> Result<ObjectReader, EngineError> {
        ObjectReader::open(self.shared(), bucket, key).await
    }

    /// Opens an object for one range of a presigned URL: all of them are of one version, whatever is written meanwhile.
    ///
    /// # Errors
    /// [`EngineError::NoSuchObject`]; [`EngineError::VersionUnknown`] where nobody knows which version the URL's
    /// earlier ranges were of.
    pub async fn open_range(&self, bucket: BucketId, key: &str, range: &UrlRange) -> Result<ObjectReader, EngineError> {
        ObjectReader::open_range(self.shared(), bucket, key, range).await
    }

    /// Deletes objects, at most 1,000; per key whether there was one, or why it stays.
    ///
    /// # Errors
    /// When the command as a whole was not done.
    pub async fn delete_objects(
        &self,
        bucket: BucketId,
        keys: Vec<(String, Preconditions)>,
    ) -> Result<Vec<Result<bool, Refusal>>, EngineError> {
        match self.shared().writer.commit(Command::DeleteObjects { bucket, keys }).await? {
            Reply::Deleted(outcomes) => Ok(outcomes),
            _ => Err(unexpected_reply()),
        }
    }

    /// One page of a bucket's objects.
    ///
    /// # Errors
    /// When the metadata group cannot be read.
    pub async fn list(&self, query: ListQuery) -> Result<ListPage, EngineError> {
        self.read_rows(move |view| view.list(&query)).await
    }

    /// A linearizable read of many rows, off the async threads.
    pub(crate) async fn read_rows<T, F>(&self, read: F) -> Result<T, EngineError>
    where
        T: Send + 'static,
        F: FnOnce(&MetaView) -> Result<T, MetaError> + Send + 'static,
    {
        let view = self.meta().read().await?;
        let rows = tokio::task::spawn_blocking(move || read(&view));
        Ok(rows.await.map_err(|_| EngineError::Shutdown)??)
    }
}
