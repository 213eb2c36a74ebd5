//! The access keys as this gateway knows them: read from the metadata group, kept for a second.
//!
//! A removed or disabled key stops working within that second, or at once when the admin API calls
//! [`Identities::invalidate`]. When the group does not answer, keys that were known go on for some seconds: what they
//! ask for is answered by the group anyway.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64, atomic::Ordering},
    time::Duration,
};

use cairn_meta::{IdentityRow, MetaError, MetaHandle, Scope};
use cairn_s3::{S3Error, S3ErrorCode};
use tokio::time::Instant;

use crate::options::GatewayOptions;
use crate::secret::{Secret, SecretSealer};

/// Most keys kept; more and the memory is emptied, so that guessed keys cannot fill it.
const KEPT_MAX: usize = 4096;

/// A key that may sign.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) access_key: String,
    pub(crate) secret: Secret,
    pub(crate) scope: Scope,
}

#[derive(Clone)]
struct Kept {
    at: Instant,
    generation: u64,
    identity: Option<Arc<Identity>>,
}

struct Inner {
    meta: MetaHandle,
    sealer: Arc<dyn SecretSealer>,
    fresh: Duration,
    stale_max: Duration,
    generation: AtomicU64,
    kept: Mutex<HashMap<String, Kept>>,
}

/// Cheap handle on the known access keys.
#[derive(Clone)]
pub struct Identities(Arc<Inner>);

impl Identities {
    pub(crate) fn new(meta: MetaHandle, sealer: Arc<dyn SecretSealer>, options: &GatewayOptions) -> Self {
        let (fresh, stale_max) = (options.identity_fresh, options.identity_stale_max);
        Self(Arc::new(Inner { meta, sealer, fresh, stale_max, generation: AtomicU64::new(0), kept: Mutex::default() }))
    }

    /// Forgets all: the next request of each key reads it again.
    pub fn invalidate(&self) {
        self.0.generation.fetch_add(1, Ordering::SeqCst);
        self.lock().clear();
    }

    /// The identity of an access key.
    ///
    /// # Errors
    /// `InvalidAccessKeyId` for a key that is not there or disabled, `ServiceUnavailable` if nobody can tell.
    pub(crate) async fn find(&self, access_key: &str) -> Result<Arc<Identity>, S3Error> {
        // Read before the row: an invalidation in between makes what we read old.
        let generation = self.0.generation.load(Ordering::SeqCst);
        let kept = self.lock().get(access_key).filter(|kept| kept.generation == generation).cloned();
        let identity = match kept {
            Some(kept) if kept.at.elapsed() < self.0.fresh => kept.identity,
            kept => self.read(access_key, generation, kept).await?,
        };
        identity.ok_or_else(|| S3ErrorCode::InvalidAccessKeyId.into())
    }

    async fn read(
        &self,
        access_key: &str,
        generation: u64,
        kept: Option<Kept>,
    ) -> Result<Option<Arc<Identity>>, S3Error> {
        let at = Instant::now();
        let row = match self.row(access_key).await {
            Ok(row) => row,
            Err(error) => {
                tracing::warn!(%error, "access keys cannot be read");
                return match kept {
                    Some(kept) if kept.at.elapsed() < self.0.stale_max => Ok(kept.identity),
                    _ => Err(S3ErrorCode::ServiceUnavailable.into()),
                };
            }
        };
        let identity = row.and_then(|row| open_identity(&row, self.0.sealer.as_ref()));
        let mut all = self.lock();
        if all.len() >= KEPT_MAX && !all.contains_key(access_key) {
            all.clear();
        }
        all.insert(access_key.to_owned(), Kept { at, generation, identity: identity.clone() });
        Ok(identity)
    }

    async fn row(&self, access_key: &str) -> Result<Option<IdentityRow>, MetaError> {
        let (view, access_key) = (self.0.meta.read().await?, access_key.to_owned());
        view.fetch(move |view| view.identity(&access_key)).await
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Kept>> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A row as an identity: none if it is switched off or its secret cannot be opened.
fn open_identity(row: &IdentityRow, sealer: &dyn SecretSealer) -> Option<Arc<Identity>> {
    if !row.enabled {
        return None;
    }
    match sealer.unseal(&row.sealed_secret) {
        Ok(secret) => Some(Arc::new(Identity { access_key: row.access_key.clone(), secret, scope: row.scope.clone() })),
        Err(error) => {
            tracing::error!(access_key = row.access_key, %error, "an access key cannot be used");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::secret::UnsealError;

    struct Prefixed;
    impl SecretSealer for Prefixed {
        fn unseal(&self, sealed: &[u8]) -> Result<Secret, UnsealError> {
            let secret = sealed.strip_prefix(b"sealed:").ok_or(UnsealError)?;
            Ok(Secret::new(String::from_utf8_lossy(secret).into_owned()))
        }
    }

    fn row(sealed: &'static [u8], enabled: bool) -> IdentityRow {
        IdentityRow {
            access_key: "AK".to_owned(),
            sealed_secret: Bytes::from_static(sealed),
            scope: Scope::Root,
            enabled,
            created_ms: 0,
            description: String::new(),
        }
    }

    #[test]
    fn only_enabled_keys_with_a_secret_that_opens() {
        assert_eq!(open_identity(&row(b"sealed:s", true), &Prefixed).unwrap().secret.expose(), "s");
        assert!(open_identity(&row(b"sealed:s", false), &Prefixed).is_none());
        assert!(open_identity(&row(b"other:s", true), &Prefixed).is_none());
    }
}
