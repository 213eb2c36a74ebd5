//! Keeps enough placement groups for the disks that take writes now.

use std::collections::BTreeSet;
use std::sync::Arc;

use cairn_meta::{BATCH_ROWS_MAX, Command};
use tokio::sync::Mutex;
use tracing::{info, warn};

use super::plan_groups::{NewGroups, plan_groups};
use super::{Pace, Upkeep};
use crate::error::EngineError;
use crate::map::{ClusterMap, profile_row};
use crate::shared::Shared;
use crate::want::Want;

/// Many writers may find no group at once: one makes them, the others find what it made.
static MAKING: Mutex<()> = Mutex::const_new(());

/// Makes the groups that are missing for each profile in use: the server's, those of storage classes, and those that
/// writers asked for.
///
/// # Errors
/// When the metadata group does not answer.
pub(crate) async fn ensure_all(shared: &Arc<Shared>) -> Result<(), EngineError> {
    let of_classes = shared.options.storage_classes.values().copied().map(profile_row);
    let mut wants: BTreeSet<Want> =
        of_classes.chain(shared.server_profile()).map(|profile| Want::new(profile, false)).collect();
    wants.extend(shared.wants.lock().expect("no holder of this lock panics").iter().copied());
    for want in wants {
        ensure(shared, want).await?;
    }
    Ok(())
}

/// Makes the groups that are missing for the disks that are writable now; does nothing where enough stand.
///
/// # Errors
/// When the metadata group does not answer.
pub(crate) async fn ensure(shared: &Arc<Shared>, want: Want) -> Result<(), EngineError> {
    if plan_now(shared, &shared.map.load(), want).is_none() {
        return Ok(());
    }
    let _making = MAKING.lock().await;
    let map = shared.map.refresh(&shared.meta).await?;
    let Some(plan) = plan_now(shared, &map, want) else { return Ok(()) };
    let (count, profile) = (plan.groups.len(), plan.profile);
    for groups in plan.groups.chunks(BATCH_ROWS_MAX) {
        shared.meta.propose(Command::CreatePgs { profile, groups: groups.to_vec() }).await?;
    }
    shared.map.refresh(&shared.meta).await?;
    info!(count, data = profile.data, parity = profile.parity, "placement groups made");
    if profile.parity < want.profile().parity {
        warn!(parity = profile.parity, "cache buckets go on with less parity: too many disks are away");
    }
    Ok(())
}

fn plan_now(shared: &Shared, map: &ClusterMap, want: Want) -> Option<NewGroups> {
    plan_groups(map.pgs.values(), &shared.usable_disks(map), want, shared.options.groups_min)
}

impl Upkeep {
    /// Makes the groups that are missing.
    pub(crate) async fn groups_step(&self) -> Result<Pace, EngineError> {
        ensure_all(&self.shared).await?;
        Ok(self.idle())
    }
}
