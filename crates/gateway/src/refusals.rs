//! An S3 document for requests that hyper refuses before we see them.
//!
//! A head that cannot be read (a malformed line, a length that is no number, headers over the limit) is answered by
//! hyper itself with a bare status, and it has no hook for that. So the answer is changed on its way out: what is
//! written while no request has begun since all earlier answers were flushed can only be hyper's own. HTTP/2 has no
//! such answers to change: there hyper resets the stream, or answers 431 without a body.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf, Bytes};
use cairn_s3::{S3Error, S3ErrorCode};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use crate::{activity::Activity, record::new_request_id, respond::HOST_ID};

/// What a refused client may still send, so that it hears the answer and not a reset.
const LINGER_BYTES_MAX: usize = 4 << 20;
/// And for how long.
const LINGER_WITHIN: Duration = Duration::from_secs(2);
const LINGER_BUFFER_BYTES: usize = 16 << 10;

/// A connection whose bare refusals become documents.
pub(crate) struct Refusals<T> {
    io: T,
    activity: Activity,
    /// How many requests had begun when all answers were out.
    flushed_at: u64,
    /// Our document, on its way out.
    document: Bytes,
    /// Set once refused: what is left of the time to read on, and how much was read.
    linger: Option<(Pin<Box<Sleep>>, usize)>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Refusals<T> {
    pub(crate) fn new(io: T, activity: Activity) -> Self {
        Self { io, activity, flushed_at: 0, document: Bytes::new(), linger: None }
    }

    fn poll_document(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.document.is_empty() {
            let count = ready!(Pin::new(&mut self.io).poll_write(context, &self.document))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.document.advance(count);
        }
        Poll::Ready(Ok(()))
    }

    /// Takes what the client still sends, up to a bound.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some((time, taken)) = &mut self.linger else { return Poll::Ready(()) };
        let mut bytes = [0; LINGER_BUFFER_BYTES];
        while *taken < LINGER_BYTES_MAX && time.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::new(&mut bytes);
            match ready!(Pin::new(&mut self.io).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => *taken += buffer.filled().len(),
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

/// The document that says what hyper's bare head means.
fn document_for(head: &[u8]) -> Option<Bytes> {
    let text = std::str::from_utf8(head).ok()?.strip_prefix("HTTP/1.1 ")?.strip_suffix("\r\n\r\n")?;
    let code = match text.get(..3)? {
        "400" => S3ErrorCode::BadRequest,
        "414" | "431" => S3ErrorCode::RequestHeaderSectionTooLarge,
        _ => return None,
    };
    let date = text.lines().find_map(|line| line.strip_prefix("date: ")).unwrap_or_default();
    let id = new_request_id();
    tracing::info!(id, code = code.as_str(), "a request that cannot be read");
    let body = S3Error::from(code).to_xml("/", &id, HOST_ID);
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nx-amz-request-id: {id}\r\nx-amz-id-2: {HOST_ID}\r\nserver: Cairn\r\ndate: {date}\r\n\
         content-type: application/xml\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    Some(answer.into())
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Refusals<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Refusals<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_document(context))?;
        if self.activity.begun() == self.flushed_at
            && let Some(document) = document_for(bytes)
        {
            self.document = document;
            self.linger = Some((Box::pin(sleep(LINGER_WITHIN)), 0));
            // What it cannot send now goes with the flush.
            return match self.poll_document(context) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                _ => Poll::Ready(Ok(bytes.len())),
            };
        }
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.activity.begun() == self.flushed_at {
            // A refusal's head lies whole in the first slice.
            let first = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
            return self.poll_write(context, first);
        }
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_document(context))?;
        // hyper flushes us only once its own buffer is empty.
        if !self.activity.is_running() {
            self.flushed_at = self.activity.begun();
        }
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_document(context))?;
        ready!(Pin::new(&mut self.io).poll_shutdown(context))?;
        ready!(self.poll_linger(context));
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const BARE: &[u8] = b"HTTP/1.1 431 Request Header Fields Too Large\r\ndate: now\r\ncontent-length: 0\r\n\r\n";

    /// What the peer gets of `writes` when a request runs meanwhile, or none.
    async fn sent(writes: &[&[u8]], running: bool) -> String {
        let (ours, mut theirs) = tokio::io::duplex(64 << 10);
        let activity = Activity::default();
        let mut guarded = Refusals::new(ours, activity.clone());
        let request = running.then(|| activity.begin());
        for bytes in writes {
            guarded.write_all(bytes).await.unwrap();
        }
        drop(request);
        guarded.flush().await.unwrap();
        drop(guarded);
        let mut got = String::new();
        theirs.read_to_string(&mut got).await.unwrap();
        got
    }

    #[tokio::test]
    async fn a_bare_refusal_gets_its_document() {
        let got = sent(&[BARE], false).await;
        assert!(got.starts_with("HTTP/1.1 400 Bad Request\r\n") && got.contains("date: now\r\n"), "{got}");
        assert!(got.contains("<Code>RequestHeaderSectionTooLarge</Code>"), "{got}");
    }

    /// An object may hold the very bytes of a refusal.
    #[tokio::test]
    async fn the_bytes_of_an_answer_are_never_changed() {
        let whole = [BARE, BARE].concat();
        assert_eq!(sent(&[BARE, BARE], true).await.as_bytes(), whole);
        // The request has ended, but its last bytes were not flushed yet.
        let (ours, mut theirs) = tokio::io::duplex(64 << 10);
        let activity = Activity::default();
        let mut guarded = Refusals::new(ours, activity.clone());
        drop(activity.begin());
        guarded.write_all(&whole).await.unwrap();
        guarded.flush().await.unwrap();
        guarded.write_all(BARE).await.unwrap();
        drop(guarded);
        let mut got = Vec::new();
        theirs.read_to_end(&mut got).await.unwrap();
        let (answer, refusal) = got.split_at(whole.len());
        assert_eq!(answer, whole);
        assert!(refusal.ends_with(b"</Error>"));
    }

    #[tokio::test]
    async fn other_heads_of_hypers_own_pass() {
        let bare = "HTTP/1.1 505 HTTP Version Not Supported\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(sent(&[bare.as_bytes()], false).await, bare);
    }
}
