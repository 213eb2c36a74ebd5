//! The body of an answer.
//!
//! A large one is fed by a task of its own through a channel of one piece. On HTTP/1 pieces go out as they are: the
//! connection carries this body alone, and its guard ends both when the client takes nothing for a while. On HTTP/2 other
//! streams may move while this one stands: there every body is handed out in slices, and each is told to the watch over
//! the stream.

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

use super::patient::{Next, Patient, Work};
use crate::{record::Record, stream_watch::Sending, tasks::Tasks};

/// What an HTTP/2 stream is handed at once: a frame of the usual size.
pub(crate) const SLICE_BYTES: usize = 16 << 10;

/// The body ended before its length: the connection must break, the status line is out.
#[derive(Debug, thiserror::Error)]
#[error("the answer's body cannot be sent to its end")]
pub(crate) struct BrokenBody;

/// Where the next piece comes from.
enum Source {
    End,
    Whole(Bytes),
    Pieces {
        pieces: mpsc::Receiver<Bytes>,
        /// Bytes that are still to come.
        left: u64,
    },
    Patient(Patient),
}

impl Source {
    fn is_at_end(&self) -> bool {
        match self {
            Self::End => true,
            Self::Whole(_) | Self::Patient(_) => false,
            Self::Pieces { left, .. } => *left == 0,
        }
    }

    /// Bytes that are still to come, where that is known.
    fn bytes_left(&self) -> Option<u64> {
        match self {
            Self::End => Some(0),
            Self::Whole(bytes) => Some(bytes_of(bytes)),
            Self::Pieces { left, .. } => Some(*left),
            Self::Patient(_) => None,
        }
    }
}

fn bytes_of(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// The body of an answer, with the request's record, which is written when the last byte is out.
pub(crate) struct AnswerBody {
    source: Source,
    /// What is left of the piece that is being handed out.
    piece: Bytes,
    /// On HTTP/2: who is told of each slice.
    sending: Option<Sending>,
    record: Option<Record>,
}

impl AnswerBody {
    fn of(source: Source) -> Self {
        Self { source, piece: Bytes::new(), sending: None, record: None }
    }

    /// No body.
    pub(crate) fn empty() -> Self {
        Self::of(Source::End)
    }

    /// A body in memory.
    pub(crate) fn whole(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::of(if bytes.is_empty() { Source::End } else { Source::Whole(bytes) })
    }

    /// A document that is not there yet: a blank comes each `pause` until it is.
    pub(crate) fn patient(work: Work, pause: Duration) -> Self {
        Self::of(Source::Patient(Patient::new(work, pause)))
    }

    /// The bytes of a body in memory.
    pub(crate) fn into_whole(mut self) -> Bytes {
        match &mut self.source {
            Source::Whole(bytes) => std::mem::take(bytes),
            _ => Bytes::new(),
        }
    }

    /// Gives the body its request's record, and the watch over the stream it is sent on.
    pub(crate) fn attach(&mut self, record: Record) {
        self.record = Some(record);
        self.sending = Sending::current();
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BrokenBody>>> {
        let piece = match &mut self.source {
            Source::End | Source::Pieces { left: 0, .. } => return Poll::Ready(None),
            Source::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.source = Source::End;
                bytes
            }
            Source::Pieces { pieces, left } => {
                let Some(piece) = ready!(pieces.poll_recv(context)).filter(|piece| bytes_of(piece) <= *left) else {
                    // The source has not what was promised.
                    return Poll::Ready(Some(Err(BrokenBody)));
                };
                *left -= bytes_of(&piece);
                piece
            }
            Source::Patient(patient) => match ready!(patient.poll_next(context)) {
                Next::More(bytes) => bytes,
                Next::Last(document, code) => {
                    self.source = Source::End;
                    if let Some(record) = &mut self.record {
                        record.code = code;
                    }
                    document
                }
            },
        };
        Poll::Ready(Some(Ok(piece)))
    }

    /// What is handed out at once.
    fn take_slice(&mut self) -> Bytes {
        let Some(sending) = &self.sending else { return std::mem::take(&mut self.piece) };
        sending.offer();
        let length = slice_length(self.piece.len(), self.source.is_at_end());
        self.piece.split_to(length)
    }
}

/// The very last byte goes alone. hyper hands a slice to h2 as soon as the window has room for one byte of it: once it
/// takes that byte, the client has granted all before it, and nothing of the body is left that no watch sees.
fn slice_length(piece: usize, is_last: bool) -> usize {
    let length = piece.min(SLICE_BYTES);
    if is_last && length == piece && length > 1 { length - 1 } else { length }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = BrokenBody;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        let body = &mut *self;
        if body.piece.is_empty() {
            let next = body.poll_piece(context);
            if let (Poll::Pending, Some(sending)) = (&next, &body.sending) {
                sending.wait_for_source();
            }
            match ready!(next) {
                None => return Poll::Ready(None),
                Some(Err(broken)) => return Poll::Ready(Some(Err(broken))),
                Some(Ok(piece)) => body.piece = piece,
            }
        }
        let slice = body.take_slice();
        if let Some(record) = &mut body.record {
            record.bytes_out += bytes_of(&slice);
        }
        Poll::Ready(Some(Ok(Frame::data(slice))))
    }

    fn is_end_stream(&self) -> bool {
        self.piece.is_empty() && self.source.is_at_end()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.source.bytes_left();
        left.map_or_else(SizeHint::default, |left| SizeHint::with_exact(left + bytes_of(&self.piece)))
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
pub(crate) async fn stream_body<S>(tasks: &Tasks, mut stream: S, length: u64) -> Result<AnswerBody, EngineError>
where
    S: Stream<Item = Result<Bytes, EngineError>> + Send + Unpin + 'static,
{
    if length == 0 {
        return Ok(AnswerBody::empty());
    }
    let too_short = || EngineError::Invalid("an object's body ended before its length".to_owned());
    let first = stream.next().await.ok_or_else(too_short)??;
    if bytes_of(&first) == length {
        return Ok(AnswerBody::whole(first));
    }
    let (sender, pieces) = mpsc::channel(1);
    tasks.spawn(feed(first, stream, sender));
    Ok(AnswerBody::of(Source::Pieces { pieces, left: length }))
}

/// Hands pieces over until the stream ends, fails, or nobody takes them.
async fn feed<S>(first: Bytes, mut stream: S, sender: mpsc::Sender<Bytes>)
where
    S: Stream<Item = Result<Bytes, EngineError>> + Send + Unpin,
{
    let mut piece = Some(first);
    while let Some(bytes) = piece.take() {
        if sender.send(bytes).await.is_err() {
            return;
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

    use super::{super::patient::Outcome, *};
    use crate::activity::Activity;

    /// As it goes out on HTTP/1, and on HTTP/2.
    fn sendings() -> [Option<Sending>; 2] {
        [None, Some(Sending::new(Activity::default()))]
    }

    fn pieces(sizes: &[usize]) -> impl Stream<Item = Result<Bytes, EngineError>> + Send + Unpin + 'static {
        let pieces: Vec<_> = sizes.iter().map(|size| Ok(Bytes::from(vec![7; *size]))).collect();
        stream::iter(pieces)
    }

    #[tokio::test]
    async fn pieces_arrive_whole() {
        let tasks = Tasks::default();
        for sending in sendings() {
            for (sizes, length) in
                [(&[][..], 0), (&[1][..], 1), (&[5][..], 5), (&[5, 6, 7][..], 18), (&[5, SLICE_BYTES + 1][..], 16_390)]
            {
                let mut body = stream_body(&tasks, pieces(sizes), length).await.unwrap();
                body.sending = sending.clone();
                assert_eq!(body.size_hint().exact(), Some(length));
                let bytes = body.collect().await.unwrap().to_bytes();
                assert_eq!(bytes.len() as u64, length);
            }
        }
    }

    #[tokio::test]
    async fn a_short_or_long_stream_breaks_the_body() {
        let tasks = Tasks::default();
        for sending in sendings() {
            for (sizes, length) in [(&[5, 6][..], 12), (&[5, 6][..], 10)] {
                let mut body = stream_body(&tasks, pieces(sizes), length).await.unwrap();
                body.sending = sending.clone();
                assert!(body.collect().await.is_err());
            }
            let none = stream_body(&tasks, pieces(&[]), 3).await;
            assert!(none.is_err(), "no first piece is an error with a status");
        }
    }

    #[tokio::test]
    async fn on_a_stream_slices_are_small_and_the_last_byte_goes_alone() {
        let tasks = Tasks::default();
        let large = stream_body(&tasks, pieces(&[2 * SLICE_BYTES, 5]), 2 * SLICE_BYTES as u64 + 5).await.unwrap();
        for (mut body, expected) in [
            (AnswerBody::whole("12345"), vec![4, 1]),
            (AnswerBody::whole("1"), vec![1]),
            (AnswerBody::whole(vec![0; SLICE_BYTES + 1]), vec![SLICE_BYTES, 1]),
            (large, vec![SLICE_BYTES, SLICE_BYTES, 4, 1]),
        ] {
            body.sending = Some(Sending::new(Activity::default()));
            let mut slices = Vec::new();
            while let Some(frame) = body.frame().await {
                slices.push(frame.unwrap().into_data().unwrap().len());
            }
            assert_eq!(slices, expected);
        }
    }

    #[tokio::test]
    async fn a_patient_body_sends_blanks_until_its_document_is_there() {
        let (done, document) = tokio::sync::oneshot::channel::<Outcome>();
        let work = Box::pin(async move { document.await.unwrap() });
        let mut body = AnswerBody::patient(work, Duration::from_millis(5));
        let mut sent = String::new();
        for _ in 0..3 {
            let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
            sent.push_str(std::str::from_utf8(&frame).unwrap());
        }
        let declaration = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
        assert_eq!(sent, format!("{declaration}  "));
        let document = Bytes::from(format!("{declaration}<A/>"));
        assert!(done.send(Outcome { document, code: None }).is_ok());
        sent.push_str(std::str::from_utf8(&body.collect().await.unwrap().to_bytes()).unwrap());
        assert!(sent.starts_with(declaration) && sent.trim_start_matches(declaration).trim() == "<A/>", "{sent}");
    }
}
