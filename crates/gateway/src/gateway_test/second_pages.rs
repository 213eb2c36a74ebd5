//! Lists of more than a page, other than those of objects.

use super::{
    lists::keys,
    world::{ROOT, Reply, World, ask},
};

const KEY: &str = "/bucket/key";

async fn begin(world: &World, path: &str) -> String {
    world.send(ROOT, ask("POST", path).query("uploads")).await.expect(200).element("UploadId").to_owned()
}

#[tokio::test]
async fn parts() {
    let world = World::new().await;
    let upload = begin(&world, KEY).await;
    for number in [9, 1, 5, 10_000, 2] {
        let query = format!("partNumber={number}&uploadId={upload}");
        world.send(ROOT, ask("PUT", KEY).query(&query).body(format!("part {number}"))).await.expect(200);
    }
    let page = async |further: &str| {
        let query = format!("uploadId={upload}&max-parts=2{further}");
        world.send(ROOT, ask("GET", KEY).query(&query)).await.expect(200)
    };
    for (marker, numbers, next, is_truncated) in [
        ("", vec!["1", "2"], "2", "true"),
        ("&part-number-marker=2", vec!["5", "9"], "9", "true"),
        ("&part-number-marker=3", vec!["5", "9"], "9", "true"),
        ("&part-number-marker=9", vec!["10000"], "10000", "false"),
        ("&part-number-marker=10000", vec![], "0", "false"),
        ("&part-number-marker=99999", vec![], "0", "false"),
    ] {
        let page = page(marker).await;
        assert_eq!(keys(page.text(), "PartNumber"), numbers, "{marker}");
        assert_eq!(
            (page.element("NextPartNumberMarker"), page.element("IsTruncated")),
            (next, is_truncated),
            "{marker}"
        );
        let echo = marker.split_once('=').map_or("0", |(_, number)| number);
        assert_eq!((page.element("PartNumberMarker"), page.element("MaxParts")), (echo, "2"));
    }
    let wrong = format!("uploadId={upload}&part-number-marker=two");
    world.send(ROOT, ask("GET", KEY).query(&wrong)).await.expect_error(400, "InvalidArgument");
}

/// Key and id of each upload of a page.
fn uploads(page: &Reply) -> Vec<(String, String)> {
    keys(page.text(), "Key").into_iter().zip(keys(page.text(), "UploadId")).collect()
}

#[tokio::test]
async fn uploads_of_a_bucket() {
    let world = World::new().await;
    let mut wanted = Vec::new();
    for key in ["a", "a", "b/1", "b/2", "c", "c", "c"] {
        wanted.push((key.to_owned(), begin(&world, &format!("/bucket/{key}")).await));
    }
    let page = async |query: &str| {
        world.send(ROOT, ask("GET", "/bucket").query(&format!("uploads&{query}"))).await.expect(200)
    };
    for size in [1, 2, 3, 7] {
        let (mut found, mut query) = (Vec::new(), format!("max-uploads={size}"));
        loop {
            let page = page(&query).await;
            let some = uploads(&page);
            assert!(!some.is_empty() && some.len() <= size, "{}", page.text());
            found.extend(some);
            if page.element("IsTruncated") == "false" {
                break;
            }
            let (key, upload) = (page.element("NextKeyMarker"), page.element("NextUploadIdMarker"));
            assert_eq!(found.last(), Some(&(key.to_owned(), upload.to_owned())), "the markers are the page's last");
            let key = key.replace('/', "%2F");
            query = format!("max-uploads={size}&key-marker={key}&upload-id-marker={upload}");
        }
        assert_eq!(found, wanted, "pages of {size}");
    }
    // Without an id a marker leaves out all uploads of its key; without a key an id says nothing.
    assert_eq!(uploads(&page("key-marker=a").await), wanted[2..]);
    assert_eq!(uploads(&page(&format!("upload-id-marker={}", wanted[3].1)).await), wanted);
    let echo = page(&format!("key-marker=c&upload-id-marker={}", wanted[4].1)).await;
    assert_eq!(uploads(&echo), wanted[5..]);
    assert_eq!((echo.element("KeyMarker"), echo.element("UploadIdMarker")), ("c", wanted[4].1.as_str()));

    let first = page("delimiter=%2F&max-uploads=3").await;
    assert_eq!((uploads(&first), keys(first.text(), "IsTruncated")), (wanted[..2].to_vec(), vec!["true".to_owned()]));
    assert_eq!(keys(&keys(first.text(), "CommonPrefixes").concat(), "Prefix"), ["b/"]);
    assert_eq!(first.element("NextKeyMarker"), "b/");
    let second = page("delimiter=%2F&max-uploads=3&key-marker=b%2F").await;
    assert_eq!((uploads(&second), second.element("IsTruncated")), (wanted[4..].to_vec(), "false"));
    let forged = ask("GET", "/bucket").query("uploads&key-marker=a&upload-id-marker=forged");
    world.send(ROOT, forged).await.expect_error(400, "InvalidArgument");
}

#[tokio::test]
async fn buckets() {
    let world = World::new().await;
    for name in ["alpha", "beta", "delta", "gamma"] {
        world.send(ROOT, ask("PUT", &format!("/{name}"))).await.expect(200);
    }
    let names = |page: &Reply| keys(page.element("Buckets"), "Name");
    let (mut found, mut query) = (Vec::new(), "max-buckets=2".to_owned());
    for is_last in [false, false, true] {
        let page = world.send(ROOT, ask("GET", "/").query(&query)).await.expect(200);
        found.push(names(&page));
        assert_eq!(page.element("ContinuationToken").is_empty(), is_last, "{}", page.text());
        query = format!("max-buckets=2&continuation-token={}", page.element("ContinuationToken"));
    }
    assert_eq!(found, [vec!["alpha", "beta"], vec!["bucket", "delta"], vec!["gamma"]]);

    let first = world.send(ROOT, ask("GET", "/").query("max-buckets=1&prefix=b")).await.expect(200);
    assert_eq!((names(&first), first.element("Prefix")), (vec!["beta".to_owned()], "b"));
    let token = first.element("ContinuationToken");
    let query = format!("prefix=b&continuation-token={token}");
    assert_eq!(names(&world.send(ROOT, ask("GET", "/").query(&query)).await.expect(200)), ["bucket"]);

    // A key of one bucket sees it on the page it belongs to.
    let scope = cairn_meta::Scope::Bucket { bucket: "beta".to_owned(), prefix: String::new(), write: false };
    world.add_key("LIMITED", scope).await;
    assert_eq!(names(&world.send("LIMITED", ask("GET", "/").query("max-buckets=1")).await.expect(200)), ["beta"]);
    let behind = world.send("LIMITED", ask("GET", "/").query(&query)).await.expect(200);
    assert!(names(&behind).is_empty(), "{}", behind.text());
    let forged = ask("GET", "/").query("continuation-token=forged");
    world.send(ROOT, forged).await.expect_error(400, "InvalidArgument");
}
