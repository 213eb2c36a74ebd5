//! The server's configuration: three layers of settings put together, filled with defaults and checked.
//!
//! [`Config::build`] is pure; what needs a look at the machine (folders, certificates, addresses) is in `machine.rs`.

mod declared;
mod folders;
mod machine;
mod memory;
pub(crate) mod open_files;
mod settings;
mod unknown;
mod values;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use cairn_cluster::ProfileChoice;
use cairn_erasure::ErasureProfile;

pub(crate) use declared::{Declared, DeclaredBucket, DeclaredKey};
pub(crate) use machine::{check_certificate, check_machine, check_private, check_usable, existing};
pub(crate) use memory::{request_memory, usable_memory};
pub(crate) use settings::{Environment, Settings, process_environment};
pub(crate) use unknown::unknown;
pub(crate) use values::{ByteCount, EtagSetting, LogFormat, LogLevel, ProfileSetting, StorageClass, TlsChoice};

use crate::{http_client::Address, secrets::KeyPair};

/// Disk folders in the data folder.
const DISKS: u16 = 6;
pub(crate) const DISKS_MAX: usize = 64;
const S3_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9000);
const S3_LISTEN_MAX: usize = 16;
/// What AWS allows.
const PRESIGN_EXPIRES_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(25);
const SNAPSHOT_EVERY: Duration = Duration::from_secs(24 * 60 * 60);
const LOG_LEVEL: &str = "info";
/// Where Kubernetes mounts the service account of a pod.
const KUBERNETES_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const NAMES_MAX: usize = 64;

/// What the server runs with.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Config {
    /// Keys, CA, lock and admin socket lie here.
    pub(crate) home: PathBuf,
    /// The metadata group's folder.
    pub(crate) meta: PathBuf,
    /// The disks' folders.
    pub(crate) disks: Vec<PathBuf>,
    /// Whether they are those of the data folder, as many as there were said to be.
    pub(crate) disks_by_number: bool,
    /// Addresses of the S3 face.
    pub(crate) s3_listen: Vec<SocketAddr>,
    /// How it is secured.
    pub(crate) tls: TlsChoice,
    /// More names for the certificate of our own CA.
    pub(crate) tls_names: Vec<String>,
    /// Domains of virtual-hosted buckets.
    pub(crate) s3_domains: Vec<String>,
    /// Profile of new groups.
    pub(crate) profile: ProfileChoice,
    /// Profiles of storage classes.
    pub(crate) storage_classes: BTreeMap<String, ErasureProfile>,
    /// Longest life of a presigned URL.
    pub(crate) presign_expires_max: Duration,
    /// Bytes that the requests being served may hold together; none = by what this process may use.
    pub(crate) request_memory: Option<ByteCount>,
    /// Time that running requests get at shutdown.
    pub(crate) shutdown_limit: Duration,
    /// How often a snapshot of the metadata is written; none = only when asked.
    pub(crate) snapshot_every: Option<Duration>,
    /// The root key, where the environment gives one.
    pub(crate) root_key: Option<KeyPair>,
    /// Where a new root key is written instead of being shown.
    pub(crate) root_key_file: Option<PathBuf>,
    /// How log lines are written.
    pub(crate) log_format: LogFormat,
    /// Which log lines are written.
    pub(crate) log_level: LogLevel,
    /// Buckets and keys that must be there, and what Kubernetes gets.
    pub(crate) declared: Declared,
    /// Where Kubernetes is.
    pub(crate) kubernetes: KubernetesPlace,
    /// The file it was read from, which may change while the server runs.
    pub(crate) file: Option<PathBuf>,
}

/// Where the API server of Kubernetes is, and how this server signs in.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct KubernetesPlace {
    /// Its URL; none outside of a pod.
    pub(crate) api: Option<String>,
    /// Folder with token, ca.crt and namespace.
    pub(crate) account: PathBuf,
}

impl Config {
    /// Flags before environment before TOML before defaults. Paths are made absolute against `current`.
    pub(crate) fn build(
        flags: Settings,
        look: Environment<'_>,
        toml: Option<(&Path, &str)>,
        current: &Path,
    ) -> Result<Self> {
        let environment = Settings::from_environment(look)?;
        let file = match toml {
            Some((path, text)) => {
                Settings::from_toml(text).with_context(|| format!("configuration {}", path.display()))?
            }
            None => Settings::default(),
        };
        for layer in [&flags, &environment, &file] {
            if layer.disks.is_some() && !layer.disk.is_empty() {
                bail!("disks, disk: name a number of disk folders or the folders, not both");
            }
        }
        let settings = flags.over(environment).over(file);
        let mut config = Self::fill(settings, root_key(look)?, current)?;
        config.file = toml.map(|(path, _)| current.join(path));
        if config.kubernetes.api.is_none() {
            config.kubernetes.api = api_of_pod(look)?;
        }
        config.validate()?;
        Ok(config)
    }

    fn fill(mut settings: Settings, root_key: Option<KeyPair>, current: &Path) -> Result<Self> {
        let declared = settings.take_declared();
        let absolute = |path: PathBuf| folders::normal(&current.join(path));
        let data = settings.data.map(absolute);
        let given_meta = settings.meta.map(absolute);
        let Some(home) = data.clone().or_else(|| given_meta.clone()) else {
            bail!("data: name a data folder with --data DIR, or --disk DIR for each disk and --meta DIR");
        };
        if data.is_none() && settings.disk.is_empty() {
            bail!("disk: with --meta alone there is no disk; add --disk DIR for each, or use --data DIR");
        }
        let disks_by_number = settings.disk.is_empty();
        let disks: Vec<PathBuf> = if disks_by_number {
            (0..settings.disks.unwrap_or(DISKS)).map(|number| numbered_disk(&home, number.into())).collect()
        } else {
            settings.disk.into_iter().map(absolute).collect()
        };
        let listen = if settings.s3_listen.is_empty() { vec![S3_LISTEN] } else { settings.s3_listen };
        let tls = match settings.tls.unwrap_or(TlsChoice::Auto) {
            TlsChoice::Files { cert, key } => TlsChoice::Files { cert: absolute(cert), key: absolute(key) },
            word => word,
        };
        Ok(Self {
            meta: given_meta.unwrap_or_else(|| home.join("meta")),
            disks,
            disks_by_number,
            s3_listen: listen,
            tls,
            tls_names: settings.tls_name,
            s3_domains: settings.s3_domain.into_iter().map(|domain| domain.to_ascii_lowercase()).collect(),
            profile: settings.profile.map_or(ProfileChoice::Auto, |profile| profile.0),
            storage_classes: storage_classes(settings.storage_class)?,
            presign_expires_max: settings.presign_expires_max.map_or(PRESIGN_EXPIRES_MAX, |period| period.0),
            request_memory: settings.request_memory,
            shutdown_limit: settings.shutdown_limit.map_or(SHUTDOWN_LIMIT, |period| period.0),
            snapshot_every: Some(settings.snapshot_every.map_or(SNAPSHOT_EVERY, |period| period.0))
                .filter(|every| !every.is_zero()),
            root_key,
            root_key_file: settings.root_key_file.map(absolute),
            log_format: settings.log_format.unwrap_or(LogFormat::Text),
            log_level: match settings.log_level {
                Some(level) => level,
                None => LOG_LEVEL.parse().map_err(anyhow::Error::msg)?,
            },
            declared,
            kubernetes: KubernetesPlace {
                api: settings.kubernetes_api,
                account: settings.kubernetes_account.map_or_else(|| KUBERNETES_ACCOUNT.into(), absolute),
            },
            file: None,
            home,
        })
    }

    fn validate(&self) -> Result<()> {
        if self.disks.is_empty() || self.disks.len() > DISKS_MAX {
            bail!("disks: {} disks; 1 to {DISKS_MAX} can be served", self.disks.len());
        }
        let fixed = match self.profile {
            ProfileChoice::Fixed(profile) => Some(("profile".to_owned(), profile)),
            ProfileChoice::Auto => None,
        };
        let of_classes = self.storage_classes.iter().map(|(name, profile)| (format!("storage-class {name}"), *profile));
        for (what, profile) in of_classes.chain(fixed) {
            if profile.slots() > self.disks.len() {
                bail!("{what}: {profile} needs {} disks, there are {}", profile.slots(), self.disks.len());
            }
        }
        folders::check_folders(&self.home, &self.meta, &self.disks)?;
        folders::check_socket_path(&self.admin_socket())?;
        check_listen(&self.s3_listen)?;
        if self.tls != TlsChoice::Auto && !self.tls_names.is_empty() {
            bail!("tls-name: only a certificate of the server's own takes names; leave it out or use --tls auto");
        }
        self.tls_names.iter().try_for_each(|name| check_tls_name(name))?;
        self.s3_domains.iter().try_for_each(|name| check_domain("s3-domain", name))?;
        if self.tls_names.len() > NAMES_MAX || self.s3_domains.len() > NAMES_MAX {
            bail!("tls-name, s3-domain: at most {NAMES_MAX} names each");
        }
        if let Some(api) = &self.kubernetes.api {
            Address::parse(api).map_err(|error| anyhow::anyhow!("kubernetes-api: {error}"))?;
        }
        self.check_declared(&self.declared)?;
        memory::check_request_memory(self.request_memory)?;
        if self.presign_expires_max.is_zero() {
            bail!("presign-expires-max: a presigned URL that lives no time is of no use");
        }
        Ok(())
    }

    /// Refuses declarations that cannot be met by a server of this configuration.
    pub(crate) fn check_declared(&self, declared: &Declared) -> Result<()> {
        declared.validate()?;
        if self.tls == TlsChoice::Off && declared.ca_config_map().is_some() {
            bail!("kubernetes.ca-config-map: without TLS there is no CA to publish; leave it out");
        }
        for bucket in &declared.buckets {
            if let Some(ProfileSetting(ProfileChoice::Fixed(profile))) = bucket.profile
                && profile.slots() > self.disks.len()
            {
                let (name, needed) = (&bucket.name, profile.slots());
                bail!("bucket {name}: profile {profile} needs {needed} disks, there are {}", self.disks.len());
            }
        }
        Ok(())
    }

    /// The Unix socket of `cairn bucket`, `cairn key` and the others.
    pub(crate) fn admin_socket(&self) -> PathBuf {
        admin_socket(&self.home)
    }

    /// The key file that seals the secrets in the metadata.
    pub(crate) fn key_file(&self) -> PathBuf {
        self.home.join("keys").join("secret.key")
    }

    /// The certificate of our own CA, where there is one.
    pub(crate) fn ca_certificate(&self) -> Option<PathBuf> {
        (self.tls == TlsChoice::Auto).then(|| self.home.join("ca.crt"))
    }
}

/// The folder of a disk that is named by a number.
pub(crate) fn numbered_disk(home: &Path, number: usize) -> PathBuf {
    home.join(format!("disk-{number}"))
}

/// Where Kubernetes says its API server is, to every pod.
fn api_of_pod(look: Environment<'_>) -> Result<Option<String>> {
    let Some(host) = settings::text(look, "KUBERNETES_SERVICE_HOST")? else { return Ok(None) };
    let port = settings::text(look, "KUBERNETES_SERVICE_PORT_HTTPS")?;
    let port = port.or(settings::text(look, "KUBERNETES_SERVICE_PORT")?).unwrap_or_else(|| "443".to_owned());
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    Ok(Some(format!("https://{host}:{port}")))
}

/// The admin socket of a data folder.
pub(crate) fn admin_socket(home: &Path) -> PathBuf {
    home.join("admin.sock")
}

/// The longest a Unix socket's path can be, told before it is tried.
pub(crate) fn check_socket_path(socket: &Path) -> Result<()> {
    folders::check_socket_path(socket)
}

fn root_key(look: Environment<'_>) -> Result<Option<KeyPair>> {
    let access = settings::text(look, "CAIRN_ROOT_ACCESS_KEY")?;
    let secret = settings::text(look, "CAIRN_ROOT_SECRET_KEY")?;
    match (access, secret) {
        (None, None) => Ok(None),
        (Some(access), Some(secret)) => {
            KeyPair::given(access, secret).map(Some).context("CAIRN_ROOT_ACCESS_KEY, CAIRN_ROOT_SECRET_KEY")
        }
        (Some(_), None) => bail!("CAIRN_ROOT_ACCESS_KEY is set and CAIRN_ROOT_SECRET_KEY is not: set both or none"),
        (None, Some(_)) => bail!("CAIRN_ROOT_SECRET_KEY is set and CAIRN_ROOT_ACCESS_KEY is not: set both or none"),
    }
}

fn storage_classes(given: Vec<StorageClass>) -> Result<BTreeMap<String, ErasureProfile>> {
    if given.len() > NAMES_MAX {
        bail!("storage-class: at most {NAMES_MAX}");
    }
    let mut classes = BTreeMap::new();
    for StorageClass { name, profile } in given {
        if classes.insert(name.clone(), profile).is_some() {
            bail!("storage-class: {name} is named twice");
        }
    }
    Ok(classes)
}

fn check_listen(addresses: &[SocketAddr]) -> Result<()> {
    if addresses.len() > S3_LISTEN_MAX {
        bail!("s3-listen: at most {S3_LISTEN_MAX} addresses");
    }
    for (place, address) in addresses.iter().enumerate() {
        // Port 0 is a new port each time, so it may stand twice.
        if address.port() != 0 && addresses[..place].contains(address) {
            bail!("s3-listen: {address} is named twice");
        }
    }
    Ok(())
}

fn check_tls_name(name: &str) -> Result<()> {
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<std::net::IpAddr>().is_ok() {
        return Ok(());
    }
    check_domain("tls-name", name.strip_prefix("*.").unwrap_or(name))
}

fn check_domain(key: &str, name: &str) -> Result<()> {
    let label_is_good = |label: &str| {
        let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        (1..=63).contains(&label.len()) && plain && !label.starts_with('-') && !label.ends_with('-')
    };
    if name.len() > 253 || !name.split('.').all(label_is_good) {
        bail!("{key}: `{name}` is no host name (no scheme, no port, no path)");
    }
    Ok(())
}

#[cfg(test)]
mod config_test;
