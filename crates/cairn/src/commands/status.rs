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
    let mut lines = vec![
        format!("cairn {}, {}", status.version, if status.writable { "writable" } else { "NOT writable" }),
        String::new(),
        disks(&status.disks),
    ];
    lines.extend(reasons(&status.disks));
    lines.extend([
        String::new(),
        format!("disks:     {}", service(&status.disks)),
        format!(
            "capacity:  {} of raw disk, {} free, {} in shards",
            ByteCount(status.bytes_total),
            ByteCount(status.bytes_free),
            ByteCount(status.disks.iter().map(|disk| disk.bytes_used).sum())
        ),
        format!("groups:    {}", if groups.is_empty() { "none".to_owned() } else { groups.join("; ") }),
        format!("repair:    {}", repair(status)),
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
    ]);
    if status.lost_segments > 0 {
        lines.push(format!(
            "LOST:      {} segments with {} shards, which no disk can give back: `cairn check` names their objects",
            status.lost_segments, status.lost_shards
        ));
    }
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

/// What repair does. What is lost for good does not wait for it.
fn repair(status: &Status) -> String {
    let waiting = status.missing_shards.saturating_sub(status.lost_shards);
    match (waiting, status.repairs_running) {
        (0, 0) => format!("nothing to do, {} shards rebuilt since start", status.repaired_shards),
        (waiting, 0) => format!("waiting, {waiting} shards missing"),
        (waiting, running) => format!("{running} shards being rebuilt, {waiting} missing"),
    }
}

/// How many disks serve, how many of them reads only, and how many nothing.
fn service(disks: &[DiskStatus]) -> String {
    let serving = disks.iter().filter(|disk| disk.state == "serving").count();
    let reading = disks.iter().filter(|disk| disk.readable && disk.state != "serving").count();
    let away = disks.len() - serving - reading;
    let mut text = format!("{serving} of {} serve", disks.len());
    if reading > 0 {
        text.push_str(&format!(", {reading} only reads"));
    }
    if away > 0 {
        text.push_str(&format!("; {away} serve nothing: their shards are lacking until they are back"));
    }
    text
}

/// Why disks do not serve, each on a line of its own: in the table they would push everything else off the screen.
fn reasons(disks: &[DiskStatus]) -> Vec<String> {
    let with_reason = disks.iter().filter(|disk| !disk.reason.is_empty());
    with_reason.map(|disk| format!("{} is {}: {}", disk.folder, disk.state, disk.reason)).collect()
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
        let disk = disk(0, "serving", "", true);
        let status = Status {
            version: "1.2.3".to_owned(),
            writable: true,
            disks: vec![disk],
            groups: vec![GroupStatus { profile: "4+2".to_owned(), total: 16, writable: 15 }],
            missing_shards: 7,
            repairs_running: 2,
            narrow_segments: 0,
            repaired_shards: 0,
            garbage: Some(Garbage { rows: 3, bytes: 2048 }),
            meta: Some(MetaStatus { copies: 1, leader: true, ..MetaStatus::default() }),
            not_protected: vec!["the metadata".to_owned()],
            bytes_total: 4096,
            bytes_free: 1024,
            snapshot_age_seconds: Some(3600),
            lost_segments: 0,
            lost_shards: 0,
        };
        let shown = describe(&status);
        for part in [
            "cairn 1.2.3, writable",
            "16 of profile 4+2, 15 writable",
            "2 shards being rebuilt, 7 missing",
            "3 versions, 2.0 KiB (2048 bytes)",
            "ONE copy",
            "disks:     1 of 1 serve\n",
            "4.0 KiB of raw disk, 1.0 KiB free",
            "- the metadata",
        ] {
            assert!(shown.contains(part), "{part} in\n{shown}");
        }
        assert!(!shown.contains("NO LEADER"));
        assert!(describe(&Status::default()).contains("NOT writable"));
    }

    fn disk(number: u32, state: &str, reason: &str, readable: bool) -> DiskStatus {
        DiskStatus {
            folder: format!("/d/disk-{number}"),
            state: state.to_owned(),
            reason: reason.to_owned(),
            readable,
            ..DiskStatus::default()
        }
    }

    #[test]
    fn disks_that_are_read_are_told_from_those_that_are_away() {
        let long = "an empty folder that was a mount point and is none now: mount it again, or remove the disk";
        let disks = vec![
            disk(0, "serving", "", true),
            disk(1, "read-only", "full: 5 bytes free of 100", true),
            disk(2, "fenced", "the folder is gone or was emptied", false),
            disk(3, "left out", long, false),
            disk(4, "away", "", false),
        ];
        let shown =
            describe(&Status { disks, missing_shards: 5, lost_shards: 4, lost_segments: 2, ..Status::default() });
        for part in [
            "disks:     1 of 5 serve, 1 only reads; 3 serve nothing: their shards are lacking until they are back",
            "repair:    waiting, 1 shards missing",
            "LOST:      2 segments with 4 shards",
            "\n/d/disk-1 is read-only: full: 5 bytes free of 100\n",
            &format!("\n/d/disk-3 is left out: {long}\n"),
        ] {
            assert!(shown.contains(part), "{part} in\n{shown}");
        }
        let table = shown.lines().filter(|line| line.starts_with("DISK ") || line.starts_with("/d/disk-4 "));
        assert!(table.clone().count() == 2 && table.clone().all(|line| line.len() < 100), "{shown}");
    }

    #[test]
    fn nothing_waits_where_all_that_is_missing_is_lost() {
        let lost = Status { missing_shards: 4, lost_shards: 4, lost_segments: 2, ..Status::default() };
        assert!(describe(&lost).contains("repair:    nothing to do"));
        let full = Status { disks: vec![disk(0, "read-only", "full", true)], ..Status::default() };
        let shown = describe(&full);
        assert!(shown.contains("0 of 1 serve, 1 only reads\n") && !shown.contains("lacking"), "{shown}");
    }
}
