//! Structured logs on stderr, and what becomes of a panic.

use tracing_subscriber::{Layer, Registry, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{LogFormat, LogLevel};

/// Logs of this process from here on. Called once, before the first task.
pub(crate) fn start(format: LogFormat, level: LogLevel) -> anyhow::Result<()> {
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => {
            let colour = std::io::IsTerminal::is_terminal(&std::io::stderr());
            tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colour).boxed()
        }
        LogFormat::Json => {
            tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).boxed()
        }
    };
    tracing_subscriber::registry().with(lines.with_filter(level.0)).try_init()?;
    log_panics();
    Ok(())
}

/// A panic is a line of the log like any other; the task it happened in unwinds.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("no message");
        let trace = std::backtrace::Backtrace::capture();
        tracing::error!(%place, message, %trace, "panic");
    }));
}
