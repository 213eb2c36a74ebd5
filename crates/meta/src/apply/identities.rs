//! Access keys. One root key stays switched on.

use super::context::{Applied, Context, require};
use crate::command::{Refusal, Reply};
use crate::keys::{self, Counter};
use crate::row::{IdentityRow, Scope};

const ACCESS_KEY_BYTES_MAX: usize = 128;

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
    count_roots(context, before.is_some_and(|row| is_root(&row.value)), is_root(identity))?;
    context.put(key, identity)?;
    Ok(Reply::Done)
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
}
