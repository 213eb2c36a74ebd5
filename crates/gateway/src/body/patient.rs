//! The body of an answer that takes long: blanks keep the connection alive until its document is there.
//!
//! Clients, and what stands between, give a connection up on which nothing comes for a minute. So where an operation
//! may take long S3 answers 200 before it is done, and says in the document how it went. We do that only once it has
//! taken a while: what is quick has its true status.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep};

/// How every document of ours begins. It must come first, so the blanks follow it.
const DECLARATION: &[u8] = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// What an operation came to.
pub(crate) struct Outcome {
    pub(crate) document: Bytes,
    /// Of an error.
    pub(crate) code: Option<&'static str>,
}

/// An operation that still runs.
pub(crate) type Work = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// Blanks, then the document.
pub(crate) struct Patient {
    work: Work,
    pause: Duration,
    blank: Pin<Box<Sleep>>,
    begun: bool,
}

impl Patient {
    /// A body that sends a blank each `pause`.
    pub(super) fn new(work: Work, pause: Duration) -> Self {
        Self { work, pause, blank: Box::pin(sleep(pause)), begun: false }
    }

    /// The next bytes, and with the last ones the outcome's code.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        if !std::mem::replace(&mut self.begun, true) {
            return Poll::Ready(Next::More(Bytes::from_static(DECLARATION)));
        }
        if let Poll::Ready(outcome) = self.work.as_mut().poll(context) {
            let mut document = outcome.document;
            if document.starts_with(DECLARATION) {
                let _sent = document.split_to(DECLARATION.len());
            }
            return Poll::Ready(Next::Last(document, outcome.code));
        }
        ready!(self.blank.as_mut().poll(context));
        self.blank.as_mut().reset(Instant::now() + self.pause);
        Poll::Ready(Next::More(Bytes::from_static(b" ")))
    }
}

/// What a patient body gives.
pub(super) enum Next {
    More(Bytes),
    Last(Bytes, Option<&'static str>),
}
