//! What goes on on one connection: which requests run, and whether bytes wait for the peer to take them.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::socket::{Backlog, SocketView};

/// What the kernel holds for a peer that takes nothing of it for so long is given up.
const UNMOVED_MAX: Duration = Duration::from_secs(5);
/// A peer that had all may be about to say so, and more may go out then.
const SETTLED_AFTER: Duration = Duration::from_millis(500);

#[derive(Debug)]
struct Counts {
    begun: AtomicU64,
    ended: AtomicU64,
    sending: AtomicBool,
    sent: AtomicU64,
    /// When the last request ended, the socket last took bytes, or the connection came.
    last: Mutex<Instant>,
    /// Where answers go.
    socket: Option<SocketView>,
    /// What the kernel held of them when it was last looked at, and since when just that.
    held: Mutex<(u64, Instant)>,
}

impl Counts {
    fn new(socket: Option<SocketView>) -> Self {
        Self {
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            sending: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            last: Mutex::new(Instant::now()),
            socket,
            held: Mutex::new((0, Instant::now())),
        }
    }
}

/// Shared by all that works on a connection.
#[derive(Clone, Debug)]
pub(crate) struct Activity(Arc<Counts>);

impl Default for Activity {
    fn default() -> Self {
        Self(Arc::new(Counts::new(None)))
    }
}

/// A request that runs: from its head to the moment the last byte of its answer was handed to the connection.
#[derive(Debug)]
pub(crate) struct RunningRequest(Activity);

impl Activity {
    pub(crate) fn of(socket: SocketView) -> Self {
        Self(Arc::new(Counts::new(Some(socket))))
    }

    /// A request's head is there.
    pub(crate) fn begin(&self) -> RunningRequest {
        self.0.begun.fetch_add(1, Ordering::SeqCst);
        RunningRequest(self.clone())
    }

    /// Requests so far.
    pub(crate) fn begun(&self) -> u64 {
        self.0.begun.load(Ordering::SeqCst)
    }

    /// Whether some request runs.
    pub(crate) fn is_running(&self) -> bool {
        self.0.ended.load(Ordering::SeqCst) < self.begun()
    }

    /// Whether the peer has to take bytes before more can be sent.
    pub(crate) fn set_sending(&self, sending: bool) {
        self.0.sending.store(sending, Ordering::SeqCst);
    }

    /// Whether bytes wait for the peer.
    pub(crate) fn is_sending(&self) -> bool {
        self.0.sending.load(Ordering::SeqCst)
    }

    /// The socket took bytes.
    pub(crate) fn add_sent(&self, bytes: u64) {
        // On HTTP/2 an answer is handed over whole while the peer's window lets little of it go.
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes that the socket took so far.
    pub(crate) fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// Whether nobody waits for anything on this connection.
    pub(crate) fn is_quiet(&self) -> bool {
        !self.is_running() && !self.is_sending()
    }

    /// How long nobody has waited for anything, and what the kernel holds for the peer has not moved; nothing while
    /// somebody waits.
    pub(crate) fn rested(&self) -> Duration {
        let last = *self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_quiet() {
            return Duration::ZERO;
        }
        self.unmoved().map_or_else(|| last.elapsed(), |unmoved| unmoved.min(last.elapsed()))
    }

    /// Whether nobody waits for anything, and a slow peer is not about to take what is left for it.
    pub(crate) fn is_settled(&self) -> bool {
        let unmoved = self.unmoved();
        self.rested() >= if unmoved.is_some() { UNMOVED_MAX } else { SETTLED_AFTER }
    }

    /// How long the kernel has held just these bytes for the peer; none where it holds nothing.
    fn unmoved(&self) -> Option<Duration> {
        let backlog = self.0.socket.as_ref().and_then(Backlog::backlog).filter(|bytes| *bytes > 0)?;
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.0 != backlog {
            *held = (backlog, Instant::now());
        }
        Some(held.1.elapsed())
    }
}

impl Drop for RunningRequest {
    fn drop(&mut self) {
        *self.0.0.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_quiet_when_nobody_waits() {
        let activity = Activity::default();
        assert!(activity.is_quiet());
        let (first, second) = (activity.begin(), activity.begin());
        drop(first);
        assert!(activity.is_running() && !activity.is_quiet());
        drop(second);
        activity.set_sending(true);
        assert!(!activity.is_running() && !activity.is_quiet());
        activity.set_sending(false);
        assert!(activity.is_quiet());
        assert_eq!(activity.begun(), 2);
    }
}
