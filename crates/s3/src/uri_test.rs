//! Targets by path and host, names, keys and percent encoding.

use proptest::prelude::*;

use super::*;

fn target(host: &str, path: &str) -> Result<Target, S3Error> {
    parse_target(host, path, &["s3.example.org".to_owned(), "example.org".to_owned()])
}

fn object(bucket: &str, key: &str) -> Target {
    Target::Object(bucket.to_owned(), key.to_owned())
}

#[test]
fn path_style() {
    assert_eq!(target("localhost:9000", "/").unwrap(), Target::Service);
    assert_eq!(target("localhost", "/bucket").unwrap(), Target::Bucket("bucket".into()));
    assert_eq!(target("localhost", "/bucket/").unwrap(), Target::Bucket("bucket".into()));
    assert_eq!(target("localhost", "/bucket/a/b").unwrap(), object("bucket", "a/b"));
    assert_eq!(target("s3.example.org", "/bucket/k").unwrap(), object("bucket", "k"));
    assert_eq!(target("S3.Example.ORG:443", "/bucket/k").unwrap(), object("bucket", "k"));
}

#[test]
fn keys_are_not_normalized() {
    for key in ["/", "//", "../../etc", "a//b", "./a", "a/../b", "a/", " ", "=", "a=b=", "*", "a+b", "é/ü", "%"] {
        let path = format!("/bucket/{}", aws_encode(key.as_bytes(), true));
        assert_eq!(target("h", &path).unwrap(), object("bucket", key));
    }
    assert_eq!(target("h", "/bucket/a+b*=").unwrap(), object("bucket", "a+b*="));
}

#[test]
fn virtual_hosted_style() {
    assert_eq!(target("bucket.s3.example.org:9000", "/").unwrap(), Target::Bucket("bucket".into()));
    assert_eq!(target("bucket.S3.example.org.:9000", "/").unwrap(), Target::Bucket("bucket".into()));
    assert_eq!(target("s3.example.org.", "/bucket/k").unwrap(), object("bucket", "k"));
    assert_eq!(target("my.bucket.s3.example.org", "/bucket/k").unwrap(), object("my.bucket", "bucket/k"));
    assert_eq!(target("Bucket.example.org", "/k").unwrap(), object("bucket", "k"));
    // Not our domain, only its ending: path style.
    assert_eq!(target("badexample.org", "/bucket/k").unwrap(), object("bucket", "k"));
    assert_eq!(target("a_b.s3.example.org", "/k").unwrap_err().code, S3ErrorCode::InvalidBucketName);
}

#[test]
fn ip_hosts_are_path_style() {
    let domains = ["0.0.1".to_owned(), "::1".to_owned()];
    for host in ["127.0.0.1", "127.0.0.1:9000", "[::1]", "[::1]:9000"] {
        assert_eq!(parse_target(host, "/bucket/k", &domains).unwrap(), object("bucket", "k"), "{host}");
    }
}

#[test]
fn bad_targets() {
    for (path, code) in [
        ("", "InvalidURI"),
        ("bucket", "InvalidURI"),
        ("//k", "InvalidBucketName"),
        ("/ab", "InvalidBucketName"),
        ("/Bucket/k", "InvalidBucketName"),
        ("/bucket/%", "InvalidURI"),
        ("/bucket/%ff", "InvalidURI"),
        ("/bucket/a%00b", "InvalidArgument"),
    ] {
        assert_eq!(target("h", path).unwrap_err().code.as_str(), code, "{path}");
    }
    assert!(target("h", &format!("/bucket/{}", "k".repeat(1024))).is_ok());
    assert_eq!(target("h", &format!("/bucket/{}", "k".repeat(1025))).unwrap_err().code, S3ErrorCode::KeyTooLongError);
    // 342 characters of three bytes are 1026 bytes.
    let encoded = aws_encode("€".repeat(342).as_bytes(), true);
    assert_eq!(target("h", &format!("/bucket/{encoded}")).unwrap_err().code, S3ErrorCode::KeyTooLongError);
}

#[test]
fn bucket_names() {
    for name in ["abc", "a-b", "a.b", "0ab", "gitlab-cache", &"a".repeat(63)] {
        assert!(check_bucket_name(name).is_ok(), "{name}");
    }
    for name in [
        "",
        "ab",
        "aB",
        "a_b",
        "-ab",
        "ab-",
        ".ab",
        "ab.",
        "a..b",
        "1.2.3.4",
        "xn--abc",
        "abc-s3alias",
        "abc--ol-s3",
        "a/b",
        "a b",
        "äbc",
        "a\0b",
        &"a".repeat(64),
    ] {
        assert!(check_bucket_name(name).is_err(), "{name}");
    }
    let why = |name: &str| check_bucket_name(name).unwrap_err().message;
    for (name, part) in
        [("xn--a", "begin with xn--"), ("a-s3alias", "end with -s3alias"), ("A", "3 to 63"), ("10.0.0.1", "IP")]
    {
        assert!(why(name).contains(part), "{name}: {}", why(name));
    }
}

proptest! {
    #[test]
    fn encode_then_decode_gives_the_text(text in any::<String>(), keep_slash: bool) {
        let encoded = aws_encode(text.as_bytes(), keep_slash);
        prop_assert_eq!(decode_path(&encoded).unwrap(), text.clone());
        prop_assert_eq!(decode_query_component(&encoded).unwrap(), text);
    }

    #[test]
    fn never_panics(host in any::<String>(), path in any::<String>()) {
        let _ = target(&host, &path);
        let _ = target(&host, &format!("/bucket/{path}"));
    }
}
