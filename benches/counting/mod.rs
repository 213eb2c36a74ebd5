//! What an operation costs its process: the frame of the benches named `counts`, which include this file.
//!
//! `cargo test` runs them (they say `test = true`): allocations are counted, and a broken bound fails the run. So CI checks
//! the bounds on the very code that is measured. `cargo bench` takes the CPU time as well. Counts do not depend on how
//! busy the machine is.
//!
//! Counted is what Rust code allocates, in all threads. RocksDB is C++ and allocates past us: its part is in the time alone.

mod allocator;

use std::{
    fs,
    time::{Duration, Instant},
};

use allocator::allocated;

/// Calls counted together: what grows now and then is spread over them.
const CALLS: u64 = 8;
/// The round that allocates least counts: what a timer of another thread added in one is not the operation's.
const ROUNDS: u32 = 5;
const TIMED_FOR: Duration = Duration::from_millis(500);
/// Ticks in which `/proc` counts CPU time: the same on every Linux machine that we know (USER_HZ).
const TICKS_PER_S: f64 = 100.0;

/// An operation and its bounds.
pub(crate) struct Case<'a> {
    pub(crate) name: &'a str,
    /// Bytes that go through it, to tell its rate; 0 where a rate says nothing.
    pub(crate) handled: usize,
    /// Bytes of its result, which must be allocated. What it allocates beyond is copies, buffers and small things.
    pub(crate) made: usize,
    /// Most allocations.
    pub(crate) allocations_max: u64,
    /// Most bytes allocated beyond the result.
    pub(crate) beyond_max: u64,
}

/// Counts one case after the other.
pub(crate) struct Counts {
    lines: Vec<String>,
    broken: Vec<String>,
    is_timed: bool,
    only: Option<String>,
}

impl Counts {
    /// Reads what cargo was told: `--bench` from `cargo bench`, and a part of a name to run those cases alone.
    pub(crate) fn start() -> Self {
        let args: Vec<String> = std::env::args().skip(1).collect();
        Self {
            lines: Vec::new(),
            broken: Vec::new(),
            is_timed: args.iter().any(|arg| arg == "--bench"),
            only: args.into_iter().next().filter(|arg| !arg.starts_with('-')),
        }
    }

    /// Counts the calls of an operation.
    pub(crate) fn case(&mut self, case: &Case<'_>, mut work: impl FnMut()) {
        if self.only.as_ref().is_some_and(|only| !case.name.contains(only.as_str())) {
            return;
        }
        let (allocations, bytes) = count(&mut work);
        let beyond = bytes.saturating_sub(case.made as u64);
        let Case { name, allocations_max, beyond_max, .. } = *case;
        let time = if self.is_timed { timed(case.handled, &mut work) } else { String::new() };
        self.lines.push(format!("| {name} | {allocations} | {allocations_max} | {beyond} | {beyond_max} |{time}"));
        if bytes < case.made as u64 {
            self.broken.push(format!("{name}: {bytes} bytes are allocated, the result was said to need {}", case.made));
        }
        for (what, found, most) in
            [("allocations", allocations, allocations_max), ("bytes allocated beyond the result", beyond, beyond_max)]
        {
            if found > most {
                self.broken.push(format!("{name}: {found} {what}, the bound is {most}"));
            }
        }
    }

    /// Prints the table.
    ///
    /// # Panics
    /// If a bound is broken: that is how a test program fails.
    pub(crate) fn end(self) {
        if self.lines.is_empty() {
            return;
        }
        let (title, rule) = if self.is_timed { (" CPU µs | CPU GB/s |", "---|---|") } else { ("", "") };
        println!("| one operation | allocations | at most | bytes beyond the result | at most |{title}");
        println!("|---|---|---|---|---|{rule}");
        println!("{}", self.lines.join("\n"));
        assert!(self.broken.is_empty(), "not as it should be:\n{}", self.broken.join("\n"));
    }
}

/// Allocations and bytes of a call, rounded up.
fn count(work: &mut impl FnMut()) -> (u64, u64) {
    // The first call fills caches and tables that stay.
    work();
    let round = |_| {
        let before = allocated();
        (0..CALLS).for_each(|_| work());
        let after = allocated();
        ((after.times - before.times).div_ceil(CALLS), (after.bytes - before.bytes).div_ceil(CALLS))
    };
    let rounds: Vec<(u64, u64)> = (0..ROUNDS).map(round).collect();
    let least = |part: fn(&(u64, u64)) -> u64| rounds.iter().map(part).min().unwrap_or(0);
    (least(|round| round.0), least(|round| round.1))
}

/// CPU time of a call, and the rate at which one core does it: of all threads of this process, waiting not counted.
fn timed(handled: usize, work: &mut impl FnMut()) -> String {
    let (begin, cpu) = (Instant::now(), cpu_seconds());
    let mut calls = 0_u32;
    while begin.elapsed() < TIMED_FOR {
        work();
        calls += 1;
    }
    let seconds = (cpu_seconds() - cpu) / f64::from(calls);
    let handled = f64::from(u32::try_from(handled).expect("a case handles some MiB"));
    let rate = if handled > 0.0 { format!("{:.2}", handled / seconds / 1e9) } else { "–".to_owned() };
    format!(" {:.1} | {rate} |", seconds * 1e6)
}

fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux tells a process of itself");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |place: usize| fields.get(place).and_then(|text| text.parse::<u32>().ok()).expect("a count of ticks");
    f64::from(ticks(11) + ticks(12)) / TICKS_PER_S
}
