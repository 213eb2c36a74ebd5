//! The listener: connections up to a limit, TLS, HTTP/1.1 or HTTP/2 as the handshake agreed, and a good end.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    activity::Activity,
    connections::{Connections, Place},
    options::GatewayOptions,
    refusals::Refusals,
    router::Router,
    socket::Socket,
    stall_guard::StallGuard,
    stream_watch::StreamTasks,
    tasks::Tasks,
    tls::TlsSource,
};

/// Read buffer of an HTTP/1.1 connection; its headers must fit too.
const HTTP1_BUFFER_BYTES: usize = 256 << 10;
/// What a client may send of one HTTP/2 body before we took any of it.
pub(crate) const HTTP2_STREAM_WINDOW: u32 = 512 << 10;
/// The same for all bodies of a connection.
const HTTP2_CONNECTION_WINDOW: u32 = 2 << 20;
/// What waits to be sent on one HTTP/2 stream.
pub(crate) const HTTP2_SEND_BUFFER_BYTES: usize = 512 << 10;
const HTTP2_FRAME_BYTES: u32 = 64 << 10;
const HTTP2_HEADER_BYTES: u32 = 64 << 10;
/// Streams of a connection at once.
pub(crate) const HTTP2_STREAMS_MAX: u32 = 128;
/// A pause after the kernel had no connection for us (no file descriptor left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// At the end a connection on which nobody waits is looked at so often, and goes when it was found so twice.
const QUIET_LOOK: Duration = Duration::from_millis(100);

/// What every connection needs.
pub(crate) struct Server {
    pub(crate) router: Router,
    pub(crate) tls: Option<Arc<TlsSource>>,
    pub(crate) tasks: Tasks,
    pub(crate) connections: Arc<Connections>,
    pub(crate) options: Arc<GatewayOptions>,
}

impl Server {
    /// Accepts connections until the gateway stops. Over the limit they wait in the kernel's queue, behind one that has no
    /// place yet.
    pub(crate) async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            let next = async {
                let (stream, peer) = listener.accept().await?;
                // Without it small answers wait for the peer's acknowledgement; a failure costs only time.
                let _ = stream.set_nodelay(true);
                let stream = Socket::new(stream);
                let activity = Activity::of(stream.view());
                let place = self.connections.enter(activity.clone()).await;
                Ok::<_, std::io::Error>((stream, peer, activity, place))
            };
            let accepted = tokio::select! {
                () = self.tasks.stopping() => return,
                accepted = next => accepted,
            };
            match accepted {
                Ok((stream, peer, activity, place)) => {
                    self.tasks.spawn(Arc::clone(&self).connection(stream, peer, activity, place));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn connection(self: Arc<Self>, stream: Socket, peer: SocketAddr, activity: Activity, place: Place) {
        let stream = StallGuard::new(stream, self.options.idle_max, activity.clone());
        let Some(tls) = &self.tls else { return self.serve(stream, peer, activity, false, &place).await };
        let handshake = TlsAcceptor::from(tls.current()).accept(stream);
        let stream = tokio::select! {
            () = self.tasks.stopping() => return,
            () = place.is_needed() => return,
            done = tokio::time::timeout(self.options.handshake_within, handshake) => match done {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return tracing::debug!(%peer, %error, "TLS handshake failed"),
                Err(_) => return tracing::debug!(%peer, "TLS handshake took too long"),
            },
        };
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        self.serve(stream, peer, activity, is_http2, &place).await;
    }

    async fn serve<T>(&self, stream: T, peer: SocketAddr, activity: Activity, is_http2: bool, place: &Place)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let builder = self.builder(is_http2, &activity);
        let router = self.router.clone();
        let requests = activity.clone();
        let service = service_fn(move |request| {
            let (router, running) = (router.clone(), requests.begin());
            async move { Ok::<_, Infallible>(router.answer(request, peer, running).await) }
        });
        let stream = TokioIo::new(Refusals::new(stream, activity.clone()));
        let mut connection = std::pin::pin!(builder.serve_connection(stream, service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.end_of(&activity, is_http2, place) => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = quiet(&activity) => return tracing::debug!(%peer, "a half-sent request is given up"),
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, error, "connection ended");
        }
    }

    /// Resolves when a connection shall come to a good end. One of HTTP/2 that rests is ours to close: its peer answers our
    /// pings for ever. HTTP/1.1 has a limit for the next request's head.
    async fn end_of(&self, activity: &Activity, is_http2: bool, place: &Place) {
        let rested = async {
            match is_http2 {
                true => rested(activity, self.options.idle_max).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.tasks.stopping() => {}
            () = place.is_needed() => {}
            () = rested => {}
        }
    }

    fn builder(&self, is_http2: bool, activity: &Activity) -> auto::Builder<StreamTasks> {
        let (tasks, activity, idle_max) = (self.tasks.clone(), activity.clone(), self.options.idle_max);
        let mut builder = auto::Builder::new(StreamTasks { tasks, activity, idle_max });
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.options.headers_within)
            .max_buf_size(HTTP1_BUFFER_BYTES);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(self.options.idle_max / 2)
            // A ping waits behind what the kernel holds for a slow peer.
            .keep_alive_timeout(self.options.idle_max * 4)
            .initial_stream_window_size(HTTP2_STREAM_WINDOW)
            .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
            .max_send_buf_size(HTTP2_SEND_BUFFER_BYTES)
            .max_frame_size(HTTP2_FRAME_BYTES)
            .max_header_list_size(HTTP2_HEADER_BYTES)
            .max_concurrent_streams(HTTP2_STREAMS_MAX);
        // The handshake has decided; guessing by the first bytes would have no time limit.
        if is_http2 { builder.http2_only() } else { builder.http1_only() }
    }
}

/// Resolves when nobody has waited for anything for so long.
async fn rested(activity: &Activity, max: Duration) {
    loop {
        let left = max.saturating_sub(activity.rested());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left).await;
    }
}

/// Resolves when no request runs and nothing is on its way out. hyper closes idle connections by itself; one whose
/// request's head never came to its end it would wait for.
async fn quiet(activity: &Activity) {
    let mut was_quiet = false;
    loop {
        tokio::time::sleep(QUIET_LOOK).await;
        let is_quiet = activity.is_settled();
        if was_quiet && is_quiet {
            return;
        }
        was_quiet = is_quiet;
    }
}
