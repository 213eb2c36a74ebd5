//! Keeps enough placement groups for the disks that take writes now.

use std::collections::BTreeSet;
use std::sync::Arc;

use cairn_meta::{BATCH_ROWS_MAX, Command};
use cairn_proto::DiskId;
use tokio::sync::Mutex;
use tracing::info;

use super::plan_groups::{NewGroups, plan_groups};
use super::{Pace, Upkeep};
use crate::error::EngineError;
use crate::map::ClusterMap;
use crate::shared::Shared;

/// Many writers may find no group at once: one makes them, the others find what it made.
static MAKING: Mutex<()> = Mutex::const_new(());

/// Makes the groups that are missing for the disks that are writable now; does nothing where enough stand.
///
/// # Errors
/// When the metadata group does not answer.
pub(crate) async fn ensure(shared: &Arc<Shared>) -> Result<(), EngineError> {
    if plan_now(shared, &shared.map.load()).is_none() {
        return Ok(());
    }
    let _making = MAKING.lock().await;
    let map = shared.map.refresh(&shared.meta).await?;
    let Some(plan) = plan_now(shared, &map) else { return Ok(()) };
    let (count, profile) = (plan.groups.len(), plan.profile);
    for groups in plan.groups.chunks(BATCH_ROWS_MAX) {
        shared.meta.propose(Command::CreatePgs { profile, groups: groups.to_vec() }).await?;
    }
    shared.map.refresh(&shared.meta).await?;
    info!(count, data = profile.data, parity = profile.parity, "placement groups made");
    Ok(())
}

fn plan_now(shared: &Shared, map: &ClusterMap) -> Option<NewGroups> {
    let known = |disk: &DiskId| map.disks.contains_key(disk);
    let usable: BTreeSet<DiskId> = shared
        .disks
        .all()
        .into_iter()
        .map(|disk| disk.id)
        .filter(known)
        .filter(|disk| shared.disks.writable(*disk))
        .collect();
    let expected = map.standing_disks().count().max(shared.options.folders.len());
    plan_groups(map.pgs.values(), &usable, expected, shared.options.profile, shared.options.groups_min)
}

impl Upkeep {
    /// Makes the groups that are missing.
    pub(crate) async fn groups_step(&self) -> Result<Pace, EngineError> {
        ensure(&self.shared).await?;
        Ok(self.idle())
    }
}
