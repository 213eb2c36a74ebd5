//! The cache of a GitLab runner's `config.toml`, read as the runner reads it: names in any case, unknown ones ignored,
//! which is told here since a misspelt one is the usual reason for a cold cache.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use toml::{Table, Value};

use super::target::HelperCa;
use crate::{
    http_client::Address,
    secrets::{KeyPair, Secret},
};

const CACHE_KEYS: [&str; 8] = ["Type", "Path", "Shared", "MaxUploadedArchiveSize", "RedactURL", "s3", "gcs", "azure"];
const S3_KEYS: [&str; 17] = [
    "ServerAddress",
    "Insecure",
    "BucketName",
    "BucketLocation",
    "AuthenticationType",
    "AccessKey",
    "SecretKey",
    "SessionToken",
    "ServerSideEncryption",
    "ServerSideEncryptionKeyID",
    "DualStack",
    "PathStyle",
    "Accelerate",
    "RoleARN",
    "UploadRoleARN",
    "AssumeRoleMaxConcurrency",
    "DisableAssumeRoleCredentialsCaching",
];
const FLAGS: [&str; 7] =
    ["Shared", "RedactURL", "Insecure", "DualStack", "PathStyle", "Accelerate", "DisableAssumeRoleCredentialsCaching"];
const NUMBERS: [&str; 3] = ["concurrent", "MaxUploadedArchiveSize", "AssumeRoleMaxConcurrency"];
/// Where the helper image looks for a CA.
const CA_FOLDER: &str = "/etc/gitlab-runner/certs";
/// Characters of a runner's token in the keys of a cache that is not shared.
const TOKEN_CHARS: usize = 9;

/// What a runner is told of its cache.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RunnerCache {
    /// The runner.
    pub(super) name: String,
    /// The server.
    pub(super) address: Address,
    /// The bucket.
    pub(super) bucket: String,
    /// Its region; none = asked.
    pub(super) region: Option<String>,
    /// How the keys of its objects begin.
    pub(super) prefix: String,
    /// Access key and secret, where they are in the file.
    pub(super) key: Option<KeyPair>,
    /// Whether the bucket stands in the path.
    pub(super) path_style: bool,
    /// What its jobs trust.
    pub(super) helper_ca: HelperCa,
}

/// Reads the cache of a runner, by its name where there are several.
pub(super) fn read(text: &str, wanted: Option<&str>) -> Result<RunnerCache> {
    let file: Table = toml::from_str(text).map_err(|error| anyhow::anyhow!("{}", error.to_string().trim_end()))?;
    let runner = choose(&file, wanted)?;
    let cache = table(runner, "cache").context("the runner has no section [runners.cache]: it keeps caches locally")?;
    check_names(cache, &CACHE_KEYS, "[runners.cache]")?;
    check_types(&file, "the file")?;
    check_types(cache, "[runners.cache]")?;
    match text_of(cache, "Type") {
        Some("s3") => {}
        Some(other) => bail!("Type is \"{other}\": only \"s3\" is examined"),
        None => bail!("[runners.cache] has no Type: without Type = \"s3\" nothing is uploaded"),
    }
    let s3 = table(cache, "s3").context("there is no section [runners.cache.s3]")?;
    check_names(s3, &S3_KEYS, "[runners.cache.s3]")?;
    check_types(s3, "[runners.cache.s3]")?;
    let name = text_of(runner, "name").unwrap_or("the runner").to_owned();
    check_encryption(s3)?;
    let key = key(s3)?;
    let path_style = flag(s3, "PathStyle").unwrap_or(true);
    Ok(RunnerCache {
        name,
        address: address(s3)?,
        bucket: text_of(s3, "BucketName").context("BucketName is missing in [runners.cache.s3]")?.to_owned(),
        region: text_of(s3, "BucketLocation").map(str::to_owned),
        prefix: prefix(runner, cache),
        key,
        path_style,
        helper_ca: helper_ca(runner),
    })
}

/// The one runner that has a cache, or the one that is wanted. `cairn runner-config --only toml` prints a section
/// without its list.
fn choose<'a>(file: &'a Table, wanted: Option<&str>) -> Result<&'a Table> {
    let runners: Vec<&Table> = match get(file, "runners") {
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_table).collect(),
        Some(Value::Table(one)) => vec![one],
        _ => bail!("there is no section [[runners]]"),
    };
    let name = |runner: &Table| text_of(runner, "name").unwrap_or_default().to_owned();
    if let Some(wanted) = wanted {
        let named = runners.iter().find(|runner| name(runner) == wanted);
        return named.copied().with_context(|| format!("there is no runner named \"{wanted}\""));
    }
    let with_cache: Vec<&Table> = runners.iter().copied().filter(|runner| table(runner, "cache").is_some()).collect();
    match with_cache[..] {
        [one] => Ok(one),
        [] => runners.first().copied().context("there is no section [[runners]]"),
        _ => {
            let names: Vec<String> = with_cache.iter().map(|runner| format!("\"{}\"", name(runner))).collect();
            bail!("several runners have a cache: name one with --runner ({})", names.join(", "))
        }
    }
}

fn address(s3: &Table) -> Result<Address> {
    let text = text_of(s3, "ServerAddress")
        .context("ServerAddress is missing in [runners.cache.s3]: the runner would go to AWS; write `HOST:PORT`")?;
    if text.contains("://") || text.contains('/') {
        bail!(
            "ServerAddress = \"{text}\": write HOST or HOST:PORT, without scheme and path; Insecure = true stands for http"
        );
    }
    let tls = !flag(s3, "Insecure").unwrap_or(false);
    Address::of_authority(tls, text).with_context(|| format!("ServerAddress = \"{text}\" is no HOST or HOST:PORT"))
}

fn key(s3: &Table) -> Result<Option<KeyPair>> {
    match text_of(s3, "AuthenticationType") {
        None | Some("access-key") => {}
        Some(other) => bail!("AuthenticationType = \"{other}\" is not examined: only \"access-key\" is"),
    }
    if text_of(s3, "RoleARN").is_some() || text_of(s3, "UploadRoleARN").is_some() {
        bail!("RoleARN asks STS for keys, which is not examined (and Cairn has no STS yet): take it out");
    }
    if text_of(s3, "SessionToken").is_some() {
        bail!("SessionToken goes with a key of STS, which is not examined (and Cairn has no STS yet): take it out");
    }
    Ok(match (text_of(s3, "AccessKey"), text_of(s3, "SecretKey")) {
        (Some(access), Some(secret)) => {
            Some(KeyPair { access_key: access.to_owned(), secret: Secret::new(secret.to_owned()) })
        }
        (None, None) => None,
        _ => bail!("AccessKey and SecretKey belong together: one of them is missing"),
    })
}

/// The runner puts what it is told here into each upload.
fn check_encryption(s3: &Table) -> Result<()> {
    match text_of(s3, "ServerSideEncryption") {
        None | Some("S3") => Ok(()),
        Some(other @ ("KMS" | "DSSE-KMS")) => bail!(
            "ServerSideEncryption = \"{other}\" is not examined (and Cairn refuses each upload with it): write \"S3\", or take \
             it out"
        ),
        Some(other) => {
            bail!("ServerSideEncryption = \"{other}\" is nothing that the runner knows: write \"S3\", or take it out")
        }
    }
}

/// `[Path/][runner/TOKEN/]project/ID/`, with a project that no instance has.
fn prefix(runner: &Table, cache: &Table) -> String {
    let mut prefix = String::new();
    if let Some(path) = text_of(cache, "Path").map(|path| path.trim_matches('/')).filter(|path| !path.is_empty()) {
        prefix.push_str(path);
        prefix.push('/');
    }
    if !flag(cache, "Shared").unwrap_or(false) {
        let token = text_of(runner, "token").unwrap_or_default();
        let short: String = token.strip_prefix("glrt-").unwrap_or(token).chars().take(TOKEN_CHARS).collect();
        prefix.push_str(&format!("runner/{short}/"));
    }
    prefix.push_str("project/0/");
    prefix
}

/// What the jobs' helper finds in its folder for CAs.
fn helper_ca(runner: &Table) -> HelperCa {
    let volumes = table(runner, "docker").and_then(|docker| get(docker, "volumes")).and_then(Value::as_array);
    for volume in volumes.into_iter().flatten().filter_map(Value::as_str) {
        let mut parts = volume.split(':');
        match (parts.next(), parts.next().map(|inside| inside.trim_end_matches('/'))) {
            (Some(outside), Some(CA_FOLDER)) => return HelperCa::File(PathBuf::from(outside).join("ca.crt")),
            (Some(outside), Some("/etc/gitlab-runner/certs/ca.crt")) => return HelperCa::File(outside.into()),
            _ => {}
        }
    }
    let volumes = table(runner, "kubernetes").and_then(|kubernetes| table(kubernetes, "volumes"));
    for (kind, shown) in [("secret", "Secret"), ("config_map", "ConfigMap")] {
        let mounts = volumes.and_then(|volumes| get(volumes, kind)).and_then(Value::as_array);
        for mount in mounts.into_iter().flatten().filter_map(Value::as_table) {
            if text_of(mount, "mount_path").map(|path| path.trim_end_matches('/')) == Some(CA_FOLDER) {
                let name = text_of(mount, "name").unwrap_or_default();
                return HelperCa::Elsewhere(format!("{shown} {name} is mounted at {CA_FOLDER}"));
            }
        }
    }
    HelperCa::Nothing
}

fn check_names(section: &Table, known: &[&str], place: &str) -> Result<()> {
    let unknown: Vec<&str> = section
        .keys()
        .map(String::as_str)
        .filter(|name| !known.iter().any(|known| known.eq_ignore_ascii_case(name)))
        .collect();
    if !unknown.is_empty() {
        bail!("{place} has {}, which the runner does not know and ignores: correct the spelling", unknown.join(", "));
    }
    Ok(())
}

/// A value of another type than the runner's has the runner refuse its whole file.
fn check_types(section: &Table, place: &str) -> Result<()> {
    let is_of = |names: &[&str], name: &str| names.iter().any(|other| other.eq_ignore_ascii_case(name));
    for (name, value) in section {
        let wanted = match value {
            _ if is_of(&FLAGS, name) => (value.is_bool(), "true or false"),
            _ if is_of(&NUMBERS, name) => (value.is_integer(), "a whole number"),
            Value::Table(_) | Value::Array(_) => continue,
            _ if is_of(&CACHE_KEYS, name) || is_of(&S3_KEYS, name) => (value.is_str(), "a text in quotes"),
            _ => continue,
        };
        if let (false, kind) = wanted {
            bail!("{name} in {place} is {value}, and the runner takes {kind} only: it would refuse the whole file");
        }
    }
    Ok(())
}

fn get<'a>(section: &'a Table, name: &str) -> Option<&'a Value> {
    section.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn table<'a>(section: &'a Table, name: &str) -> Option<&'a Table> {
    get(section, name)?.as_table()
}

/// A text that is not empty.
fn text_of<'a>(section: &'a Table, name: &str) -> Option<&'a str> {
    get(section, name)?.as_str().filter(|text| !text.is_empty())
}

fn flag(section: &Table, name: &str) -> Option<bool> {
    get(section, name)?.as_bool()
}

#[cfg(test)]
#[path = "runner_file_test.rs"]
mod runner_file_test;
