//! Identities at start: the key file, the cluster's key that it opens, and the root key.
//!
//! A secret is in the clear in three places only: the environment that gave it, the file or terminal it is shown on
//! once, and this process's memory.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use cairn_cluster::ClusterKey;
use cairn_gateway::{Secret as GatewaySecret, SecretSealer, UnsealError};
use cairn_meta::{Clock, ClusterKeyRow, Command, IdentityRow, MetaHandle, MetaView, Scope};

use crate::{
    config::Config,
    output,
    secrets::{KeyFile, KeyPair, Sealer, write_private},
};

/// Rows of one read.
const PAGE: usize = 1000;
/// More root keys than anyone has: the search for them ends somewhere.
const IDENTITIES_MAX: usize = 1_000_000;

impl SecretSealer for Sealer {
    fn unseal(&self, sealed: &[u8]) -> Result<GatewaySecret, UnsealError> {
        match self.open(sealed) {
            Ok(secret) => Ok(GatewaySecret::new(secret.reveal().to_owned())),
            Err(error) => {
                tracing::error!(%error, "a secret cannot be opened");
                Err(UnsealError)
            }
        }
    }
}

/// Opens or makes the key file, and sees to it that there is a root key.
pub(crate) async fn prepare(config: &Config, meta: &MetaHandle, clock: &dyn Clock) -> Result<Arc<Sealer>> {
    let view = meta.read().await.context("read the identities")?;
    let read = move || Ok::<_, anyhow::Error>((root_rows(&view)?, view.cluster_keys()?));
    let (roots, keys) = tokio::task::spawn_blocking(read).await.context("read the identities")??;
    let path = config.key_file();
    let file = open_key_file(&path, roots.any_identity || !keys.is_empty())?;
    let wrong = || format!("{} is not the key file of this data folder: restore the right one", path.display());
    let cluster = match keys.last() {
        Some(row) => file.open_cluster_key(row.number, &row.sealed).with_context(wrong)?,
        None => first_cluster_key(&file, meta, clock).await?,
    };
    let sealer = Sealer::new(file, Arc::new(cluster));
    for row in &roots.rows {
        sealer.open(&row.sealed_secret).with_context(wrong)?;
    }
    match &config.root_key {
        Some(given) => replace_root(given, &roots.rows, &sealer, meta, clock).await?,
        None if roots.rows.is_empty() => first_root(config, &sealer, meta, clock).await?,
        None => {}
    }
    Ok(Arc::new(sealer))
}

/// Draws the key of a cluster that has none: a new one, or one of the first release.
async fn first_cluster_key(file: &KeyFile, meta: &MetaHandle, clock: &dyn Clock) -> Result<ClusterKey> {
    let drawn = file.draw_cluster_key(1)?;
    let row = ClusterKeyRow { number: 1, sealed: Bytes::from(drawn.sealed), created_ms: clock.now_ms() };
    meta.propose(Command::PutClusterKey { row }).await.context("store the cluster's key")?;
    Ok(drawn.key)
}

/// What is known of root keys before the key file is read.
pub(super) struct Roots {
    /// Root keys, those switched off too.
    pub(super) rows: Vec<IdentityRow>,
    /// Whether there is any access key.
    any_identity: bool,
}

/// Reads all root keys.
pub(super) fn root_rows(view: &MetaView) -> Result<Roots> {
    let mut roots = Roots { rows: Vec::new(), any_identity: false };
    let mut after: Option<String> = None;
    for _ in 0..IDENTITIES_MAX / PAGE {
        let page = view.identities(after.as_deref(), PAGE)?;
        let Some(last) = page.last() else { return Ok(roots) };
        after = Some(last.access_key.clone());
        roots.any_identity = true;
        roots.rows.extend(page.into_iter().filter(|row| row.scope == Scope::Root));
    }
    bail!("there are more than {IDENTITIES_MAX} access keys")
}

fn open_key_file(path: &Path, is_needed: bool) -> Result<KeyFile> {
    match KeyFile::read(path)? {
        Some(file) => Ok(file),
        None if is_needed => Err(key_file_is_gone(path)),
        None => KeyFile::create(path),
    }
}

/// There is none, and there should be.
pub(super) fn key_file_is_gone(path: &Path) -> anyhow::Error {
    anyhow::anyhow!(
        "the key file {} is gone, and only it opens the secrets and small objects that are stored: restore it from a \
         backup; without it they are lost and the metadata must be set up anew",
        path.display()
    )
}

/// The environment's root key becomes the only one.
async fn replace_root(
    given: &KeyPair,
    rows: &[IdentityRow],
    sealer: &Sealer,
    meta: &MetaHandle,
    clock: &dyn Clock,
) -> Result<()> {
    let stored = rows.iter().find(|row| row.access_key == given.access_key);
    let is_the_same = stored
        .is_some_and(|row| row.enabled && sealer.open(&row.sealed_secret).is_ok_and(|secret| secret == given.secret));
    if !is_the_same {
        // A new name must not take over a limited key that a runner uses.
        put_root(given, sealer, meta, clock, stored.is_none())
            .await
            .context("store the root key of CAIRN_ROOT_ACCESS_KEY")?;
        tracing::info!(access_key = given.access_key, "the root key of the environment is in force");
    }
    for old in rows.iter().filter(|row| row.access_key != given.access_key) {
        meta.propose(Command::RemoveIdentity { access_key: old.access_key.clone() })
            .await
            .context("remove the former root key")?;
        tracing::warn!(access_key = old.access_key, "the former root key is removed");
    }
    Ok(())
}

/// Makes the root key of a new store and shows it once: in the file that was named, in the Secret that gets it later,
/// else on stdout.
async fn first_root(config: &Config, sealer: &Sealer, meta: &MetaHandle, clock: &dyn Clock) -> Result<()> {
    match &config.root_key_file {
        Some(file) => {
            // Written before it is in force: a start that is cut off in between finds it there and takes it.
            let key = match KeyPair::read_file(file)? {
                Some(key) => key,
                None => {
                    let key = KeyPair::draw()?;
                    write_private(file, &key.to_file_text())?;
                    key
                }
            };
            put_root(&key, sealer, meta, clock, true).await.context("store the root key")?;
            tracing::info!(file = %file.display(), "the root key is in its file");
        }
        None if config.declared.root_secret().is_some() => {
            put_root(&KeyPair::draw()?, sealer, meta, clock, true).await.context("store the root key")?;
        }
        None => {
            let key = KeyPair::draw()?;
            put_root(&key, sealer, meta, clock, true).await.context("store the root key")?;
            let shown = output::try_line(&format!(
                "root access key: {}\nroot secret key: {}\nThis is shown once. To set another, start with \
                 CAIRN_ROOT_ACCESS_KEY and CAIRN_ROOT_SECRET_KEY.",
                key.access_key,
                key.secret.reveal()
            ));
            if let Err(error) = shown {
                tracing::warn!(%error, "the root key could not be shown: set one with CAIRN_ROOT_ACCESS_KEY and CAIRN_ROOT_SECRET_KEY");
            }
        }
    }
    Ok(())
}

async fn put_root(
    key: &KeyPair,
    sealer: &Sealer,
    meta: &MetaHandle,
    clock: &dyn Clock,
    must_be_new: bool,
) -> Result<()> {
    let identity = IdentityRow {
        access_key: key.access_key.clone(),
        sealed_secret: Bytes::from(sealer.seal(&key.secret)?),
        scope: Scope::Root,
        enabled: true,
        created_ms: clock.now_ms(),
        description: "root".to_owned(),
    };
    meta.propose(Command::PutIdentity { identity, must_be_new }).await?;
    Ok(())
}
