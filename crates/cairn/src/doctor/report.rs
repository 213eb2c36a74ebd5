//! The steps of an examination, one line each.

use serde::Serialize;

/// How a step ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// As it should.
    Ok,
    /// Not.
    Failed,
    /// Not tried: an earlier one failed.
    Skipped,
}

/// What is wrong, and what to do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Trouble {
    pub(super) reason: String,
    pub(super) remedy: String,
}

impl Trouble {
    /// A reason with its remedy.
    pub(super) fn new(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { reason: reason.into(), remedy: remedy.into() }
    }
}

/// A step that was tried, or not.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Step {
    /// Its name; scripts rely on it.
    pub(super) step: &'static str,
    /// How it ended.
    pub(super) state: State,
    /// What was seen.
    pub(super) text: String,
    /// What to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) remedy: String,
}

/// The road ends here: what follows cannot be tried.
#[derive(Debug)]
pub(super) struct Stop;

/// All steps so far.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// What was examined.
    pub(super) endpoint: String,
    /// Which bucket.
    pub(super) bucket: String,
    /// Whether nothing failed.
    pub(super) ok: bool,
    /// In order.
    pub(super) steps: Vec<Step>,
}

impl Report {
    /// A report without steps.
    pub(super) const fn new(endpoint: String, bucket: String) -> Self {
        Self { endpoint, bucket, ok: true, steps: Vec::new() }
    }

    /// Notes a step. A failed one stops those that build on it, if the caller hands `Stop` on.
    pub(super) fn note<T>(&mut self, step: &'static str, done: Result<(String, T), Trouble>) -> Result<T, Stop> {
        match done {
            Ok((text, value)) => {
                self.steps.push(Step { step, state: State::Ok, text, remedy: String::new() });
                Ok(value)
            }
            Err(Trouble { reason, remedy }) => {
                self.ok = false;
                self.steps.push(Step { step, state: State::Failed, text: reason, remedy });
                Err(Stop)
            }
        }
    }

    /// Adds those of `all` that were not tried.
    pub(super) fn fill(&mut self, all: &[&'static str]) {
        for step in all {
            if !self.steps.iter().any(|noted| noted.step == *step) {
                let text = "not tried".to_owned();
                self.steps.push(Step { step, state: State::Skipped, text, remedy: String::new() });
            }
        }
        self.steps.sort_by_key(|noted| all.iter().position(|step| *step == noted.step));
    }

    /// For people.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.steps.iter().map(line).collect();
        lines.push(if self.ok { "all is well" } else { "NOT well" }.to_owned());
        lines
    }
}

fn line(step: &Step) -> String {
    let state = match step.state {
        State::Ok => "ok",
        State::Failed => "FAILED",
        State::Skipped => "-",
    };
    let plain: String = step.text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    let remedy = if step.remedy.is_empty() { String::new() } else { format!(". To do: {}", step.remedy) };
    format!("{state:<7} {:<17} {plain}{remedy}", step.step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_is_one_line_in_its_order() {
        let mut report = Report::new("https://x".to_owned(), "b".to_owned());
        assert_eq!(report.note("second", Ok(("good".to_owned(), 7))).unwrap(), 7);
        report.note::<()>("first", Err(Trouble::new("bad\nnews", "mend it"))).unwrap_err();
        report.fill(&["first", "second", "third"]);
        assert_eq!(
            report.lines(),
            [
                "FAILED  first             bad news. To do: mend it",
                "ok      second            good",
                "-       third             not tried",
                "NOT well"
            ]
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(
            (&json["ok"], &json["steps"][0]["state"]),
            (&serde_json::json!(false), &serde_json::json!("failed"))
        );
        assert!(json["steps"][1].get("remedy").is_none());
    }
}
