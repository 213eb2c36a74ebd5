//! `cairn snapshot`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use cairn_proto::admin::{CreateSnapshotRequest, DropForgottenRequest};

use super::pretty_json;
use crate::{
    admin::{block_on, connect, explain},
    args::{SnapshotArgs, SnapshotCommand},
    config::ByteCount,
    output,
};

/// Runs the command.
pub(crate) fn run(args: &SnapshotArgs) -> Result<ExitCode> {
    block_on(async {
        let mut client = connect(&args.data).await?;
        match args.command {
            SnapshotCommand::Create { json } => {
                let written = client.create_snapshot(CreateSnapshotRequest {}).await;
                let written = written.map_err(|status| explain(&status))?.into_inner();
                output::line(&if json {
                    pretty_json(&written)?
                } else {
                    let size = ByteCount(written.bytes);
                    format!("snapshot of index {} written: {size}, listed on {} disks", written.index, written.disks)
                });
            }
            SnapshotCommand::DropNewer { yes: false } => {
                bail!("what is newer than the recovered snapshot will be deleted for good: say --yes if it shall be")
            }
            SnapshotCommand::DropNewer { yes: true } => {
                client.drop_forgotten(DropForgottenRequest {}).await.map_err(|status| explain(&status))?;
                output::line(
                    "shards that are newer than the recovered snapshot are given up; the disks delete them now",
                );
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}
