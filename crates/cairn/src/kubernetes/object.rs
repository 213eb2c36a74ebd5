//! The objects that are published, as JSON.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::secrets::KeyPair;

/// Kinds of objects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A Secret.
    Secret,
    /// A ConfigMap.
    ConfigMap,
}

impl Kind {
    /// As URLs and Roles name it.
    pub(super) const fn resource(self) -> &'static str {
        match self {
            Self::Secret => "secrets",
            Self::ConfigMap => "configmaps",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Names in the Secret of a key: the GitLab runner's chart wants exactly these.
const ACCESS_KEY: &str = "accesskey";
const SECRET_KEY: &str = "secretkey";
const CA: &str = "ca.crt";

/// Access key and secret in a Secret; none if one of the two is missing or is no text.
pub(crate) fn key_of(object: &Value) -> Option<(String, String)> {
    let text = |name: &str| {
        let bytes = STANDARD.decode(object["data"][name].as_str()?).ok()?;
        String::from_utf8(bytes).ok().filter(|text| !text.is_empty())
    };
    Some((text(ACCESS_KEY)?, text(SECRET_KEY)?))
}

/// The CA in a ConfigMap.
pub(crate) fn ca_of(object: &Value) -> Option<&str> {
    object["data"][CA].as_str()
}

/// The fields of an object that are ours: an apply leaves all others to their owners. The type of a Secret is among
/// those: it cannot be changed.
fn applied(kind: Kind, name: &str, data: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": kind.name(),
        "metadata": { "name": name, "labels": { "app.kubernetes.io/managed-by": "cairn" } },
        "data": data,
    })
}

/// The Secret of a key.
pub(super) fn key_object(name: &str, key: &KeyPair) -> Value {
    let encoded = |text: &str| STANDARD.encode(text);
    applied(
        Kind::Secret,
        name,
        &json!({ ACCESS_KEY: encoded(&key.access_key), SECRET_KEY: encoded(key.secret.reveal()) }),
    )
}

/// The ConfigMap of a CA.
pub(super) fn ca_object(name: &str, pem: &str) -> Value {
    applied(Kind::ConfigMap, name, &json!({ CA: pem }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secrets::Secret;

    #[test]
    fn what_is_written_is_read_back() {
        let key = KeyPair { access_key: "AK".to_owned(), secret: Secret::new("SK/+".to_owned()) };
        let object = key_object("cairn-runner", &key);
        assert_eq!(key_of(&object), Some(("AK".to_owned(), "SK/+".to_owned())));
        assert_eq!(object["metadata"]["name"], "cairn-runner");
        assert_eq!(ca_of(&ca_object("ca", "PEM")), Some("PEM"));
    }

    #[test]
    fn half_a_pair_is_none() {
        for data in [
            json!({}),
            json!({"accesskey": "QUs="}),
            json!({"accesskey": "QUs=", "secretkey": "!"}),
            json!({"accesskey": "QUs=", "secretkey": ""}),
        ] {
            assert!(key_of(&json!({ "data": data })).is_none(), "{data}");
        }
        assert!(key_of(&json!({})).is_none());
    }
}
