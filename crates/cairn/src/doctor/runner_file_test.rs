//! Runners' configurations, good and bad.

use super::*;

const GOOD: &str = r#"
concurrent = 4
[[runners]]
  name = "one"
  token = "glrt-abcdefghijklmnop"
  executor = "docker"
  [runners.docker]
    volumes = ["/cache", "/srv/ca:/etc/gitlab-runner/certs:ro"]
  [runners.cache]
    Type = "s3"
    Path = "team"
    Shared = true
    [runners.cache.s3]
      serveraddress = "cache.lan:9000"
      BucketName = "gitlab-cache"
      BucketLocation = "us-east-1"
      AccessKey = "AK"
      SecretKey = "SK"
"#;

#[test]
fn a_cache_is_read_as_the_runner_reads_it() {
    let cache = read(GOOD, None).unwrap();
    assert_eq!(cache.address.to_string(), "https://cache.lan:9000");
    assert_eq!((cache.bucket.as_str(), cache.prefix.as_str()), ("gitlab-cache", "team/project/0/"));
    let key = KeyPair { access_key: "AK".to_owned(), secret: Secret::new("SK".to_owned()) };
    assert_eq!((cache.key, cache.region), (Some(key), Some("us-east-1".to_owned())));
    assert_eq!(cache.helper_ca, HelperCa::File("/srv/ca/ca.crt".into()));
    assert!(cache.path_style);

    read(&GOOD.replace("BucketLocation", "ServerSideEncryption = \"S3\"\nBucketLocation"), None).unwrap();

    let other = GOOD
        .replace("Shared = true", "Shared = false")
        .replace("BucketLocation = \"us-east-1\"", "Insecure = true\nPathStyle = false")
        .replace("[runners.docker]", "[runners.kubernetes]")
        .replace(
            "volumes = [\"/cache\", \"/srv/ca:/etc/gitlab-runner/certs:ro\"]",
            "[[runners.kubernetes.volumes.secret]]\nname = \"cairn-ca\"\nmount_path = \"/etc/gitlab-runner/certs/\"",
        );
    let cache = read(&other, Some("one")).unwrap();
    assert_eq!(cache.address.to_string(), "http://cache.lan:9000");
    assert_eq!(
        (cache.prefix.as_str(), cache.region, cache.path_style),
        ("team/runner/abcdefghi/project/0/", None, false)
    );
    assert!(matches!(cache.helper_ca, HelperCa::Elsewhere(what) if what.contains("cairn-ca")));
}

#[test]
fn what_runner_config_prints_is_read() {
    let text = "[runners.cache]\nType = \"s3\"\nPath = \"\"\nShared = true\n[runners.cache.s3]\nServerAddress = \"a:1\"\nBucketName = \"b\"";
    let cache = read(text, None).unwrap();
    assert_eq!((cache.prefix.as_str(), cache.key), ("project/0/", None));
    assert_eq!(cache.helper_ca, HelperCa::Nothing);
}

#[test]
fn mistakes_are_named() {
    for (from, to, part) in [
        ("Shared = true", "Shared = \"yes\"", "true or false only"),
        (
            "concurrent = 4",
            "concurrent = \"4\"",
            "concurrent in the file is \"4\", and the runner takes a whole number",
        ),
        ("BucketLocation", "PathStyle = \"true\"\nBucketLocation", "PathStyle in [runners.cache.s3]"),
        ("AccessKey = \"AK\"", "AccessKey = 7", "a text in quotes"),
        ("Type = \"s3\"", "", "without Type"),
        ("Type = \"s3\"", "Type = \"gcs\"", "only \"s3\""),
        ("\"cache.lan:9000\"", "\"https://cache.lan:9000\"", "without scheme"),
        ("serveraddress = \"cache.lan:9000\"", "", "ServerAddress is missing"),
        ("BucketName", "Bucket", "has Bucket, which the runner does not know"),
        ("BucketName = \"gitlab-cache\"", "", "BucketName is missing"),
        ("SecretKey = \"SK\"", "", "belong together"),
        ("AccessKey = \"AK\"", "AuthenticationType = \"iam\"", "\"iam\" is not examined"),
        ("AccessKey = \"AK\"", "RoleARN = \"arn\"", "STS"),
        ("SecretKey = \"SK\"", "SecretKey = \"SK\"\nSessionToken = \"t\"", "STS"),
        ("SecretKey = \"SK\"", "SecretKey = \"SK\"\nServerSideEncryption = \"KMS\"", "write \"S3\""),
        (
            "SecretKey = \"SK\"",
            "SecretKey = \"SK\"\nServerSideEncryption = \"AES256\"",
            "nothing that the runner knows",
        ),
        ("[runners.cache]", "[runners.caches]", "no section [runners.cache]"),
    ] {
        let text =
            GOOD.replace(from, to).replace(if to.contains("caches") { "[runners.cache.s3]" } else { "\0" }, "[x]");
        let error = format!("{:#}", read(&text, None).unwrap_err());
        assert!(error.contains(part), "{from} -> {to}: {error}");
    }
    assert!(read(GOOD, Some("two")).unwrap_err().to_string().contains("no runner named \"two\""));
    let twice = format!("{GOOD}{}", GOOD.replace("concurrent = 4", "").replace("\"one\"", "\"two\""));
    assert!(read(&twice, None).unwrap_err().to_string().contains("\"one\", \"two\""));
    assert!(read(&twice, Some("two")).is_ok());
    assert!(read("x = 1", None).is_err());
}
