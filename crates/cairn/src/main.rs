//! The binary `cairn`: flags, configuration, start order and shutdown of the server, and the commands that speak to a
//! running one. All wiring is here; what is wired knows nothing of it.

#![deny(unsafe_code)]

mod admin;
mod args;
mod commands;
mod config;
mod cpu;
mod doctor;
mod http_client;
mod kubernetes;
mod logging;
mod output;
mod recover;
mod secrets;
mod server;

use std::{io::Write, process::ExitCode};

use clap::Parser;

use args::{Cli, Command};

fn main() -> ExitCode {
    let lacking = cpu::lacking();
    if !lacking.is_empty() {
        output::error_line(&format!(
            "this CPU has no {}: an x86-64 CPU from Westmere (2010) on is needed; in a virtual machine choose a newer CPU \
             model, or the host's",
            lacking.join(" and no ")
        ));
        return ExitCode::FAILURE;
    }
    // Before the first use of TLS by anyone: with two providers in a process rustls cannot choose.
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        output::error_line("a second TLS provider is in this process");
        return ExitCode::FAILURE;
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => return explain(&answer),
    };
    let opens_store = matches!(cli.command, Command::Server(_) | Command::Recover(_));
    let done = match cli.command {
        Command::Server(args) => server::run(*args),
        Command::Bucket(args) => commands::bucket::run(args),
        Command::Key(args) => commands::key::run(args),
        Command::Status(args) => commands::status::run(&args),
        Command::Check(args) => commands::check::run(&args),
        Command::Snapshot(args) => commands::snapshot::run(&args),
        Command::Recover(args) => recover::run(*args),
        Command::RunnerConfig(args) => commands::runner_config::run(args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Healthcheck(args) => commands::healthcheck::run(&args),
        Command::Bench(args) => commands::bench::run(&args),
    };
    let code = match done {
        Ok(code) => code,
        Err(error) => {
            output::error_line(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    };
    if opens_store { leave(code == ExitCode::SUCCESS) } else { code }
}

/// Ends the process and nothing else. In order the C library would first take apart what RocksDB has for the whole process;
/// a thread of it that still runs, where a start was refused half way, would find it gone and abort.
#[expect(unsafe_code, reason = "the standard library ends a process in order only")]
fn leave(well: bool) -> ! {
    // Whoever read it may be gone.
    let _ = std::io::stdout().flush();
    // SAFETY: it takes a number and does not return; all that must be kept was written and synced.
    unsafe { libc::_exit(i32::from(!well)) }
}

/// Help, version, or what was wrong with the flags.
fn explain(answer: &clap::Error) -> ExitCode {
    match answer.print() {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::from(output::PIPE_CLOSED),
        _ => ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(2)),
    }
}
