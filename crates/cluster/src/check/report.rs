//! What a check found.

use std::fmt;

/// Examples kept of each kind of finding.
const EXAMPLES_MAX: usize = 50;

/// How many, and the first of them in words.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Findings {
    /// All of them, or as many as were counted.
    pub count: u64,
    /// There may be more: counting was given up.
    pub at_least: bool,
    /// The first ones.
    pub examples: Vec<String>,
}

impl Findings {
    pub(crate) fn add(&mut self, example: impl FnOnce() -> String) {
        self.count += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(example());
        }
    }
}

/// The outcome of a check.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CheckReport {
    /// Whether every unit was read and verified.
    pub verified: bool,
    /// Objects whose rows were followed.
    pub objects: u64,
    /// Parts of open uploads whose rows were followed.
    pub parts: u64,
    /// Segments that rows name.
    pub segments: u64,
    /// Shards found where rows want them.
    pub shards: u64,
    /// Segments with fewer good shards than are needed to read them, with the objects that are lost with them.
    pub lost: Findings,
    /// Segments that can be read but lack shards.
    pub short: Findings,
    /// Shards of dead segments that no row names.
    pub orphaned: Findings,
    /// Shards with units that are bad or missing.
    pub damaged: Findings,
    /// Rows that name a segment which has no row.
    pub broken: Findings,
    /// Shards that no row names and that may be newer than the snapshot the metadata was recovered from: kept.
    pub forgotten: Findings,
    /// Disks that did not answer.
    pub away: Findings,
    /// Garbage rows that wait.
    pub garbage_rows: u64,
    /// Bytes of objects and parts in them.
    pub garbage_bytes: u64,
}

impl CheckReport {
    /// Whether all is whole. Garbage that waits for its readers is no finding.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings().iter().all(|(_, findings)| findings.count == 0 && !findings.at_least)
    }

    fn findings(&self) -> [(&'static str, &Findings); 7] {
        [
            ("lost", &self.lost),
            ("broken", &self.broken),
            ("short of redundancy", &self.short),
            ("damaged", &self.damaged),
            ("orphaned", &self.orphaned),
            ("newer than the metadata", &self.forgotten),
            ("disks away", &self.away),
        ]
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = if self.verified { "every unit read" } else { "listed, not read" };
        writeln!(
            f,
            "objects {}  parts {}  segments {}  shards {} ({how})",
            self.objects, self.parts, self.segments, self.shards
        )?;
        writeln!(f, "garbage: {} rows, {} bytes", self.garbage_rows, self.garbage_bytes)?;
        for (name, findings) in self.findings() {
            let at_least = if findings.at_least { "at least " } else { "" };
            writeln!(f, "{name}: {at_least}{}", findings.count)?;
            for example in &findings.examples {
                writeln!(f, "  {example}")?;
            }
            let more = findings.count.saturating_sub(u64::try_from(findings.examples.len()).unwrap_or(u64::MAX));
            if more > 0 {
                writeln!(f, "  and {more} more")?;
            }
        }
        f.write_str(if self.is_clean() { "clean" } else { "NOT clean" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_bounded_and_counted() {
        let mut report = CheckReport::default();
        assert!(report.is_clean() && report.to_string().ends_with("\nclean"));
        report.garbage_rows = 3;
        assert!(report.is_clean());
        for number in 0..EXAMPLES_MAX + 2 {
            report.lost.add(|| format!("object {number}"));
        }
        assert!(!report.is_clean());
        let text = report.to_string();
        assert!(text.contains("lost: 52") && text.contains("object 49") && text.contains("and 2 more"), "{text}");
        assert!(!text.contains("object 50"));
        report.lost.at_least = true;
        assert!(report.to_string().contains("lost: at least 52"));
    }
}
