//! Buckets.

use cairn_meta::{BucketRow, BucketSettings, Command, ProfileRow, ProfileWish, SettingsChange};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::map::profile_of;

impl Engine {
    /// A bucket by name.
    ///
    /// # Errors
    /// [`EngineError::NoSuchBucket`].
    pub async fn bucket(&self, name: &str) -> Result<BucketRow, EngineError> {
        let name = name.to_owned();
        self.meta().read().await?.fetch(move |view| view.bucket(&name)).await?.ok_or(EngineError::NoSuchBucket)
    }

    /// Makes a bucket.
    ///
    /// # Errors
    /// [`EngineError::BucketExists`], [`EngineError::Invalid`] for a profile that is wider than the disks.
    pub async fn create_bucket(
        &self,
        name: &str,
        settings: BucketSettings,
        quota_bytes: Option<u64>,
    ) -> Result<(), EngineError> {
        self.check_profile(settings.profile)?;
        let command = Command::CreateBucketWith { name: name.to_owned(), settings, quota_bytes };
        self.shared().writer.commit(command).await?;
        Ok(())
    }

    /// Changes a bucket's settings. Objects that are there stay as they were written.
    ///
    /// # Errors
    /// [`EngineError::NoSuchBucket`], [`EngineError::Invalid`] for a profile that is wider than the disks.
    pub async fn set_bucket_settings(&self, name: &str, change: SettingsChange) -> Result<(), EngineError> {
        self.check_profile(change.profile.and_then(ProfileWish::row))?;
        let command = Command::SetBucketSettings { name: name.to_owned(), change };
        self.shared().writer.commit(command).await?;
        Ok(())
    }

    /// A profile that the disks cannot carry, those away counted, would be narrowed for ever: told at once.
    fn check_profile(&self, profile: Option<ProfileRow>) -> Result<(), EngineError> {
        let Some(profile) = profile else { return Ok(()) };
        let profile = profile_of(profile)?;
        let disks = self.shared().disks_expected();
        if profile.slots() > disks {
            let why = format!("profile {profile} needs {} disks, there are {disks}", profile.slots());
            return Err(EngineError::invalid(why));
        }
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
