//! The background: repair, reaping, inventory, scrub and the planning of groups.

pub(crate) mod groups;

use std::sync::Arc;

use crate::shared::Shared;

/// The running upkeep.
pub(crate) struct UpkeepHandle {
    _shared: Arc<Shared>,
}

impl UpkeepHandle {
    /// Ends all its tasks and waits for them.
    #[expect(clippy::unused_async, reason = "there is no task yet")]
    pub(crate) async fn stop(&self) {}
}

/// Starts upkeep's tasks.
pub(crate) fn start(shared: Arc<Shared>) -> UpkeepHandle {
    UpkeepHandle { _shared: shared }
}
