//! `cairn recover`: the metadata of a store that lost it, from the newest snapshot its disks list or from an older copy.
//!
//! ```text
//! lock → metadata must be gone → open the disks → lists of snapshots → key file
//!      → newest snapshot that can be read, or the copy: rows into META/voter-N, compared with the disks
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
use cairn_meta::{Clock, MetaError, MetaHandle, MetaImport, MetaOptions, NewLife, Recovered, SystemClock};
use cairn_proto::{DiskId, Index};
use cairn_shard_store::{DiskOptions, FolderState, RocksShardStore, ShardStore, inspect};

use crate::{
    args::RecoverArgs,
    commands::moment,
    config::{ByteCount, Config, open_files},
    logging, output,
    secrets::{KeyFile, SealError},
    server::{
        self,
        cluster_id::{MetaFolder, explain_nameless, voter_folder},
        lock::DataLock,
    },
};

/// Runs the command.
pub(crate) fn run(args: RecoverArgs) -> Result<ExitCode> {
    let config = server::read_config(args.config.as_deref(), args.settings)?;
    logging::start(config.log_format, config.log_level.clone())?;
    open_files::raise_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(recover(&config, args.copy.as_deref()))?;
    Ok(ExitCode::SUCCESS)
}

async fn recover(config: &Config, copy: Option<&Path>) -> Result<()> {
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
    let lost = Lost { config, cluster_id, disks: &disks, folders: &folders };
    let recovered = match (lost.refuse_nameless_voter(), copy) {
        (Err(error), _) => Err(error),
        (Ok(()), Some(copy)) => lost.recover_copy(copy).await,
        (Ok(()), None) => lost.recover_snapshot().await,
    };
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

/// A store whose metadata is gone.
struct Lost<'a> {
    config: &'a Config,
    cluster_id: u128,
    disks: &'a RecoveryDisks,
    folders: &'a Folders,
}

/// Bytes of rows that are handed over at once.
const PIECE_BYTES: usize = 1 << 20;

impl Lost<'_> {
    /// A member that lies there without the file that names it may be all of the metadata.
    fn refuse_nameless_voter(&self) -> Result<()> {
        let meta = &self.config.meta;
        match (MetaFolder::nameless_voter(meta), self.folders.values().next()) {
            (Some(voter), Some(disk)) if !MetaFolder::is_recovering(meta) => Err(explain_nameless(meta, &voter, disk)),
            _ => Ok(()),
        }
    }

    /// Recovers from the newest snapshot that can be read; answers what there is to say.
    async fn recover_snapshot(&self) -> Result<String> {
        let ((heard, snapshots), unreadable) = (self.disks.snapshots().await, self.unreadable().await);
        let Some(newest) = snapshots.first() else {
            bail!(
                "no disk lists a snapshot of the metadata: name all disks of the store; without a list the metadata can only \
                 come back from a copy of {} (--copy DIR){unreadable}",
                self.config.meta.display()
            );
        };
        Self::refuse_unreadable(&unreadable)?;
        let key = cluster_key(self.config, newest.sealed_key())?;
        let new = NewLife { life: heard + 1, began_ms: SystemClock.now_ms() };
        let folder = self.begin(new)?;
        let mut reasons = String::new();
        for found in &snapshots {
            let import = match read(&folder, self.cluster_id, self.disks, found, &key).await? {
                Ok(import) => import,
                Err(error) => {
                    let made = moment(found.created_ms());
                    tracing::warn!(
                        error = format!("{error:#}"),
                        made,
                        "a snapshot cannot be read: an older one is tried"
                    );
                    reasons.push_str(&format!("\n  of {made}: {error:#}"));
                    continue;
                }
            };
            let from = format!("as it was at {} (index {})", moment(found.created_ms()), found.index());
            return self.finish(import, &key, new, &from).await;
        }
        bail!(
            "none of the {} snapshots that the disks list can be read: bring back more disks, and try again{reasons}",
            snapshots.len()
        )
    }

    /// Recovers from a copy of the metadata's folder that is older than the disks.
    async fn recover_copy(&self, copy: &Path) -> Result<String> {
        let found = MetaFolder::of_copy(copy).context("--copy")?;
        if found.cluster_id != self.cluster_id {
            bail!("--copy: {} is of another cluster than the disks", copy.display());
        }
        Self::refuse_unreadable(&self.unreadable().await)?;
        let (heard, _) = self.disks.snapshots().await;
        let options = MetaOptions {
            folder: found.voter_folder(),
            cluster_id: self.cluster_id,
            voter: found.voter,
            memory: false,
        };
        // As a start would: what its log has and its rows have not is applied.
        let meta = MetaHandle::start(options, Arc::new(SystemClock)).await.context("--copy")?;
        let read = self.read_copy(&meta, heard).await;
        meta.shutdown().await.context("--copy")?;
        let (import, key, new, index) = read?;
        let from = format!("as the copy {} has it (index {index})", copy.display());
        self.finish(import, &key, new, &from).await
    }

    async fn read_copy(&self, meta: &MetaHandle, heard: u64) -> Result<(MetaImport, ClusterKey, NewLife, Index)> {
        let view = meta.read().await?;
        let known = view.lives()?.last().map_or(0, |life| life.life);
        let new = NewLife { life: heard.max(known) + 1, began_ms: SystemClock.now_ms() };
        let keys = view.cluster_keys()?;
        let key = cluster_key(self.config, keys.last().map(|row| (row.number, &row.sealed[..])))?;
        let folder = self.begin(new)?;
        let mut import = MetaImport::begin(&folder, self.cluster_id)?;
        let mut export = view.export();
        // Nothing else runs in this process.
        tokio::task::block_in_place(|| {
            while let Some(piece) = export.next_piece(PIECE_BYTES)? {
                import.add(&piece)?;
            }
            Ok::<_, MetaError>(())
        })?;
        Ok((import, key, new, export.index()))
    }

    /// What cannot be read may name a newer snapshot, or a newer recovery.
    fn refuse_unreadable(unreadable: &str) -> Result<()> {
        if unreadable.is_empty() {
            return Ok(());
        }
        bail!(
            "some disks' lists of snapshots cannot be read, and whether they name a newer one, or a newer recovery, is not \
             known; put those files back from a copy, or move them, or those disks, away to go on by the lists of the other \
             disks{unreadable}"
        )
    }

    async fn unreadable(&self) -> String {
        describe_unreadable(&self.disks.unreadable_lists().await, self.folders)
    }

    /// The folder of the new life's voter.
    fn begin(&self, new: NewLife) -> Result<PathBuf> {
        MetaFolder::begin_recovery(&self.config.meta)?;
        Ok(voter_folder(&self.config.meta, new.voter()))
    }

    /// Begins the life.
    async fn finish(&self, import: MetaImport, key: &ClusterKey, new: NewLife, from: &str) -> Result<String> {
        // What goes wrong from here on would go wrong with an older snapshot too, or is no fault of this one.
        let prepared = prepare(import, self.disks, key, new).await?;
        // Before the metadata: whatever happens from here on, no other recovery takes this number.
        self.disks.record_life(new.life).await.context(
            "a disk cannot record that a recovery began: free space on it, or take it out of the configuration",
        )?;
        prepared.import.finish()?;
        let meta = &self.config.meta;
        MetaFolder::write_recovered(meta, self.cluster_id, prepared.recovered.voter)?;
        Ok(describe(from, new.life, &prepared.report))
    }
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
fn cluster_key(config: &Config, sealed: Option<(u32, &[u8])>) -> Result<ClusterKey> {
    let path = config.key_file();
    let file = KeyFile::read(&path)?.with_context(|| {
        format!(
            "the key file {} is gone, and snapshots are sealed: put it back from a copy; without it they cannot be read",
            path.display()
        )
    })?;
    let (number, sealed) = sealed.context(
        "there is no cluster key beside the snapshots, or in the copy, which cannot be read without it: name all disks of the \
         store, or another copy",
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

fn describe(from: &str, life: u64, report: &RecoveryReport) -> String {
    let mut lines = vec![
        format!("recovered the metadata {from}; life {life} of the metadata begins"),
        format!("objects that came back: {} ({} of them small ones in the metadata)", report.whole, report.inline),
        format!("objects that lack shards: {}", report.lost_count),
    ];
    lines.extend(report.lost.iter().map(|(bucket, key)| format!("  {bucket}/{key}")));
    lines.push(format!("objects that are newer than that and whose shards are kept: {}", report.newer.len()));
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
        "Small objects, buckets, keys and deletes of after it left no trace on the disks. Start the server as \
         before; write the newer objects again, then `cairn snapshot drop-newer --yes` frees their space."
            .to_owned(),
    );
    lines.join("\n")
}
