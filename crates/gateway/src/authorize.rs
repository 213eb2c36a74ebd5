//! May this key do that? A pure decision over the key's scope.
//!
//! Whoever may read a key is told truthfully that it is not there (404); everybody else is told nothing (403). So the
//! decision never looks at what exists.

use cairn_meta::Scope;
use cairn_s3::{S3Error, S3ErrorCode};

/// What a request wants, and of what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action<'a> {
    /// See the list of buckets; a limited key sees its own alone.
    ListBuckets,
    /// Make or remove a bucket.
    ManageBucket,
    /// Ask whether a bucket is there and for its settings.
    ReadBucket {
        /// The bucket.
        bucket: &'a str,
    },
    /// List keys or uploads that begin with a prefix.
    List {
        /// The bucket.
        bucket: &'a str,
        /// The prefix asked for.
        prefix: &'a str,
    },
    /// Read an object or the parts of an upload.
    Read {
        /// The bucket.
        bucket: &'a str,
        /// The key.
        key: &'a str,
    },
    /// Write or delete an object, or work at an upload.
    Write {
        /// The bucket.
        bucket: &'a str,
        /// The key.
        key: &'a str,
    },
}

/// Decides.
///
/// # Errors
/// `AccessDenied`.
pub(crate) fn authorize(scope: &Scope, action: Action<'_>) -> Result<(), S3Error> {
    let Scope::Bucket { bucket: own, prefix: own_prefix, write } = scope else { return Ok(()) };
    let allowed = match action {
        Action::ListBuckets => true,
        Action::ManageBucket => false,
        Action::ReadBucket { bucket } => bucket == own,
        Action::List { bucket, prefix } => bucket == own && prefix.starts_with(own_prefix.as_str()),
        Action::Read { bucket, key } => bucket == own && key.starts_with(own_prefix.as_str()),
        Action::Write { bucket, key } => *write && bucket == own && key.starts_with(own_prefix.as_str()),
    };
    if allowed { Ok(()) } else { Err(denied(action, own, own_prefix, *write)) }
}

/// The holder of a key may know its own limits, and with them finds the mistake.
fn denied(action: Action<'_>, own: &str, own_prefix: &str, write: bool) -> S3Error {
    let limits = match (own_prefix, write) {
        ("", true) => format!("bucket {own}"),
        ("", false) => format!("bucket {own}, reading only"),
        (prefix, true) => format!("bucket {own}, keys that begin with {prefix}"),
        (prefix, false) => format!("bucket {own}, keys that begin with {prefix}, reading only"),
    };
    let message = match action {
        Action::ManageBucket => format!("only a root key makes or removes buckets; this key is limited to {limits}"),
        Action::List { .. } => format!("list with a prefix inside the limits of this key: {limits}"),
        _ => format!("this access key is limited to {limits}"),
    };
    S3Error::new(S3ErrorCode::AccessDenied, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scoped(prefix: &str, write: bool) -> Scope {
        Scope::Bucket { bucket: "cache".to_owned(), prefix: prefix.to_owned(), write }
    }

    #[test]
    fn decisions() {
        let read = |bucket, key| Action::Read { bucket, key };
        let write = |bucket, key| Action::Write { bucket, key };
        let list = |bucket, prefix| Action::List { bucket, prefix };
        let reader = scoped("project/7/", false);
        let writer = scoped("project/7/", true);
        let whole = scoped("", true);
        for (scope, action, allowed) in [
            (&Scope::Root, Action::ManageBucket, true),
            (&Scope::Root, write("any", "key"), true),
            (&Scope::Root, list("any", ""), true),
            (&whole, Action::ManageBucket, false),
            (&whole, Action::ListBuckets, true),
            (&whole, Action::ReadBucket { bucket: "cache" }, true),
            (&whole, Action::ReadBucket { bucket: "cach" }, false),
            (&whole, Action::ReadBucket { bucket: "cache2" }, false),
            (&whole, list("cache", ""), true),
            (&whole, write("cache", "anything"), true),
            (&whole, write("other", "anything"), false),
            (&whole, read("other", "anything"), false),
            (&reader, read("cache", "project/7/a"), true),
            (&reader, read("cache", "project/7/"), true),
            (&reader, read("cache", "project/7"), false),
            (&reader, read("cache", "project/70/a"), false),
            (&reader, read("other", "project/7/a"), false),
            (&reader, write("cache", "project/7/a"), false),
            (&reader, list("cache", "project/7/"), true),
            (&reader, list("cache", "project/7/sub"), true),
            (&reader, list("cache", "project/"), false),
            (&reader, list("cache", ""), false),
            (&reader, Action::ReadBucket { bucket: "cache" }, true),
            (&writer, write("cache", "project/7/a"), true),
            (&writer, write("cache", "project/8/a"), false),
            (&writer, Action::ManageBucket, false),
        ] {
            let decision = authorize(scope, action);
            assert_eq!(decision.is_ok(), allowed, "{scope:?} {action:?}");
            if let Err(error) = decision {
                assert_eq!(error.code, S3ErrorCode::AccessDenied);
            }
        }
    }
}
