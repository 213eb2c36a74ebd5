//! What becomes of a declared key. A pure decision.

use cairn_meta::Scope;

/// The pair that lies where the key is to be published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// None, or none that could be a key.
    Nothing,
    /// The pair that the store has under this name.
    Own,
    /// One whose access key is another's.
    Foreign,
    /// One whose access key nobody has, or another secret for the own one.
    Fresh,
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
    /// The pair that was found becomes the key: an operator gave his own, or another in the place of the one in force, or
    /// the volumes are new and the Secret is not.
    Adopt,
    /// A new pair. A key that was removed comes back as another one: whoever removed it may know why, so that the old
    /// pair is not adopted from where it was published.
    Draw,
}

/// Decides.
pub(super) fn plan_key(wanted: &Scope, stored: Stored<'_>, found: Found) -> KeyPlan {
    match (stored, found) {
        (Stored::Never | Stored::Key(_), Found::Fresh) => KeyPlan::Adopt,
        (Stored::Key(scope), _) if scope == wanted => KeyPlan::Keep,
        (Stored::Key(_), _) => KeyPlan::Change,
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
            (Stored::Never, Found::Foreign, KeyPlan::Draw),
            (Stored::Never, Found::Fresh, KeyPlan::Adopt),
            (Stored::Removed, Found::Fresh, KeyPlan::Draw),
            (Stored::Key(&wanted), Found::Own, KeyPlan::Keep),
            (Stored::Key(&wanted), Found::Foreign, KeyPlan::Keep),
            (Stored::Key(&wanted), Found::Nothing, KeyPlan::Keep),
            (Stored::Key(&wanted), Found::Fresh, KeyPlan::Adopt),
            (Stored::Key(&scope("p/", true)), Found::Own, KeyPlan::Change),
            (Stored::Key(&scope("", false)), Found::Fresh, KeyPlan::Adopt),
        ] {
            assert_eq!(plan_key(&wanted, stored, found), plan, "{stored:?} {found:?}");
        }
    }
}
