//! What is answered without a signature, and what is refused by name.

use std::time::Duration;

use http::HeaderMap;

use super::world::{ROOT, World, ask};
use crate::GatewayOptions;

/// The engine asks a disk anew after a quarter of a second.
const STATUS_AGE: Duration = Duration::from_millis(300);

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

/// Ready is who can serve something: without disks nothing is, while the process lives on.
#[tokio::test]
async fn without_disks_the_server_lives_and_is_not_ready() {
    let world = World::new().await;
    let (ready, live) = (ask("GET", "/-/ready"), ask("GET", "/-/live"));
    let page = |request| world.send_raw(request, HeaderMap::new(), "");
    for disk in world.disks.all() {
        disk.faults().full(true);
    }
    tokio::time::sleep(STATUS_AGE).await;
    let reading = page(&ready).await.expect(200);
    assert!(reading.text().contains("reading only"), "full disks are still read: {}", reading.text());
    for disk in world.disks.all() {
        disk.faults().gone(true);
    }
    tokio::time::sleep(STATUS_AGE).await;
    let refused = page(&ready).await.expect(503);
    assert!(refused.text().contains("disks"), "{}", refused.text());
    page(&live).await.expect(200);
    for disk in world.disks.all().iter().take(4) {
        disk.faults().gone(false);
    }
    tokio::time::sleep(STATUS_AGE).await;
    page(&ready).await.expect(200);
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
    let unknown = ask("PUT", "/bucket/key").query("of-tomorrow").body("y");
    world.send(ROOT, unknown).await.expect_error(501, "NotImplemented");
    assert_eq!(world.get("/bucket/key").await.text(), "x", "nothing was changed");
    world.send(ROOT, ask("PUT", "/empty")).await.expect(200);
    world.send(ROOT, ask("DELETE", "/empty").query("of-tomorrow")).await.expect_error(501, "NotImplemented");
    world.send(ROOT, ask("HEAD", "/empty")).await.expect(200);
    world.send(ROOT, ask("GET", "/bucket/key").query("versionId=x")).await.expect_error(404, "NoSuchVersion");
    let versioning = world.send(ROOT, ask("GET", "/bucket").query("versioning")).await.expect(200);
    assert!(versioning.text().contains("VersioningConfiguration"));
}
