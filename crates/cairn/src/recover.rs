//! `cairn recover`: the metadata of a store that lost it, from the newest snapshot its disks list.
//!
//! ```text
//! lock → metadata must be gone → open the disks → lists of snapshots → key file → newest snapshot that can be read
//!      → the new life's number onto all disks → rows into META/voter-N → report → META/CAIRN-CLUSTER
//! ```
//!
//! The last step makes it the store's metadata. Cut off before it, nothing was recovered, and it is begun anew.

use std::{path::Path, process::ExitCode, sync::Arc};

use anyhow::{Context, Result, bail};
use cairn_cluster::{ClusterKey, RecoveryDisks, RecoveryReport, SnapshotFound};
use cairn_meta::{Clock, MetaImport, NewLife, SystemClock};
use cairn_proto::DiskId;
use cairn_shard_store::{DiskOptions, FolderState, RocksShardStore, ShardStore, inspect};

use crate::{
    args::RecoverArgs,
    commands::moment,
    config::{ByteCount, Config},
    logging, output,
    secrets::{KeyFile, SealError},
    server::{
        self,
        cluster_id::{MetaFolder, voter_folder},
        lock::{DataLock, make_private_folder},
    },
};

/// Runs the command.
pub(crate) fn run(args: RecoverArgs) -> Result<ExitCode> {
    let config = server::read_config(args.config.as_deref(), args.settings)?;
    logging::start(config.log_format, config.log_level.clone())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(recover(&config))?;
    Ok(ExitCode::SUCCESS)
}

async fn recover(config: &Config) -> Result<()> {
    let _lock = DataLock::take(&config.home)?;
    if MetaFolder::is_there(&config.meta) {
        bail!(
            "{} holds the metadata of a cluster, and nothing is recovered over it: start the server with it, or, if it is \
             damaged beyond use, move it away first",
            config.meta.display()
        );
    }
    let (cluster_id, disks) = open_disks(&config.disks)?;
    let disks = RecoveryDisks::new(disks);
    let recovered = recover_from(config, cluster_id, &disks).await;
    disks.close().await;
    recovered
}

/// Opens what can be opened; all must be of one cluster.
fn open_disks(folders: &[std::path::PathBuf]) -> Result<(u128, Vec<Arc<dyn ShardStore>>)> {
    let mut cluster: Option<(u128, &Path)> = None;
    let mut disks: Vec<Arc<dyn ShardStore>> = Vec::new();
    for folder in folders {
        let cluster_id = match inspect(folder) {
            FolderState::Disk { cluster_id, .. } => cluster_id,
            FolderState::Missing | FolderState::Empty => {
                tracing::warn!(folder = %folder.display(), "there is no disk: it is left out");
                continue;
            }
            FolderState::Foreign(problem) => {
                tracing::warn!(folder = %folder.display(), problem, "a disk is left out");
                continue;
            }
        };
        match cluster {
            Some((known, first)) if known != cluster_id => bail!(
                "{} and {} hold disks of two clusters: name the disks of one alone",
                first.display(),
                folder.display()
            ),
            _ => cluster = Some((cluster_id, folder.as_path())),
        }
        match RocksShardStore::open(&DiskOptions::new(folder, cluster_id, DiskId(0))) {
            Ok(store) => disks.push(store),
            Err(error) => tracing::warn!(folder = %folder.display(), %error, "a disk is left out"),
        }
    }
    match cluster {
        Some((cluster_id, _)) if !disks.is_empty() => Ok((cluster_id, disks)),
        _ => bail!(
            "none of the {} disk folders holds a disk that can be opened: name the disks of the store",
            folders.len()
        ),
    }
}

async fn recover_from(config: &Config, cluster_id: u128, disks: &RecoveryDisks) -> Result<()> {
    let (heard, snapshots) = disks.snapshots().await;
    let Some(newest) = snapshots.first() else {
        bail!(
            "no disk lists a snapshot of the metadata: it can only come back from a copy of {}",
            config.meta.display()
        );
    };
    let key = cluster_key(config, newest)?;
    let clock = SystemClock;
    let new = NewLife { life: heard + 1, began_ms: clock.now_ms() };
    make_private_folder(&config.meta)?;
    let folder = voter_folder(&config.meta, new.voter());
    for found in &snapshots {
        let mut import = match read(&folder, cluster_id, disks, found, &key).await {
            Ok(import) => import,
            Err(error) => {
                let made = moment(found.created_ms());
                tracing::error!(
                    error = format!("{error:#}"),
                    made,
                    "a snapshot cannot be read: the one before it is tried"
                );
                continue;
            }
        };
        // First of all onto the disks: whatever happens from here on, no other recovery takes this number.
        disks.record_life(new.life).await.context(
            "a disk cannot record that a recovery began: take it out of the configuration, free space on it, or, if its \
             CAIRN-RECOVERY is damaged, move that file away",
        )?;
        let recovered = import.begin_life(new)?;
        let report = disks.report(&import.view()?, &key).await.context("compare rows and disks")?;
        import.finish()?;
        MetaFolder::write_recovered(&config.meta, cluster_id, recovered.voter)?;
        output::line(&describe(found, new.life, &report));
        return Ok(());
    }
    bail!(
        "none of the {} snapshots that the disks list can be read: bring back more disks, and try again",
        snapshots.len()
    )
}

/// The cluster's key, opened by the key file.
fn cluster_key(config: &Config, found: &SnapshotFound) -> Result<ClusterKey> {
    let path = config.key_file();
    let file = KeyFile::read(&path)?.with_context(|| {
        format!(
            "the key file {} is gone, and snapshots are sealed: put it back from a copy; without it they cannot be read",
            path.display()
        )
    })?;
    let (number, sealed) = found.sealed_key().context("the disks list no cluster key beside the snapshot")?;
    file.open_cluster_key(number, sealed).map_err(|error| match error {
        SealError::WrongKey => {
            anyhow::anyhow!("{} is not the key file of this store: put the right one back", path.display())
        }
        other => other.into(),
    })
}

/// Reads a snapshot into a voter's folder that is not in use yet.
async fn read(
    folder: &Path,
    cluster_id: u128,
    disks: &RecoveryDisks,
    found: &SnapshotFound,
    key: &ClusterKey,
) -> Result<MetaImport> {
    let mut import = MetaImport::begin(folder, cluster_id)?;
    disks.read_snapshot(found, key, &mut |piece| import.add(piece)).await?;
    let index = import.view()?.index();
    if index != found.index() {
        bail!("the snapshot of index {} holds the rows of index {index}", found.index());
    }
    Ok(import)
}

fn describe(found: &SnapshotFound, life: u64, report: &RecoveryReport) -> String {
    let mut lines = vec![
        format!(
            "recovered the metadata as it was at {} (index {}); life {life} of the metadata begins",
            moment(found.created_ms()),
            found.index()
        ),
        format!("objects that came back: {} ({} of them small ones in the metadata)", report.whole, report.inline),
        format!("objects that lack shards: {}", report.lost_count),
    ];
    lines.extend(report.lost.iter().map(|(bucket, key)| format!("  {bucket}/{key}")));
    lines.push(format!("objects that are newer than the snapshot and whose shards are kept: {}", report.newer.len()));
    for newer in &report.newer {
        let bucket = newer.bucket.clone().unwrap_or_else(|| format!("(bucket {})", newer.bucket_id));
        let bytes = ByteCount(newer.bytes);
        lines.push(format!("  {bucket}/{}  ({} segments, {bytes})", newer.key, newer.segments));
    }
    if report.more_segments > 0 {
        lines.push(format!("  and {} segments of further ones", report.more_segments));
    }
    if report.unreadable_labels > 0 {
        lines.push(format!("  and {} segments whose label cannot be read", report.unreadable_labels));
    }
    lines.push(
        "Small objects, buckets, keys and deletes of after the snapshot left no trace on the disks. Start the server as \
         before; write the newer objects again, then `cairn snapshot drop-newer` frees their space."
            .to_owned(),
    );
    lines.join("\n")
}
