//! The watch thread: the only one that asks the disk's file system how it stands.
//!
//! A file system that hangs (a dead NFS server, a controller that went away) holds whoever asks it. So one thread asks,
//! one call at a time, and everybody else goes by its last answer. When that gets too old the disk counts as hung: it is
//! fenced, and serves again with the next answer.

use std::{
    sync::{Arc, Weak, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use super::{
    core::{Core, Vitals},
    folder::Pin,
};

/// How often it looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// At least so many looks before a disk counts as hung.
const LOOKS_MIN: u32 = 10;
/// A thread that hangs is not waited for when the disk is closed.
const ENDED_WITHIN: Duration = Duration::from_secs(5);

/// The running thread; ends when dropped.
pub(super) struct Watch {
    /// Dropped to end it.
    stop: mpsc::SyncSender<()>,
    /// Closed when it has ended.
    ended: mpsc::Receiver<()>,
    thread: JoinHandle<()>,
}

impl Watch {
    /// Starts the thread.
    pub(super) fn start(core: &Arc<Core>, hung_after: Duration) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::sync_channel(0);
        let (end, ended) = mpsc::sync_channel(0);
        let (vitals, pin, core) = (Arc::clone(&core.vitals), Arc::clone(&core.pin), Arc::downgrade(core));
        let interval = INTERVAL.min(hung_after / LOOKS_MIN);
        let thread = std::thread::Builder::new().name("disk-watch".to_owned()).spawn(move || {
            run(&vitals, &pin, &core, &stopped, interval);
            // Not before: who waits for the end opens the folder anew.
            drop((vitals, pin, core));
            drop(end);
        })?;
        Ok(Self { stop, ended, thread })
    }

    /// Ends the thread, if it does not hang. Answers whether it ended well.
    pub(super) fn end(self) -> bool {
        let Self { stop, ended, thread } = self;
        drop(stop);
        match ended.recv_timeout(ENDED_WITHIN) {
            Err(mpsc::RecvTimeoutError::Timeout) => false,
            _ => thread.join().is_ok(),
        }
    }
}

fn run(vitals: &Vitals, pin: &Pin, core: &Weak<Core>, stopped: &mpsc::Receiver<()>, interval: Duration) {
    while matches!(stopped.recv_timeout(interval), Err(mpsc::RecvTimeoutError::Timeout)) {
        vitals.look(pin);
        // Held for a moment only: a disk is closed when the last one lets go of it.
        if let Some(core) = core.upgrade() {
            core.look();
        }
    }
}
