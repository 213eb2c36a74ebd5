//! Lists: prefixes, pages, encodings; and deleting many.

use base64::{Engine, engine::general_purpose::STANDARD};
use md5::{Digest, Md5};

use super::world::{ROOT, World, ask};

async fn filled() -> World {
    let world = World::new().await;
    for key in ["a/1", "a/2", "b%20%2B%C3%BC", "c/x/1", "d"] {
        world.put(&format!("/bucket/{key}"), "x").await;
    }
    world
}

/// The texts of all elements of a name.
pub(super) fn keys(text: &str, element: &str) -> Vec<String> {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    text.split(&open).skip(1).map(|rest| rest[..rest.find(&close).unwrap()].to_owned()).collect()
}

#[tokio::test]
async fn pages_of_version_2() {
    let world = filled().await;
    let mut query = "list-type=2&delimiter=%2F&max-keys=2".to_owned();
    let mut found = Vec::new();
    for _ in 0..5 {
        let page = world.send(ROOT, ask("GET", "/bucket").query(&query)).await.expect(200);
        found.extend(keys(page.text(), "Key"));
        // The first is the echo of the request's own.
        found.extend(keys(page.text(), "Prefix").into_iter().skip(1));
        if page.element("IsTruncated") == "false" {
            break;
        }
        let token = page.element("NextContinuationToken").to_owned();
        query = format!("list-type=2&delimiter=%2F&max-keys=2&continuation-token={token}");
    }
    found.sort();
    assert_eq!(found, ["a/", "b +ü", "c/", "d"]);
}

#[tokio::test]
async fn version_1_with_marker_and_encoding() {
    let world = filled().await;
    let query = "prefix=&marker=a%2F2&encoding-type=url&max-keys=2";
    let page = world.send(ROOT, ask("GET", "/bucket").query(query)).await.expect(200);
    assert_eq!(keys(page.text(), "Key"), ["b%20%2B%C3%BC", "c/x/1"]);
    assert_eq!((page.element("IsTruncated"), page.element("NextMarker")), ("true", "c/x/1"));
    assert_eq!(page.element("EncodingType"), "url");
    let none = world.send(ROOT, ask("GET", "/bucket").query("max-keys=0")).await.expect(200);
    assert_eq!((keys(none.text(), "Key").len(), none.element("IsTruncated")), (0, "false"));
    world.send(ROOT, ask("GET", "/nowhere")).await.expect_error(404, "NoSuchBucket");
    world.send(ROOT, ask("GET", "/bucket").query("max-keys=x")).await.expect_error(400, "InvalidArgument");
}

#[tokio::test]
async fn keys_that_xml_cannot_hold_are_told_apart() {
    let world = World::new().await;
    let odd = ["a%01", "a%02", "a%1F%1F", "b%EF%BF%BE"];
    for key in odd {
        world.put(&format!("/bucket/{key}"), "x").await;
    }
    let (mut found, mut marker) = (Vec::new(), String::new());
    while found.len() < odd.len() {
        let query = format!("max-keys=1&marker={marker}");
        let page = world.send(ROOT, ask("GET", "/bucket").query(&query)).await.expect(200);
        found.extend(keys(page.text(), "Key"));
        if page.element("IsTruncated") == "false" {
            break;
        }
        odd[found.len() - 1].clone_into(&mut marker);
        assert_eq!(page.element("NextMarker"), found[found.len() - 1]);
    }
    assert_eq!(found, ["a&#x1;", "a&#x2;", "a&#x1F;&#x1F;", "b&#xFFFE;"]);

    let document = "<Delete><Object><Key>a&#x2;</Key></Object></Delete>";
    let digest = STANDARD.encode(Md5::digest(document));
    let request = ask("POST", "/bucket").query("delete").header("content-md5", &digest).body(document);
    let done = world.send(ROOT, request).await.expect(200);
    assert_eq!(keys(done.text(), "Key"), ["a&#x2;"]);
    world.get("/bucket/a%02").await.expect_error(404, "NoSuchKey");
    world.get("/bucket/a%01").await.expect(200);
}

#[tokio::test]
async fn deleting_many() {
    let world = filled().await;
    let document = "<Delete><Object><Key>a/1</Key></Object><Object><Key>none</Key></Object></Delete>";
    let bare = world.send(ROOT, ask("POST", "/bucket").query("delete").body(document)).await;
    bare.expect_error(400, "InvalidRequest");
    world.get("/bucket/a/1").await.expect(200);

    let md5 = STANDARD.encode(Md5::digest(document));
    let request = || ask("POST", "/bucket").query("delete").header("content-md5", &md5).body(document);
    let done = world.send(ROOT, request()).await.expect(200);
    assert_eq!(keys(done.text(), "Key"), ["a/1", "none"]);
    world.get("/bucket/a/1").await.expect_error(404, "NoSuchKey");

    let scope = cairn_meta::Scope::Bucket { bucket: "bucket".to_owned(), prefix: "a/".to_owned(), write: true };
    world.add_key("LIMITED", scope).await;
    let document = "<Delete><Quiet>true</Quiet><Object><Key>a/2</Key></Object><Object><Key>d</Key></Object></Delete>";
    let md5 = STANDARD.encode(Md5::digest(document));
    let request = ask("POST", "/bucket").query("delete").header("content-md5", &md5).body(document);
    let partly = world.send("LIMITED", request).await.expect(200);
    assert_eq!((keys(partly.text(), "Key"), partly.element("Code")), (vec!["d".to_owned()], "AccessDenied"));
    world.get("/bucket/d").await.expect(200);
    world.get("/bucket/a/2").await.expect_error(404, "NoSuchKey");
}
