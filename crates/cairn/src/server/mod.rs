//! `cairn server`: from flags to a running store and back.

mod cluster_id;
mod disks;
mod identities;
mod lock;
mod shutdown;
mod start;

use std::{fs, process::ExitCode, time::Duration};

use anyhow::{Context, Result};

use crate::{
    args::ServerArgs,
    config::{Config, check_machine, process_environment},
    logging, output,
};

/// What is still running when all was asked to end gets this long; then the process ends without it.
const RUNTIME_END: Duration = Duration::from_secs(5);

/// Runs the server until it is told to stop.
pub(crate) fn run(args: ServerArgs) -> Result<ExitCode> {
    let config = read_config(args.config.as_deref(), args.settings)?;
    check_machine(&config)?;
    if args.check {
        output::line("the configuration is valid");
        return Ok(ExitCode::SUCCESS);
    }
    logging::start(config.log_format, config.log_level.clone())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    let ended = runtime.block_on(start::serve(config));
    runtime.shutdown_timeout(RUNTIME_END);
    ended
}

fn read_config(file: Option<&std::path::Path>, flags: crate::config::Settings) -> Result<Config> {
    let text = match file {
        Some(path) => {
            Some(fs::read_to_string(path).with_context(|| format!("read the configuration {}", path.display()))?)
        }
        None => None,
    };
    let current = std::env::current_dir().context("find the current folder")?;
    Config::build(flags, &process_environment, file.zip(text.as_deref()), &current)
}
