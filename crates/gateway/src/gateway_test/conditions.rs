//! Conditions on what ends an object's version: completing an upload over it, and deleting it.

use base64::{Engine, engine::general_purpose::STANDARD};
use md5::{Digest, Md5};

use super::{
    lists::keys,
    multipart::document,
    world::{ROOT, Reply, World, ask, bytes_of},
};

const KEY: &str = "/bucket/key";
const OTHER: &str = "\"00000000000000000000000000000000\"";

/// An upload of one part, to be completed.
struct Upload {
    query: String,
    document: String,
}

impl Upload {
    async fn begin(world: &World) -> Self {
        let begun = world.send(ROOT, ask("POST", KEY).query("uploads")).await.expect(200);
        let query = format!("uploadId={}", begun.element("UploadId"));
        let part = format!("partNumber=1&{query}");
        let stored = world.send(ROOT, ask("PUT", KEY).query(&part).body(bytes_of(1000))).await.expect(200);
        Self { query, document: document(&[(1, stored.header("etag"))]) }
    }

    async fn complete(&self, world: &World, condition: (&str, &str)) -> Reply {
        let request = ask("POST", KEY).query(&self.query).body(self.document.clone());
        world.send(ROOT, request.header(condition.0, condition.1)).await
    }
}

#[tokio::test]
async fn an_upload_is_completed_over_what_the_client_knows_alone() {
    let world = World::new().await;
    let etag = world.put(KEY, "one").await.header("etag").to_owned();
    let upload = Upload::begin(&world).await;
    for (condition, status, code) in [
        (("if-none-match", "*"), 412, "PreconditionFailed"),
        (("if-match", OTHER), 412, "PreconditionFailed"),
        (("if-none-match", etag.as_str()), 501, "NotImplemented"),
        (("if-unmodified-since", "Sun, 06 Nov 1994 08:49:37 GMT"), 501, "NotImplemented"),
    ] {
        upload.complete(&world, condition).await.expect_error(status, code);
        assert_eq!(world.get(KEY).await.text(), "one", "{condition:?}");
    }
    // What was refused can be completed still.
    let done = upload.complete(&world, ("if-match", &etag)).await.expect(200);
    assert_eq!(world.get(KEY).await.body, bytes_of(1000));
    // Sent again it says what it said: by its own doing the condition does not hold any more.
    let again = upload.complete(&world, ("if-match", &etag)).await.expect(200);
    assert_eq!(again.element("ETag"), done.element("ETag"));
}

#[tokio::test]
async fn an_upload_is_completed_where_there_is_nothing() {
    let world = World::new().await;
    let upload = Upload::begin(&world).await;
    upload.complete(&world, ("if-match", "*")).await.expect_error(404, "NoSuchKey");
    upload.complete(&world, ("if-match", OTHER)).await.expect_error(404, "NoSuchKey");
    world.get(KEY).await.expect_error(404, "NoSuchKey");
    let done = upload.complete(&world, ("if-none-match", "*")).await.expect(200);
    let again = upload.complete(&world, ("if-none-match", "*")).await.expect(200);
    assert_eq!(again.element("ETag"), done.element("ETag"));
    assert_eq!(world.get(KEY).await.body, bytes_of(1000));
    // Of two that want to be the first, one is.
    let late = Upload::begin(&world).await;
    late.complete(&world, ("if-none-match", "*")).await.expect_error(412, "PreconditionFailed");
}

#[tokio::test]
async fn an_object_is_deleted_as_the_client_knows_it_alone() {
    let world = World::new().await;
    let delete = |etag| world.send(ROOT, ask("DELETE", KEY).header("if-match", etag));
    delete(OTHER).await.expect_error(412, "PreconditionFailed");
    let etag = world.put(KEY, "one").await.header("etag").to_owned();
    delete(OTHER).await.expect_error(412, "PreconditionFailed");
    assert_eq!(world.get(KEY).await.expect(200).text(), "one");
    delete(&etag).await.expect(204);
    world.get(KEY).await.expect_error(404, "NoSuchKey");
    delete(&etag).await.expect_error(412, "PreconditionFailed");
    world.put(KEY, "two").await;
    delete(&etag).await.expect_error(412, "PreconditionFailed");
    delete("*").await.expect(204);
    world.get(KEY).await.expect_error(404, "NoSuchKey");
}

#[tokio::test]
async fn of_many_each_is_deleted_as_the_client_knows_it_alone() {
    let world = World::new().await;
    let etag = world.put("/bucket/right", "one").await.header("etag").to_owned();
    for path in ["/bucket/wrong", "/bucket/any", "/bucket/unconditional"] {
        world.put(path, "two").await;
    }
    let object = |key: &str, etag: &str| format!("<Object><Key>{key}</Key><ETag>{etag}</ETag></Object>");
    let objects = [
        object("right", &etag.replace('"', "&quot;")),
        object("wrong", etag.trim_matches('"')),
        object("any", "*"),
        object("none", "*"),
        "<Object><Key>unconditional</Key></Object>".to_owned(),
    ];
    let document = format!("<Delete>{}</Delete>", objects.concat());
    let md5 = STANDARD.encode(Md5::digest(&document));
    let request = ask("POST", "/bucket").query("delete").header("content-md5", &md5).body(document);
    let answer = world.send(ROOT, request).await.expect(200);
    let deleted: String = keys(answer.text(), "Deleted").concat();
    assert_eq!(keys(&deleted, "Key"), ["right", "any", "unconditional"]);
    let errors: String = keys(answer.text(), "Error").concat();
    assert_eq!(keys(&errors, "Key"), ["wrong", "none"]);
    assert_eq!(keys(&errors, "Code"), ["PreconditionFailed", "PreconditionFailed"]);
    for (path, status) in [("right", 404), ("wrong", 200), ("any", 404), ("unconditional", 404)] {
        world.get(&format!("/bucket/{path}")).await.expect(status);
    }
}
