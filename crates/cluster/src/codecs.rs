//! One codec per profile in use, and the bound on coding work that runs beside the async threads.

use std::collections::HashMap;
use std::sync::Mutex;

use cairn_erasure::{Codec, ErasureProfile};
use tokio::sync::Semaphore;

use crate::error::EngineError;

/// Codecs by profile, made when first asked for.
pub(crate) struct Codecs {
    by_profile: Mutex<HashMap<ErasureProfile, Codec>>,
    /// Coding tasks that may run at once: one per core.
    slots: Semaphore,
}

impl Codecs {
    pub(crate) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { by_profile: Mutex::default(), slots: Semaphore::new(cores) }
    }

    /// The codec of a profile.
    pub(crate) fn get(&self, profile: ErasureProfile) -> Codec {
        let mut by_profile = self.by_profile.lock().expect("no holder of this lock panics");
        by_profile.entry(profile).or_insert_with(|| Codec::new(profile)).clone()
    }

    /// Runs work that keeps a core busy off the async threads, no more pieces at once than there are cores.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T, EngineError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let _slot = self.slots.acquire().await.map_err(|_| EngineError::Shutdown)?;
        tokio::task::spawn_blocking(work).await.map_err(|_| EngineError::Shutdown)
    }
}
