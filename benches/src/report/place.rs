//! Where a report was made and by which words: who reads it can run it again.

use std::fs;

use serde::Serialize;

/// Flags whose values are for nobody else.
const SECRET: [&str; 2] = ["--access-key", "--secret-key"];

/// The machine, and the command line.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Place {
    /// Cores that the harness may use.
    pub cores: usize,
    /// Model of the CPU, as the kernel names it.
    pub cpu: String,
    /// Release of the kernel.
    pub kernel: String,
    /// The words of the command line, keys left out. What they do not name has the default of this version.
    pub command: Vec<String>,
}

impl Place {
    /// This process'.
    #[must_use]
    pub(crate) fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self {
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            cpu: model(&read("/proc/cpuinfo")),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            command: without_secrets(std::env::args_os().map(|word| word.to_string_lossy().into_owned())),
        }
    }
}

fn model(cpuinfo: &str) -> String {
    let lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    let mut models = lines.filter(|(name, _)| matches!(name.trim(), "model name" | "CPU implementer"));
    models.next().map(|(_, model)| model.trim().to_owned()).unwrap_or_default()
}

fn without_secrets(words: impl Iterator<Item = String>) -> Vec<String> {
    let mut kept = Vec::new();
    let mut is_secret = false;
    for word in words {
        if std::mem::take(&mut is_secret) {
            kept.push("…".to_owned());
        } else if let Some((flag, _)) = word.split_once('=').filter(|(flag, _)| SECRET.contains(flag)) {
            kept.push(format!("{flag}=…"));
        } else {
            is_secret = SECRET.contains(&word.as_str());
            kept.push(word);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_left_out_of_the_command() {
        let words = ["cairn", "bench", "--secret-key", "s3cret", "--access-key=AK", "--size", "4KiB"];
        let kept = without_secrets(words.iter().map(ToString::to_string)).join(" ");
        assert_eq!(kept, "cairn bench --secret-key … --access-key=… --size 4KiB");
    }

    #[test]
    fn the_machine_is_named() {
        let here = Place::here();
        assert!(here.cores > 0 && !here.kernel.is_empty() && !here.command.is_empty(), "{here:?}");
        assert_eq!(model("processor\t: 0\nmodel name\t: A CPU\nmodel name\t: B\n"), "A CPU");
        assert_eq!(model(""), "");
    }
}
