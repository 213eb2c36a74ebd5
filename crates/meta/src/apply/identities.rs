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
