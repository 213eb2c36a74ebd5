//! Buckets and keys that the configuration file declares, and where Kubernetes gets them: read and checked by the
//! letters alone. What is to be done about them is decided in `declared/`.

use std::{collections::HashSet, path::PathBuf};

use anyhow::{Result, bail};
use cairn_s3::uri::check_bucket_name;
use serde::{Deserialize, Deserializer};

use super::values::{ByteCount, EtagSetting, ProfileSetting};

/// More than anyone writes into a file; each is looked at in every round.
const DECLARED_MAX: usize = 1000;
const PREFIX_BYTES_MAX: usize = 1024;
/// A label of DNS, which is also what a person types.
const KEY_NAME_CHARS_MAX: usize = 63;
/// Names of Kubernetes objects.
const OBJECT_NAME_CHARS_MAX: usize = 253;

/// A bucket that must be there, with these settings. What is not named has its default.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct DeclaredBucket {
    /// Its name.
    pub(crate) name: String,
    /// Whether it is a cache.
    #[serde(default)]
    pub(crate) cache: bool,
    /// Most bytes of objects and open parts; absent or `none` = no limit.
    #[serde(default, deserialize_with = "quota")]
    pub(crate) quota: Option<ByteCount>,
    /// The profile of new objects; absent or `auto` = the server's.
    #[serde(default)]
    pub(crate) profile: Option<ProfileSetting>,
    /// The ETag of new objects; absent = MD5.
    #[serde(default)]
    pub(crate) etag: Option<EtagSetting>,
}

/// An access key that must be there, limited to a bucket.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct DeclaredKey {
    /// What it is known by over restarts.
    pub(crate) name: String,
    /// The bucket.
    pub(crate) bucket: String,
    /// Prefix of all keys it may touch.
    #[serde(default)]
    pub(crate) prefix: String,
    /// May read and list, not write or delete.
    #[serde(default)]
    pub(crate) read_only: bool,
    /// The Kubernetes Secret that gets it.
    #[serde(default)]
    pub(crate) secret: Option<String>,
    /// The file that gets it, an absolute path.
    #[serde(default)]
    pub(crate) file: Option<PathBuf>,
}

/// What is published to the Kubernetes cluster this server runs in.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct KubernetesObjects {
    /// The ConfigMap that gets `ca.crt`.
    #[serde(default)]
    pub(crate) ca_config_map: Option<String>,
    /// The Secret that gets the root key.
    #[serde(default)]
    pub(crate) root_secret: Option<String>,
}

/// All that a configuration file declares.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Declared {
    /// The buckets.
    pub(crate) buckets: Vec<DeclaredBucket>,
    /// The keys.
    pub(crate) keys: Vec<DeclaredKey>,
    /// What goes to Kubernetes; none = nothing.
    pub(crate) kubernetes: Option<KubernetesObjects>,
}

/// A quota as text (`50GiB`, `none`) or a bare number of bytes.
fn quota<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ByteCount>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a size as \"50GiB\", or \"none\"")]
    enum Written {
        Text(String),
        Bytes(u64),
    }
    match Written::deserialize(deserializer)? {
        Written::Bytes(bytes) => Ok(Some(ByteCount(bytes))),
        Written::Text(text) if text == "none" => Ok(None),
        Written::Text(text) => text
            .parse()
            .map(Some)
            .map_err(|error| serde::de::Error::custom(format!("quota `{text}`: {error}, or `none`"))),
    }
}

impl Declared {
    /// Whether Kubernetes gets anything.
    pub(crate) fn needs_kubernetes(&self) -> bool {
        let objects = self.kubernetes.as_ref();
        let of_its_own =
            objects.is_some_and(|objects| objects.ca_config_map.is_some() || objects.root_secret.is_some());
        of_its_own || self.keys.iter().any(|key| key.secret.is_some())
    }

    /// The Secret of the root key.
    pub(crate) fn root_secret(&self) -> Option<&str> {
        self.kubernetes.as_ref()?.root_secret.as_deref()
    }

    /// The ConfigMap of the CA.
    pub(crate) fn ca_config_map(&self) -> Option<&str> {
        self.kubernetes.as_ref()?.ca_config_map.as_deref()
    }

    /// Refuses what cannot be meant, by its place in the file.
    pub(super) fn validate(&self) -> Result<()> {
        if self.buckets.len() > DECLARED_MAX || self.keys.len() > DECLARED_MAX {
            bail!("bucket, key: at most {DECLARED_MAX} of each can be declared");
        }
        let mut names = HashSet::new();
        for bucket in &self.buckets {
            let name = &bucket.name;
            if let Err(error) = check_bucket_name(name) {
                bail!("bucket: `{name}` is no bucket name: {}", error.message);
            }
            if !names.insert(name) {
                bail!("bucket: `{name}` is declared twice");
            }
        }
        let (mut names, mut secrets, mut files) = (HashSet::new(), HashSet::new(), HashSet::new());
        for key in &self.keys {
            self.validate_key(key)?;
            if !names.insert(&key.name) {
                bail!("key: `{}` is declared twice", key.name);
            }
            if let Some(secret) = &key.secret
                && !secrets.insert(secret.as_str())
            {
                bail!("key {}: secret `{secret}` holds another key already", key.name);
            }
            if let Some(file) = &key.file
                && !files.insert(file)
            {
                bail!("key {}: file `{}` holds another key already", key.name, file.display());
            }
        }
        self.validate_objects(&secrets)
    }

    fn validate_key(&self, key: &DeclaredKey) -> Result<()> {
        let name = &key.name;
        if !is_label(name) || name.len() > KEY_NAME_CHARS_MAX {
            bail!(
                "key: `{name}` is no name of a key: 1 to {KEY_NAME_CHARS_MAX} lower-case letters, digits and hyphens, \
                 with a letter or digit at both ends"
            );
        }
        if let Err(error) = check_bucket_name(&key.bucket) {
            bail!("key {name}: `{}` is no bucket name: {}", key.bucket, error.message);
        }
        if key.prefix.len() > PREFIX_BYTES_MAX || key.prefix.contains('\0') {
            bail!("key {name}: a prefix has at most {PREFIX_BYTES_MAX} bytes and no NUL");
        }
        match (&key.secret, &key.file) {
            (Some(_), Some(_)) => bail!("key {name}: name a secret or a file, not both"),
            (Some(_), None) if self.kubernetes.is_none() => {
                bail!("key {name}: a secret needs the section [kubernetes]; outside of Kubernetes name a file")
            }
            (None, Some(file)) if !file.is_absolute() => {
                bail!("key {name}: file `{}` is no absolute path", file.display())
            }
            (Some(secret), None) => check_object_name(&format!("key {name}: secret"), secret),
            (None, None) => bail!(
                "key {name}: nobody would get this key: add file = \"/PATH\", which gets its credentials, or in Kubernetes \
                 secret = \"NAME\" and the section [kubernetes]"
            ),
            (None, Some(_)) => Ok(()),
        }
    }

    fn validate_objects(&self, secrets: &HashSet<&str>) -> Result<()> {
        if let Some(name) = self.ca_config_map() {
            check_object_name("kubernetes.ca-config-map:", name)?;
        }
        if let Some(name) = self.root_secret() {
            check_object_name("kubernetes.root-secret:", name)?;
            if secrets.contains(name) {
                bail!("kubernetes.root-secret: `{name}` is the secret of a declared key");
            }
        }
        Ok(())
    }
}

fn is_label(text: &str) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    !text.is_empty() && plain && !text.starts_with('-') && !text.ends_with('-')
}

fn check_object_name(place: &str, name: &str) -> Result<()> {
    if name.len() > OBJECT_NAME_CHARS_MAX || !name.split('.').all(is_label) {
        bail!(
            "{place} `{name}` is no name of a Kubernetes object: lower-case letters, digits, hyphens and dots, with a \
             letter or digit at both ends"
        );
    }
    Ok(())
}

#[cfg(test)]
#[path = "declared_test.rs"]
mod declared_test;
