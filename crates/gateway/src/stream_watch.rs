//! An HTTP/2 stream is reset when its client takes nothing of the answer for too long, whatever else the connection does.
//!
//! The connection's guard ends a peer that takes no byte at all. A single stream stands still when its client opens the
//! stream's window no further, while it reads other streams and answers pings. hyper asks a body for bytes only while
//! the window is open, so no body can end this. The stream's task is dropped instead, and with it the body, what it holds
//! of the object, and the request's slot; h2 throws away what waits to be sent of it and sends RST_STREAM.
//!
//! ```text
//! StreamTasks::execute ── task: hyper's stream ── asks ──▶ AnswerBody ── tells ──▶ Sending ◀── looks ── the watch
//! ```

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::{activity::Activity, body::SLICE_BYTES, server::HTTP2_STREAMS_MAX, tasks::Tasks};

/// How often a stream is looked at within its limit. One that stands still ends at most one look late.
const LOOKS: u32 = 4;
/// A stream that got no turn while the connection sent so much has no window: by turns each stream would have sent two
/// slices.
const TURNS_BYTES: u64 = 2 * HTTP2_STREAMS_MAX as u64 * SLICE_BYTES as u64;

tokio::task_local! {
    static SENDING: Sending;
}

/// How the answer of a stream moves; shared by its body and the watch over it.
#[derive(Clone, Debug)]
pub(crate) struct Sending(Arc<State>);

#[derive(Debug)]
struct State {
    activity: Activity,
    /// The slice that the client has to take next; none while the body waits for its source.
    offered: Mutex<Option<Offered>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Offered {
    at: Instant,
    /// What the connection had sent by then.
    sent_before: u64,
}

impl Sending {
    pub(crate) fn new(activity: Activity) -> Self {
        Self(Arc::new(State { activity, offered: Mutex::default() }))
    }

    /// That of the stream whose task this is; none on HTTP/1, where the connection carries one answer at a time.
    pub(crate) fn current() -> Option<Self> {
        SENDING.try_with(Clone::clone).ok()
    }

    /// A slice was handed out: it is the client's turn, whose window must have room for it.
    pub(crate) fn offer(&self) {
        *self.offered() = Some(Offered { at: Instant::now(), sent_before: self.0.activity.sent() });
    }

    /// The client took all there is so far.
    pub(crate) fn wait_for_source(&self) {
        *self.offered() = None;
    }

    fn offered(&self) -> MutexGuard<'_, Option<Offered>> {
        self.0.offered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves once the client took nothing of what it was offered for `limit`.
    async fn stands_still(&self, limit: Duration) {
        let mut watch = Watch::default();
        loop {
            sleep(limit / LOOKS).await;
            let offered = *self.offered();
            if watch.look(offered, &self.0.activity, limit) {
                return;
            }
        }
    }
}

/// What the looks at a stream saw.
#[derive(Default)]
struct Watch {
    offered: Option<Offered>,
    /// Looks at this slice that found the connection with nothing more to send.
    quiet: u32,
}

impl Watch {
    /// Whether the stream stands still. It does not where the whole connection is slow: the guard sees to that.
    fn look(&mut self, offered: Option<Offered>, activity: &Activity, limit: Duration) -> bool {
        if self.offered != offered {
            *self = Self { offered, quiet: 0 };
        }
        let Some(slice) = offered else { return false };
        self.quiet += u32::from(!activity.is_sending());
        let others_moved = activity.sent().saturating_sub(slice.sent_before) >= TURNS_BYTES;
        slice.at.elapsed() >= limit && (others_moved || self.quiet >= LOOKS)
    }
}

/// Runs the streams of one HTTP/2 connection, each watched.
#[derive(Clone, Debug)]
pub(crate) struct StreamTasks {
    pub(crate) tasks: Tasks,
    pub(crate) activity: Activity,
    /// How long an answer may stand still.
    pub(crate) idle_max: Duration,
}

impl<F> hyper::rt::Executor<F> for StreamTasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        let (sending, idle_max) = (Sending::new(self.activity.clone()), self.idle_max);
        let watched = sending.clone();
        self.tasks.spawn(SENDING.scope(sending, async move {
            tokio::select! {
                biased;
                _ = stream => {}
                () = watched.stands_still(idle_max) => {
                    tracing::debug!("a client takes nothing of an answer: its stream is reset");
                }
            }
        }));
    }
}

#[cfg(test)]
mod tests {
    use hyper::rt::Executor;
    use tokio::sync::oneshot;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(40);

    /// Streams over one connection, and one of them that is ended when the receiver hears so.
    fn connection() -> (Activity, StreamTasks) {
        let activity = Activity::default();
        (activity.clone(), StreamTasks { tasks: Tasks::default(), activity, idle_max: LIMIT })
    }

    /// A stream whose answer does not move after `begin`.
    fn standing(streams: &StreamTasks, begin: fn(&Sending)) -> oneshot::Receiver<()> {
        let (held, ended) = oneshot::channel::<()>();
        streams.execute(async move {
            let _held = held;
            begin(&Sending::current().expect("a stream has its own"));
            std::future::pending::<()>().await;
        });
        ended
    }

    async fn is_ended(stream: &mut oneshot::Receiver<()>, within: Duration) -> bool {
        tokio::time::timeout(within, stream).await.is_ok()
    }

    #[tokio::test]
    async fn a_stream_ends_whose_client_takes_nothing() {
        assert!(Sending::current().is_none(), "this is no stream's task");
        let (_, streams) = connection();
        let begun = Instant::now();
        assert!(is_ended(&mut standing(&streams, Sending::offer), 100 * LIMIT).await);
        assert!(begun.elapsed() >= LIMIT);
    }

    #[tokio::test]
    async fn a_stream_that_waits_for_its_object_does_not_end() {
        let (_, streams) = connection();
        let mut waiting = standing(&streams, Sending::wait_for_source);
        assert!(!is_ended(&mut waiting, 4 * LIMIT).await);
    }

    /// A peer may need minutes for what the kernel holds; streams have no turn then.
    #[tokio::test]
    async fn of_a_connection_that_is_slow_as_a_whole_no_stream_ends() {
        let (activity, streams) = connection();
        activity.set_sending(true);
        let mut slow = standing(&streams, Sending::offer);
        assert!(!is_ended(&mut slow, 4 * LIMIT).await);
        // Others move, and this one does not.
        activity.add_sent(TURNS_BYTES);
        assert!(is_ended(&mut slow, 100 * LIMIT).await);
    }

    #[tokio::test]
    async fn a_stream_that_moves_little_by_little_does_not_end() {
        let (_, streams) = connection();
        let (done, ended) = oneshot::channel();
        streams.execute(async move {
            for _ in 0..30 {
                Sending::current().unwrap().offer();
                sleep(LIMIT / 5).await;
            }
            done.send(()).unwrap();
        });
        ended.await.expect("it was let go to its end");
    }
}
