//! Stock clients, pointed at a test server.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, ensure};
use aws_credential_types::Credentials;
use aws_sdk_s3::config::{BehaviorVersion, Region};
use aws_smithy_http_client::{
    Builder,
    tls::{self, TlsContext, TrustStore, rustls_provider::CryptoMode},
};

use crate::{ACCESS_KEY, SECRET_KEY, Server};

/// The AWS SDK for Rust with the root key.
///
/// # Errors
/// If the server's CA cannot be read.
pub fn client(server: &Server) -> anyhow::Result<aws_sdk_s3::Client> {
    client_of(server, ACCESS_KEY, SECRET_KEY)
}

/// The AWS SDK for Rust with a key.
///
/// # Errors
/// If the server's CA cannot be read.
pub fn client_of(server: &Server, access_key: &str, secret_key: &str) -> anyhow::Result<aws_sdk_s3::Client> {
    let ca = std::fs::read(server.ca()).context("read the server's CA")?;
    let trust = TrustStore::empty().with_pem_certificate(ca);
    let http = Builder::new()
        .tls_provider(tls::Provider::Rustls(CryptoMode::AwsLc))
        .tls_context(TlsContext::builder().with_trust_store(trust).build()?)
        .build_https();
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(Credentials::new(access_key, secret_key, None, None, "test"))
        .region(Region::new("eu-test-1"))
        .endpoint_url(server.endpoint())
        .force_path_style(true)
        .http_client(http)
        .build();
    Ok(aws_sdk_s3::Client::from_conf(config))
}

/// Runs a Python program of `tests/clients/` with the stock clients of `make setup-test`.
///
/// # Errors
/// If it fails or the environment is missing.
pub fn python(server: &Server, program: &str, args: &[&str]) -> anyhow::Result<String> {
    let folder = std::env::var("CAIRN_VENV").context("CAIRN_VENV is not set: run the tests by `make test`")?;
    run(server, Command::new(format!("{folder}/bin/python3")).arg(path_of(program)).args(args))
}

/// The same for a program that has things done to the server: a line `server: kill` or `server: start` on its stdout is
/// obeyed, and answered on its stdin by the milliseconds that it took.
///
/// # Errors
/// If it fails or the environment is missing, or the server does not start again.
pub fn python_beside(server: &mut Server, program: &str, args: &[&str]) -> anyhow::Result<String> {
    let folder = std::env::var("CAIRN_VENV").context("CAIRN_VENV is not set: run the tests by `make test`")?;
    let scratch = tempfile::tempdir()?;
    let complaints = scratch.path().join("stderr");
    let mut command = Command::new(format!("{folder}/bin/python3"));
    surround(server, command.arg(path_of(program)).args(args), scratch.path());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(&complaints)?);
    let mut child = Ended(command.spawn().with_context(|| format!("run {command:?}"))?);
    let mut orders = BufReader::new(child.0.stdout.take().context("its stdout")?).lines();
    let mut answers = child.0.stdin.take().context("its stdin")?;
    let mut text = String::new();
    while let Some(line) = orders.next().transpose()? {
        let begun = Instant::now();
        match line.strip_prefix("server: ") {
            Some("kill") => server.kill()?,
            Some("start") => server.restart()?,
            _ => {
                text.push_str(&line);
                text.push('\n');
                continue;
            }
        }
        writeln!(answers, "{}", begun.elapsed().as_millis())?;
    }
    let status = child.0.wait()?;
    let complaints = std::fs::read_to_string(complaints)?;
    ensure!(status.success(), "{program}: {status}\n{text}\n{complaints}\nserver:\n{}", log_end(server));
    Ok(text)
}

/// A process that does not outlive its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a shell program of `tests/clients/`.
///
/// # Errors
/// If it fails.
pub fn shell(server: &Server, program: &str) -> anyhow::Result<String> {
    run(server, Command::new("bash").arg("-eu").arg(path_of(program)))
}

fn path_of(program: &str) -> String {
    format!("{}/clients/{program}", env!("CARGO_MANIFEST_DIR"))
}

fn run(server: &Server, command: &mut Command) -> anyhow::Result<String> {
    let scratch = tempfile::tempdir()?;
    let output = surround(server, command, scratch.path())
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("run {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{text}\n{}\nserver:\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
        log_end(server)
    );
    Ok(text)
}

/// Tells a program where the server is.
fn surround<'a>(server: &Server, command: &'a mut Command, scratch: &Path) -> &'a mut Command {
    command
        .current_dir(scratch)
        .env("ENDPOINT", server.endpoint())
        .env("CA", server.ca())
        .env("ACCESS_KEY", ACCESS_KEY)
        .env("SECRET_KEY", SECRET_KEY)
        .env("HOME", scratch)
        // A machine's own trust store would win over the one we give.
        .env_remove("AWS_CA_BUNDLE")
        .env_remove("SSL_CERT_FILE")
}

fn log_end(server: &Server) -> String {
    server.log().lines().rev().take(40).collect::<Vec<_>>().join("\n")
}
