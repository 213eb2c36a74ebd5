//! `cairn status`.

use std::process::ExitCode;

use anyhow::Result;
use cairn_proto::admin::{DiskStatus, GetStatusRequest, Status};

use super::pretty_json;
use crate::{
    admin::{block_on, connect, explain},
    args::StatusArgs,
    config::ByteCount,
    output,
};

/// Runs the command.
pub(crate) fn run(args: &StatusArgs) -> Result<ExitCode> {
    block_on(async {
        let mut client = connect(&args.data).await?;
        let status = client.get_status(GetStatusRequest {}).await.map_err(|status| explain(&status))?.into_inner();
        output::line(&if args.json { pretty_json(&status)? } else { describe(&status) });
        Ok(ExitCode::SUCCESS)
    })
}

fn describe(status: &Status) -> String {
    let meta = status.meta.clone().unwrap_or_default();
    let garbage = status.garbage.unwrap_or_default();
    let groups: Vec<String> = status
        .groups
        .iter()
        .map(|group| format!("{} of profile {}, {} writable", group.total, group.profile, group.writable))
        .collect();
    let repair = match (status.missing_shards, status.repairs_running) {
        (0, 0) => format!("nothing to do, {} shards rebuilt since start", status.repaired_shards),
        (missing, 0) => format!("waiting, {missing} shards missing"),
        (missing, running) => format!("{running} shards being rebuilt, {missing} missing"),
    };
    let away = status.disks.iter().filter(|disk| disk.state != "serving").count();
    let repair = match away {
        0 => repair,
        away => format!(
            "{repair}; {away} of {} disks do not serve: their shards are lacking until they do",
            status.disks.len()
        ),
    };
    let mut lines = vec![
        format!("cairn {}, {}", status.version, if status.writable { "writable" } else { "NOT writable" }),
        String::new(),
        disks(&status.disks),
        String::new(),
        format!(
            "capacity:  {} of raw disk, {} free, {} in shards",
            ByteCount(status.bytes_total),
            ByteCount(status.bytes_free),
            ByteCount(status.disks.iter().map(|disk| disk.bytes_used).sum())
        ),
        format!("groups:    {}", if groups.is_empty() { "none".to_owned() } else { groups.join("; ") }),
        format!("repair:    {repair}"),
        format!("garbage:   {} versions, {} ({} bytes)", garbage.rows, ByteCount(garbage.bytes), garbage.bytes),
        format!(
            "metadata:  {}, {}, {} of {} free, index {}{}",
            meta.folder,
            copies(meta.copies),
            ByteCount(meta.bytes_free),
            ByteCount(meta.bytes_total),
            meta.applied_index,
            if meta.leader { "" } else { ", NO LEADER" },
        ),
    ];
    if !status.not_protected.is_empty() {
        lines.push(String::new());
        lines.push("Not protected:".to_owned());
        lines.extend(status.not_protected.iter().map(|line| format!("- {line}")));
    }
    lines.join("\n")
}

fn copies(copies: u32) -> String {
    if copies == 1 { "ONE copy".to_owned() } else { format!("{copies} copies") }
}

fn disks(disks: &[DiskStatus]) -> String {
    let row = |disk: &DiskStatus| {
        vec![
            disk.folder.clone(),
            disk.state.clone(),
            ByteCount(disk.bytes_used).to_string(),
            ByteCount(disk.bytes_free).to_string(),
            ByteCount(disk.bytes_total).to_string(),
            disk.shards.to_string(),
            disk.errors.to_string(),
            if disk.inventory_pending { "pending" } else { "done" }.to_owned(),
            if disk.id.is_empty() { "-".to_owned() } else { disk.id.clone() },
        ]
    };
    let rows: Vec<Vec<String>> = disks.iter().map(row).collect();
    let head = ["DISK", "STATE", "USED", "FREE", "TOTAL", "SHARDS", "ERRORS", "INVENTORY", "ID"];
    output::table(&head, &rows, &[2, 3, 4, 5, 6])
}

#[cfg(test)]
mod tests {
    use cairn_proto::admin::{Garbage, GroupStatus, MetaStatus};

    use super::*;

    #[test]
    fn a_status_says_what_matters() {
        let disk = DiskStatus { folder: "/d/disk-0".to_owned(), state: "serving".to_owned(), ..DiskStatus::default() };
        let status = Status {
            version: "1.2.3".to_owned(),
            writable: true,
            disks: vec![disk],
            groups: vec![GroupStatus { profile: "4+2".to_owned(), total: 16, writable: 15 }],
            missing_shards: 7,
            repairs_running: 2,
            repaired_shards: 0,
            garbage: Some(Garbage { rows: 3, bytes: 2048 }),
            meta: Some(MetaStatus { copies: 1, leader: true, ..MetaStatus::default() }),
            not_protected: vec!["the metadata".to_owned()],
            bytes_total: 4096,
            bytes_free: 1024,
        };
        let shown = describe(&status);
        for part in [
            "cairn 1.2.3, writable",
            "16 of profile 4+2, 15 writable",
            "2 shards being rebuilt, 7 missing",
            "3 versions, 2.0 KiB (2048 bytes)",
            "ONE copy",
            "4.0 KiB of raw disk, 1.0 KiB free",
            "- the metadata",
        ] {
            assert!(shown.contains(part), "{part} in\n{shown}");
        }
        assert!(!shown.contains("NO LEADER"));
        assert!(describe(&Status::default()).contains("NOT writable"));
    }
}
