//! `cairn runner-config`: a fresh key for a bucket, and what the GitLab runner has to be told.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroU16,
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use cairn_proto::admin::{CreateKeyRequest, GetServerRequest, ServerInfo};

use super::key::show_new;
use super::runner_text::{RunnerCache, everything, helm_files, runner_toml};
use crate::{
    admin::{block_on, connect, explain},
    args::{RunnerConfigArgs, RunnerPart},
};

/// Runs the command. It makes a key: each call prints another one.
pub(crate) fn run(args: RunnerConfigArgs) -> Result<ExitCode> {
    block_on(async {
        if let Some(endpoint) = &args.endpoint {
            check_endpoint(endpoint)?;
        }
        let path = cache_path(&args.prefix)?;
        let mut client = connect(&args.data).await?;
        let server = client.get_server(GetServerRequest {}).await.map_err(|status| explain(&status))?.into_inner();
        let (endpoint, endpoint_is_local) = match args.endpoint {
            Some(endpoint) => (endpoint, false),
            None => local_endpoint(&server)?,
        };
        let request = CreateKeyRequest {
            bucket: args.bucket.clone(),
            // The runner joins its Path and the rest with a slash: `team` must not open `team-b`.
            prefix: if path.is_empty() { String::new() } else { format!("{path}/") },
            write: true,
            description: "GitLab runner cache".to_owned(),
        };
        let created = client.create_key(request).await.map_err(|status| explain(&status))?.into_inner();
        let key = created.key.clone().context("the server's answer has no key")?;
        let cache = RunnerCache {
            endpoint,
            endpoint_is_local,
            tls: server.tls,
            bucket: args.bucket,
            path,
            access_key: key.access_key,
            secret_key: created.secret_key.clone(),
            ca_pem: server.ca_pem,
            ca_path: server.ca_path,
        };
        let text = match args.only {
            Some(RunnerPart::Toml) => runner_toml(&cache),
            Some(RunnerPart::Helm) => helm_files(&cache),
            None => everything(&cache),
        };
        show_new(&mut client, &created, text.trim_end()).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// The runner's ServerAddress has no scheme and no path.
fn check_endpoint(endpoint: &str) -> Result<()> {
    let (host, port) = match endpoint.rsplit_once(':') {
        // The last colon inside brackets is the address's own.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (endpoint, None),
    };
    let is_name =
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    let in_brackets = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_ipv6 = in_brackets.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    let is_number = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if !(is_name || is_ipv6) || !port.is_none_or(is_number) {
        bail!(
            "--endpoint: `{endpoint}` must be HOST or HOST:PORT, without scheme and path, an IPv6 address in brackets"
        );
    }
    if port.is_some_and(|port| port.parse::<NonZeroU16>().is_err()) {
        bail!("--endpoint: `{endpoint}` has a port that none can be; ports are 1 to 65535");
    }
    Ok(())
}

/// The runner's Path. The runner cleans it as a path of files: its keys would not begin as the new key demands.
fn cache_path(prefix: &str) -> Result<String> {
    let path = prefix.trim_matches('/');
    if !path.is_empty() && path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        bail!(
            "--prefix: `{prefix}` has a `.`, a `..` or a doubled slash in it, which the runner resolves; \
             give a plain path, as in team/project"
        );
    }
    Ok(path.to_owned())
}

/// The address the server listens on, and whether it means this machine only.
fn local_endpoint(server: &ServerInfo) -> Result<(String, bool)> {
    let addresses: Vec<SocketAddr> = server.s3_addresses.iter().filter_map(|address| address.parse().ok()).collect();
    let first = addresses.first().context("the server did not say where it listens")?;
    let is_localhost = |ip: IpAddr| ip.is_unspecified() || ip == Ipv4Addr::LOCALHOST || ip == Ipv6Addr::LOCALHOST;
    let localhost = addresses.iter().find(|address| is_localhost(address.ip()));
    let reachable = addresses.iter().find(|address| !address.ip().is_loopback() && !address.ip().is_unspecified());
    Ok(match (reachable, server.tls_names.first()) {
        // A name that the operator had put into the certificate is the one meant for clients.
        (_, Some(name)) if !addresses.iter().all(|address| address.ip().is_loopback()) => {
            (format!("{name}:{}", first.port()), false)
        }
        (Some(address), _) => (address.to_string(), false),
        (None, _) => (localhost.map_or(first.to_string(), |address| format!("localhost:{}", address.port())), true),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(addresses: &[&str], names: &[&str]) -> ServerInfo {
        ServerInfo {
            s3_addresses: addresses.iter().map(ToString::to_string).collect(),
            tls_names: names.iter().map(ToString::to_string).collect(),
            ..ServerInfo::default()
        }
    }

    #[test]
    fn the_endpoint_is_the_best_that_is_known() {
        let endpoint = |addresses: &[&str], names: &[&str]| local_endpoint(&server(addresses, names)).unwrap();
        assert_eq!(endpoint(&["127.0.0.1:9000"], &[]), ("localhost:9000".to_owned(), true));
        assert_eq!(endpoint(&["0.0.0.0:9000"], &[]), ("localhost:9000".to_owned(), true));
        assert_eq!(endpoint(&["127.0.0.1:9000", "10.0.0.5:9000"], &[]), ("10.0.0.5:9000".to_owned(), false));
        assert_eq!(endpoint(&["0.0.0.0:9000"], &["cache.lan"]), ("cache.lan:9000".to_owned(), false));
        assert_eq!(endpoint(&["127.0.0.1:9000"], &["cache.lan"]), ("localhost:9000".to_owned(), true));
        assert_eq!(endpoint(&["127.0.0.2:9000"], &[]), ("127.0.0.2:9000".to_owned(), true));
        assert_eq!(endpoint(&["127.0.0.2:9000", "[::1]:9001"], &[]), ("localhost:9001".to_owned(), true));
        assert_eq!(endpoint(&["[::]:9000"], &[]), ("localhost:9000".to_owned(), true));
        assert!(local_endpoint(&server(&[], &[])).is_err());
    }

    #[test]
    fn endpoints_have_no_scheme_and_a_possible_port() {
        for good in ["cache.lan", "cache.lan:9000", "10.0.0.5:65535", "[fd00::1]:9000", "[fd00::1]", "a_b-c:1"] {
            check_endpoint(good).unwrap();
        }
        let told = |bad: &str| check_endpoint(bad).unwrap_err().to_string();
        for bad in [
            "",
            "https://cache.lan",
            "cache.lan/x",
            "a b",
            "a\"b",
            ":9000",
            "x:",
            "x:y",
            "x:+1",
            "x:1:2",
            "fd00::1",
            "[x]:1",
            "a[b]",
            "[fd00::1",
        ] {
            assert!(told(bad).contains("must be HOST or HOST:PORT"), "{bad}");
        }
        for bad in ["x:0", "x:65536", "x:99999", "[fd00::1]:99999"] {
            assert!(told(bad).contains("ports are 1 to 65535"), "{bad}");
        }
    }

    #[test]
    fn a_prefix_is_what_the_runner_makes_of_it() {
        for (prefix, path) in [("", ""), ("/", ""), ("//", ""), ("team", "team"), ("/a/b.c/..d/", "a/b.c/..d")] {
            assert_eq!(cache_path(prefix).unwrap(), path);
        }
        for bad in ["a//b", "a/../b", "a//../b", "..", "./a", "a/.", "/../"] {
            let told = cache_path(bad).unwrap_err().to_string();
            assert!(told.contains("which the runner resolves"), "{bad}: {told}");
        }
    }
}
