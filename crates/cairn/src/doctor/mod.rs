//! `cairn doctor`: goes the whole road as a client would, and names what is wrong and what to do. It speaks to any S3
//! server.
//!
//! ```text
//! name → connect → tls → chain, certificate-name, validity → http → clock → key → bucket → location
//!      → miss → put → head → get → range → presigned (the runner's flow) → delete
//! ```

mod access;
mod certificate;
mod client;
mod network;
mod objects;
mod presigned;
mod report;
mod road;
mod runner_file;
mod server_side;
mod target;

use std::{fs, io, net::IpAddr, process::ExitCode, sync::Arc};

use anyhow::{Context, Result, bail};
use cairn_meta::SystemClock;

use report::{Report, Trouble};
use runner_file::RunnerCache;
use server_side::ServerSide;
use target::{HelperCa, Target};

use crate::{
    admin::block_on,
    args::DoctorArgs,
    config::{check_private, process_environment},
    http_client::{Address, Roots, roots_of_file, system_roots},
    output,
    secrets::{KeyPair, Secret},
};

/// Runs the command; exit code 1 if a step failed.
pub(crate) fn run(args: &DoctorArgs) -> Result<ExitCode> {
    let report = match from_runner(args) {
        Ok(cache) => block_on(examine(args, cache))?,
        // What is wrong with a runner's configuration is a finding like any other.
        Err(trouble) => {
            let mut report = Report::new(String::new(), String::new());
            // The report has it.
            let _ = report.note::<()>("runner-config", Err(trouble));
            report
        }
    };
    if args.json {
        output::line(&serde_json::to_string_pretty(&report).context("write JSON")?);
    } else {
        report.lines().iter().for_each(|line| output::line(line));
    }
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn from_runner(args: &DoctorArgs) -> Result<Option<RunnerCache>, Trouble> {
    let Some(path) = &args.runner_config else { return Ok(None) };
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::PermissionDenied => "run it as a user who may read the file: the runner's, or root",
            _ => "name the runner's config.toml: /etc/gitlab-runner/config.toml, or ~/.gitlab-runner/config.toml of its user",
        };
        Trouble::new(format!("read {shown}: {error}"), remedy)
    })?;
    let cache = runner_file::read(&text, args.runner.as_deref());
    cache.map(Some).map_err(|error| Trouble::new(format!("{shown}: {error:#}"), "correct the runner's config.toml"))
}

async fn examine(args: &DoctorArgs, runner: Option<RunnerCache>) -> Result<Report> {
    let mut server = match &args.data.data {
        Some(_) if args.asks_the_server() => Some(ServerSide::connect(&args.data).await?),
        _ => None,
    };
    let target = target(args, runner, server.as_mut()).await;
    let mut report = match target {
        Ok(target) => {
            let tag = KeyPair::draw()?.access_key.to_ascii_lowercase();
            Ok(road::examine(&target, &tag, Arc::new(SystemClock)).await)
        }
        Err(error) => Err(error),
    };
    if let Some(mut server) = server
        && let Err(error) = server.forget().await
    {
        // What was found is worth more than this, and often the reason for it.
        output::error_line(&format!("{error:#}"));
        if let Ok(report) = &mut report {
            report.ok = false;
        }
    }
    report
}

async fn target(args: &DoctorArgs, runner: Option<RunnerCache>, mut server: Option<&mut ServerSide>) -> Result<Target> {
    let address = match (&args.endpoint, &runner, &server) {
        (Some(url), _, _) => Address::parse(url).map_err(|error| anyhow::anyhow!("--endpoint: {error}"))?,
        (None, Some(runner), _) => runner.address.clone(),
        (None, None, Some(server)) => server.address()?,
        (None, None, None) => {
            bail!(
                "name a server: --endpoint https://HOST:PORT, --runner-config config.toml, or --data DIR of a running one"
            )
        }
    };
    let bucket = match (&args.bucket, &runner, server.as_deref_mut()) {
        (Some(bucket), _, _) => bucket.clone(),
        (None, Some(runner), _) => runner.bucket.clone(),
        (None, None, Some(server)) => server.only_bucket().await?,
        (None, None, None) => bail!("name the bucket with --bucket"),
    };
    let prefix = match (&args.prefix, &runner) {
        (Some(prefix), _) => prefix.clone(),
        (None, Some(runner)) => runner.prefix.clone(),
        (None, None) => String::new(),
    };
    let key = match (given_key(args, runner.as_ref())?, server.as_deref_mut()) {
        (Some(key), _) => key,
        (None, Some(server)) => server.key(&bucket, &prefix).await?,
        (None, None) => bail!("name a key: --access-key, and its secret in CAIRN_SECRET_KEY or --secret-key-file"),
    };
    let helper_ca = helper_ca(args, runner.as_ref());
    let path_style = !args.virtual_hosted && runner.as_ref().is_none_or(|runner| runner.path_style);
    if !path_style && address.host.parse::<IpAddr>().is_ok() {
        bail!(
            "{} is an address, and a bucket can only be put before a name: give --endpoint https://NAME:PORT with a name \
             that the server was given as --s3-domain, or reach buckets by path",
            address.host
        );
    }
    Ok(Target {
        roots: roots(args, server.as_deref(), &helper_ca)?,
        region: args.region.clone().or_else(|| runner.as_ref().and_then(|runner| runner.region.clone())),
        path_style,
        address,
        key,
        bucket,
        prefix,
        helper_ca,
    })
}

/// The named CA, the server's own, the one a runner's jobs get, or the system's store.
fn roots(args: &DoctorArgs, server: Option<&ServerSide>, helper_ca: &HelperCa) -> Result<Roots> {
    if let Some(ca) = &args.ca {
        return roots_of_file(ca).context("--ca");
    }
    if let Some(roots) = server.and_then(|server| server.roots().transpose()) {
        return roots;
    }
    match helper_ca {
        HelperCa::File(path) if path.exists() => roots_of_file(path),
        _ => Ok(system_roots(&process_environment)),
    }
}

fn helper_ca(args: &DoctorArgs, runner: Option<&RunnerCache>) -> HelperCa {
    match (&args.runner_ca, runner) {
        (Some(path), _) if path.is_dir() => HelperCa::File(path.join("ca.crt")),
        (Some(path), _) => HelperCa::File(path.clone()),
        (None, Some(runner)) => runner.helper_ca.clone(),
        (None, None) => HelperCa::NotAsked,
    }
}

/// A key by flags and environment, then by the runner's own environment, then by its file.
fn given_key(args: &DoctorArgs, runner: Option<&RunnerCache>) -> Result<Option<KeyPair>> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let pair = |access_key: String, secret: String| KeyPair { access_key, secret: Secret::new(secret) };
    if let Some(access_key) = &args.access_key {
        let secret = match &args.secret_key_file {
            Some(path) => {
                check_private(path)?;
                Some(fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?.trim().to_owned())
            }
            None => variable("CAIRN_SECRET_KEY"),
        };
        let secret =
            secret.context("the secret is missing: set CAIRN_SECRET_KEY, or name a file with --secret-key-file")?;
        return Ok(Some(pair(access_key.clone(), secret)));
    }
    let Some(runner) = runner else { return Ok(None) };
    let environment = variable("CACHE_S3_ACCESS_KEY").zip(variable("CACHE_S3_SECRET_KEY"));
    match environment.map(|(access_key, secret)| pair(access_key, secret)).or_else(|| runner.key.clone()) {
        Some(key) => Ok(Some(key)),
        None => bail!(
            "the configuration of runner {} names no AccessKey and SecretKey (its Helm chart takes them from a Secret): \
             give --access-key, and the secret in CAIRN_SECRET_KEY or --secret-key-file",
            runner.name
        ),
    }
}
