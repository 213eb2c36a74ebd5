//! `cairn bench`: the harness of `cairn-bench`, which knows nothing of this program.

use std::{
    fs,
    io::{self, IsTerminal as _},
    path::Path,
    process::ExitCode,
};

use anyhow::{Context, Result};
use cairn_bench::{BenchArgs, Progress};

use crate::output;

/// What a shell shows for a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Runs the command; exit code 1 if anything failed.
pub(crate) fn run(args: &BenchArgs) -> Result<ExitCode> {
    let options = args.options()?;
    // Before the run: it may take hours.
    args.json.iter().chain(&args.html).try_for_each(|path| check_writable(path))?;
    let progress = if io::stderr().is_terminal() { Progress::on(Box::new(io::stderr())) } else { Progress::off() };
    let report = cairn_bench::bench(&options, &progress)?;
    // The table first: a file that cannot be written must not cost it.
    output::line(&cairn_bench::table(&report));
    let json = args.json.as_ref().map_or(Ok(()), |path| write(path, &report.json().context("write JSON")?));
    let html = args.html.as_ref().map_or(Ok(()), |path| write(path, &cairn_bench::html(&report)));
    json.and(html)?;
    Ok(match (report.interrupted, report.failures()) {
        (true, _) => ExitCode::from(INTERRUPTED),
        (false, 0) => ExitCode::SUCCESS,
        (false, _) => ExitCode::FAILURE,
    })
}

/// What lies there stays until there is something to write.
fn check_writable(path: &Path) -> Result<()> {
    let opened = fs::OpenOptions::new().create(true).append(true).open(path);
    opened.map(drop).with_context(|| format!("write {}: name a file in a folder that is there", path.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
