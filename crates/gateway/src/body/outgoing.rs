//! The body of an answer.
//!
//! A large one is fed by a task of its own through a channel of one piece. On HTTP/1 the connection carries this body
//! alone, and its guard ends both when the client takes nothing for a while. On HTTP/2 other streams may move while this
//! one stands: there the body is handed out in slices, and the task that sees none taken for a while ends and lets go of
//! the object, whatever the connection does.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use cairn_cluster::EngineError;
use futures_util::{Stream, StreamExt};
use http_body::{Body, Frame, SizeHint};
use tokio::{sync::mpsc, time::Instant};

use super::patient::{Next, Patient, Work};
use crate::{record::Record, tasks::Tasks};

/// What an HTTP/2 stream is handed at once: a frame of the usual size.
const SLICE_BYTES: usize = 16 << 10;

/// The body ended before its length: the connection must break, the status line is out.
#[derive(Debug, thiserror::Error)]
#[error("the answer's body cannot be sent to its end")]
pub(crate) struct BrokenBody;

enum Source {
    Empty,
    Whole(Option<Bytes>),
    Pieces(Pieces),
    Patient(Patient),
}

/// A body that comes in pieces.
struct Pieces {
    pieces: mpsc::Receiver<Bytes>,
    /// Bytes that are still to be handed out.
    left: u64,
    /// What is left of the present piece.
    piece: Bytes,
    /// Where it is handed out in slices: when the last one was.
    taken: Option<Taken>,
}

impl Pieces {
    /// The next bytes; none where the source has not what was promised.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.piece.is_empty() {
            let next = ready!(self.pieces.poll_recv(context)).filter(|piece| bytes_of(piece) <= self.left);
            let Some(piece) = next else { return Poll::Ready(None) };
            self.left -= bytes_of(&piece);
            self.piece = piece;
        }
        let slice = match &self.taken {
            Some(taken) => {
                taken.now();
                self.piece.split_to(self.piece.len().min(SLICE_BYTES))
            }
            None => std::mem::take(&mut self.piece),
        };
        Poll::Ready(Some(slice))
    }

    fn bytes_left(&self) -> u64 {
        self.left + bytes_of(&self.piece)
    }
}

/// When the client's stream last took a slice.
#[derive(Clone)]
struct Taken {
    begin: Instant,
    at_ms: Arc<AtomicU64>,
}

impl Taken {
    fn new() -> Self {
        Self { begin: Instant::now(), at_ms: Arc::default() }
    }

    fn now(&self) {
        let ms = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.at_ms.store(ms, Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        self.begin + Duration::from_millis(self.at_ms.load(Ordering::Relaxed))
    }
}

fn bytes_of(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
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

    /// A document that is not there yet: a blank comes each `pause` until it is.
    pub(crate) fn patient(work: Work, pause: Duration) -> Self {
        Self { source: Source::Patient(Patient::new(work, pause)), record: None }
    }

    /// The bytes of a body in memory.
    pub(crate) fn into_whole(mut self) -> Bytes {
        match &mut self.source {
            Source::Whole(bytes) => bytes.take().unwrap_or_default(),
            _ => Bytes::new(),
        }
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
            Source::Pieces(pieces) if pieces.bytes_left() == 0 => None,
            Source::Pieces(pieces) => match ready!(pieces.poll_next(context)) {
                Some(piece) => Some(piece),
                None => return Poll::Ready(Some(Err(BrokenBody))),
            },
            Source::Patient(patient) => match ready!(patient.poll_next(context)) {
                Next::More(bytes) => Some(bytes),
                Next::Last(document, code) => {
                    self.source = Source::Empty;
                    if let Some(record) = &mut self.record {
                        record.code = code;
                    }
                    Some(document)
                }
            },
        };
        if let Some(piece) = &piece {
            self.count(piece.len());
        }
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Empty | Source::Whole(None) => true,
            Source::Whole(Some(_)) | Source::Patient(_) => false,
            Source::Pieces(pieces) => pieces.bytes_left() == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty | Source::Whole(None) => SizeHint::with_exact(0),
            Source::Whole(Some(bytes)) => SizeHint::with_exact(bytes_of(bytes)),
            Source::Pieces(pieces) => SizeHint::with_exact(pieces.bytes_left()),
            Source::Patient(_) => SizeHint::default(),
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
/// is an error with a status. With `idle_max` the object is let go of when no byte was taken for so long; without, the
/// connection sees to it.
///
/// # Errors
/// The first piece cannot be read.
pub(crate) async fn stream_body<S>(
    tasks: &Tasks,
    mut stream: S,
    length: u64,
    idle_max: Option<Duration>,
) -> Result<AnswerBody, EngineError>
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
    let taken = idle_max.map(|_| Taken::new());
    tasks.spawn(feed(first, stream, sender, taken.clone().zip(idle_max)));
    Ok(AnswerBody { source: Source::Pieces(Pieces { pieces, left: length, piece: Bytes::new(), taken }), record: None })
}

/// Hands pieces over until the stream ends, fails, or nobody takes them.
async fn feed<S>(first: Bytes, mut stream: S, sender: mpsc::Sender<Bytes>, watched: Option<(Taken, Duration)>)
where
    S: Stream<Item = Result<Bytes, EngineError>> + Send + Unpin,
{
    let mut piece = Some(first);
    while let Some(bytes) = piece.take() {
        let sent = tokio::select! {
            biased;
            sent = sender.send(bytes) => sent,
            () = stands_still(watched.as_ref()) => return tracing::debug!("a download stood still and was ended"),
        };
        if sent.is_err() {
            return;
        }
        piece = match stream.next().await {
            Some(Ok(bytes)) => Some(bytes),
            Some(Err(error)) => return tracing::error!(%error, "a download is broken off"),
            None => None,
        };
    }
}

/// Resolves once nothing of a watched body was taken for its limit, counted from now at the earliest.
async fn stands_still(watched: Option<&(Taken, Duration)>) {
    let Some((taken, idle_max)) = watched else { return std::future::pending().await };
    let begin = Instant::now();
    loop {
        let end = taken.last().max(begin) + *idle_max;
        if Instant::now() >= end {
            return;
        }
        tokio::time::sleep_until(end).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::BodyExt;

    use super::{super::patient::Outcome, *};

    /// As on HTTP/1, and as on HTTP/2.
    const IDLE: [Option<Duration>; 2] = [None, Some(Duration::from_secs(60))];

    fn pieces(sizes: &[usize]) -> impl Stream<Item = Result<Bytes, EngineError>> + Send + Unpin + 'static {
        let pieces: Vec<_> = sizes.iter().map(|size| Ok(Bytes::from(vec![7; *size]))).collect();
        stream::iter(pieces)
    }

    #[tokio::test]
    async fn pieces_arrive_whole() {
        let tasks = Tasks::default();
        for idle_max in IDLE {
            for (sizes, length) in
                [(&[][..], 0), (&[5][..], 5), (&[5, 6, 7][..], 18), (&[5, SLICE_BYTES + 1][..], 16_390)]
            {
                let body = stream_body(&tasks, pieces(sizes), length, idle_max).await.unwrap();
                assert_eq!(body.size_hint().exact(), Some(length));
                let bytes = body.collect().await.unwrap().to_bytes();
                assert_eq!(bytes.len() as u64, length);
            }
        }
    }

    #[tokio::test]
    async fn a_short_or_long_stream_breaks_the_body() {
        let tasks = Tasks::default();
        for idle_max in IDLE {
            for (sizes, length) in [(&[5, 6][..], 12), (&[5, 6][..], 10)] {
                let body = stream_body(&tasks, pieces(sizes), length, idle_max).await.unwrap();
                assert!(body.collect().await.is_err());
            }
            let none = stream_body(&tasks, pieces(&[]), 3, idle_max).await;
            assert!(none.is_err(), "no first piece is an error with a status");
        }
    }

    #[tokio::test]
    async fn a_download_that_stands_still_lets_go_of_its_object() {
        let (held, let_go) = tokio::sync::oneshot::channel::<()>();
        let endless = Box::pin(stream::repeat_with(move || {
            let _held = &held;
            Ok(Bytes::from_static(b"12345"))
        }));
        let idle_max = Some(Duration::from_millis(20));
        let mut body = stream_body(&Tasks::default(), endless, 1000, idle_max).await.unwrap();
        body.frame().await.unwrap().unwrap();
        // The sender is dropped with the stream, while the body still stands.
        assert!(let_go.await.is_err());
        assert!(body.collect().await.is_err());
    }

    /// Each piece takes longer than the limit, but no slice of it does.
    #[tokio::test]
    async fn a_slow_download_that_moves_is_not_ended() {
        const PIECE: usize = 256 << 10;
        const BYTES_A_MS: usize = 512;
        let (sizes, idle_max) = ([PIECE; 4], Duration::from_millis(200));
        let length = sizes.iter().sum::<usize>() as u64;
        let mut body = stream_body(&Tasks::default(), pieces(&sizes), length, Some(idle_max)).await.unwrap();
        let mut got = 0;
        while let Some(frame) = body.frame().await {
            let bytes = frame.expect("it moves").into_data().unwrap().len();
            got += bytes as u64;
            tokio::time::sleep(Duration::from_millis((bytes / BYTES_A_MS) as u64)).await;
        }
        assert_eq!(got, length);
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
