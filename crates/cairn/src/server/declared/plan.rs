//! What becomes of a declared key. A pure decision.

use cairn_meta::Scope;

/// The pair that lies where the key is to be published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// None, or none that could be a key.
    Nothing,
    /// One whose access key the store has.
    Known,
    /// One that the store does not have.
    Unknown,
}

/// What the store has under a declared name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stored<'a> {
    /// The name was never declared.
    Never,
    /// A key was there and was removed.
    Removed,
    /// This key.
    Key(&'a Scope),
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum KeyPlan {
    /// Nothing.
    Keep,
    /// Other limits for the same key and secret.
    Change,
    /// The pair that was found becomes the key: an operator gave his own, or the volumes are new and the Secret is not.
    Adopt,
    /// A new pair. A key that was removed comes back as another one: whoever removed it may know why, so that the old
    /// pair is not adopted from where it was published.
    Draw,
}

/// Decides.
pub(super) fn plan_key(wanted: &Scope, stored: Stored<'_>, found: Found) -> KeyPlan {
    match (stored, found) {
        (Stored::Key(scope), _) if scope == wanted => KeyPlan::Keep,
        (Stored::Key(_), _) => KeyPlan::Change,
        (Stored::Never, Found::Unknown) => KeyPlan::Adopt,
        (Stored::Never | Stored::Removed, _) => KeyPlan::Draw,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions() {
        let scope = |prefix: &str, write| Scope::Bucket { bucket: "b".to_owned(), prefix: prefix.to_owned(), write };
        let wanted = scope("", true);
        for (stored, found, plan) in [
            (Stored::Never, Found::Nothing, KeyPlan::Draw),
            (Stored::Never, Found::Known, KeyPlan::Draw),
            (Stored::Never, Found::Unknown, KeyPlan::Adopt),
            (Stored::Removed, Found::Unknown, KeyPlan::Draw),
            (Stored::Key(&wanted), Found::Unknown, KeyPlan::Keep),
            (Stored::Key(&wanted), Found::Nothing, KeyPlan::Keep),
            (Stored::Key(&scope("p/", true)), Found::Known, KeyPlan::Change),
            (Stored::Key(&scope("", false)), Found::Unknown, KeyPlan::Change),
        ] {
            assert_eq!(plan_key(&wanted, stored, found), plan, "{stored:?} {found:?}");
        }
    }
}
