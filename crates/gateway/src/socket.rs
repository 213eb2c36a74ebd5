//! A connection's socket, shared: what waits in the kernel for the peer is seen by others than the one who writes.

use std::{
    io,
    os::fd::AsRawFd,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, ready},
};

use rustix::net::{Shutdown, shutdown};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// What was written and is still on its way.
pub(crate) trait Backlog {
    /// Bytes that the peer has not acknowledged; none where that cannot be told, or the peer is gone.
    fn backlog(&self) -> Option<u64>;
}

/// The socket. It is closed when it is dropped, whoever looks at it.
#[derive(Debug)]
pub(crate) struct Socket(Arc<TcpStream>);

/// Who only looks at a socket.
#[derive(Clone, Debug)]
pub(crate) struct SocketView(Weak<TcpStream>);

impl Socket {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self(Arc::new(stream))
    }

    pub(crate) fn view(&self) -> SocketView {
        SocketView(Arc::downgrade(&self.0))
    }
}

impl Socket {
    /// Whether the connection is over for the kernel: both ends said so, or the peer is gone. Asked so, and not by its error,
    /// which is told once and belongs to the one who reads and writes.
    fn is_closed(&self) -> bool {
        /// Linux' number of the state (tcp_states.h).
        const TCP_CLOSE: u8 = 7;
        // The first byte of `tcp_info`.
        let (mut state, mut length) = (0_u8, 1);
        let descriptor = self.0.as_raw_fd();
        // SAFETY: the descriptor is open while `self` is borrowed, and the call writes one byte and one length.
        let answer = unsafe {
            libc::getsockopt(descriptor, libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut state).cast(), &raw mut length)
        };
        answer != 0 || state == TCP_CLOSE
    }
}

impl Backlog for SocketView {
    fn backlog(&self) -> Option<u64> {
        Socket(self.0.upgrade()?).backlog()
    }
}

impl Backlog for Socket {
    fn backlog(&self) -> Option<u64> {
        // What a peer that is gone had still to take nobody takes any more.
        if self.is_closed() {
            return None;
        }
        let mut bytes: libc::c_int = 0;
        // SAFETY: the descriptor is open while `self` is borrowed, and the call writes one `int`.
        let answer = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
        if answer == 0 { u64::try_from(bytes).ok() } else { None }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(context))?;
            match self.0.try_read_buf(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(drop)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(context))?;
            match self.0.try_write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(context))?;
            match self.0.try_write_vectored(slices) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match shutdown(&*self.0, Shutdown::Write) {
            // The peer was faster.
            Ok(()) | Err(rustix::io::Errno::NOTCONN) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpSocket},
    };

    use super::*;
    use crate::activity::Activity;

    async fn pair() -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpSocket::new_v4().unwrap();
        peer.set_recv_buffer_size(64 << 10).unwrap();
        let peer = peer.connect(listener.local_addr().unwrap()).await.unwrap();
        (Socket::new(listener.accept().await.unwrap().0), peer)
    }

    /// A slow peer is one that takes, however seldom; what it had still to take is neither rest nor the end.
    #[tokio::test]
    async fn what_a_slow_peer_has_still_to_take_is_no_rest() {
        let (mut socket, mut peer) = pair().await;
        let activity = Activity::of(socket.view());
        let sent = vec![7; 32 << 20];
        let filled = tokio::time::timeout(Duration::from_millis(200), socket.write_all(&sent)).await;
        assert!(filled.is_err(), "the peer reads nothing");
        // All that its buffer holds, and some more.
        let mut piece = vec![0; 256 << 10];
        for _ in 0..4 {
            let _first_look = activity.rested();
            tokio::time::sleep(Duration::from_millis(400)).await;
            peer.read_exact(&mut piece).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(activity.rested() < Duration::from_millis(400), "it has just taken some");
            assert!(!activity.is_settled());
        }
        // It takes no more, and then it has all.
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert!(activity.rested() >= Duration::from_millis(600) && !activity.is_settled());
        let drained = tokio::spawn(async move { tokio::io::copy(&mut peer, &mut tokio::io::sink()).await });
        while socket.backlog() != Some(0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(activity.is_settled(), "it was quiet long before");
        drop(socket);
        drained.await.unwrap().unwrap();
    }

    /// Whoever looks takes nothing from the one who reads and writes, and sees the same each time.
    #[tokio::test]
    async fn a_peer_that_is_gone_has_no_backlog_however_often_one_looks() {
        let (mut socket, peer) = pair().await;
        let view = socket.view();
        // More than the peer's buffer takes, so that some of it is still on its way.
        let sent = vec![7; 32 << 20];
        let filled = tokio::time::timeout(Duration::from_millis(200), socket.write_all(&sent)).await;
        assert!(filled.is_err(), "the peer reads nothing");
        assert!(view.backlog().is_some_and(|bytes| bytes > 0));
        // With bytes that nobody read a close is a reset.
        drop(peer);
        tokio::time::sleep(Duration::from_millis(100)).await;
        for _ in 0..3 {
            assert_eq!((view.backlog(), socket.backlog()), (None, None));
        }
        assert!(socket.write_all(&sent).await.is_err());
        drop(socket);
        assert_eq!(view.backlog(), None);
    }
}
