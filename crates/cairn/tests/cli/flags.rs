//! What is refused before anything starts, and what `--check` says.

use std::{fs, process::Stdio};

use crate::server::{cairn, complained, run, said};

#[test]
fn words_that_are_none_are_refused() {
    for words in [
        &["server", "--data", "d", "--no-such-flag"][..],
        &["server", "--data", "d", "--tls", "maybe"],
        &["server", "--data", "d", "--s3-listen", "nowhere"],
        &["server", "--data", "d", "--disks", "3", "--disk", "x"],
        &["bucket", "paint", "x"],
        &[],
    ] {
        let text = complained(&run(words), 2);
        assert!(text.contains("Usage") || text.contains("--help"), "{words:?}: {text}");
    }
    assert!(said(&run(&["--version"])).starts_with("cairn "));
    assert!(said(&run(&["server", "--help"])).contains("Examples:"));
}

#[test]
fn a_configuration_that_cannot_work_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(at("bad.toml"), "s3-listne = []").unwrap();
    fs::write(at("file"), "").unwrap();
    std::os::unix::fs::symlink(folder.path(), at("link")).unwrap();
    let table: [(&[&str], &str); 6] = [
        (&["--disk", &at("a"), "--disk", &at("a/b"), "--meta", &at("m")], "lies inside"),
        (&["--disk", &at("a"), "--disk", &at("link/a"), "--meta", &at("m")], "named twice"),
        (&["--data", &at("d"), "--config", &at("bad.toml")], "unknown field `s3-listne`"),
        (&["--data", &at("d"), "--tls", &format!("{},{}", at("no.crt"), at("no.key"))], "no.crt"),
        (&["--data", &at("d"), "--s3-listen", "192.0.2.1:9000"], "s3-listen: 192.0.2.1"),
        (&["--disk", &at("file"), "--meta", &at("m")], "is a file"),
    ];
    for (flags, part) in table {
        for check in [&["--check"][..], &[]] {
            let words: Vec<&str> = ["server"].iter().chain(flags).chain(check).copied().collect();
            let text = complained(&run(&words), 1);
            assert!(text.contains(part), "{words:?}: {text}");
        }
    }
    assert!(!folder.path().join("d").exists() && !folder.path().join("m").exists(), "nothing was made");
}

#[test]
fn check_reads_certificates_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let issued = rcgen::generate_simple_self_signed(vec!["cache.lan".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["cache.lan".to_owned()]).unwrap();
    fs::write(at("tls.crt"), issued.cert.pem()).unwrap();
    fs::write(at("tls.key"), issued.signing_key.serialize_pem()).unwrap();
    fs::write(at("other.key"), other.signing_key.serialize_pem()).unwrap();
    fs::write(at("cairn.toml"), format!("data = '{}'\nprofile = '4+2'\ns3-listen = ['127.0.0.1:0']\n", at("d")))
        .unwrap();

    let good = format!("{},{}", at("tls.crt"), at("tls.key"));
    let checked = run(&["server", "--config", &at("cairn.toml"), "--tls", &good, "--check"]);
    assert_eq!(said(&checked), "the configuration is valid\n");
    let mixed = format!("{},{}", at("tls.crt"), at("other.key"));
    let text = complained(&run(&["server", "--config", &at("cairn.toml"), "--tls", &mixed, "--check"]), 1);
    assert!(text.contains("cannot be used together"), "{text}");
    assert!(!folder.path().join("d").exists());
}

#[test]
fn a_reader_that_left_is_no_panic() {
    for words in [&["--help"][..], &["server", "--help"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = cairn(words).stdout(Stdio::from(writer)).stderr(Stdio::piped()).spawn().unwrap();
        let output = output.wait_with_output().unwrap();
        assert!(complained(&output, 141).is_empty());
    }
}
