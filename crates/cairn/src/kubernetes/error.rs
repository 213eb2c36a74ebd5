//! What the API server refuses, and what to do about it.

use serde::Deserialize;

use super::object::Kind;
use crate::http_client::{Answer, ExchangeError};

/// The API server's own words that are passed on.
const MESSAGE_CHARS_MAX: usize = 300;

/// Why an object could not be read or written. The next try may go well, whatever it was: somebody mends the Role.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KubernetesError {
    /// No API server is known.
    #[error(
        "no API server is known: this is no pod of Kubernetes (KUBERNETES_SERVICE_HOST is not set); take [kubernetes] \
         out of the configuration, or name the server with --kubernetes-api"
    )]
    NoServer,
    /// A file of the service account cannot be used.
    #[error("the pod's service account cannot be used: {0}; does the pod have automountServiceAccountToken: true?")]
    Account(String),
    /// It cannot be reached.
    #[error("the API server {server} cannot be reached: {why}")]
    Unreachable {
        /// Its URL.
        server: String,
        /// Why.
        why: String,
    },
    /// The connection broke off.
    #[error("the API server broke off: {0}")]
    Broken(#[from] ExchangeError),
    /// The token is not accepted.
    #[error("the API server does not accept the service account's token: {0}")]
    Unauthenticated(String),
    /// The Role lacks a verb.
    #[error(
        "the service account may not {verb} {kind} {name}: its Role needs the verb `{verb}` on {resource} with resourceNames [{name}] ({message})"
    )]
    Forbidden {
        /// The verb that is missing.
        verb: &'static str,
        /// What of.
        kind: Kind,
        /// As a Role names it.
        resource: &'static str,
        /// The object.
        name: String,
        /// The server's words.
        message: String,
    },
    /// The namespace is not there.
    #[error("{kind} {name} cannot be made: {message}")]
    NotFound {
        /// What.
        kind: Kind,
        /// Which.
        name: String,
        /// The server's words.
        message: String,
    },
    /// The object cannot be what it is asked to be.
    #[error(
        "the API server takes no such {kind} {name}: {message}; if it is immutable, or of a type that allows no such keys, delete it: it is made anew"
    )]
    Invalid {
        /// What.
        kind: Kind,
        /// Which.
        name: String,
        /// The server's words.
        message: String,
    },
    /// Somebody else is writing.
    #[error("{kind} {name} is being changed by another: {message}")]
    Conflict {
        /// What.
        kind: Kind,
        /// Which.
        name: String,
        /// The server's words.
        message: String,
    },
    /// It is overloaded or ill.
    #[error("the API server answers {status}: {message}")]
    Server {
        /// The status.
        status: u16,
        /// The server's words.
        message: String,
    },
}

impl KubernetesError {
    /// Whether every object would meet the same.
    pub(crate) const fn concerns_all(&self) -> bool {
        matches!(
            self,
            Self::NoServer | Self::Account(_) | Self::Unreachable { .. } | Self::Broken(_) | Self::Unauthenticated(_)
        )
    }
}

/// The part of a `Status` that people need.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Status {
    message: String,
}

/// A refusal of `verb` on an object. `secrets` are texts that must not be shown.
pub(super) fn refusal(
    answer: &Answer,
    verb: &'static str,
    kind: Kind,
    name: &str,
    secrets: &[&str],
) -> KubernetesError {
    let status: Status = serde_json::from_slice(&answer.body).unwrap_or_default();
    let message = shown(&status.message, secrets);
    let name = name.to_owned();
    match answer.status.as_u16() {
        401 => KubernetesError::Unauthenticated(message),
        403 => {
            // An apply is authorized twice: as `patch`, and as `create` where the object is missing.
            let verb = if message.contains("cannot create") { "create" } else { verb };
            KubernetesError::Forbidden { verb, kind, resource: kind.resource(), name, message }
        }
        404 => KubernetesError::NotFound { kind, name, message },
        409 => KubernetesError::Conflict { kind, name, message },
        400 | 415 | 422 => KubernetesError::Invalid { kind, name, message },
        status => KubernetesError::Server { status, message },
    }
}

/// The server's words, cut, and without what must not stand in a log.
fn shown(message: &str, secrets: &[&str]) -> String {
    if secrets.iter().any(|secret| !secret.is_empty() && message.contains(secret)) {
        return "its words repeat a secret and are not shown".to_owned();
    }
    let plain: String = message.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    match plain.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &plain[..end]),
        None if plain.is_empty() => "it does not say why".to_owned(),
        None => plain,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    use super::*;

    fn refused(status: u16, message: &str) -> String {
        let body = Bytes::from(serde_json::json!({"kind": "Status", "message": message}).to_string());
        let answer = Answer { status: StatusCode::from_u16(status).unwrap(), headers: HeaderMap::new(), body };
        refusal(&answer, "patch", Kind::Secret, "cairn-root", &["hidden"]).to_string()
    }

    #[test]
    fn the_missing_verb_is_named() {
        let patch = refused(403, "secrets \"cairn-root\" is forbidden: User \"u\" cannot patch resource \"secrets\"");
        assert!(patch.contains("needs the verb `patch` on secrets with resourceNames [cairn-root]"), "{patch}");
        let create = refused(403, "secrets \"cairn-root\" is forbidden: User \"u\" cannot create resource \"secrets\"");
        assert!(create.contains("needs the verb `create`"), "{create}");
    }

    #[test]
    fn no_secret_and_no_endless_text_is_shown() {
        assert!(!refused(422, "data is hidden").contains("hidden"));
        assert!(refused(422, "field is immutable").contains("delete it"));
        assert!(refused(500, &"x".repeat(5000)).len() < 500);
        assert!(refused(503, "").contains("503"));
    }
}
