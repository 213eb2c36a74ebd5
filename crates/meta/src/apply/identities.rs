//! Access keys. One root key stays switched on; a key that is limited to a bucket goes when the bucket goes, so that a
//! bucket made anew under the name is nobody's.

use cairn_proto::BucketId;

use super::context::{Applied, Context, require};
use crate::command::{Refusal, Reply};
use crate::keys::{self, Counter};
use crate::row::{BucketRow, IdentityNameRow, IdentityRow, Scope};
use crate::rows::{RowsError, collect};

const ACCESS_KEY_BYTES_MAX: usize = 128;
const NAME_BYTES_MAX: usize = 128;
/// Access keys of one bucket: one command removes them all with it.
const BUCKET_IDENTITIES_MAX: usize = 1000;

fn is_root(row: &IdentityRow) -> bool {
    row.enabled && row.scope == Scope::Root
}

/// Keeps count of the root keys that are switched on; the last one stays.
fn count_roots(context: &mut Context<'_, '_>, before: bool, after: bool) -> Applied<()> {
    match (before, after) {
        (false, true) => context.add(Counter::RootKeys, 1)?,
        (true, false) if context.counter(Counter::RootKeys)? <= 1 => return Err(Refusal::LastRoot.into()),
        (true, false) => context.take(Counter::RootKeys, 1)?,
        _ => {}
    }
    Ok(())
}

/// `PutIdentity`.
pub(super) fn put(context: &mut Context<'_, '_>, identity: &IdentityRow, must_be_new: bool) -> Applied<Reply> {
    let length = identity.access_key.len();
    require((1..=ACCESS_KEY_BYTES_MAX).contains(&length), "an access key has 1 to 128 bytes")?;
    let key = keys::identity(&identity.access_key);
    let before = context.load::<IdentityRow>(&key)?;
    if must_be_new && before.is_some() {
        return Err(Refusal::IdentityExists.into());
    }
    count_roots(context, before.as_ref().is_some_and(|row| is_root(&row.value)), is_root(identity))?;
    if let Some(before) = before {
        unlink(context, &before.value)?;
    }
    link(context, identity)?;
    context.put(key, identity)?;
    Ok(Reply::Done)
}

/// `DeclareIdentity`.
pub(super) fn declare(context: &mut Context<'_, '_>, name: &str, identity: &IdentityRow) -> Applied<Reply> {
    require((1..=NAME_BYTES_MAX).contains(&name.len()), "the name of an access key has 1 to 128 bytes")?;
    remove_former(context, name, &identity.access_key)?;
    put(context, identity, false)?;
    let row = IdentityNameRow { name: name.to_owned(), access_key: identity.access_key.clone() };
    context.put(keys::identity_name(name), row)?;
    Ok(Reply::Done)
}

/// The key that the name stood for goes with the same command: no crash leaves both in force. A root key stays, since the
/// name says only which of them is published.
fn remove_former(context: &mut Context<'_, '_>, name: &str, access_key: &str) -> Applied<()> {
    let Some(named) = context.load::<IdentityNameRow>(&keys::identity_name(name))? else { return Ok(()) };
    let former = keys::identity(&named.value.access_key);
    if named.value.access_key != access_key
        && let Some(row) = context.load::<IdentityRow>(&former)?
        && row.value.scope != Scope::Root
    {
        unlink(context, &row.value)?;
        context.rows.delete(former);
    }
    Ok(())
}

/// Records that the key belongs to the bucket it is limited to, which must be there.
fn link(context: &mut Context<'_, '_>, identity: &IdentityRow) -> Applied<()> {
    let Scope::Bucket { bucket, .. } = &identity.scope else { return Ok(()) };
    let Some(bucket) = context.load::<BucketRow>(&keys::bucket(bucket))? else {
        return Err(Refusal::NoSuchBucket.into());
    };
    let bucket = bucket.value.id;
    let others = of_bucket(context, bucket)?.len();
    require(others < BUCKET_IDENTITIES_MAX, "a bucket has at most 1000 access keys: remove those that nobody uses")?;
    context.put(keys::bucket_identity(bucket, &identity.access_key), ())?;
    Ok(())
}

fn unlink(context: &mut Context<'_, '_>, identity: &IdentityRow) -> Applied<()> {
    if let Scope::Bucket { bucket, .. } = &identity.scope
        && let Some(bucket) = context.load::<BucketRow>(&keys::bucket(bucket))?
    {
        context.rows.delete(keys::bucket_identity(bucket.value.id, &identity.access_key));
    }
    Ok(())
}

fn of_bucket(context: &Context<'_, '_>, bucket: BucketId) -> Result<Vec<String>, RowsError> {
    let range = keys::bucket_identities(bucket);
    collect(context.rows, &range.from, &range.end, BUCKET_IDENTITIES_MAX, |key, _| {
        Ok(Some(keys::read_bucket_identity(key)?.1))
    })
}

/// The bucket goes, and its access keys with it. None of them is a root key.
pub(super) fn remove_of_bucket(context: &mut Context<'_, '_>, bucket: BucketId) -> Applied<()> {
    for access_key in of_bucket(context, bucket)? {
        context.rows.delete(keys::identity(&access_key));
        context.rows.delete(keys::bucket_identity(bucket, &access_key));
    }
    Ok(())
}

/// `SetIdentityEnabled`.
pub(super) fn set_enabled(context: &mut Context<'_, '_>, access_key: &str, enabled: bool) -> Applied<Reply> {
    let key = keys::identity(access_key);
    let Some(mut row) = context.load::<IdentityRow>(&key)? else {
        return Err(Refusal::NoSuchIdentity.into());
    };
    let before = is_root(&row.value);
    row.value.enabled = enabled;
    count_roots(context, before, is_root(&row.value))?;
    context.store(key, &row)?;
    Ok(Reply::Done)
}

/// `RemoveIdentity`.
pub(super) fn remove(context: &mut Context<'_, '_>, access_key: &str) -> Applied<Reply> {
    let key = keys::identity(access_key);
    let Some(row) = context.load::<IdentityRow>(&key)? else {
        return Err(Refusal::NoSuchIdentity.into());
    };
    count_roots(context, is_root(&row.value), false)?;
    unlink(context, &row.value)?;
    context.rows.delete(key);
    Ok(Reply::Done)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{World, refusal};
    use super::*;
    use crate::command::Command;

    fn identity(access_key: &str, scope: Scope) -> IdentityRow {
        IdentityRow {
            access_key: access_key.to_owned(),
            sealed_secret: bytes::Bytes::new(),
            scope,
            enabled: true,
            created_ms: 0,
            description: String::new(),
        }
    }

    #[test]
    fn the_last_root_key_stays() {
        let mut world = World::default();
        let put = |access_key: &str, scope: Scope, must_be_new| Command::PutIdentity {
            identity: identity(access_key, scope),
            must_be_new,
        };
        let narrow = || Scope::Bucket { bucket: "b".to_owned(), prefix: String::new(), write: true };
        let enable =
            |access_key: &str, enabled| Command::SetIdentityEnabled { access_key: access_key.to_owned(), enabled };
        let remove = |access_key: &str| Command::RemoveIdentity { access_key: access_key.to_owned() };
        world.done(Command::CreateBucket { name: "b".to_owned() });
        world.done(put("root", Scope::Root, true));
        assert_eq!(refusal(world.run(put("root", Scope::Root, true))), Refusal::IdentityExists);
        for command in [enable("root", false), remove("root"), put("root", narrow(), false)] {
            assert_eq!(refusal(world.run(command)), Refusal::LastRoot);
        }
        world.done(put("second", Scope::Root, true));
        world.done(enable("root", false));
        world.done(enable("root", false));
        assert_eq!(refusal(world.run(remove("second"))), Refusal::LastRoot);
        world.done(remove("root"));
        world.done(put("app", narrow(), true));
        world.done(enable("app", false));
        assert_eq!(refusal(world.run(enable("root", true))), Refusal::NoSuchIdentity);
        let listed = world.query().identities(None, 9).unwrap();
        assert_eq!(listed.iter().map(|row| row.access_key.as_str()).collect::<Vec<_>>(), ["app", "second"]);
        assert_eq!(world.query().identities(Some("app"), 9).unwrap().len(), 1);
    }
    #[test]
    fn a_declared_name_stands_for_one_key_and_outlives_it() {
        let mut world = World::default();
        let narrow = |write| Scope::Bucket { bucket: "b".to_owned(), prefix: String::new(), write };
        let declare = |access_key: &str, write| Command::DeclareIdentity {
            name: "runner".to_owned(),
            identity: identity(access_key, narrow(write)),
        };
        let named = |world: &World| world.query().identity_name("runner").unwrap().map(|row| row.access_key);
        world.done(Command::CreateBucket { name: "b".to_owned() });
        assert_eq!(named(&world), None);
        world.done(declare("one", true));
        world.done(declare("one", false));
        assert_eq!(world.query().identity("one").unwrap().unwrap().scope, narrow(false));
        world.done(Command::RemoveIdentity { access_key: "one".to_owned() });
        assert_eq!(named(&world).as_deref(), Some("one"));
        world.done(declare("two", true));
        assert_eq!(named(&world).as_deref(), Some("two"));
        let names = world.query().identity_names(None, 9).unwrap();
        assert_eq!(names.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["runner"]);
        assert!(world.query().identity_names(Some("runner"), 9).unwrap().is_empty());
        world.done(declare("three", true));
        assert!(world.query().identity("two").unwrap().is_none(), "the former key is in force no more");
        world.done(declare("two", true));
        let keys = world.query().identities(None, 9).unwrap();
        assert_eq!(keys.iter().map(|row| row.access_key.as_str()).collect::<Vec<_>>(), ["two"]);
        world.done(Command::PutIdentity { identity: identity("root", Scope::Root), must_be_new: true });
        assert_eq!(refusal(world.run(declare("root", true))), Refusal::LastRoot);
        assert!(world.query().identity("two").unwrap().is_some());
        assert_eq!(named(&world).as_deref(), Some("two"), "what is refused changes nothing");

        // A name of root keys tells which one is published, and takes none away.
        world.done(Command::PutIdentity { identity: identity("other", Scope::Root), must_be_new: true });
        for access_key in ["root", "other"] {
            let identity = identity(access_key, Scope::Root);
            world.done(Command::DeclareIdentity { name: "@root".to_owned(), identity });
        }
        assert!(world.query().identity("root").unwrap().is_some());
    }

    #[test]
    fn keys_go_with_their_bucket_and_with_no_other() {
        let mut world = World::default();
        let put = |access_key: &str, bucket: &str| Command::PutIdentity {
            identity: identity(
                access_key,
                Scope::Bucket { bucket: bucket.to_owned(), prefix: String::new(), write: true },
            ),
            must_be_new: false,
        };
        let bucket = |name: &str| Command::CreateBucket { name: name.to_owned() };
        let delete = |name: &str| Command::DeleteBucket { name: name.to_owned() };
        let listed = |world: &World| -> Vec<String> {
            world.query().identities(None, 9).unwrap().into_iter().map(|row| row.access_key).collect()
        };
        assert_eq!(refusal(world.run(put("early", "a"))), Refusal::NoSuchBucket);
        world.done(bucket("a"));
        world.done(bucket("b"));
        for (access_key, bucket) in [("one", "a"), ("two", "a"), ("three", "b"), ("moved", "a"), ("moved", "b")] {
            world.done(put(access_key, bucket));
        }
        world.done(Command::RemoveIdentity { access_key: "two".to_owned() });
        world.done(delete("a"));
        assert_eq!(listed(&world), ["moved", "three"]);
        world.done(bucket("a"));
        world.done(put("one", "a"));
        world.done(delete("b"));
        assert_eq!(listed(&world), ["one"]);
    }

    #[test]
    fn a_buckets_keys_are_no_more_than_one_command_can_remove() {
        let mut world = World::default();
        world.done(Command::CreateBucket { name: "b".to_owned() });
        let scope = || Scope::Bucket { bucket: "b".to_owned(), prefix: String::new(), write: false };
        let put = |number: usize| Command::PutIdentity {
            identity: identity(&format!("key-{number}"), scope()),
            must_be_new: true,
        };
        for number in 0..BUCKET_IDENTITIES_MAX {
            world.done(put(number));
        }
        assert!(matches!(refusal(world.run(put(BUCKET_IDENTITIES_MAX))), Refusal::Invalid(_)));
        world.done(Command::DeleteBucket { name: "b".to_owned() });
        assert_eq!(world.query().identities(None, 9).unwrap(), []);
    }
}
