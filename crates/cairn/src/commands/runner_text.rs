//! The texts of `cairn runner-config`: TOML of the runner, values of its Helm chart, and where the CA goes.

use std::fmt::Write;

/// What the texts are made of.
#[derive(Clone, Debug, Default)]
pub(super) struct RunnerCache {
    pub(super) endpoint: String,
    pub(super) endpoint_is_local: bool,
    pub(super) tls: bool,
    pub(super) bucket: String,
    pub(super) path: String,
    pub(super) access_key: String,
    pub(super) secret_key: String,
    pub(super) ca_pem: String,
    pub(super) ca_path: String,
}

/// Where the helper image looks for a CA and installs it.
const CA_FOLDER: &str = "/etc/gitlab-runner/certs";

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// For `config.toml`, inside `[[runners]]`.
pub(super) fn runner_toml(cache: &RunnerCache) -> String {
    let keys =
        format!("    AccessKey = {}\n    SecretKey = {}\n", quoted(&cache.access_key), quoted(&cache.secret_key));
    cache_section(cache, &keys)
}

fn cache_section(cache: &RunnerCache, keys: &str) -> String {
    format!(
        "[runners.cache]\n  Type = \"s3\"\n  Path = {}\n  # All runners with this configuration share the cache, and a new runner token does not orphan it.\n  \
         Shared = true\n  [runners.cache.s3]\n    ServerAddress = {}\n    Insecure = {}\n    BucketName = {}\n    \
         # Any region is accepted; a set one saves the runner a question per job.\n    BucketLocation = \"us-east-1\"\n    \
         AuthenticationType = \"access-key\"\n    PathStyle = true\n{keys}",
        quoted(&cache.path),
        quoted(&cache.endpoint),
        !cache.tls,
        quoted(&cache.bucket),
    )
}

/// Manifest of the secrets and values of the Helm chart, two YAML documents.
pub(super) fn helm_files(cache: &RunnerCache) -> String {
    let mut text = String::from(
        "# Secrets: kubectl apply -n RUNNER_NAMESPACE -f -\napiVersion: v1\nkind: Secret\nmetadata:\n  name: s3access\nstringData:\n",
    );
    // JSON strings are YAML strings. The chart wants exactly these two names.
    let _ = writeln!(text, "  accesskey: {}", serde_json::Value::from(cache.access_key.as_str()));
    let _ = writeln!(text, "  secretkey: {}", serde_json::Value::from(cache.secret_key.as_str()));
    if !cache.ca_pem.is_empty() {
        text.push_str("---\napiVersion: v1\nkind: Secret\nmetadata:\n  name: cairn-ca\nstringData:\n  ca.crt: |\n");
        text.push_str(&indented(&cache.ca_pem, 4));
    }
    text.push_str(
        "---\n# values.yaml of the gitlab-runner chart\nrunners:\n  cache:\n    secretName: s3access\n  config: |\n",
    );
    text.push_str(&indented(&helm_config(cache), 4));
    text
}

/// The chart hands the keys over by environment, so they are not in its TOML.
fn helm_config(cache: &RunnerCache) -> String {
    let mut text = String::from("[[runners]]\n");
    if !cache.ca_pem.is_empty() {
        let _ = write!(
            text,
            "  [runners.kubernetes]\n    [[runners.kubernetes.volumes.secret]]\n      name = \"cairn-ca\"\n      \
             mount_path = \"{CA_FOLDER}\"\n      read_only = true\n"
        );
    }
    text.push_str(&indented(&cache_section(cache, ""), 2));
    text
}

fn indented(text: &str, by: usize) -> String {
    text.lines().fold(String::new(), |mut all, line| {
        let _ = writeln!(all, "{:by$}{line}", "");
        all
    })
}

/// All parts with what to do with them.
pub(super) fn everything(cache: &RunnerCache) -> String {
    let mut text = String::new();
    if cache.endpoint_is_local {
        let _ = writeln!(
            text,
            "# NOTE: {} is this machine only. For runners elsewhere start the server with --s3-listen 0.0.0.0:9000 and\n\
             # --tls-name NAME, and give --endpoint NAME:9000 here.\n",
            cache.endpoint
        );
    }
    text.push_str("# ---- config.toml of the runner, inside its [[runners]] section\n\n");
    text.push_str(&runner_toml(cache));
    text.push_str("\n# ---- Kubernetes: secrets and Helm values\n\n");
    text.push_str(&helm_files(cache));
    if !cache.ca_pem.is_empty() {
        text.push('\n');
        text.push_str(&ca_notes(cache));
    }
    text
}

/// `tls-ca-file` of the runner is not used for the cache: the CA has to go where the helper looks.
fn ca_notes(cache: &RunnerCache) -> String {
    let mut text = format!("# ---- CA of the server, also in {}\n", cache.ca_path);
    let _ = write!(
        text,
        "# Kubernetes executor: the secret cairn-ca above; the helper image installs {CA_FOLDER}/ca.crt.\n\
         # Docker executor, in [runners.docker]: volumes = [\"/path/to/ca.crt:{CA_FOLDER}/ca.crt:ro\", \"/cache\"]\n\
         # Shell executor: install ca.crt in the system's store (update-ca-certificates), or set in [[runners]]:\n\
         #   environment = [\"SSL_CERT_FILE=/path/to/ca.crt\"]\n\n{}",
        cache.ca_pem
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache() -> RunnerCache {
        RunnerCache {
            endpoint: "cache.lan:9000".to_owned(),
            endpoint_is_local: false,
            tls: true,
            bucket: "gitlab-cache".to_owned(),
            path: "team \"a\"".to_owned(),
            access_key: "AK".to_owned(),
            secret_key: "SK".to_owned(),
            ca_pem: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned(),
            ca_path: "/srv/cairn/ca.crt".to_owned(),
        }
    }

    #[test]
    fn the_toml_is_what_the_runner_reads() {
        let parsed: toml::Table = toml::from_str(&runner_toml(&cache())).unwrap();
        let section = &parsed["runners"]["cache"];
        assert_eq!(section["Type"].as_str(), Some("s3"));
        assert_eq!(section["Path"].as_str(), Some("team \"a\""));
        assert_eq!(section["Shared"].as_bool(), Some(true));
        let s3 = &section["s3"];
        for (key, value) in [
            ("ServerAddress", "cache.lan:9000"),
            ("AccessKey", "AK"),
            ("SecretKey", "SK"),
            ("BucketName", "gitlab-cache"),
            ("BucketLocation", "us-east-1"),
            ("AuthenticationType", "access-key"),
        ] {
            assert_eq!(s3[key].as_str(), Some(value), "{key}");
        }
        assert_eq!((s3["Insecure"].as_bool(), s3["PathStyle"].as_bool()), (Some(false), Some(true)));
    }

    #[test]
    fn the_charts_toml_is_a_runner_without_keys() {
        let parsed: toml::Table = toml::from_str(&helm_config(&cache())).unwrap();
        let runner = &parsed["runners"][0];
        assert_eq!(runner["cache"]["s3"]["BucketName"].as_str(), Some("gitlab-cache"));
        assert!(runner["cache"]["s3"].get("SecretKey").is_none());
        let volume = &runner["kubernetes"]["volumes"]["secret"][0];
        assert_eq!((volume["name"].as_str(), volume["mount_path"].as_str()), (Some("cairn-ca"), Some(CA_FOLDER)));
    }

    #[test]
    fn the_helm_files_are_as_they_were() {
        let expected = r#"# Secrets: kubectl apply -n RUNNER_NAMESPACE -f -
apiVersion: v1
kind: Secret
metadata:
  name: s3access
stringData:
  accesskey: "AK"
  secretkey: "SK"
---
apiVersion: v1
kind: Secret
metadata:
  name: cairn-ca
stringData:
  ca.crt: |
    -----BEGIN CERTIFICATE-----
    AAAA
    -----END CERTIFICATE-----
---
# values.yaml of the gitlab-runner chart
runners:
  cache:
    secretName: s3access
  config: |
    [[runners]]
      [runners.kubernetes]
        [[runners.kubernetes.volumes.secret]]
          name = "cairn-ca"
          mount_path = "/etc/gitlab-runner/certs"
          read_only = true
      [runners.cache]
"#;
        let text = helm_files(&cache());
        assert!(text.starts_with(expected), "{text}");
        assert!(!text.contains('\t') && !text.lines().any(|line| line.ends_with(' ')));
    }

    #[test]
    fn without_tls_there_is_no_ca() {
        let plain = RunnerCache { tls: false, ca_pem: String::new(), ..cache() };
        let text = everything(&plain);
        assert!(
            text.contains("Insecure = true") && !text.contains("cairn-ca") && !text.contains("CERTIFICATE"),
            "{text}"
        );
        assert!(!text.contains("NOTE:"));
        assert!(everything(&RunnerCache { endpoint_is_local: true, ..cache() }).starts_with("# NOTE: cache.lan:9000"));
    }
}
