//! `cairn check`.

use std::process::ExitCode;

use anyhow::Result;
use cairn_proto::admin::{CheckReport, CheckRequest};

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
        let request = CheckRequest { verify: args.verify };
        let report = client.check(request).await.map_err(|status| explain(&status))?.into_inner();
        output::line(&if args.json { pretty_json(&report)? } else { describe(&report) });
        Ok(if findings(&report) == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

fn findings(report: &CheckReport) -> u64 {
    report.lost + report.degraded + report.orphans + report.inconsistent
}

fn describe(report: &CheckReport) -> String {
    let garbage = report.garbage.unwrap_or_default();
    let depth = match report.verified {
        true => format!("{} read and verified", ByteCount(report.bytes_verified)),
        false => "checksums not read (--verify reads them)".to_owned(),
    };
    let mut lines = vec![
        format!("checked:       {} rows, {} segments, {} shards; {depth}", report.rows, report.segments, report.shards),
        format!("lost:          {}", report.lost),
        format!("short:         {}", report.degraded),
        format!("orphaned:      {}", report.orphans),
        format!("inconsistent:  {}", report.inconsistent),
        format!("garbage:       {} versions, {} (no finding: it waits for readers)", garbage.rows, ByteCount(garbage.bytes)),
    ];
    lines.extend(report.findings.iter().map(|finding| format!("- {}: {}", finding.kind, finding.detail)));
    if report.findings_left_out > 0 {
        lines.push(format!("- and {} more", report.findings_left_out));
    }
    lines.push(if findings(report) == 0 { "all is whole".to_owned() } else { format!("{} findings", findings(report)) });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use cairn_proto::admin::CheckFinding;

    use super::*;

    #[test]
    fn any_finding_counts() {
        let whole = CheckReport { rows: 4, ..CheckReport::default() };
        assert_eq!(findings(&whole), 0);
        assert!(describe(&whole).ends_with("all is whole"));
        for report in [
            CheckReport { lost: 1, ..CheckReport::default() },
            CheckReport { degraded: 1, ..CheckReport::default() },
            CheckReport { orphans: 1, ..CheckReport::default() },
            CheckReport { inconsistent: 1, ..CheckReport::default() },
        ] {
            assert_eq!(findings(&report), 1);
        }
        let finding = CheckFinding { kind: "lost".to_owned(), detail: "segment 0-1-2".to_owned() };
        let lost = CheckReport { lost: 1, findings: vec![finding], findings_left_out: 2, ..CheckReport::default() };
        assert!(describe(&lost).contains("- lost: segment 0-1-2\n- and 2 more\n1 findings"));
    }
}
