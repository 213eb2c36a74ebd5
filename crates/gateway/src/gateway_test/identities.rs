//! Who may do what, seen from outside.

use std::time::Duration;

use cairn_meta::{Command, Scope};

use super::world::{ROOT, World, ask};
use crate::GatewayOptions;

fn scoped(prefix: &str, write: bool) -> Scope {
    Scope::Bucket { bucket: "bucket".to_owned(), prefix: prefix.to_owned(), write }
}

#[tokio::test]
async fn a_limited_key_sees_its_own_alone() {
    let world = World::new().await;
    world.send(ROOT, ask("PUT", "/other")).await.expect(200);
    world.add_key("WRITER", scoped("project/7/", true)).await;
    world.add_key("READER", scoped("project/7/", false)).await;
    world.put("/bucket/elsewhere", "x").await;

    world.send("WRITER", ask("PUT", "/bucket/project/7/a").body("x")).await.expect(200);
    world.send("READER", ask("GET", "/bucket/project/7/a")).await.expect(200);
    world.send("READER", ask("GET", "/bucket/project/7/none")).await.expect_error(404, "NoSuchKey");
    for (key, request) in [
        ("WRITER", ask("PUT", "/bucket/project/8/a").body("x")),
        ("WRITER", ask("GET", "/bucket/elsewhere")),
        ("WRITER", ask("GET", "/bucket/none")),
        ("WRITER", ask("GET", "/other/project/7/a")),
        ("WRITER", ask("GET", "/nowhere/project/7/a")),
        ("WRITER", ask("DELETE", "/bucket/elsewhere")),
        ("WRITER", ask("PUT", "/third")),
        ("WRITER", ask("DELETE", "/bucket")),
        ("WRITER", ask("GET", "/bucket")),
        ("WRITER", ask("PUT", "/bucket/project/7/b").header("x-amz-copy-source", "/bucket/elsewhere")),
        ("READER", ask("PUT", "/bucket/project/7/a").body("y")),
        ("READER", ask("DELETE", "/bucket/project/7/a")),
        ("READER", ask("POST", "/bucket/project/7/a").query("uploads")),
    ] {
        world.send(key, request).await.expect_error(403, "AccessDenied");
    }
    world.send("READER", ask("GET", "/bucket").query("list-type=2&prefix=project%2F7%2F")).await.expect(200);
    let own = world.send("READER", ask("GET", "/")).await.expect(200);
    assert!(own.text().contains("<Name>bucket</Name>") && !own.text().contains("<Name>other</Name>"));
    let all = world.send(ROOT, ask("GET", "/")).await.expect(200);
    assert!(all.text().contains("<Name>bucket</Name>") && all.text().contains("<Name>other</Name>"));
}

#[tokio::test]
async fn disabled_and_removed_keys_stop_working() {
    let world = World::new().await;
    world.add_key("KEY", Scope::Root).await;
    world.send("KEY", ask("GET", "/bucket")).await.expect(200);
    let switch = |enabled| Command::SetIdentityEnabled { access_key: "KEY".to_owned(), enabled };
    world.meta.propose(switch(false)).await.unwrap();
    world.gateway.identities().invalidate();
    world.send("KEY", ask("GET", "/bucket")).await.expect_error(403, "InvalidAccessKeyId");
    world.meta.propose(switch(true)).await.unwrap();
    world.gateway.identities().invalidate();
    world.send("KEY", ask("GET", "/bucket")).await.expect(200);
    world.meta.propose(Command::RemoveIdentity { access_key: "KEY".to_owned() }).await.unwrap();
    world.gateway.identities().invalidate();
    world.send("KEY", ask("GET", "/bucket")).await.expect_error(403, "InvalidAccessKeyId");
}

#[tokio::test]
async fn a_key_goes_with_its_bucket() {
    let world = World::new().await;
    world.send(ROOT, ask("PUT", "/other")).await.expect(200);
    world.add_key("OWN", scoped("", true)).await;
    let elsewhere = Scope::Bucket { bucket: "other".to_owned(), prefix: String::new(), write: true };
    world.add_key("OTHER", elsewhere).await;
    world.send("OWN", ask("PUT", "/bucket/key").body("x")).await.expect(200);
    world.send(ROOT, ask("DELETE", "/bucket")).await.expect_error(409, "BucketNotEmpty");
    world.send("OWN", ask("DELETE", "/bucket/key")).await.expect(204);
    world.send(ROOT, ask("DELETE", "/bucket")).await.expect(204);
    world.send(ROOT, ask("PUT", "/bucket")).await.expect(200);
    world.send("OWN", ask("PUT", "/bucket/key").body("x")).await.expect_error(403, "InvalidAccessKeyId");
    world.send("OTHER", ask("PUT", "/other/key").body("x")).await.expect(200);
}

#[tokio::test]
async fn requests_nobody_vouches_for() {
    let world = World::new().await;
    let request = ask("GET", "/bucket");
    let anonymous = world.send_raw(&request, http::HeaderMap::new(), "").await;
    anonymous.expect_error(403, "AccessDenied");
    world.send("NOBODY", ask("GET", "/bucket")).await.expect_error(403, "InvalidAccessKeyId");

    let mut signed = world.sign(ROOT, &request);
    signed.insert("x-amz-security-token", "token".parse().unwrap());
    let unsigned_token = world.send_raw(&request, signed, "").await;
    assert_eq!(unsigned_token.status, 403);
    let with_token = ask("GET", "/bucket").header("x-amz-security-token", "token");
    world.send(ROOT, with_token).await.expect_error(400, "InvalidToken");

    // A signature is good for its own path only.
    let signed = world.sign(ROOT, &ask("GET", "/bucket/a"));
    world.send_raw(&ask("GET", "/bucket/b"), signed, "").await.expect_error(403, "SignatureDoesNotMatch");
}

#[tokio::test]
async fn without_the_group_a_key_is_trusted_for_seconds_only() {
    let stale_max = GatewayOptions::default().identity_stale_max;
    assert!(stale_max <= Duration::from_secs(5), "{stale_max:?}");
    let stale_max = Duration::from_secs(1);
    let options =
        GatewayOptions { identity_fresh: Duration::ZERO, identity_stale_max: stale_max, ..Default::default() };
    let world = World::with(options).await;
    world.send(ROOT, ask("GET", "/bucket")).await.expect(200);
    world.meta.shutdown().await.unwrap();
    // As long as the key is known, a wrong signature is told from a right one.
    let wrong = world.sign(ROOT, &ask("GET", "/bucket/a"));
    world.send_raw(&ask("GET", "/bucket/b"), wrong.clone(), "").await.expect_error(403, "SignatureDoesNotMatch");
    tokio::time::sleep(stale_max).await;
    world.send_raw(&ask("GET", "/bucket/b"), wrong, "").await.expect_error(503, "ServiceUnavailable");
}
