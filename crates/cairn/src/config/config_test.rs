//! The layers put together, and what is refused.

use std::{collections::HashMap, ffi::OsString};

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    settings: Settings,
}

fn flags(line: &str) -> Settings {
    Flags::try_parse_from(["server"].into_iter().chain(line.split_whitespace())).unwrap().settings
}

/// Builds from a line of flags, `NAME=value` pairs and a TOML text.
fn build(line: &str, environment: &[&str], toml: &str) -> Result<Config> {
    let variables: HashMap<&str, OsString> = environment
        .iter()
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(name, value)| (name, value.into()))
        .collect();
    let look = |name: &str| variables.get(name).cloned();
    Config::build(flags(line), &look, Some((Path::new("cairn.toml"), toml)), Path::new("/at"))
}

fn refused(line: &str, environment: &[&str], toml: &str) -> String {
    match build(line, environment, toml) {
        Ok(config) => panic!("{line} {environment:?} {toml} was taken: {config:?}"),
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn defaults_are_those_of_the_help() {
    let config = build("--data d", &[], "").unwrap();
    assert_eq!(config.home, Path::new("/at/d"));
    assert_eq!(config.meta, Path::new("/at/d/meta"));
    assert_eq!(config.disks, (0..6).map(|n| PathBuf::from(format!("/at/d/disk-{n}"))).collect::<Vec<_>>());
    assert_eq!(config.s3_listen, ["127.0.0.1:9000".parse().unwrap()]);
    assert_eq!(config.tls, TlsChoice::Auto);
    assert_eq!(config.profile, ProfileChoice::Auto);
    assert_eq!((config.shutdown_limit.as_secs(), config.presign_expires_max.as_secs()), (25, 604_800));
    assert_eq!((config.request_memory, config.log_format, config.root_key), (None, LogFormat::Text, None));

    let help = <Flags as clap::CommandFactory>::command().render_long_help().to_string();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for default in [
        "default: 6]",
        "default: 127.0.0.1:9000]",
        "default: 25s]",
        "default: 7d]",
        "default: auto]",
        "default: text]",
        "at most 2GiB]",
    ] {
        assert!(help.contains(default), "{default}");
    }
}

#[test]
fn flags_go_before_environment_before_toml() {
    let toml = "data = 't'\ndisks = 3\nrequest-memory = '103MiB'\ns3-listen = ['127.0.0.1:3']\ntls = 'off'\nprofile = '1+1'\n\
                s3-domain = ['T.lan']\nshutdown-limit = '3s'\nlog-format = 'json'";
    let environment = [
        "CAIRN_DATA=e",
        "CAIRN_DISKS=2",
        "CAIRN_S3_LISTEN=127.0.0.1:2, 127.0.0.1:4",
        "CAIRN_SHUTDOWN_LIMIT=2s",
        "CAIRN_REQUEST_MEMORY=102MiB",
        "CAIRN_TLS=",
        "CAIRN_PORT_9000_TCP=tcp://10.0.0.1:9000",
    ];
    type Row<'a> = (&'a str, &'a [&'a str], &'a str, u16, u64, &'a [u16]);
    let table: [Row<'_>; 3] = [
        ("", &[], "t", 3, 3, &[3]),
        ("", &environment, "e", 2, 2, &[2, 4]),
        (
            "--data f --disks 4 --s3-listen 127.0.0.1:1 --shutdown-limit 1s --request-memory 101MiB",
            &environment,
            "f",
            4,
            1,
            &[1],
        ),
    ];
    for (line, environment, home, disks, limit, ports) in table {
        let config = build(line, environment, toml).unwrap();
        assert_eq!(config.home, Path::new("/at").join(home), "{line}");
        assert_eq!(config.disks.len(), usize::from(disks), "{line}");
        assert_eq!(config.shutdown_limit.as_secs(), limit, "{line}");
        assert_eq!(config.request_memory, Some(ByteCount((100 + limit) << 20)), "{line}");
        assert_eq!(config.s3_listen.iter().map(SocketAddr::port).collect::<Vec<_>>(), ports, "{line}");
        // Set in the file alone, or set to nothing above it.
        assert_eq!((&config.tls, config.log_format), (&TlsChoice::Off, LogFormat::Json), "{line}");
        assert_eq!(config.s3_domains, ["t.lan"]);
    }
}

#[test]
fn disks_can_be_named_one_by_one() {
    let config = build("--disk a --disk ./b/../c --meta m", &["CAIRN_DISKS=9"], "").unwrap();
    assert_eq!(config.home, Path::new("/at/m"));
    assert_eq!(config.meta, Path::new("/at/m"));
    assert_eq!(config.disks, [Path::new("/at/a"), Path::new("/at/c")]);
    let config = build("--disk /x --data d", &[], "").unwrap();
    assert_eq!((config.meta, config.disks), ("/at/d/meta".into(), vec!["/x".into()]));
    let config = build("--data d --disks 2", &["CAIRN_DISK=/a,/b,/c"], "").unwrap();
    assert_eq!(config.disks.len(), 2);
}

#[test]
fn an_unknown_or_wrong_toml_key_is_named() {
    assert!(refused("--data d", &[], "s3_listen = ['127.0.0.1:9000']").contains("unknown field `s3_listen`"));
    assert!(refused("--data d", &[], "[nested]\nx = 1").contains("unknown field `nested`"));
    assert!(refused("--data d", &[], "tls = 'maybe'").contains("`auto`, `off`"));
    assert!(refused("--data d", &[], "disks = 'six'").contains("disks"));
    assert!(refused("--data d", &[], "request-memory = '1.5GiB'").contains("as in `500GiB`"));
    assert!(refused("--data d", &[], "request-memory = true").contains("a size as \"50GiB\""));
    assert!(refused("--data d", &[], "disks = ").contains("cairn.toml"));
}

#[test]
fn what_cannot_work_is_refused_with_its_key() {
    let long = format!("--data /{}", "x".repeat(100));
    let table: &[(&str, &[&str], &str)] = &[
        ("", &[], "data: name a data folder"),
        ("--meta m", &[], "disk: with --meta alone"),
        ("--data d --disks 0", &[], "disks: 0 disks"),
        ("--data d --disks 65", &[], "disks: 65 disks"),
        ("--data d --disks 5 --profile 4+2", &[], "profile: 4+2 needs 6 disks"),
        ("--data d --storage-class RR=8+4", &[], "storage-class RR: 8+4 needs 12 disks"),
        ("--data d --storage-class RR=5+1 --storage-class RR=4+1", &[], "RR is named twice"),
        ("--data d", &["CAIRN_STORAGE_CLASS=STANDARD=4+2"], "STANDARD is the bucket's"),
        ("--data d", &["CAIRN_STORAGE_CLASS=rr=4+2"], "`rr` is no storage class"),
        ("--data d", &["CAIRN_STORAGE_CLASS=RR"], "REDUCED_REDUNDANCY=5+1"),
        ("--disk a --disk a --meta m", &[], "named twice"),
        ("--disk a --disk a/b --meta m", &[], "lies inside"),
        ("--disk a/b --disk a --meta m", &[], "lies inside"),
        ("--disk m/d --meta m", &[], "lies inside"),
        ("--disk a --meta a/m", &[], "lies inside"),
        ("--disk d --data d --meta m", &[], "lies inside the disk"),
        ("--disk x --data m/d --meta m", &[], "data folder"),
        (&long, &[], "admin socket"),
        ("--data d --s3-listen 127.0.0.1:1 --s3-listen 127.0.0.1:1", &[], "s3-listen: 127.0.0.1:1 is named twice"),
        ("--data d --tls off --tls-name x", &[], "tls-name:"),
        ("--data d --tls-name http://x", &[], "tls-name: `http://x`"),
        ("--data d --s3-domain a_b..c", &[], "s3-domain:"),
        ("--data d --presign-expires-max 0s", &[], "presign-expires-max:"),
        ("--data d --request-memory 95MiB", &[], "request-memory: 95.0 MiB is less than the 96.0 MiB"),
        ("--data d", &["CAIRN_REQUEST_MEMORY=much"], "CAIRN_REQUEST_MEMORY"),
        ("--data d", &["CAIRN_DISKS=six"], "CAIRN_DISKS"),
        ("--data d", &["CAIRN_DISKS=2", "CAIRN_DISK=a"], "not both"),
        ("--data d", &["CAIRN_ROOT_ACCESS_KEY=abc"], "CAIRN_ROOT_SECRET_KEY is not"),
        ("--data d", &["CAIRN_ROOT_SECRET_KEY=12345678"], "CAIRN_ROOT_ACCESS_KEY is not"),
        ("--data d", &["CAIRN_ROOT_ACCESS_KEY=abc", "CAIRN_ROOT_SECRET_KEY=short"], "8 to 128"),
    ];
    for (line, environment, part) in table {
        let error = refused(line, environment, "");
        assert!(error.contains(part), "{line} {environment:?}: {error}");
    }
}

#[test]
fn the_root_key_comes_from_the_environment_and_is_not_shown() {
    let config = build("--data d", &["CAIRN_ROOT_ACCESS_KEY=root", "CAIRN_ROOT_SECRET_KEY=hidden-one"], "").unwrap();
    assert_eq!(config.root_key.as_ref().unwrap().access_key, "root");
    assert!(!format!("{config:?}").contains("hidden-one"));
}

#[test]
fn storage_classes_come_from_each_layer() {
    let shown = |config: Config| {
        config.storage_classes.iter().map(|(name, profile)| format!("{name}={profile}")).collect::<Vec<_>>()
    };
    let toml = "storage-class = ['RR=5+1']";
    assert_eq!(shown(build("--data d", &[], toml).unwrap()), ["RR=5+1"]);
    let environment = ["CAIRN_STORAGE_CLASS=RR=4+1,COLD=3+3"];
    assert_eq!(shown(build("--data d", &environment, toml).unwrap()), ["COLD=3+3", "RR=4+1"]);
    let flags = "--data d --storage-class RR=3+1";
    assert_eq!(shown(build(flags, &environment, toml).unwrap()), ["RR=3+1"]);
}

#[test]
fn the_variables_that_are_known_are_those_that_are_read() {
    let read = std::cell::RefCell::new(Vec::new());
    let look = |name: &str| {
        read.borrow_mut().push(name.to_owned());
        None
    };
    Config::build(flags("--data d"), &look, None, Path::new("/at")).unwrap();
    let (mut read, mut known) = (read.into_inner(), Settings::variables());
    // Kubernetes' own say where its API server is.
    read.retain(|name: &String| name.starts_with("CAIRN_"));
    read.sort();
    known.sort();
    assert_eq!(read, known);
}

#[test]
fn port_zero_may_stand_twice() {
    build("--data d --s3-listen 127.0.0.1:0 --s3-listen 127.0.0.1:0", &[], "").unwrap();
}

#[test]
fn kubernetes_is_found_by_the_pods_environment_or_by_name() {
    let pod = ["KUBERNETES_SERVICE_HOST=10.43.0.1", "KUBERNETES_SERVICE_PORT=443"];
    let config = build("--data d", &pod, "").unwrap();
    assert_eq!(config.kubernetes.api.as_deref(), Some("https://10.43.0.1:443"));
    assert_eq!(config.kubernetes.account, Path::new("/var/run/secrets/kubernetes.io/serviceaccount"));
    let config = build("--data d --kubernetes-account acc", &["CAIRN_KUBERNETES_API=https://[::1]:6443"], "").unwrap();
    assert_eq!(config.kubernetes.api.as_deref(), Some("https://[::1]:6443"));
    assert_eq!(config.kubernetes.account, Path::new("/at/acc"));
    let config = build("--data d", &["KUBERNETES_SERVICE_HOST=fd00::1"], "").unwrap();
    assert_eq!(config.kubernetes.api.as_deref(), Some("https://[fd00::1]:443"));
    assert_eq!(build("--data d", &[], "").unwrap().kubernetes.api, None);
    assert!(refused("--data d --kubernetes-api nowhere:1", &[], "").contains("kubernetes-api:"));
}

#[test]
fn declarations_must_fit_the_server() {
    assert!(refused("--data d --tls off", &[], "[kubernetes]\nca-config-map = 'x'").contains("without TLS"));
    let wide = "[[bucket]]\nname = 'abc'\nprofile = '8+4'";
    assert!(refused("--data d", &[], wide).contains("bucket abc: profile 8+4 needs 12 disks"));
    assert_eq!(build("--data d --disks 12", &[], wide).unwrap().declared.buckets.len(), 1);
}
