//! The task that keeps what is declared: a round at the start, then on SIGHUP, when the configuration file changes,
//! and now and then. A round that fails is tried again, later each time; the store serves meanwhile.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use cairn_cluster::Engine;
use cairn_gateway::small_file;
use cairn_meta::Clock;
use tokio::{
    signal::unix::Signal,
    task::spawn_blocking,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    pace::Pace,
    publish::{key_in_file, key_in_secret, publish_ca, publish_key, publish_to_file, read_ca},
    store::Store,
};
use crate::{
    config::{Config, Declared, Settings},
    kubernetes::{KubernetesClient, KubernetesError},
    secrets::Sealer,
};

/// How often the configuration file is looked at: Kubernetes swaps a link, which no signal tells.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long the start waits for what is declared: what comes later is told, and the store serves meanwhile.
const START_MAX: Duration = Duration::from_secs(10);

/// Why a round may be due.
#[derive(Clone, Copy)]
enum Cause {
    /// SIGHUP.
    Asked,
    /// The configuration file may have changed.
    Look,
    /// Its time has come.
    Due,
}

/// What a keeper works with.
pub(in super::super) struct KeeperParts {
    pub(in super::super) engine: Engine,
    pub(in super::super) sealer: Arc<Sealer>,
    pub(in super::super) clock: Arc<dyn Clock>,
    pub(in super::super) forget_keys: Box<dyn Fn() + Send + Sync>,
}

/// Keeps what is declared.
pub(in super::super) struct Keeper {
    store: Store,
    client: KubernetesClient,
    config: Config,
    declared: Declared,
    /// The configuration file as it was taken last.
    text: Option<String>,
    /// What was read since and not taken: it is told once, and again when SIGHUP asks.
    refused: Option<String>,
    /// What of it the next start reads.
    rest: Settings,
    pace: Pace,
}

impl Keeper {
    /// Makes a keeper of what the configuration declares.
    pub(in super::super) async fn new(config: &Config, parts: KeeperParts) -> Self {
        let text = match config.file.as_deref() {
            Some(file) => read_file(file).await.ok(),
            None => None,
        };
        let mut rest = text.as_deref().and_then(|text| Settings::from_toml(text).ok()).unwrap_or_default();
        rest.take_declared();
        let store = Store {
            engine: parts.engine,
            sealer: parts.sealer,
            clock: parts.clock,
            forget_keys: parts.forget_keys,
            root_is_given: config.root_key.is_some(),
        };
        Self {
            store,
            client: KubernetesClient::new(config.kubernetes.clone()),
            declared: config.declared.clone(),
            config: config.clone(),
            text,
            refused: None,
            rest,
            pace: Pace::default(),
        }
    }

    /// Makes what needs nobody else: it is there when the server says that it is ready.
    pub(in super::super) async fn start(&mut self) {
        // What fails is tried again by the first round, which tells it too.
        if timeout(START_MAX, self.own_part()).await.is_err() {
            tracing::warn!("what is declared is not made yet: the server starts without waiting for it");
        }
        match self.store.left_over(&self.declared.keys).await {
            Ok(left) => left.iter().for_each(|(name, access_key)| {
                tracing::info!(
                    key = name,
                    access_key,
                    "is not declared any more and stays as it is; `cairn key remove` removes it"
                );
            }),
            Err(error) => tracing::warn!(error = format!("{error:#}"), "declared keys cannot be listed"),
        }
    }

    /// Goes on until `stop`.
    pub(in super::super) async fn run(mut self, mut hangup: Signal, stop: CancellationToken) {
        let mut next = Some(Instant::now());
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            let due = async {
                match next {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let cause = tokio::select! {
                () = stop.cancelled() => return,
                _ = hangup.recv() => Cause::Asked,
                _ = look.tick() => Cause::Look,
                () = due => Cause::Due,
            };
            let whole = tokio::select! {
                () = stop.cancelled() => return,
                whole = self.round_for(cause) => whole,
            };
            let Some(whole) = whole else { continue };
            self.pace.round(whole);
            next = self.pace.wait().map(|wait| Instant::now() + wait);
            if next.is_none() {
                tracing::error!(
                    "too many tries failed: none is made before SIGHUP, a changed configuration or a restart"
                );
            }
        }
    }

    /// A round, if there is cause for one.
    async fn round_for(&mut self, cause: Cause) -> Option<bool> {
        match cause {
            // A round follows in any case: what was declared before may need one.
            Cause::Asked => self.reload_as_asked().await,
            Cause::Look if !self.reload().await => return None,
            Cause::Look | Cause::Due => {}
        }
        Some(self.round().await)
    }

    /// One round. True if all is as it is declared.
    async fn round(&mut self) -> bool {
        let own = self.own_part().await;
        let kubernetes = match self.kubernetes_part().await {
            Ok(whole) => whole,
            Err(error) => {
                tracing::warn!(error = format!("{error:#}"), "nothing is published to Kubernetes; it is tried again");
                false
            }
        };
        own && kubernetes
    }

    /// Buckets, and keys that go to no Secret.
    async fn own_part(&self) -> bool {
        let mut whole = true;
        for bucket in &self.declared.buckets {
            whole &= told(&self.store.bucket(bucket).await);
        }
        // Apart from where the keys go: whom a file or Kubernetes keeps waiting has no more rights meanwhile.
        for key in &self.declared.keys {
            whole &= told(&self.store.limit(key).await.with_context(|| format!("key {}", key.name)));
        }
        for key in self.declared.keys.iter().filter(|key| key.secret.is_none()) {
            let kept = async {
                let Some(file) = key.file.clone() else { return self.store.key(key, None).await.map(drop) };
                let path = file.clone();
                let found = off_threads(move || key_in_file(&path)).await?;
                let pair = self.store.key(key, found.as_ref()).await?;
                off_threads(move || publish_to_file(&file, &pair, found.as_ref())).await
            };
            whole &= told(&kept.await.with_context(|| format!("key {}", key.name)));
        }
        whole
    }

    /// What goes to Kubernetes. An error is one that all objects would meet; others are told one by one.
    async fn kubernetes_part(&self) -> Result<bool, KubernetesError> {
        if !self.declared.needs_kubernetes() {
            return Ok(true);
        }
        let mut whole = true;
        if let Some(name) = self.declared.ca_config_map() {
            let config = self.config.clone();
            match off_threads(move || read_ca(&config)).await {
                Ok(pem) => whole &= alone(publish_ca(&self.client, name, &pem).await)?,
                Err(error) => whole &= told(&Err(error)),
            }
        }
        if let Some(name) = self.declared.root_secret() {
            let found = key_in_secret(&self.client, name).await;
            whole &= self.publish(name, found, None).await?;
        }
        for key in &self.declared.keys {
            if let Some(name) = &key.secret {
                let found = key_in_secret(&self.client, name).await;
                whole &= self.publish(name, found, Some(key)).await?;
            }
        }
        Ok(whole)
    }

    /// Brings the root key, or a declared one, into its Secret, in which `found` lies.
    async fn publish(
        &self,
        secret: &str,
        found: Result<Option<crate::secrets::KeyPair>, KubernetesError>,
        key: Option<&crate::config::DeclaredKey>,
    ) -> Result<bool, KubernetesError> {
        let found = match found {
            Ok(found) => found,
            Err(error) => return alone(Err(error)),
        };
        let pair = match key {
            Some(key) => self.store.key(key, found.as_ref()).await.with_context(|| format!("key {}", key.name)),
            None => self.store.root(found.as_ref()).await.context("root key"),
        };
        match pair {
            Ok(pair) => alone(publish_key(&self.client, secret, &pair, found.as_ref()).await),
            Err(error) => Ok(told(&Err(error))),
        }
    }

    /// Takes a changed configuration file. True if there is one.
    async fn reload(&mut self) -> bool {
        let Some(file) = self.config.file.clone() else { return false };
        match read_file(&file).await {
            Ok(text) if self.refused.as_ref() == Some(&text) => false,
            Ok(text) => self.take_changed(&file, text),
            Err(error) => {
                // While a file is replaced it may be away; who wants to know sends SIGHUP.
                tracing::debug!(error = format!("{error:#}"), "the configuration cannot be read");
                false
            }
        }
    }

    /// The same for SIGHUP: whoever sends it gets an answer in the log, also to a file that was refused before.
    async fn reload_as_asked(&mut self) {
        let Some(file) = self.config.file.clone() else {
            return tracing::warn!(
                "SIGHUP: the server was started without a configuration file, there is none to read"
            );
        };
        tracing::info!(file = %file.display(), "SIGHUP: the configuration is read");
        match read_file(&file).await {
            Ok(text) => {
                self.take_changed(&file, text);
            }
            Err(error) => not_taken(&error),
        }
    }

    /// Takes a text if it is another one than that in force. True if it was taken.
    fn take_changed(&mut self, file: &Path, text: String) -> bool {
        if self.text.as_ref() == Some(&text) {
            if self.refused.take().is_some() {
                tracing::info!("the configuration is again the one that is in force");
            }
            return false;
        }
        match self.take(file, &text) {
            Ok(()) => {
                self.text = Some(text);
                self.refused = None;
                true
            }
            Err(error) => {
                not_taken(&error);
                self.refused = Some(text);
                false
            }
        }
    }

    fn take(&mut self, file: &Path, text: &str) -> Result<()> {
        let mut rest = Settings::from_toml(text).with_context(|| format!("configuration {}", file.display()))?;
        let declared = rest.take_declared();
        self.config.check_declared(&declared)?;
        if rest != self.rest {
            tracing::warn!(
                "settings beside [[bucket]], [[key]] and [kubernetes] changed: they take effect at the next start"
            );
        }
        for bucket in &self.declared.buckets {
            if !declared.buckets.iter().any(|other| other.name == bucket.name) {
                tracing::info!(bucket = bucket.name, "is not declared any more and stays as it is");
            }
        }
        for key in &self.declared.keys {
            if !declared.keys.iter().any(|other| other.name == key.name) {
                tracing::info!(
                    key = key.name,
                    "is not declared any more and stays as it is; `cairn key remove` removes it"
                );
            }
        }
        tracing::info!(
            buckets = declared.buckets.len(),
            keys = declared.keys.len(),
            "the changed configuration is taken"
        );
        self.declared = declared;
        self.rest = rest;
        Ok(())
    }
}

async fn read_file(file: &Path) -> Result<String> {
    let path = file.to_owned();
    off_threads(move || small_file::read(&path).with_context(|| format!("read {}", path.display()))).await
}

/// Files may lie on a server that does not answer: those who wait for it are no threads that serve requests.
async fn off_threads<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    spawn_blocking(work).await.context("work on a file")?
}

fn not_taken(error: &anyhow::Error) {
    tracing::error!(
        error = format!("{error:#}"),
        "the changed configuration is not taken; what was declared before stays in force"
    );
}

/// Tells what failed. True if nothing did.
fn told(done: &Result<()>) -> bool {
    if let Err(error) = done {
        tracing::warn!(error = format!("{error:#}"), "what is declared is not in force; it is tried again");
    }
    done.is_ok()
}

/// Tells what one object alone failed by; hands on what all would meet.
fn alone(done: Result<(), KubernetesError>) -> Result<bool, KubernetesError> {
    match done {
        Ok(()) => Ok(true),
        Err(error) if error.concerns_all() => Err(error),
        Err(error) => Ok(told(&Err(error.into()))),
    }
}
