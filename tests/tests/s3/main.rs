//! Stock clients against the real binary over TLS.

mod aws_sdk;
mod bench;
mod logs;
mod memory;
mod metrics;
#[cfg(target_arch = "x86_64")]
mod old_cpu;
mod runner;
mod tls_names;
mod tls_reload;

use cairn_tests::{Server, ServerOptions, python, shell};

fn server() -> anyhow::Result<Server> {
    Server::start(ServerOptions::default())
}

#[test]
fn boto3() -> anyhow::Result<()> {
    python(&server()?, "boto.py", &[])?;
    Ok(())
}

/// The certificate of the server's own CA names the domain's buckets without being told to.
#[test]
fn boto3_with_buckets_in_host_names() -> anyhow::Result<()> {
    let args = ["--s3-domain", "s3.test"].map(str::to_owned).to_vec();
    let server = Server::start(ServerOptions { args, ..ServerOptions::default() })?;
    python(&server, "virtual.py", &["s3.test"])?;
    Ok(())
}

#[test]
fn minio_sdk() -> anyhow::Result<()> {
    python(&server()?, "minio_sdk.py", &[])?;
    Ok(())
}

#[test]
fn rclone() -> anyhow::Result<()> {
    shell(&server()?, "rclone.sh")?;
    Ok(())
}

#[test]
fn s3cmd() -> anyhow::Result<()> {
    shell(&server()?, "s3cmd.sh")?;
    Ok(())
}

#[test]
fn restic() -> anyhow::Result<()> {
    shell(&server()?, "restic.sh")?;
    Ok(())
}
