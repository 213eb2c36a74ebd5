//! `cairn status`.

use std::{process::ExitCode, time::Duration};

use anyhow::Result;
use cairn_proto::admin::{DiskStatus, GetStatusRequest, Status};

use super::pretty_json;
use crate::{
    admin::{age_text, block_on, connect, explain},
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
        format!("segments:  {}", segments(status)),
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
        format!("snapshot:  {}", snapshot(status)),
    ]);
    if status.life > 0 {
        lines.push(format!("recovered: {}", recovered(status)));
    }
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

/// What is short of redundancy. What is lost for good has a line of its own.
fn segments(status: &Status) -> String {
    let at_least = if status.short_at_least { "at least " } else { "" };
    match (status.short_segments, status.unreadable_segments) {
        (0, 0) => "none lacks shards".to_owned(),
        (short, 0) => format!("{at_least}{short} lack shards, all can be read"),
        (0, unreadable) => format!("{at_least}{unreadable} CANNOT BE READ now"),
        (short, unreadable) => format!("{at_least}{short} lack shards, {unreadable} more CANNOT BE READ now"),
    }
}

/// What repair does. What is lost for good does not wait for it, and what is on disks that are away waits for those.
fn repair(status: &Status) -> String {
    let waiting = status.missing_shards.saturating_sub(status.lost_shards);
    let mut parts = match (waiting, status.repairs_running) {
        (0, 0) => Vec::new(),
        (waiting, 0) => vec![format!("waiting, {waiting} shards missing")],
        (waiting, running) => vec![format!("{running} shards being rebuilt, {waiting} missing")],
    };
    if status.away_shards > 0 {
        let at_least = if status.short_at_least { "at least " } else { "" };
        let disks = if status.away_disks == 1 { "disk" } else { "disks" };
        parts.push(format!(
            "waiting for {} {disks}: {at_least}{} shards are there again when they are back",
            status.away_disks, status.away_shards
        ));
    }
    if parts.is_empty() {
        return format!("nothing to do, {} shards rebuilt since start", status.repaired_shards);
    }
    parts.join("; ")
}

/// How old the newest snapshot of the metadata is.
fn snapshot(status: &Status) -> String {
    match status.snapshot_age_seconds {
        None => "none on the disks".to_owned(),
        Some(seconds) => {
            let of_before = if status.snapshot_of_earlier_life { ", before the metadata was recovered" } else { "" };
            format!("{} ago{of_before}", age_text(Duration::from_secs(seconds)))
        }
    }
}

/// What a recovery left.
fn recovered(status: &Status) -> String {
    let times = if status.life == 1 { "once".to_owned() } else { format!("{} times", status.life) };
    let looking = status.disks.iter().any(|disk| disk.inventory_pending);
    match status.forgotten_shards {
        0 if looking => format!("{times}; whether anything newer is on the disks is seen when they are looked through"),
        0 => format!("{times}; nothing newer is on the disks"),
        shards => format!(
            "{times}; {shards} shards that are newer lie on the disks and were not recovered: \
             `cairn snapshot drop-newer --yes` gives them up"
        ),
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
            garbage: Some(Garbage { rows: 3, bytes: 2048 }),
            meta: Some(MetaStatus { copies: 1, leader: true, ..MetaStatus::default() }),
            not_protected: vec!["the metadata".to_owned()],
            bytes_total: 4096,
            bytes_free: 1024,
            snapshot_age_seconds: Some(3600),
            ..Status::default()
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
            "segments:  none lacks shards\n",
            "snapshot:  60 min ago\n",
        ] {
            assert!(shown.contains(part), "{part} in\n{shown}");
        }
        assert!(!shown.contains("NO LEADER") && !shown.contains("recovered"));
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
    fn what_lies_on_disks_that_are_away_waits_for_them() {
        let away = Status {
            disks: vec![disk(0, "serving", "", true), disk(1, "away", "", false), disk(2, "away", "", false)],
            short_segments: 120,
            away_shards: 200,
            away_disks: 2,
            ..Status::default()
        };
        let shown = describe(&away);
        for part in [
            "segments:  120 lack shards, all can be read\n",
            "repair:    waiting for 2 disks: 200 shards are there again when they are back\n",
        ] {
            assert!(shown.contains(part), "{part} in\n{shown}");
        }
        assert!(!shown.contains("nothing to do"), "{shown}");
        let more = Status {
            unreadable_segments: 3,
            away_disks: 1,
            missing_shards: 5,
            repairs_running: 1,
            short_at_least: true,
            ..away
        };
        let shown = describe(&more);
        for part in [
            "at least 120 lack shards, 3 more CANNOT BE READ now\n",
            "repair:    1 shards being rebuilt, 5 missing; waiting for 1 disk: at least 200 shards",
        ] {
            assert!(shown.contains(part), "{part} in\n{shown}");
        }
    }

    #[test]
    fn a_recovery_is_seen_until_what_is_newer_was_given_up() {
        let recovered = Status {
            life: 1,
            snapshot_age_seconds: Some(3 * 3600),
            snapshot_of_earlier_life: true,
            forgotten_shards: 24,
            ..Status::default()
        };
        let shown = describe(&recovered);
        for part in [
            "snapshot:  3 h ago, before the metadata was recovered\n",
            "recovered: once; 24 shards that are newer lie on the disks and were not recovered: `cairn snapshot drop-newer",
        ] {
            assert!(shown.contains(part), "{part} in\n{shown}");
        }
        let looking = DiskStatus { inventory_pending: true, ..disk(0, "serving", "", true) };
        let early = Status { forgotten_shards: 0, disks: vec![looking], ..recovered.clone() };
        assert!(describe(&early).contains("recovered: once; whether anything newer"));
        let dropped = Status { life: 2, forgotten_shards: 0, snapshot_age_seconds: None, ..recovered };
        let shown = describe(&dropped);
        assert!(shown.contains("recovered: 2 times; nothing newer") && shown.contains("snapshot:  none on the disks"));
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
