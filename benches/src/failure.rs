//! Why an operation failed, in as many words as can be counted: an S3 code, or what broke on the way.

use std::{collections::BTreeMap, fmt};

/// The label under which a failure is counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Failure(String);

/// Bytes that were never written there.
pub(crate) const WRONG_BYTES: &str = "wrong bytes";
/// No answer in time.
pub(crate) const TIMEOUT: &str = "timeout";

impl Failure {
    /// By what broke.
    #[must_use]
    pub(crate) fn new(label: impl Into<String>) -> Self {
        Self(label.into())
    }

    /// By an error of the transport, with its innermost cause.
    #[must_use]
    pub(crate) fn transport(what: &str, error: &dyn std::error::Error) -> Self {
        let mut innermost = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        Self(format!("{what}: {innermost}").chars().take(LABEL_CHARS_MAX).collect())
    }

    /// By an answer that was not the wanted one.
    #[must_use]
    pub(crate) fn answer(status: u16, body: &[u8]) -> Self {
        match code_of(body) {
            Some(code) => Self(format!("{status} {code}")),
            None => Self(format!("{status}")),
        }
    }

    /// The label.
    #[must_use]
    pub(crate) fn label(&self) -> &str {
        &self.0
    }

    /// Whether the server answered, and said no: 4xx. What it did is known then.
    #[must_use]
    pub(crate) fn is_refusal(&self) -> bool {
        self.0.starts_with('4')
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

const LABEL_CHARS_MAX: usize = 100;

fn code_of(body: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(body).ok()?;
    let code = text.split_once("<Code>")?.1.split_once("</Code>")?.0;
    let plain = code.bytes().all(|byte| byte.is_ascii_alphanumeric()) && (1..=64).contains(&code.len());
    plain.then(|| code.to_owned())
}

/// Failures by label. Labels beyond the bound are counted together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Failures(pub BTreeMap<String, u64>);

const LABELS_MAX: usize = 64;

impl Failures {
    /// Counts one.
    pub(crate) fn add(&mut self, label: &str) {
        self.add_many(label, 1);
    }

    /// Counts those of another.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (label, count) in &other.0 {
            self.add_many(label, *count);
        }
    }

    fn add_many(&mut self, label: &str, count: u64) {
        let known = self.0.contains_key(label) || self.0.len() < LABELS_MAX;
        *self.0.entry(if known { label } else { "other" }.to_owned()).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_counted_by_its_code() {
        let slow = Failure::answer(503, b"<?xml?><Error><Code>SlowDown</Code><Message>x</Message></Error>");
        assert_eq!((slow.label(), slow.is_refusal()), ("503 SlowDown", false));
        assert_eq!(Failure::answer(404, b"").label(), "404");
        assert!(Failure::answer(403, b"<Code>no code at all</Code>").is_refusal());
        assert_eq!(Failure::answer(500, b"<Code><script></Code>").label(), "500");
    }

    fn total(failures: &Failures) -> u64 {
        failures.0.values().sum()
    }

    #[test]
    fn labels_have_a_bound_and_counts_are_kept() {
        let mut failures = Failures::default();
        for number in 0..200 {
            failures.add(&format!("label {number}"));
        }
        failures.add("label 0");
        assert_eq!(total(&failures), 201);
        assert!(failures.0.len() <= LABELS_MAX + 1);
        assert_eq!((failures.0["label 0"], failures.0["other"]), (2, 200 - LABELS_MAX as u64));
        let mut sum = failures.clone();
        sum.merge(&failures);
        assert_eq!(total(&sum), 402);
    }
}
