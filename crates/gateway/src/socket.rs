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

impl Backlog for SocketView {
    fn backlog(&self) -> Option<u64> {
        Socket(self.0.upgrade()?).backlog()
    }
}

impl Backlog for Socket {
    fn backlog(&self) -> Option<u64> {
        // What a peer that is gone had still to take nobody takes any more.
        if !matches!(self.0.take_error(), Ok(None)) {
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
