//! A progress bar on one line, for a terminal.

use std::{
    io::Write,
    sync::{Mutex, PoisonError},
};

const CELLS: usize = 24;

/// Where a run is.
pub struct Progress {
    out: Option<Mutex<Box<dyn Write + Send>>>,
}

impl Progress {
    /// On a terminal.
    #[must_use]
    pub fn on(out: Box<dyn Write + Send>) -> Self {
        Self { out: Some(Mutex::new(out)) }
    }

    /// Nowhere.
    #[must_use]
    pub const fn off() -> Self {
        Self { out: None }
    }

    /// Shows what is done now, and the share (0 to 1) of the whole that is behind. A terminal that went away is no matter.
    pub(crate) fn show(&self, share: f64, now: &str) {
        self.write(&format!("\r\x1b[2K{}", line(share, now)));
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        self.write("\r\x1b[2K");
    }

    fn write(&self, text: &str) {
        let Some(out) = &self.out else { return };
        let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "0 to 24")]
fn line(share: f64, now: &str) -> String {
    let share = share.clamp(0.0, 1.0);
    let full = (share * CELLS as f64) as usize;
    let now: String = now.chars().take(70).collect();
    format!("[{}{}] {:>3.0} %  {now}", "#".repeat(full), ".".repeat(CELLS - full), share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills() {
        assert_eq!(line(0.0, "a"), format!("[{}]   0 %  a", ".".repeat(24)));
        assert_eq!(line(0.5, "b"), format!("[{}{}]  50 %  b", "#".repeat(12), ".".repeat(12)));
        assert_eq!(line(7.0, "c"), format!("[{}] 100 %  c", "#".repeat(24)));
        assert!(line(0.1, &"x".repeat(500)).len() < 120);
    }
}
