//! Stock clients against the real binary over TLS.

mod aws_sdk;
mod memory;

use cairn_tests::{Server, ServerOptions, python, shell};

fn server() -> anyhow::Result<Server> {
    Server::start(ServerOptions::default())
}

#[test]
fn runner_flow() -> anyhow::Result<()> {
    let server = server()?;
    server.run(&["bucket", "create", "gitlab-cache"])?;
    python(&server, "runner.py", &["gitlab-cache"])?;
    Ok(())
}

/// The runner's flow with the key that `runner-config` makes: scoped to the bucket.
#[test]
fn runner_flow_with_the_key_of_runner_config() -> anyhow::Result<()> {
    let server = server()?;
    server.run(&["bucket", "create", "gitlab-cache"])?;
    let printed = server.run(&["runner-config", "--bucket", "gitlab-cache"])?;
    let value = |name: &str| {
        let line = printed.lines().map(str::trim).find(|line| line.starts_with(&format!("{name} = ")));
        line.and_then(|line| line.split('"').nth(1)).map(str::to_owned)
    };
    let (Some(access), Some(secret)) = (value("AccessKey"), value("SecretKey")) else {
        anyhow::bail!("runner-config printed no keys:\n{printed}");
    };
    let scoped = cairn_tests::client_of(&server, &access, &secret)?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        scoped.put_object().bucket("gitlab-cache").key("project/1/x").body(vec![1, 2, 3].into()).send().await?;
        server.run(&["bucket", "create", "other"])?;
        let refused = scoped.put_object().bucket("other").key("x").send().await;
        let status = refused.err().and_then(|e| e.raw_response().map(|r| r.status().as_u16()));
        anyhow::ensure!(status == Some(403), "a key of one bucket wrote to another: {status:?}");
        let miss = scoped.get_object().bucket("gitlab-cache").key("nothing").send().await;
        let status = miss.err().and_then(|e| e.raw_response().map(|r| r.status().as_u16()));
        anyhow::ensure!(status == Some(404), "a miss is 404 for whoever may read that key: {status:?}");
        server.run(&["key", "disable", &access])?;
        let refused = scoped.get_object().bucket("gitlab-cache").key("project/1/x").send().await;
        let status = refused.err().and_then(|e| e.raw_response().map(|r| r.status().as_u16()));
        anyhow::ensure!(status == Some(403), "a disabled key was let in: {status:?}");
        Ok(())
    })
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
