//! `cairn server`: from flags to a running store and back.

mod allocator;
mod check;
pub(crate) mod cluster_id;
mod declared;
mod first_start;
mod folders;
mod identities;
pub(crate) mod lock;
mod shutdown;
mod start;

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use cairn_gateway::small_file;

use crate::{
    args::{ServerArgs, known_variables},
    config::{self, Config, check_machine, process_environment},
    logging, output,
};

/// What is still running when all was asked to end gets this long; then the process ends without it.
const RUNTIME_END: Duration = Duration::from_secs(5);

/// Runs the server until it is told to stop.
pub(crate) fn run(args: ServerArgs) -> Result<ExitCode> {
    let config = read_config(args.config.as_deref(), args.settings)?;
    let unknown = unknown_variables()?;
    let runs = lock::is_taken(&config.home)?;
    check_machine(&config, runs)?;
    folders::check(&config)?;
    first_start::check_first_start(&config)?;
    if args.check {
        return check(&config, runs, &unknown);
    }
    allocator::keep_buffers();
    logging::start(config.log_format, config.log_level.clone())?;
    for name in unknown {
        tracing::warn!(name, "an environment variable that is not known here");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    let ended = runtime.block_on(start::serve(config));
    runtime.shutdown_timeout(RUNTIME_END);
    ended
}

/// `--check`, after what every start looks at.
fn check(config: &Config, runs: bool, unknown: &[String]) -> Result<ExitCode> {
    let troubles = check::check_more(config)?;
    for name in unknown {
        output::error_line(&format!("environment variable {name} is not known here"));
    }
    for trouble in troubles {
        output::error_line(&trouble);
    }
    if runs {
        let home = config.home.display();
        output::error_line(&format!("a server runs on {home}: ports that are in use are taken to be its own"));
    }
    output::line("the configuration is valid");
    Ok(ExitCode::SUCCESS)
}

/// Variables that look like ours and are none; a slip of the pen is refused.
fn unknown_variables() -> Result<Vec<String>> {
    let names = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    config::unknown(names, &known_variables())
}

/// Puts the configuration together: flags, environment, file.
pub(crate) fn read_config(file: Option<&std::path::Path>, flags: config::Settings) -> Result<Config> {
    // As for every other variable, `CAIRN_CONFIG=` is none.
    let file = file.filter(|path| !path.as_os_str().is_empty());
    let text = match file {
        Some(path) => {
            Some(small_file::read(path).with_context(|| format!("read the configuration {}", path.display()))?)
        }
        None => None,
    };
    let current = std::env::current_dir().context("find the current folder")?;
    Config::build(flags, &process_environment, file.zip(text.as_deref()), &current)
}
