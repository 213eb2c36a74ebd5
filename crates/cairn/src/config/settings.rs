//! What can be set about the server: one struct is the flags, the environment and the TOML file alike.
//!
//! A name is the same in all three: `--s3-listen`, `CAIRN_S3_LISTEN`, `s3-listen = […]`. The root key alone comes
//! from the environment only, so that it stands in no list of processes and no file that is handed around. Declared
//! buckets and keys come from the file only: they are lists of tables.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, str::FromStr};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::declared::{Declared, DeclaredBucket, DeclaredKey, KubernetesObjects};
use super::values::{ByteCount, LogFormat, LogLevel, Period, ProfileSetting, StorageClass, TlsChoice};

/// One layer of settings; what is not set is left to the layer below.
#[derive(clap::Args, Deserialize, Clone, PartialEq, Debug, Default)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// Data folder: disks in DIR/disk-0, DIR/disk-1 …, metadata in DIR/meta, keys, CA and admin socket beside them
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// How many disk folders to keep in the data folder [default: 6]
    #[arg(long, value_name = "N", conflicts_with = "disk")]
    pub(crate) disks: Option<u16>,

    /// A folder that is one disk, best a file system of its own; repeated
    #[arg(long, value_name = "DIR")]
    pub(crate) disk: Vec<PathBuf>,

    /// Folder of the metadata; without --data, keys, CA and admin socket lie here too
    #[arg(long, value_name = "DIR")]
    pub(crate) meta: Option<PathBuf>,

    /// Address of the S3 face; repeated; `[::]:9000` alone takes IPv4 too [default: 127.0.0.1:9000]
    #[arg(long, value_name = "ADDR")]
    pub(crate) s3_listen: Vec<SocketAddr>,

    /// `auto` (own CA, written to DIR/ca.crt), `off`, or two PEM files as CERT,KEY [default: auto]
    #[arg(long, value_name = "auto|off|CERT,KEY")]
    pub(crate) tls: Option<TlsChoice>,

    /// Name or address for the certificate of `--tls auto`, beside localhost, the host's name and addresses, and the
    /// domains of --s3-domain; repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) tls_name: Vec<String>,

    /// Domain under which buckets are reached as BUCKET.DOMAIN; repeated
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) s3_domain: Vec<String>,

    /// Data and parity units of new objects, as `4+2`, or `auto` by the number of disks [default: auto]
    #[arg(long, value_name = "auto|k+m")]
    pub(crate) profile: Option<ProfileSetting>,

    /// Profile of a storage class, as `REDUCED_REDUNDANCY=5+1`; it goes before the bucket's. S3's own classes without a
    /// profile are taken and mean the bucket's; repeated
    #[arg(long, value_name = "NAME=k+m")]
    pub(crate) storage_class: Vec<StorageClass>,

    /// Longest life of a presigned URL [default: 7d]
    #[arg(long, value_name = "PERIOD")]
    pub(crate) presign_expires_max: Option<Period>,

    /// Memory that the requests being served may hold together; who would exceed it is told to slow down. At least 96MiB
    /// [default: half of what this process may use, at most 2GiB]
    #[arg(long, value_name = "SIZE")]
    pub(crate) request_memory: Option<ByteCount>,

    /// Time that running requests get at shutdown [default: 25s]
    #[arg(long, value_name = "PERIOD")]
    pub(crate) shutdown_limit: Option<Period>,

    /// How often a snapshot of the metadata is written over the disks; `0s` = only by `cairn snapshot` [default: 24h]
    #[arg(long, value_name = "PERIOD")]
    pub(crate) snapshot_every: Option<Period>,

    /// Write the root key of the first start into this file (mode 0600) instead of showing it
    #[arg(long, value_name = "FILE")]
    pub(crate) root_key_file: Option<PathBuf>,

    /// API server of Kubernetes, if something is published there [default: that of the pod's environment]
    #[arg(long, value_name = "URL")]
    pub(crate) kubernetes_api: Option<String>,

    /// Folder of the service account: token, ca.crt, namespace [default: where Kubernetes mounts it]
    #[arg(long, value_name = "DIR")]
    pub(crate) kubernetes_account: Option<PathBuf>,

    /// How log lines are written [default: text]
    #[arg(long, value_name = "text|json")]
    pub(crate) log_format: Option<LogFormat>,

    /// Log level, also by module as in `info,cairn_meta=debug` [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub(crate) log_level: Option<LogLevel>,

    /// Buckets that must be there: in the file only.
    #[arg(skip)]
    pub(crate) bucket: Vec<DeclaredBucket>,

    /// Keys that must be there: in the file only.
    #[arg(skip)]
    pub(crate) key: Vec<DeclaredKey>,

    /// What Kubernetes gets: in the file only.
    #[arg(skip)]
    pub(crate) kubernetes: Option<KubernetesObjects>,
}

/// Looks up an environment variable.
pub(crate) type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The process's own environment.
pub(crate) fn process_environment(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// The variables of the root key, which have no flag.
pub(crate) const ROOT_KEY_VARIABLES: [&str; 2] = ["CAIRN_ROOT_ACCESS_KEY", "CAIRN_ROOT_SECRET_KEY"];

impl Settings {
    /// The variables that set something.
    pub(crate) fn variables() -> Vec<String> {
        let flags = <Self as clap::Args>::augment_args(clap::Command::new("settings"));
        let variable = |flag: &str| format!("CAIRN_{}", flag.to_ascii_uppercase().replace('-', "_"));
        let of_flags = flags.get_arguments().filter_map(clap::Arg::get_long).map(variable);
        of_flags.chain(ROOT_KEY_VARIABLES.map(str::to_owned)).collect()
    }

    /// The layer of a TOML file. An unknown key is refused by its name.
    pub(crate) fn from_toml(text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|error| anyhow::anyhow!("{}", error.to_string().trim_end()))
    }

    /// The layer of the environment.
    pub(crate) fn from_environment(look: Environment<'_>) -> Result<Self> {
        Ok(Self {
            data: path(look, "CAIRN_DATA"),
            disks: one(look, "CAIRN_DISKS")?,
            disk: list(look, "CAIRN_DISK")?,
            meta: path(look, "CAIRN_META"),
            s3_listen: list(look, "CAIRN_S3_LISTEN")?,
            tls: one(look, "CAIRN_TLS")?,
            tls_name: list(look, "CAIRN_TLS_NAME")?,
            s3_domain: list(look, "CAIRN_S3_DOMAIN")?,
            profile: one(look, "CAIRN_PROFILE")?,
            storage_class: list(look, "CAIRN_STORAGE_CLASS")?,
            presign_expires_max: one(look, "CAIRN_PRESIGN_EXPIRES_MAX")?,
            request_memory: one(look, "CAIRN_REQUEST_MEMORY")?,
            shutdown_limit: one(look, "CAIRN_SHUTDOWN_LIMIT")?,
            snapshot_every: one(look, "CAIRN_SNAPSHOT_EVERY")?,
            root_key_file: path(look, "CAIRN_ROOT_KEY_FILE"),
            kubernetes_api: text(look, "CAIRN_KUBERNETES_API")?,
            kubernetes_account: path(look, "CAIRN_KUBERNETES_ACCOUNT"),
            log_format: one(look, "CAIRN_LOG_FORMAT")?,
            log_level: one(look, "CAIRN_LOG_LEVEL")?,
            ..Self::default()
        })
    }

    /// Takes what is declared out; the rest are settings that the next start reads.
    pub(crate) fn take_declared(&mut self) -> Declared {
        Declared {
            buckets: std::mem::take(&mut self.bucket),
            keys: std::mem::take(&mut self.key),
            kubernetes: self.kubernetes.take(),
        }
    }

    /// This layer on top of another. A list replaces the list below it as a whole.
    pub(crate) fn over(self, below: Self) -> Self {
        // `--disks` and `--disk` are two ways to say one thing: the upper layer's word counts.
        let disks = if self.disk.is_empty() { self.disks.or(below.disks) } else { self.disks };
        let disk = if self.disks.is_some() { self.disk } else { upper(self.disk, below.disk) };
        Self {
            data: self.data.or(below.data),
            disks: if disk.is_empty() { disks } else { None },
            disk,
            meta: self.meta.or(below.meta),
            s3_listen: upper(self.s3_listen, below.s3_listen),
            tls: self.tls.or(below.tls),
            tls_name: upper(self.tls_name, below.tls_name),
            s3_domain: upper(self.s3_domain, below.s3_domain),
            profile: self.profile.or(below.profile),
            storage_class: upper(self.storage_class, below.storage_class),
            presign_expires_max: self.presign_expires_max.or(below.presign_expires_max),
            request_memory: self.request_memory.or(below.request_memory),
            shutdown_limit: self.shutdown_limit.or(below.shutdown_limit),
            snapshot_every: self.snapshot_every.or(below.snapshot_every),
            root_key_file: self.root_key_file.or(below.root_key_file),
            log_format: self.log_format.or(below.log_format),
            kubernetes_api: self.kubernetes_api.or(below.kubernetes_api),
            kubernetes_account: self.kubernetes_account.or(below.kubernetes_account),
            log_level: self.log_level.or(below.log_level),
            bucket: upper(self.bucket, below.bucket),
            key: upper(self.key, below.key),
            kubernetes: self.kubernetes.or(below.kubernetes),
        }
    }
}

fn upper<T>(upper: Vec<T>, below: Vec<T>) -> Vec<T> {
    if upper.is_empty() { below } else { upper }
}

fn path(look: Environment<'_>, name: &str) -> Option<PathBuf> {
    look(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// A variable's text; an empty one counts as not set.
pub(super) fn text(look: Environment<'_>, name: &str) -> Result<Option<String>> {
    match look(name).map(OsString::into_string) {
        None => Ok(None),
        Some(Ok(text)) if text.is_empty() => Ok(None),
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(_)) => bail!("environment variable {name} is not UTF-8"),
    }
}

fn parse<T: FromStr<Err: std::fmt::Display>>(name: &str, text: &str) -> Result<T> {
    text.parse()
        .map_err(|error| anyhow::anyhow!("`{text}`: {error}"))
        .with_context(|| format!("environment variable {name}"))
}

fn one<T: FromStr<Err: std::fmt::Display>>(look: Environment<'_>, name: &str) -> Result<Option<T>> {
    text(look, name)?.map(|text| parse(name, &text)).transpose()
}

fn list<T: FromStr<Err: std::fmt::Display>>(look: Environment<'_>, name: &str) -> Result<Vec<T>> {
    let text = text(look, name)?.unwrap_or_default();
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(|item| parse(name, item)).collect()
}
