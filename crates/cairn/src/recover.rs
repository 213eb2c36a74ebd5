//! `cairn recover`: the metadata of a store that lost it, from the newest snapshot its disks list.
//!
//! ```text
//! lock → metadata must be gone → open the disks → lists of snapshots → key file
//!      → newest snapshot that can be read: rows into META/voter-N, compared with the disks
//!      → the new life's number onto all disks → META/CAIRN-CLUSTER → what came back
//! ```
//!
//! All that can fail for a snapshot comes before the number is written. The step after it makes it the store's metadata:
//! cut off before that, nothing was recovered, and it is begun anew.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use cairn_cluster::{ClusterKey, RecoveryDisks, RecoveryReport, SnapshotFound};
use cairn_meta::{Clock, MetaImport, NewLife, Recovered, SystemClock};
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
    // Taking the lock would make it.
    if !config.home.is_dir() {
        bail!(
            "there is no data folder {}: is its name right? If it is lost, make it, put the key file back as {}, and try \
             again",
            config.home.display(),
            config.key_file().display()
        );
    }
    let _lock = DataLock::take(&config.home)?;
    if MetaFolder::is_there(&config.meta) {
        bail!(
            "{} holds the metadata of a cluster, and nothing is recovered over it: start the server with it, or, if it is \
             damaged beyond use, move it away first",
            config.meta.display()
        );
    }
    let (cluster_id, opened) = open_disks(&config.disks)?;
    let folders: Folders = opened.iter().map(|(folder, store)| (store.id(), folder.clone())).collect();
    let disks = RecoveryDisks::new(opened.into_iter().map(|(_, store)| store).collect());
    let recovered = recover_from(config, cluster_id, &disks, &folders).await;
    disks.close().await;
    output::line(&recovered?);
    Ok(())
}

/// Where each disk lies.
type Folders = BTreeMap<DiskId, PathBuf>;
type Opened = Vec<(PathBuf, Arc<dyn ShardStore>)>;

/// Opens what can be opened; all must be of one cluster.
fn open_disks(folders: &[PathBuf]) -> Result<(u128, Opened)> {
    let mut cluster: Option<(u128, &Path)> = None;
    let mut disks = Opened::new();
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
            Ok(store) => disks.push((folder.clone(), store)),
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

/// Recovers; answers what there is to say.
async fn recover_from(config: &Config, cluster_id: u128, disks: &RecoveryDisks, folders: &Folders) -> Result<String> {
    let (heard, snapshots) = disks.snapshots().await;
    let unreadable = describe_unreadable(&disks.unreadable_lists().await, folders);
    let Some(newest) = snapshots.first() else {
        bail!(
            "no disk lists a snapshot of the metadata: name all disks of the store; without a list the metadata can only \
             come back from a copy of {}{unreadable}",
            config.meta.display()
        );
    };
    if !unreadable.is_empty() {
        bail!(
            "some disks' lists of snapshots cannot be read, and whether they name a newer one, or a newer recovery, is not \
             known; put those files back from a copy, or move them, or those disks, away to go on by the lists of the other \
             disks{unreadable}"
        );
    }
    let key = cluster_key(config, newest)?;
    let new = NewLife { life: heard + 1, began_ms: SystemClock.now_ms() };
    make_private_folder(&config.meta)?;
    let folder = voter_folder(&config.meta, new.voter());
    let mut reasons = String::new();
    for found in &snapshots {
        let import = match read(&folder, cluster_id, disks, found, &key).await? {
            Ok(import) => import,
            Err(error) => {
                let made = moment(found.created_ms());
                tracing::warn!(error = format!("{error:#}"), made, "a snapshot cannot be read: an older one is tried");
                reasons.push_str(&format!("\n  of {made}: {error:#}"));
                continue;
            }
        };
        // What goes wrong from here on would go wrong with an older one too, or is no fault of this one.
        let prepared = prepare(import, disks, &key, new).await?;
        // Before the metadata: whatever happens from here on, no other recovery takes this number.
        disks.record_life(new.life).await.context(
            "a disk cannot record that a recovery began: free space on it, or take it out of the configuration",
        )?;
        prepared.import.finish()?;
        MetaFolder::write_recovered(&config.meta, cluster_id, prepared.recovered.voter)?;
        return Ok(describe(found, new.life, &prepared.report));
    }
    bail!(
        "none of the {} snapshots that the disks list can be read: bring back more disks, and try again{reasons}",
        snapshots.len()
    )
}

/// The lists that cannot be read, each on a line.
fn describe_unreadable(unreadable: &[(DiskId, String)], folders: &Folders) -> String {
    let line = |(disk, error): &(DiskId, String)| {
        let place = folders.get(disk).map_or_else(|| disk.to_string(), |folder| folder.display().to_string());
        format!("\n  {place}/CAIRN-RECOVERY: {error}")
    };
    unreadable.iter().map(line).collect()
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
    let (number, sealed) = found.sealed_key().context(
        "the disks list no cluster key beside their snapshots, which cannot be read without it: name all disks of the store",
    )?;
    file.open_cluster_key(number, sealed).map_err(|error| match error {
        SealError::WrongKey => {
            anyhow::anyhow!(
                "{} is not the key file of this store, or was changed: put the right one back from a copy",
                path.display()
            )
        }
        other => other.into(),
    })
}

/// A life that can begin.
struct Prepared {
    import: MetaImport,
    recovered: Recovered,
    report: RecoveryReport,
}

/// Reads a snapshot into a voter's folder that is not in use yet. The inner error is the snapshot's.
async fn read(
    folder: &Path,
    cluster_id: u128,
    disks: &RecoveryDisks,
    found: &SnapshotFound,
    key: &ClusterKey,
) -> Result<Result<MetaImport>> {
    let mut import = MetaImport::begin(folder, cluster_id)?;
    if let Err(error) = disks.read_snapshot(found, key, &mut |piece| import.add(piece)).await {
        return Ok(Err(error.into()));
    }
    let index = import.view()?.index();
    if index != found.index() {
        return Ok(Err(anyhow::anyhow!("the snapshot of index {} holds the rows of index {index}", found.index())));
    }
    Ok(Ok(import))
}

/// Begins the life in the rows that were read, and compares them with the disks.
async fn prepare(mut import: MetaImport, disks: &RecoveryDisks, key: &ClusterKey, new: NewLife) -> Result<Prepared> {
    let recovered = import.begin_life(new)?;
    let report = disks.report(&import.view()?, key).await.context("compare rows and disks")?;
    Ok(Prepared { import, recovered, report })
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
         before; write the newer objects again, then `cairn snapshot drop-newer --yes` frees their space."
            .to_owned(),
    );
    lines.join("\n")
}
