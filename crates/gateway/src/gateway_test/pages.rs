//! What is answered without a signature, and what is refused by name.

use http::HeaderMap;

use super::world::{ROOT, World, ask};
use crate::GatewayOptions;

#[tokio::test]
async fn ready_live_and_metrics() {
    let world = World::new().await;
    for page in ["/-/ready", "/-/live"] {
        world.send_raw(&ask("GET", page), HeaderMap::new(), "").await.expect(200);
    }
    world.get("/bucket/none").await.expect_error(404, "NoSuchKey");
    let metrics = world.send_raw(&ask("GET", "/-/metrics"), HeaderMap::new(), "").await.expect(200);
    for line in [
        "cairn_s3_requests_total{operation=\"GetObject\",status=\"404\"} 1",
        "cairn_disk_writable{disk=\"disk-5\"} 1",
        "cairn_writable 1",
    ] {
        assert!(metrics.text().contains(line), "{line} in {}", metrics.text());
    }
    world.send_raw(&ask("GET", "/-/nothing"), HeaderMap::new(), "").await.expect(404);
    world.send_raw(&ask("PUT", "/-/ready"), HeaderMap::new(), "").await.expect(405);
}

#[tokio::test]
async fn metrics_can_be_closed() {
    let world = World::with(GatewayOptions { metrics: false, ..GatewayOptions::default() }).await;
    world.send_raw(&ask("GET", "/-/metrics"), HeaderMap::new(), "").await.expect(404);
}

#[tokio::test]
async fn what_is_not_there_is_refused_by_name() {
    let world = World::new().await;
    world.put("/bucket/key", "x").await;
    let preflight = world.send_raw(&ask("OPTIONS", "/bucket/key"), HeaderMap::new(), "").await;
    preflight.expect_error(403, "AccessForbidden");
    for query in ["acl", "tagging", "torrent"] {
        world.send(ROOT, ask("GET", "/bucket/key").query(query)).await.expect_error(501, "NotImplemented");
    }
    for query in ["cors", "lifecycle", "versions", "policy"] {
        world.send(ROOT, ask("GET", "/bucket").query(query)).await.expect_error(501, "NotImplemented");
    }
    let kms = ask("PUT", "/bucket/key").header("x-amz-server-side-encryption", "aws:kms").body("y");
    world.send(ROOT, kms).await.expect_error(501, "NotImplemented");
    assert_eq!(world.get("/bucket/key").await.text(), "x", "nothing was changed");
    world.send(ROOT, ask("GET", "/bucket/key").query("versionId=x")).await.expect_error(404, "NoSuchVersion");
    let versioning = world.send(ROOT, ask("GET", "/bucket").query("versioning")).await.expect(200);
    assert!(versioning.text().contains("VersioningConfiguration"));
}
