//! `cairn key`.

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use cairn_proto::admin::{
    CreateKeyRequest, CreateKeyResponse, Key, ListKeysRequest, RemoveKeyRequest, SetKeyEnabledRequest,
};

use super::{json, moment, pretty_json};
use crate::{
    admin::{AdminClient, block_on, connect, explain},
    args::{KeyArgs, KeyCommand},
    output,
};

/// Runs the command.
pub(crate) fn run(args: KeyArgs) -> Result<ExitCode> {
    block_on(async {
        let mut client = connect(&args.data).await?;
        match args.command {
            KeyCommand::Create { bucket, prefix, read_only, description, json } => {
                let request = CreateKeyRequest { bucket, prefix, write: !read_only, description };
                let created = client.create_key(request).await.map_err(|status| explain(&status))?.into_inner();
                let text = if json { pretty_json(&created)? } else { describe(&created)? };
                show_new(&mut client, &created, &text).await?;
            }
            KeyCommand::List { json } => list(&mut client, json).await?,
            KeyCommand::Disable { access_key } => switch(&mut client, access_key, false).await?,
            KeyCommand::Enable { access_key } => switch(&mut client, access_key, true).await?,
            KeyCommand::Remove { access_key } => {
                let request = RemoveKeyRequest { access_key: access_key.clone() };
                client.remove_key(request).await.map_err(|status| explain(&status))?;
                output::line(&format!("access key {access_key} removed"));
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Shows a new key. One that could not be shown is removed again: nobody would know it, and it would stay open.
pub(super) async fn show_new(client: &mut AdminClient, created: &CreateKeyResponse, text: &str) -> Result<()> {
    let Err(error) = output::try_line(text) else { return Ok(()) };
    let access_key = created.key.as_ref().map(|key| key.access_key.clone()).unwrap_or_default();
    match client.remove_key(RemoveKeyRequest { access_key: access_key.clone() }).await {
        Ok(_) => bail!("write on stdout: {error}; the new key, which nobody saw, is removed again"),
        Err(status) => bail!(
            "write on stdout: {error}; the new key {access_key}, which nobody saw, is still there ({}): remove it with \
             `cairn key remove {access_key}`",
            explain(&status)
        ),
    }
}

async fn switch(client: &mut AdminClient, access_key: String, enabled: bool) -> Result<()> {
    let request = SetKeyEnabledRequest { access_key: access_key.clone(), enabled };
    client.set_key_enabled(request).await.map_err(|status| explain(&status))?;
    output::line(&format!("access key {access_key} {}", if enabled { "enabled" } else { "disabled" }));
    Ok(())
}

async fn list(client: &mut AdminClient, as_json: bool) -> Result<()> {
    let mut keys = Vec::new();
    let mut after = String::new();
    loop {
        let page = client.list_keys(ListKeysRequest { after }).await.map_err(|status| explain(&status))?.into_inner();
        if as_json {
            for key in &page.keys {
                output::line(&json(key)?);
            }
        } else {
            keys.extend(page.keys);
        }
        if page.next.is_empty() {
            break;
        }
        after = page.next;
    }
    if !as_json {
        output::line(&table(&keys));
    }
    Ok(())
}

fn table(keys: &[Key]) -> String {
    let row = |key: &Key| {
        vec![
            key.access_key.clone(),
            if key.enabled { "on" } else { "off" }.to_owned(),
            rights(key).to_owned(),
            limits(key),
            moment(key.created_ms),
            name(key).to_owned(),
            key.description.clone(),
        ]
    };
    let rows: Vec<Vec<String>> = keys.iter().map(row).collect();
    output::table(&["ACCESS KEY", "STATE", "RIGHTS", "LIMITED TO", "CREATED", "NAME", "DESCRIPTION"], &rows, &[])
}

fn rights(key: &Key) -> &'static str {
    match (key.root, key.write) {
        (true, _) => "all",
        (false, true) => "read-write",
        (false, false) => "read-only",
    }
}

/// The name in the configuration.
fn name(key: &Key) -> &str {
    if key.name.is_empty() { "-" } else { &key.name }
}

fn limits(key: &Key) -> String {
    if key.root { "-".to_owned() } else { format!("{}/{}*", key.bucket, key.prefix) }
}

fn describe(created: &CreateKeyResponse) -> Result<String> {
    let key = created.key.as_ref().context("the server's answer has no key")?;
    Ok(format!(
        "access key: {}\nsecret key: {}\nrights:     {} on {}\nThe secret is shown once.",
        key.access_key,
        created.secret_key,
        rights(key),
        limits(key)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key {
            access_key: "AK".to_owned(),
            root: false,
            bucket: "cache".to_owned(),
            prefix: "team/".to_owned(),
            write: true,
            enabled: true,
            created_ms: 0,
            description: "declared".to_owned(),
            name: "runner".to_owned(),
        }
    }

    #[test]
    fn keys_are_shown_without_secrets() {
        let root = Key { root: true, enabled: false, name: String::new(), description: "root".to_owned(), ..key() };
        assert_eq!(
            table(&[key(), root]),
            "ACCESS KEY  STATE  RIGHTS      LIMITED TO    CREATED               NAME    DESCRIPTION\n\
             AK          on     read-write  cache/team/*  1970-01-01T00:00:00Z  runner  declared\n\
             AK          off    all         -             1970-01-01T00:00:00Z  -       root"
        );
    }

    #[test]
    fn a_created_key_is_shown_with_its_secret() {
        let created = CreateKeyResponse { key: Some(key()), secret_key: "SK".to_owned() };
        let shown = describe(&created).unwrap();
        assert!(shown.contains("access key: AK") && shown.contains("secret key: SK"), "{shown}");
        assert!(describe(&CreateKeyResponse::default()).is_err());
    }
}
