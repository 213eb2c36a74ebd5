//! Buckets and keys in the metadata: made and changed to what is declared.

use std::{collections::HashSet, sync::Arc};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use cairn_cluster::{Engine, EngineError, ProfileChoice};
use cairn_meta::{
    BucketRow, BucketSettings, Clock, Command, EtagKind, IdentityRow, MetaView, ProfileRow, ProfileWish, Scope,
    SettingsChange,
};
use tokio::task::spawn_blocking;

use super::plan::{Found, KeyPlan, Stored, plan_key};
use crate::{
    config::{DeclaredBucket, DeclaredKey, EtagSetting, ProfileSetting},
    secrets::{KeyPair, Sealer},
    server::identities::root_rows,
};

/// The name under which the root key is known once it was published. No declared key can have it.
const ROOT_NAME: &str = "@root";
/// Names that are read at most.
const NAMES_MAX: usize = 10_000;

/// What is known of a declared key.
struct KeyRows {
    bucket_is_there: bool,
    /// Whether its name stood for a key at any time.
    is_named: bool,
    key: Option<IdentityRow>,
    /// Whether the access key that was found is somebody's.
    found_is_known: bool,
}

/// The store's side of a round.
pub(super) struct Store {
    pub(super) engine: Engine,
    pub(super) sealer: Arc<Sealer>,
    pub(super) clock: Arc<dyn Clock>,
    /// Makes the gateway read identities anew.
    pub(super) forget_keys: Box<dyn Fn() + Send + Sync>,
    /// Whether the environment gives the root key: none that lies about is taken for it then.
    pub(super) root_is_given: bool,
}

impl Store {
    /// Makes a bucket what it is declared to be.
    pub(super) async fn bucket(&self, wanted: &DeclaredBucket) -> Result<()> {
        self.make_or_change(wanted).await.with_context(|| format!("bucket {}", wanted.name))
    }

    async fn make_or_change(&self, wanted: &DeclaredBucket) -> Result<()> {
        let name = &wanted.name;
        let quota_bytes = wanted.quota.map(|quota| quota.0);
        let change = settings_of(wanted);
        match self.engine.bucket(name).await {
            Ok(row) => self.change_bucket(&row, quota_bytes, change).await,
            Err(EngineError::NoSuchBucket) => {
                let settings = change.on(BucketSettings::default());
                self.engine.create_bucket(name, settings, quota_bytes).await?;
                tracing::info!(bucket = name, cache = settings.cache, quota_bytes, "declared bucket made");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn change_bucket(&self, row: &BucketRow, quota_bytes: Option<u64>, change: SettingsChange) -> Result<()> {
        let name = &row.name;
        if row.quota_bytes != quota_bytes {
            self.engine.set_bucket_quota(name, quota_bytes).await?;
            tracing::info!(bucket = name, from = row.quota_bytes, to = quota_bytes, "quota set as declared");
        }
        if change.on(row.settings) != row.settings {
            self.engine.set_bucket_settings(name, change).await?;
            tracing::info!(bucket = name, ?change, "settings changed as declared");
        }
        Ok(())
    }

    /// Gives a key that is there the limits it is declared with.
    pub(super) async fn limit(&self, wanted: &DeclaredKey) -> Result<()> {
        let rows = self.rows_of(wanted, None).await?;
        let scope = scope_of(wanted);
        match rows.key {
            Some(row) if rows.bucket_is_there && row.scope != scope => self.change_limits(wanted, row, scope).await,
            _ => Ok(()),
        }
    }

    async fn change_limits(&self, wanted: &DeclaredKey, row: IdentityRow, scope: Scope) -> Result<()> {
        let (key, access_key) = (&wanted.name, &row.access_key);
        tracing::info!(key, access_key, from = ?row.scope, to = ?scope, "limits changed as declared");
        self.declare(key, IdentityRow { scope, ..row }).await
    }

    /// Makes a key what it is declared to be, and answers with its pair. `found` lies where it is published.
    pub(super) async fn key(&self, wanted: &DeclaredKey, found: Option<&KeyPair>) -> Result<KeyPair> {
        let (name, bucket) = (&wanted.name, &wanted.bucket);
        let rows = self.rows_of(wanted, found).await?;
        if !rows.bucket_is_there {
            bail!(
                "there is no bucket {bucket}: declare it as [[bucket]], or make it with `cairn bucket create {bucket}`"
            );
        }
        let scope = scope_of(wanted);
        let stored = match (rows.is_named, &rows.key) {
            (false, _) => Stored::Never,
            (true, None) => Stored::Removed,
            (true, Some(row)) => Stored::Key(&row.scope),
        };
        let plan = plan_key(&scope, stored, self.found(found, &rows)?);
        match (plan, rows.key, found) {
            (KeyPlan::Keep, Some(row), _) => self.pair_of(&row),
            (KeyPlan::Change, Some(row), _) => {
                let key = self.pair_of(&row)?;
                self.change_limits(wanted, row, scope).await?;
                Ok(key)
            }
            (KeyPlan::Adopt, former, Some(found)) => {
                let replaced = former.as_ref().map(|row| row.access_key.clone());
                let access_key = &found.access_key;
                match replaced {
                    None => tracing::info!(key = name, access_key, "the key that was found published is taken"),
                    Some(replaced) => {
                        tracing::warn!(key = name, access_key, replaced, "the key that was found published is taken");
                    }
                }
                // What was switched off by hand stays so.
                let enabled = former.is_none_or(|row| row.enabled);
                self.declare(name, IdentityRow { enabled, ..self.new_row(found, scope, "declared")? }).await?;
                Ok(found.clone())
            }
            _ => {
                let key = KeyPair::draw()?;
                self.declare(name, self.new_row(&key, scope, "declared")?).await?;
                tracing::info!(key = name, access_key = key.access_key, "declared key made");
                Ok(key)
            }
        }
    }

    /// Reads what is known of a declared key, off the async threads.
    async fn rows_of(&self, wanted: &DeclaredKey, found: Option<&KeyPair>) -> Result<KeyRows> {
        let (name, bucket) = (wanted.name.clone(), wanted.bucket.clone());
        let found = found.map(|found| found.access_key.clone());
        let view = self.engine.meta().read().await?;
        let read = move |view: &MetaView| {
            let named = view.identity_name(&name)?;
            let key = named.as_ref().map(|named| view.identity(&named.access_key)).transpose()?.flatten();
            let found_is_known = found.as_deref().map(|found| view.identity(found)).transpose()?.flatten().is_some();
            let bucket_is_there = view.bucket(&bucket)?.is_some();
            Ok(KeyRows { bucket_is_there, is_named: named.is_some(), key, found_is_known })
        };
        Ok(view.fetch(read).await?)
    }

    /// What a pair that was found is to the declared key.
    fn found(&self, found: Option<&KeyPair>, rows: &KeyRows) -> Result<Found> {
        let Some(found) = found else { return Ok(Found::Nothing) };
        let own = rows.key.as_ref().filter(|row| row.access_key == found.access_key);
        Ok(match own {
            Some(row) if self.pair_of(row)? == *found => Found::Own,
            Some(_) => Found::Fresh,
            None if rows.found_is_known => Found::Foreign,
            None => Found::Fresh,
        })
    }

    /// The root key that is to be published. `found` lies there: in a store whose root key was never published it
    /// takes its place, since nobody has seen the one that was drawn.
    pub(super) async fn root(&self, found: Option<&KeyPair>) -> Result<KeyPair> {
        let view = self.engine.meta().read().await?;
        let access_key = found.map(|found| found.access_key.clone());
        let read = move || {
            let named = view.identity_name(ROOT_NAME)?;
            let found_is_known = access_key.map(|found| view.identity(&found)).transpose()?.flatten().is_some();
            Ok::<_, anyhow::Error>((named, found_is_known, root_rows(&view)?))
        };
        let (named, found_is_known, roots) = spawn_blocking(read).await.context("read the root keys")??;
        let enabled: Vec<&IdentityRow> = roots.rows.iter().filter(|row| row.enabled).collect();
        let named_row = named.as_ref().and_then(|named| enabled.iter().find(|row| row.access_key == named.access_key));
        if let Some(row) = named_row {
            return self.pair_of(row);
        }
        if let (None, false, Some(found), false) = (&named, found_is_known, found, self.root_is_given) {
            self.adopt_root(found, &roots.rows).await?;
            return Ok(found.clone());
        }
        let row = enabled.first().context("there is no root key that is switched on")?;
        self.declare(ROOT_NAME, (*row).clone()).await?;
        self.pair_of(row)
    }

    async fn adopt_root(&self, found: &KeyPair, former: &[IdentityRow]) -> Result<()> {
        self.declare(ROOT_NAME, self.new_row(found, Scope::Root, "root")?).await?;
        tracing::info!(access_key = found.access_key, "the root key that was found published is in force");
        for old in former {
            let command = Command::RemoveIdentity { access_key: old.access_key.clone() };
            self.engine.propose(command).await.context("remove the former root key")?;
            tracing::warn!(access_key = old.access_key, "the former root key is removed");
        }
        (self.forget_keys)();
        Ok(())
    }

    /// Names that stand for a key and that nobody declares any more.
    pub(super) async fn left_over(&self, declared: &[DeclaredKey]) -> Result<Vec<(String, String)>> {
        let view = self.engine.meta().read().await?;
        let declared: HashSet<String> = declared.iter().map(|key| key.name.clone()).collect();
        let read = move || {
            let mut left = Vec::new();
            for named in view.identity_names(None, NAMES_MAX)? {
                let is_declared = named.name == ROOT_NAME || declared.contains(&named.name);
                if !is_declared && view.identity(&named.access_key)?.is_some() {
                    left.push((named.name, named.access_key));
                }
            }
            Ok::<_, anyhow::Error>(left)
        };
        spawn_blocking(read).await.context("read the names of keys")?
    }

    async fn declare(&self, name: &str, identity: IdentityRow) -> Result<()> {
        let done = self.engine.propose(Command::DeclareIdentity { name: name.to_owned(), identity }).await;
        (self.forget_keys)();
        done.map(drop).map_err(Into::into)
    }

    fn new_row(&self, key: &KeyPair, scope: Scope, description: &str) -> Result<IdentityRow> {
        Ok(IdentityRow {
            access_key: key.access_key.clone(),
            sealed_secret: Bytes::from(self.sealer.seal(&key.secret)?),
            scope,
            enabled: true,
            created_ms: self.clock.now_ms(),
            description: description.to_owned(),
        })
    }

    fn pair_of(&self, row: &IdentityRow) -> Result<KeyPair> {
        Ok(KeyPair { access_key: row.access_key.clone(), secret: self.sealer.open(&row.sealed_secret)? })
    }
}

fn scope_of(wanted: &DeclaredKey) -> Scope {
    Scope::Bucket { bucket: wanted.bucket.clone(), prefix: wanted.prefix.clone(), write: !wanted.read_only }
}

/// What is declared is the whole of it: what is not named has its default.
fn settings_of(wanted: &DeclaredBucket) -> SettingsChange {
    let profile = match wanted.profile {
        None | Some(ProfileSetting(ProfileChoice::Auto)) => ProfileWish::Server,
        Some(ProfileSetting(ProfileChoice::Fixed(profile))) => {
            ProfileWish::Fixed(ProfileRow { data: profile.data_u8(), parity: profile.parity_u8() })
        }
    };
    let etag = match wanted.etag {
        None | Some(EtagSetting::Md5) => EtagKind::Md5,
        Some(EtagSetting::Fast) => EtagKind::Fast,
    };
    SettingsChange { cache: Some(wanted.cache), profile: Some(profile), etag: Some(etag) }
}
