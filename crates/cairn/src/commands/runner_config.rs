//! `cairn runner-config`: a fresh key for a bucket, and what the GitLab runner has to be told.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
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
        let mut client = connect(&args.data).await?;
        let server = client.get_server(GetServerRequest {}).await.map_err(|status| explain(&status))?.into_inner();
        let (endpoint, endpoint_is_local) = match args.endpoint {
            Some(endpoint) => (endpoint, false),
            None => local_endpoint(&server)?,
        };
        let path = args.prefix.trim_matches('/').to_owned();
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
    let is_plain = !endpoint.is_empty()
        && endpoint
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']'));
    if !is_plain {
        bail!("--endpoint: `{endpoint}` must be HOST or HOST:PORT, without scheme and path");
    }
    Ok(())
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
    fn endpoints_have_no_scheme() {
        for good in ["cache.lan", "cache.lan:9000", "10.0.0.5:9000", "[fd00::1]:9000"] {
            check_endpoint(good).unwrap();
        }
        for bad in ["", "https://cache.lan", "cache.lan/x", "a b", "a\"b"] {
            assert!(check_endpoint(bad).is_err(), "{bad}");
        }
    }
}
