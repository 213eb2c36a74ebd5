//! Stock clients against the real binary over TLS.

mod aws_sdk;
mod bench;
mod logs;
mod memory;
mod metrics;
#[cfg(target_arch = "x86_64")]
mod old_cpu;
mod runner;
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
