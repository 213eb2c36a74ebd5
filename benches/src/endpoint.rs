//! Which servers are driven: from flags, or from a TOML file with one `[[endpoint]]` each.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use http::{Uri, uri::Scheme};
use serde::Deserialize;

/// More servers in one run would make rounds so long that they no longer see the same machine.
pub(crate) const ENDPOINTS_MAX: usize = 8;

/// A server and how to speak to it.
#[derive(Clone)]
pub struct Endpoint {
    /// Its name in tables and plots.
    pub name: String,
    /// `http://HOST[:PORT]` or `https://HOST[:PORT]`.
    pub url: Uri,
    /// PEM file of the authority to trust; without it that of the system.
    pub ca: Option<PathBuf>,
    /// Access key.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
    /// Region of the signatures.
    pub region: String,
    /// Its processes, if it runs on this machine.
    pub pids: Vec<u32>,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("name", &self.name).field("url", &self.url).finish_non_exhaustive()
    }
}

impl Endpoint {
    /// Whether it speaks TLS.
    #[must_use]
    pub fn tls(&self) -> bool {
        self.url.scheme() == Some(&Scheme::HTTPS)
    }

    /// Host without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        self.url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    /// Port, that of the scheme if none is given.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.url.port_u16().unwrap_or(if self.tls() { 443 } else { 80 })
    }

    /// What goes into `Host`.
    #[must_use]
    pub fn authority(&self) -> String {
        let usual = if self.tls() { 443 } else { 80 };
        match self.url.port_u16() {
            Some(port) if port != usual => format!("{}:{port}", self.url.host().unwrap_or_default()),
            _ => self.url.host().unwrap_or_default().to_owned(),
        }
    }
}

/// Reads `http[s]://HOST[:PORT]`.
///
/// # Errors
/// If it is none.
pub(crate) fn parse_url(text: &str) -> Result<Uri, String> {
    let url: Uri = text.parse().map_err(|error| format!("`{text}` is no URL: {error}"))?;
    let scheme = url.scheme_str().unwrap_or_default();
    if !["http", "https"].contains(&scheme) || url.host().is_none_or(str::is_empty) {
        return Err(format!("`{text}`: write http://HOST[:PORT] or https://HOST[:PORT]"));
    }
    if !["", "/"].contains(&url.path()) || url.query().is_some() || text.contains('@') {
        return Err(format!("`{text}`: a path, a query or a user does not belong here"));
    }
    Ok(url)
}

/// What stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    endpoint: Vec<Entry>,
}

/// One server in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    name: String,
    url: String,
    ca: Option<PathBuf>,
    access_key: Option<String>,
    secret_key: Option<String>,
    region: Option<String>,
    #[serde(default)]
    pids: Vec<u32>,
    pid_file: Option<PathBuf>,
}

/// Reads the file. Keys and region that are not in it come from `keys`, as for servers given by flags.
///
/// # Errors
/// If it cannot be read or an entry is wrong.
pub(crate) fn read_file(path: &Path, keys: &Defaults) -> Result<Vec<Endpoint>> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let file: File = toml::from_str(&text).with_context(|| format!("read {}", path.display()))?;
    file.endpoint
        .into_iter()
        .map(|entry| {
            let name = entry.name.clone();
            finish(entry, keys).with_context(|| format!("endpoint `{name}` of {}", path.display()))
        })
        .collect()
}

fn finish(mut entry: Entry, keys: &Defaults) -> Result<Endpoint> {
    if let Some(path) = &entry.pid_file {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        for word in text.split_whitespace() {
            entry.pids.push(word.parse().with_context(|| format!("`{word}` in {} is no pid", path.display()))?);
        }
    }
    Ok(Endpoint {
        name: entry.name,
        url: parse_url(&entry.url).map_err(anyhow::Error::msg)?,
        ca: entry.ca.or_else(|| keys.ca.clone()),
        access_key: entry.access_key.or_else(|| keys.access_key.clone()).context("it has no access-key")?,
        secret_key: entry.secret_key.or_else(|| keys.secret_key.clone()).context("it has no secret-key")?,
        region: entry.region.unwrap_or_else(|| keys.region.clone()),
        pids: entry.pids,
    })
}

/// What holds for all servers that do not say otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Defaults {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) access_key: Option<String>,
    pub(crate) secret_key: Option<String>,
    pub(crate) region: String,
}

/// Checks what must hold of all of them together.
///
/// # Errors
/// If there are none, too many, or two of one name.
pub(crate) fn check(endpoints: &[Endpoint]) -> Result<()> {
    ensure!(!endpoints.is_empty(), "no server is named: give --endpoint NAME=URL or --endpoints FILE");
    ensure!(endpoints.len() <= ENDPOINTS_MAX, "{} servers; at most {ENDPOINTS_MAX} in one run", endpoints.len());
    let mut names = BTreeSet::new();
    for endpoint in endpoints {
        let plain = endpoint.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte));
        ensure!(
            plain && (1..=32).contains(&endpoint.name.len()),
            "the name `{}` must be 1 to 32 letters, digits, `-`, `_`, `.` or `+`",
            endpoint.name
        );
        if !names.insert(endpoint.name.as_str()) {
            bail!("two servers are named `{}`", endpoint.name);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Defaults {
        Defaults { ca: None, access_key: Some("a".into()), secret_key: Some("s".into()), region: "r".into() }
    }

    fn read(text: &str) -> Result<Vec<Endpoint>> {
        let folder = tempfile::tempdir()?;
        fs::write(folder.path().join("pids"), "4\n5\n")?;
        let path = folder.path().join("endpoints.toml");
        fs::write(&path, text.replace("FOLDER", folder.path().to_str().unwrap_or_default()))?;
        read_file(&path, &keys())
    }

    #[test]
    fn a_file_names_servers() {
        let text = "[[endpoint]]\nname = 'one'\nurl = 'https://h:9000'\nca = '/ca'\npids = [3]\npid-file = 'FOLDER/pids'\n\
                    [[endpoint]]\nname = 'two'\nurl = 'http://[::1]'\naccess-key = 'x'\nsecret-key = 'y'\nregion = 'z'\n";
        let endpoints = read(text).unwrap();
        assert_eq!((endpoints[0].access_key.as_str(), endpoints[0].region.as_str()), ("a", "r"));
        assert_eq!(endpoints[0].pids, [3, 4, 5]);
        assert_eq!((endpoints[1].access_key.as_str(), endpoints[1].region.as_str()), ("x", "z"));
        assert_eq!((endpoints[1].host(), endpoints[1].port(), endpoints[1].tls()), ("::1", 80, false));
        check(&endpoints).unwrap();
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("", "endpoint"),
            ("[[endpoint]]\nname = 'one'\nurl = 'ftp://h'", "https://HOST"),
            ("[[endpoint]]\nname = 'one'\nurl = 'http://h/path'", "does not belong"),
            ("[[endpoint]]\nname = 'one'\nurl = 'http://h'\nport = 4", "port"),
            ("[[endpoint]]\nname = 'one'\nurl = 'http://h'\npid-file = '/no/such'", "/no/such"),
        ] {
            let error = format!("{:#}", read(text).unwrap_err());
            assert!(error.contains(part), "{text}: {error}");
        }
        let one = read("[[endpoint]]\nname = 'one'\nurl = 'http://h'").unwrap();
        assert!(check(&[]).unwrap_err().to_string().contains("--endpoint"));
        assert!(check(&[one[0].clone(), one[0].clone()]).unwrap_err().to_string().contains("`one`"));
        let odd = Endpoint { name: "<b>".into(), ..one[0].clone() };
        assert!(check(&[odd]).is_err());
    }

    #[test]
    fn the_host_header_leaves_the_usual_port_out() {
        let at = |url: &str| {
            let mut one = read("[[endpoint]]\nname = 'one'\nurl = 'http://h'").unwrap();
            one[0].url = parse_url(url).unwrap();
            one[0].authority()
        };
        assert_eq!(at("https://h:443"), "h");
        assert_eq!(at("https://h:80"), "h:80");
        assert_eq!(at("http://h:80"), "h");
        assert_eq!(at("http://h"), "h");
        assert_eq!(at("http://[::1]:9000"), "[::1]:9000");
    }

    #[test]
    fn a_secret_is_not_shown() {
        let one = read("[[endpoint]]\nname = 'one'\nurl = 'http://h'\nsecret-key = 'hush'").unwrap();
        assert!(!format!("{one:?}").contains("hush"));
    }
}
