//! Buckets.

use cairn_meta::{BucketRow, Command};

use crate::engine::Engine;
use crate::error::EngineError;

impl Engine {
    /// A bucket by name.
    ///
    /// # Errors
    /// [`EngineError::NoSuchBucket`].
    pub async fn bucket(&self, name: &str) -> Result<BucketRow, EngineError> {
        self.meta().read().await?.bucket(name)?.ok_or(EngineError::NoSuchBucket)
    }

    /// Makes a bucket.
    ///
    /// # Errors
    /// [`EngineError::BucketExists`].
    pub async fn create_bucket(&self, name: &str) -> Result<(), EngineError> {
        self.shared().writer.commit(Command::CreateBucket { name: name.to_owned() }).await?;
        Ok(())
    }

    /// Removes an empty bucket; its open uploads end with it.
    ///
    /// # Errors
    /// [`EngineError::BucketNotEmpty`], [`EngineError::NoSuchBucket`].
    pub async fn delete_bucket(&self, name: &str) -> Result<(), EngineError> {
        self.shared().writer.commit(Command::DeleteBucket { name: name.to_owned() }).await?;
        Ok(())
    }

    /// Sets or lifts a bucket's quota.
    ///
    /// # Errors
    /// [`EngineError::NoSuchBucket`].
    pub async fn set_bucket_quota(&self, name: &str, quota_bytes: Option<u64>) -> Result<(), EngineError> {
        let command = Command::SetBucketQuota { name: name.to_owned(), quota_bytes };
        self.shared().writer.commit(command).await?;
        Ok(())
    }

    /// Buckets in order of name, at most `limit` after `after`.
    ///
    /// # Errors
    /// When the metadata group cannot be read.
    pub async fn buckets(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<BucketRow>, EngineError> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.read_rows(move |view| view.buckets(&prefix, after.as_deref(), limit)).await
    }
}
