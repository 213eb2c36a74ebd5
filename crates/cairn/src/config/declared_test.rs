//! What may be declared, and what is refused by its place in the file.

use super::*;
use crate::config::Settings;

fn declared(toml: &str) -> Result<Declared> {
    let declared = Settings::from_toml(toml)?.take_declared();
    declared.validate()?;
    Ok(declared)
}

#[test]
fn what_the_chart_writes_is_read() {
    let text = "
        [[bucket]]
        name = 'gitlab-cache'
        cache = true
        quota = '50GiB'
        profile = 'auto'
        [[bucket]]
        name = 'plain'
        quota = 'none'
        etag = 'fast'
        [[key]]
        name = 'runner'
        bucket = 'gitlab-cache'
        prefix = ''
        read-only = false
        secret = 'cairn-runner'
        [[key]]
        name = 'reader'
        bucket = 'plain'
        read-only = true
        file = '/etc/cairn/reader'
        [kubernetes]
        ca-config-map = 'cairn-ca'
        root-secret = 'cairn-root'";
    let read = declared(text).unwrap();
    let [cache, plain] = &read.buckets[..] else { panic!("{read:?}") };
    assert_eq!((cache.cache, cache.quota), (true, Some(ByteCount(50 << 30))));
    assert_eq!((plain.cache, plain.quota, plain.profile), (false, None, None));
    assert_eq!((cache.etag, plain.etag), (None, Some(EtagSetting::Fast)));
    assert_eq!((read.keys[0].secret.as_deref(), read.keys[0].read_only), (Some("cairn-runner"), false));
    assert_eq!((read.keys[1].secret.as_deref(), read.keys[1].read_only), (None, true));
    assert_eq!((read.ca_config_map(), read.root_secret()), (Some("cairn-ca"), Some("cairn-root")));
    assert!(read.needs_kubernetes() && !declared("[kubernetes]").unwrap().needs_kubernetes());
    assert_eq!(declared("[[bucket]]\nname = 'abc'\nquota = 5").unwrap().buckets[0].quota, Some(ByteCount(5)));
}

#[test]
fn what_cannot_be_meant_is_refused_by_its_place() {
    let bucket = |more: &str| format!("[[bucket]]\nname = 'abc'\n{more}");
    let key = |more: &str| format!("[[key]]\nname = 'k'\nbucket = 'abc'\n{more}");
    for (text, part) in [
        (bucket("color = 1"), "unknown field `color`"),
        (bucket("quota = 'much'"), "quota `much`"),
        (bucket("quota = true"), "a size as"),
        (bucket("profile = '4'"), "profile"),
        (bucket("etag = 'sha1'"), "`md5` or `fast`"),
        (bucket("[[bucket]]\nname = 'abc'"), "`abc` is declared twice"),
        ("[[bucket]]\nname = 'No_Name'".to_owned(), "`No_Name` is no bucket name"),
        ("[[bucket]]".to_owned(), "missing field `name`"),
        (key("secrets = 'x'"), "unknown field `secrets`"),
        (key("file = '/f'\n[[key]]\nname = 'k'\nbucket = 'def'\nfile = '/g'"), "`k` is declared twice"),
        (key(""), "key k: nobody would get this key: add file ="),
        (key("[kubernetes]"), "secret = \"NAME\""),
        (key("secret = 's'"), "[kubernetes]"),
        (key("secret = 's'\nfile = '/f'\n[kubernetes]"), "not both"),
        (key("secret = 'S_1'\n[kubernetes]"), "no name of a Kubernetes object"),
        (key("file = 'f'"), "no absolute path"),
        (key("secret = 's'\n[[key]]\nname = 'l'\nbucket = 'abc'\nsecret = 's'\n[kubernetes]"), "another key already"),
        (key("file = '/f'\n[[key]]\nname = 'l'\nbucket = 'abc'\nfile = '/f'"), "another key already"),
        (key("secret = 's'\n[kubernetes]\nroot-secret = 's'"), "the secret of a declared key"),
        ("[[key]]\nname = 'K 1'\nbucket = 'abc'".to_owned(), "`K 1` is no name of a key"),
        ("[[key]]\nname = 'k'\nbucket = 'b'".to_owned(), "`b` is no bucket name"),
        (format!("[[key]]\nname = 'k'\nbucket = 'abc'\nprefix = '{}'", "p".repeat(1025)), "1024 bytes"),
        ("[kubernetes]\nca-configmap = 'x'".to_owned(), "unknown field `ca-configmap`"),
        ("[kubernetes]\nca-config-map = '-'".to_owned(), "kubernetes.ca-config-map"),
    ] {
        let error = format!("{:#}", declared(&text).unwrap_err());
        assert!(error.contains(part), "{text}: {error}");
    }
}
