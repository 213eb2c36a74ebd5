//! `cairn check`.

use std::process::ExitCode;

use anyhow::Result;
use cairn_proto::admin::{CheckReport, CheckRequest, Findings};

use super::pretty_json;
use crate::{
    admin::{block_on, connect, explain},
    args::CheckArgs,
    config::ByteCount,
    output,
};

/// Runs the command; exit code 1 on findings.
pub(crate) fn run(args: &CheckArgs) -> Result<ExitCode> {
    block_on(async {
        let mut client = connect(&args.data).await?;
        let request = CheckRequest { verify: !args.quick };
        let report = client.check(request).await.map_err(|status| explain(&status))?.into_inner();
        output::line(&if args.json { pretty_json(&report)? } else { describe(&report) });
        Ok(if report.clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

fn describe(report: &CheckReport) -> String {
    let garbage = report.garbage.unwrap_or_default();
    let depth =
        if report.verified { "every unit read and verified" } else { "checksums not read (without --quick they are)" };
    let mut lines = vec![
        format!(
            "checked: {} objects, {} parts, {} segments, {} shards; {depth}",
            report.objects, report.parts, report.segments, report.shards
        ),
        format!(
            "garbage: {} versions, {} (no finding: it waits for its readers)",
            garbage.rows,
            ByteCount(garbage.bytes)
        ),
    ];
    for (name, findings) in [
        ("lost", &report.lost),
        ("broken", &report.broken),
        ("short of redundancy", &report.short_of_redundancy),
        ("damaged", &report.damaged),
        ("orphaned", &report.orphaned),
        ("newer than the metadata", &report.forgotten),
        ("disks away", &report.away),
    ] {
        describe_findings(name, findings.as_ref(), &mut lines);
    }
    lines.push(if report.clean { "all is whole" } else { "NOT whole" }.to_owned());
    lines.join("\n")
}

fn describe_findings(name: &str, findings: Option<&Findings>, lines: &mut Vec<String>) {
    let Some(findings) = findings.filter(|findings| findings.count > 0 || findings.at_least) else { return };
    let at_least = if findings.at_least { "at least " } else { "" };
    lines.push(format!("{name}: {at_least}{}", findings.count));
    lines.extend(findings.examples.iter().map(|example| format!("  {example}")));
    let shown = u64::try_from(findings.examples.len()).unwrap_or(u64::MAX);
    if findings.count > shown {
        lines.push(format!("  and {} more", findings.count - shown));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_shown_with_their_examples() {
        let whole = CheckReport { objects: 4, clean: true, ..CheckReport::default() };
        assert!(describe(&whole).contains("4 objects") && describe(&whole).ends_with("all is whole"));
        let lost = Some(Findings { count: 3, examples: vec!["segment 0-1-2".to_owned()], at_least: false });
        let shown = describe(&CheckReport { lost, verified: true, ..CheckReport::default() });
        assert!(shown.contains("lost: 3\n  segment 0-1-2\n  and 2 more\nNOT whole"), "{shown}");
        assert!(!shown.contains("orphaned"));
        let orphaned = Some(Findings { count: 3, at_least: true, ..Findings::default() });
        assert!(describe(&CheckReport { orphaned, ..CheckReport::default() }).contains("orphaned: at least 3"));
    }
}
