//! The body of an answer.
//!
//! A large one is fed by a task of its own through a channel of one piece: when the client takes nothing for a while,
//! that task ends and lets go of the object, whatever the connection does.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use cairn_cluster::EngineError;
use futures_util::{Stream, StreamExt};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use crate::{record::Record, tasks::Tasks};

/// The body ended before its length: the connection must break, the status line is out.
#[derive(Debug, thiserror::Error)]
#[error("the answer's body cannot be sent to its end")]
pub(crate) struct BrokenBody;

enum Source {
    Empty,
    Whole(Option<Bytes>),
    Pieces { pieces: mpsc::Receiver<Bytes>, left: u64 },
}

/// The body of an answer, with the request's record, which is written when the last byte is out.
pub(crate) struct AnswerBody {
    source: Source,
    record: Option<Record>,
}

impl AnswerBody {
    /// No body.
    pub(crate) fn empty() -> Self {
        Self { source: Source::Empty, record: None }
    }

    /// A body in memory.
    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { source: if bytes.is_empty() { Source::Empty } else { Source::Whole(Some(bytes)) }, record: None }
    }

    /// Gives the body its request's record.
    pub(crate) fn attach(&mut self, record: Record) {
        self.record = Some(record);
    }

    fn count(&mut self, bytes: usize) {
        if let Some(record) = &mut self.record {
            record.bytes_out += u64::try_from(bytes).unwrap_or(u64::MAX);
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BrokenBody;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        let piece = match &mut self.source {
            Source::Empty => None,
            Source::Whole(bytes) => bytes.take(),
            Source::Pieces { left: 0, .. } => None,
            Source::Pieces { pieces, left } => match ready!(pieces.poll_recv(context)) {
                Some(piece) if u64::try_from(piece.len()).is_ok_and(|bytes| bytes <= *left) => {
                    *left -= u64::try_from(piece.len()).unwrap_or(0);
                    Some(piece)
                }
                _ => return Poll::Ready(Some(Err(BrokenBody))),
            },
        };
        if let Some(piece) = &piece {
            self.count(piece.len());
        }
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.source, Source::Empty | Source::Whole(None) | Source::Pieces { left: 0, .. })
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty | Source::Whole(None) => SizeHint::with_exact(0),
            Source::Whole(Some(bytes)) => SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX)),
            Source::Pieces { left, .. } => SizeHint::with_exact(*left),
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        let ended = self.is_end_stream();
        if let Some(record) = &mut self.record {
            record.unfinished = !ended;
        }
    }
}

/// Makes a body of `length` bytes from a stream. The first piece is awaited, so that an object that cannot be read
/// is an error with a status.
///
/// # Errors
/// The first piece cannot be read.
pub(crate) async fn stream_body<S>(
    tasks: &Tasks,
    mut stream: S,
    length: u64,
    idle_max: Duration,
) -> Result<AnswerBody, EngineError>
where
    S: Stream<Item = Result<Bytes, EngineError>> + Send + Unpin + 'static,
{
    if length == 0 {
        return Ok(AnswerBody::empty());
    }
    let too_short = || EngineError::Invalid("an object's body ended before its length".to_owned());
    let first = stream.next().await.ok_or_else(too_short)??;
    if u64::try_from(first.len()).is_ok_and(|bytes| bytes == length) {
        return Ok(AnswerBody::whole(first));
    }
    let (sender, pieces) = mpsc::channel(1);
    tasks.spawn(feed(first, stream, sender, idle_max));
    Ok(AnswerBody { source: Source::Pieces { pieces, left: length }, record: None })
}

/// Hands pieces over until the stream ends, fails, or nobody takes them.
async fn feed<S>(first: Bytes, mut stream: S, sender: mpsc::Sender<Bytes>, idle_max: Duration)
where
    S: Stream<Item = Result<Bytes, EngineError>> + Send + Unpin,
{
    let mut piece = Some(first);
    while let Some(bytes) = piece.take() {
        match tokio::time::timeout(idle_max, sender.send(bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => return tracing::debug!("a download stood still and was ended"),
        }
        piece = match stream.next().await {
            Some(Ok(bytes)) => Some(bytes),
            Some(Err(error)) => return tracing::error!(%error, "a download is broken off"),
            None => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::BodyExt;

    use super::*;

    const IDLE: Duration = Duration::from_secs(60);

    fn pieces(sizes: &[usize]) -> impl Stream<Item = Result<Bytes, EngineError>> + Send + Unpin + 'static {
        let pieces: Vec<_> = sizes.iter().map(|size| Ok(Bytes::from(vec![7; *size]))).collect();
        stream::iter(pieces)
    }

    #[tokio::test]
    async fn pieces_arrive_whole() {
        let tasks = Tasks::default();
        for (sizes, length) in [(&[][..], 0), (&[5][..], 5), (&[5, 6, 7][..], 18)] {
            let body = stream_body(&tasks, pieces(sizes), length, IDLE).await.unwrap();
            assert_eq!(body.size_hint().exact(), Some(length));
            let bytes = body.collect().await.unwrap().to_bytes();
            assert_eq!(bytes.len() as u64, length);
        }
    }

    #[tokio::test]
    async fn a_short_or_long_stream_breaks_the_body() {
        let tasks = Tasks::default();
        for (sizes, length) in [(&[5, 6][..], 12), (&[5, 6][..], 10)] {
            let body = stream_body(&tasks, pieces(sizes), length, IDLE).await.unwrap();
            assert!(body.collect().await.is_err());
        }
        assert!(stream_body(&tasks, pieces(&[]), 3, IDLE).await.is_err(), "no first piece is an error with a status");
    }

    #[tokio::test]
    async fn a_download_that_stands_still_lets_go_of_its_object() {
        let (held, let_go) = tokio::sync::oneshot::channel::<()>();
        let endless = Box::pin(stream::repeat_with(move || {
            let _held = &held;
            Ok(Bytes::from_static(b"12345"))
        }));
        let mut body = stream_body(&Tasks::default(), endless, 1000, Duration::from_millis(20)).await.unwrap();
        body.frame().await.unwrap().unwrap();
        // The sender is dropped with the stream, while the body still stands.
        assert!(let_go.await.is_err());
        assert!(body.collect().await.is_err());
    }
}
