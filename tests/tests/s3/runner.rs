//! The GitLab runner's flow against the real binary.

use cairn_tests::{python, python_beside};

use crate::server;

/// Every request of the presigned flow, from a client that is not ours, and a server that is killed on the way.
#[test]
fn runner_flow() -> anyhow::Result<()> {
    let mut server = server()?;
    server.run(&["bucket", "create", "gitlab-cache", "--cache"])?;
    let said = python_beside(&mut server, "runner.py", &["gitlab-cache"])?;
    anyhow::ensure!(said.contains("runner flow passed"), "{said}");
    let checked = server.run(&["check"])?;
    anyhow::ensure!(checked.contains("all is whole"), "{checked}");
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

/// What `tools/demo` makes of a bucket.
#[test]
fn a_cache_bucket_is_listed_as_one() -> anyhow::Result<()> {
    let server = server()?;
    server.run(&["bucket", "create", "gitlab-cache", "--cache", "--profile", "5+1", "--etag", "fast"])?;
    let listed = server.run(&["bucket", "list"])?;
    anyhow::ensure!(listed.contains("cache, profile 5+1, etag fast"), "{listed}");
    python(&server, "fast_etag.py", &["gitlab-cache"])?;
    Ok(())
}
