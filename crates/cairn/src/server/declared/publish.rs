//! Where keys and the CA go: Secrets and a ConfigMap of Kubernetes, or files. What is there already is left alone.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cairn_gateway::small_file;

use super::credentials_file;
use crate::{
    config::{Config, TlsChoice, check_usable},
    kubernetes::{Kind, KubernetesClient, KubernetesError, ca_of, key_of},
    secrets::KeyPair,
};

/// The pair of a Secret; none if the object is not there or holds none that could be a key.
pub(super) async fn key_in_secret(client: &KubernetesClient, name: &str) -> Result<Option<KeyPair>, KubernetesError> {
    let Some(object) = client.get(Kind::Secret, name).await? else { return Ok(None) };
    let found = key_of(&object).and_then(|(access_key, secret)| KeyPair::given(access_key, secret).ok());
    if found.is_none() {
        tracing::warn!(secret = name, "holds no accesskey and secretkey that could be a key: they are written");
    }
    Ok(found)
}

/// Writes a pair into a Secret, unless it is the one that was found there.
pub(super) async fn publish_key(
    client: &KubernetesClient,
    name: &str,
    key: &KeyPair,
    found: Option<&KeyPair>,
) -> Result<(), KubernetesError> {
    if found == Some(key) {
        return Ok(());
    }
    client.apply_key(name, key).await?;
    match found {
        Some(other) => tracing::warn!(
            secret = name,
            access_key = key.access_key,
            replaced = other.access_key,
            "the Secret held another key: it is replaced"
        ),
        None => tracing::info!(secret = name, access_key = key.access_key, "key published"),
    }
    Ok(())
}

/// Writes the CA into a ConfigMap, unless it is there.
pub(super) async fn publish_ca(client: &KubernetesClient, name: &str, pem: &str) -> Result<(), KubernetesError> {
    let object = client.get(Kind::ConfigMap, name).await?;
    if object.as_ref().and_then(ca_of) == Some(pem) {
        return Ok(());
    }
    client.apply_ca(name, pem).await?;
    tracing::info!(config_map = name, "CA published");
    Ok(())
}

/// The CA that clients need: our own, or the one that lies beside a certificate from outside, as cert-manager has it.
pub(super) fn read_ca(config: &Config) -> Result<String> {
    let path: PathBuf = match (&config.tls, config.ca_certificate()) {
        (_, Some(own)) => own,
        (TlsChoice::Files { cert, .. }, None) => cert.with_file_name("ca.crt"),
        _ => anyhow::bail!("without TLS there is no CA to publish"),
    };
    small_file::read(&path).with_context(|| {
        format!("read {}: take kubernetes.ca-config-map out of the configuration if clients need no CA", path.display())
    })
}

/// The pair of a file.
pub(super) fn key_in_file(path: &Path) -> Result<Option<KeyPair>> {
    credentials_file::read(path)
}

/// Whether a key can be read from its file, or written where there is none. Makes nothing.
pub(in super::super) fn check_key_destination(path: &Path) -> Result<()> {
    if credentials_file::read(path)?.is_some() {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    if !folder.is_dir() {
        bail!("the folder {} of its file is not there: make it", folder.display());
    }
    check_usable("file", folder)
}

/// Writes a pair into a file, unless it is the one that was found there.
pub(super) fn publish_to_file(path: &Path, key: &KeyPair, found: Option<&KeyPair>) -> Result<()> {
    if found == Some(key) {
        return Ok(());
    }
    credentials_file::write(path, key)?;
    let (file, access_key) = (path.display(), &key.access_key);
    match found {
        Some(other) => {
            let replaced = &other.access_key;
            tracing::warn!(%file, access_key, replaced, "the file held another key: it is replaced");
        }
        None => tracing::info!(%file, access_key, "key written"),
    }
    Ok(())
}
