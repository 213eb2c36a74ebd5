//! What is declared goes to Kubernetes, and comes back from there.

use std::{fs, path::Path};

use serde_json::json;

use crate::{
    kube_api::KubeApi,
    server::{Server, cairn, said, until},
};

const DECLARED: &str = "
disks = 1
[[bucket]]
name = 'gitlab-cache'
cache = true
quota = '50GiB'
[[key]]
name = 'runner'
bucket = 'gitlab-cache'
secret = 'cairn-runner'
[kubernetes]
ca-config-map = 'cairn-ca'
root-secret = 'cairn-root'
";

fn api(folder: &Path) -> KubeApi {
    KubeApi::start(folder, &["cairn-runner", "cairn-root"], &["cairn-ca"])
}

/// Starts a store that publishes to `api`. Its volumes are those of `home`.
fn start(home: &Path, api: &KubeApi) -> Server {
    let config = home.with_extension("toml");
    fs::write(&config, DECLARED).unwrap();
    let environment = api.environment();
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Server::start(home, &["--config", config.to_str().unwrap()], &environment)
}

/// Whether a client with this key goes the whole road.
fn works(server: &Server, (access_key, secret): &(String, String)) -> bool {
    let endpoint = server.url.replace("127.0.0.1", "localhost");
    let ca = server.home.join("ca.crt");
    let words = [
        "doctor",
        "--endpoint",
        &endpoint,
        "--ca",
        ca.to_str().unwrap(),
        "--access-key",
        access_key,
        "--bucket",
        "gitlab-cache",
    ];
    cairn(&words).env("CAIRN_SECRET_KEY", secret).output().unwrap().status.success()
}

fn changes(api: &KubeApi) -> Vec<String> {
    let seen = api.take_seen().into_iter().filter(|(method, ..)| method == "PATCH");
    seen.map(|(_, _, name, status)| format!("{name} {status}")).collect()
}

#[test]
fn a_new_store_publishes_and_an_old_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (api, home) = (api(folder.path()), folder.path().join("d"));
    let server = start(&home, &api);
    assert!(server.shown.is_empty(), "the root key is shown nowhere else: {:?}", server.shown);
    until(|| api.key("cairn-runner").is_some() && api.key("cairn-root").is_some());
    let (runner, root) = (api.key("cairn-runner").unwrap(), api.key("cairn-root").unwrap());
    assert!(works(&server, &runner) && works(&server, &root));
    let ca = api.object("configmaps", "cairn-ca").unwrap();
    assert_eq!(ca["data"]["ca.crt"], fs::read_to_string(home.join("ca.crt")).unwrap());
    assert_eq!(ca["metadata"]["labels"]["app.kubernetes.io/managed-by"], "cairn");
    let made = changes(&api);
    assert_eq!(made, ["cairn-ca 201", "cairn-root 201", "cairn-runner 201"]);
    let keys = said(&server.run(&["key", "list"]));
    assert!(keys.contains("  runner  ") && !keys.contains("@root"), "{keys}");
    let log = server.log();
    assert!(!log.contains(&runner.1) && !log.contains(&root.1) && !log.contains("first-token"), "no secret in a log");
    assert_eq!(server.stop().code(), Some(0));

    let again = start(&home, &api);
    until(|| api.gets() >= 3);
    assert_eq!(changes(&api), Vec::<String>::new(), "nothing is written twice");
    // Lost Secrets come back with the same keys.
    api.delete("secrets", "cairn-runner");
    api.delete("secrets", "cairn-root");
    again.hangup();
    until(|| api.key("cairn-runner").is_some() && api.key("cairn-root").is_some());
    let root_again = api.key("cairn-root").unwrap();
    assert_eq!((api.key("cairn-runner").unwrap(), &root_again), (runner.clone(), &root));
    // A Secret that holds another one's key gets its own back; what else it holds stays.
    let labels = json!({ "metadata": { "name": "cairn-runner", "labels": { "team": "a" } } });
    api.put_key("cairn-runner", &root_again.0, &root_again.1, &labels);
    again.hangup();
    until(|| api.key("cairn-runner").as_ref() == Some(&runner));
    assert_eq!(api.object("secrets", "cairn-runner").unwrap()["metadata"]["labels"]["team"], "a");
    // A key that nobody has is a rotation: it is in force, the former is not, and nothing is written.
    let rotated = ("ROTATED".to_owned(), "another-secret".to_owned());
    api.put_key("cairn-runner", &rotated.0, &rotated.1, &labels);
    changes(&api);
    again.hangup();
    until(|| works(&again, &rotated));
    assert!(!works(&again, &runner));
    assert_eq!((api.key("cairn-runner").unwrap(), changes(&api)), (rotated, Vec::new()));
    assert!(!again.log().contains("another-secret"));
    assert_eq!(again.stop().code(), Some(0));
}

#[test]
fn kept_secrets_are_the_keys_of_new_volumes() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(folder.path());
    api.put_key("cairn-runner", "RUNNERGIVEN", "the-runners-secret", &json!({}));
    api.put_key("cairn-root", "ROOTGIVEN", "the-roots-secret", &json!({}));
    let server = start(&folder.path().join("d"), &api);
    let keys = || said(&server.run(&["key", "list"]));
    until(|| keys().contains("RUNNERGIVEN") && keys().contains("ROOTGIVEN"));
    assert_eq!(keys().lines().count(), 3, "the drawn root key is gone: {}", keys());
    assert!(works(&server, &("RUNNERGIVEN".to_owned(), "the-runners-secret".to_owned())));
    assert!(works(&server, &("ROOTGIVEN".to_owned(), "the-roots-secret".to_owned())));
    assert_eq!(changes(&api), ["cairn-ca 201"]);

    // A key that was removed is not taken back from where it was published.
    said(&server.run(&["key", "remove", "RUNNERGIVEN"]));
    server.hangup();
    until(|| api.key("cairn-runner").is_some_and(|(access_key, _)| access_key != "RUNNERGIVEN"));
    assert!(works(&server, &api.key("cairn-runner").unwrap()));
    assert!(!server.log().contains("the-runners-secret") && !server.log().contains("the-roots-secret"));
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn the_store_serves_while_kubernetes_refuses_and_the_missing_verb_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(folder.path());
    api.forbid("create", "secrets", "cairn-runner");
    api.forbid("get", "secrets", "cairn-root");
    api.forbid("patch", "configmaps", "cairn-ca");
    let server = start(&folder.path().join("d"), &api);
    for words in [
        "needs the verb `create` on secrets with resourceNames [cairn-runner]",
        "needs the verb `get` on secrets with resourceNames [cairn-root]",
        "needs the verb `patch` on configmaps with resourceNames [cairn-ca]",
    ] {
        until(|| server.log().contains(words));
    }
    assert_eq!(said(&server.run(&["healthcheck"])), "ready\n");
    assert!(said(&server.run(&["bucket", "list"])).contains("gitlab-cache"));

    // It goes on by itself once it may, over errors that pass.
    api.fail(&[500, 503, 429, 409]);
    api.allow("create", "secrets", "cairn-runner");
    api.allow("get", "secrets", "cairn-root");
    api.allow("patch", "configmaps", "cairn-ca");
    until(|| api.key("cairn-runner").is_some() && api.key("cairn-root").is_some());
    until(|| api.object("configmaps", "cairn-ca").is_some());

    // The token is renewed under its feet.
    api.rotate_token("second-token");
    api.delete("secrets", "cairn-runner");
    server.hangup();
    until(|| api.key("cairn-runner").is_some());

    // What cannot be written is told.
    let (access_key, secret) = api.key("cairn-root").unwrap();
    api.put_key("cairn-runner", &access_key, &secret, &json!({ "immutable": true }));
    server.hangup();
    until(|| server.log().contains("field is immutable") && server.log().contains("delete it"));
    assert!(!server.log().contains("-token"));
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn an_api_server_that_is_away_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("d");
    let gone = api(&folder.path().join("other"));
    let config = home.with_extension("toml");
    fs::write(&config, DECLARED).unwrap();
    let account = gone.environment()[1].1.clone();
    // Nothing listens on port 1.
    let environment = [("CAIRN_KUBERNETES_API", "https://127.0.0.1:1"), ("CAIRN_KUBERNETES_ACCOUNT", account.as_str())];
    let server = Server::start(&home, &["--config", config.to_str().unwrap()], &environment);
    until(|| server.log().contains("the API server https://127.0.0.1:1 cannot be reached"));
    assert_eq!(said(&server.run(&["healthcheck"])), "ready\n");
    assert_eq!(server.stop().code(), Some(0));

    // Outside of a pod it says so.
    let server = Server::start(&home, &["--config", config.to_str().unwrap()], &[]);
    until(|| server.log().contains("this is no pod of Kubernetes"));
    assert_eq!(server.stop().code(), Some(0));
}
