//! A connection whose peer takes no byte for too long ends, instead of holding what it downloads for ever.
//!
//! It lies right on the socket, under TLS. A write that waits does not mean a peer that takes nothing: the kernel tells
//! of room only when a third of its buffer is free, which a slow peer needs minutes for. So while a write waits, the
//! guard asks from time to time how much of what the kernel holds the peer has not acknowledged.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use crate::{activity::Activity, socket::Backlog};

/// At the end it is looked so often whether the peer has all.
const DRAINED_LOOK: Duration = Duration::from_millis(100);
/// How often a wait is looked at within its limit. A stalled peer is ended at most one look late.
const LOOKS: u32 = 4;

/// Gives an error when a write makes no progress for `limit`.
pub(crate) struct StallGuard<T> {
    io: T,
    limit: Duration,
    activity: Activity,
    stalled: Option<Stall>,
    /// The end was sent; what goes before it may still be on its way.
    ended: bool,
}

/// A write that waits.
struct Stall {
    look: Pin<Box<Sleep>>,
    /// When the peer last took something, as far as it is known.
    moved: Instant,
    backlog: Option<u64>,
}

impl<T> StallGuard<T> {
    pub(crate) fn new(io: T, limit: Duration, activity: Activity) -> Self {
        Self { io, limit, activity, stalled: None, ended: false }
    }
}

impl<T: Backlog> StallGuard<T> {
    fn count(&self, progress: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(bytes)) = progress {
            self.activity.add_sent(u64::try_from(*bytes).unwrap_or(u64::MAX));
        }
    }

    fn watch<R>(&mut self, context: &mut Context<'_>, progress: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        let pause = self.limit / LOOKS;
        self.watch_every(pause, context, progress)
    }

    fn watch_every<R>(
        &mut self,
        pause: Duration,
        context: &mut Context<'_>,
        progress: Poll<io::Result<R>>,
    ) -> Poll<io::Result<R>> {
        self.activity.set_sending(progress.is_pending());
        if progress.is_ready() {
            self.stalled = None;
            return progress;
        }
        let begin = || Stall { look: Box::pin(sleep(pause)), moved: Instant::now(), backlog: None };
        let stall = self.stalled.get_or_insert_with(begin);
        while stall.look.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            let backlog = self.io.backlog();
            if backlog.is_some() && backlog != stall.backlog {
                stall.backlog = backlog;
                stall.moved = now;
            }
            if now.duration_since(stall.moved) >= self.limit {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            stall.look.as_mut().reset(now + pause);
        }
        Poll::Pending
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for StallGuard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Backlog + Unpin> AsyncWrite for StallGuard<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.io).poll_write(context, bytes);
        self.count(&progress);
        self.watch(context, progress)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        self.count(&progress);
        self.watch(context, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.io).poll_flush(context);
        self.watch(context, progress)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ended {
            let progress = Pin::new(&mut self.io).poll_shutdown(context);
            if !matches!(progress, Poll::Ready(Ok(()))) {
                return self.watch(context, progress);
            }
            (self.ended, self.stalled) = (true, None);
        }
        // Closed now, with bytes in the kernel that a slow peer has still to take, the socket would answer whatever the peer
        // sends meanwhile with a reset, and drop them.
        let drained = if self.io.backlog().unwrap_or(0) == 0 { Poll::Ready(Ok(())) } else { Poll::Pending };
        self.watch_every(DRAINED_LOOK, context, drained)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    impl Backlog for DuplexStream {
        fn backlog(&self) -> Option<u64> {
            None
        }
    }

    /// Never writable; the peer takes a byte between two looks until none is left.
    struct Slow(Cell<u64>);

    impl Backlog for Slow {
        fn backlog(&self) -> Option<u64> {
            self.0.set(self.0.get().saturating_sub(1));
            Some(self.0.get())
        }
    }

    impl AsyncWrite for Slow {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    #[tokio::test]
    async fn a_peer_that_takes_nothing_ends_the_write() {
        let (ours, mut theirs) = tokio::io::duplex(4);
        let activity = Activity::default();
        let mut guarded = StallGuard::new(ours, Duration::from_millis(20), activity.clone());
        guarded.write_all(&[1; 4]).await.unwrap();
        assert_eq!(activity.sent(), 4);
        assert_eq!(guarded.write_all(&[1; 4]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        // Once it takes bytes again, the next write has its full time.
        theirs.read_exact(&mut [0; 4]).await.unwrap();
        guarded.write_all(&[1; 4]).await.unwrap();
        assert!(guarded.stalled.is_none());
    }

    #[tokio::test]
    async fn a_peer_that_takes_little_is_waited_for_while_it_takes() {
        let limit = Duration::from_millis(40);
        let start = Instant::now();
        let mut guarded = StallGuard::new(Slow(Cell::new(20)), limit, Activity::default());
        assert_eq!(guarded.write_all(&[1; 4]).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        // Twenty looks saw a byte go, four saw none.
        let waited = start.elapsed();
        assert!(waited >= limit / LOOKS * 24, "{waited:?}");
    }

    /// What was written is with the peer before the socket is closed, though the peer goes on sending.
    #[tokio::test]
    async fn an_end_waits_until_the_peer_has_all() {
        let listening = tokio::net::TcpSocket::new_v4().unwrap();
        listening.set_send_buffer_size(1 << 20).unwrap();
        listening.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = listening.listen(1).unwrap();
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(8 << 10).unwrap();
        let mut peer = socket.connect(listener.local_addr().unwrap()).await.unwrap();
        let (ours, _) = listener.accept().await.unwrap();
        let activity = Activity::default();
        let socket = crate::socket::Socket::new(ours);
        let mut guarded = StallGuard::new(socket, Duration::from_secs(60), activity.clone());
        let sent = vec![7; 300_000];
        let written = tokio::time::timeout(Duration::from_secs(20), guarded.write_all(&sent)).await;
        written.expect("the kernel's buffer takes it").unwrap();
        let ending = tokio::spawn(async move { guarded.shutdown().await });
        let mut read = Vec::new();
        while read.len() < sent.len() {
            peer.write_all(b"window").await.unwrap();
            sleep(Duration::from_millis(5)).await;
            let mut piece = [0; 8 << 10];
            let count = peer.read(&mut piece).await.unwrap();
            assert!(count > 0, "cut after {} bytes", read.len());
            read.extend_from_slice(&piece[..count]);
            assert!(read.len() + (64 << 10) > sent.len() || (activity.is_sending() && !ending.is_finished()));
        }
        ending.await.unwrap().unwrap();
        assert_eq!(read, sent);
    }
}
