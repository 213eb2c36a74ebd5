//! One request and its answer over a connection that nobody else uses.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

/// From the first byte of the request to the last of the answer; the GitLab runner waits as long for a header.
const WITHIN: Duration = Duration::from_secs(30);
/// Longer answers are none of ours.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: StatusCode,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The whole body.
    pub(crate) body: Bytes,
}

impl Answer {
    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ExchangeError {
    /// The peer does not speak HTTP/1.1, or broke off.
    #[error("no HTTP answer: {0}")]
    Http(#[from] hyper::Error),
    /// It takes too long.
    #[error("no whole answer within {} s", WITHIN.as_secs())]
    Late,
    /// It is too long.
    #[error("the answer is longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
    /// The body broke off.
    #[error("the answer broke off: {0}")]
    Cut(String),
}

/// Sends a request and reads its answer. The connection ends with it.
pub(crate) async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, ExchangeError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let asking = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Drives the connection; ends with `sender`.
        let driver = tokio::spawn(connection);
        let answer = read(sender.send_request(request).await?).await;
        driver.abort();
        answer
    };
    timeout(WITHIN, asking).await.unwrap_or(Err(ExchangeError::Late))
}

async fn read(response: http::Response<hyper::body::Incoming>) -> Result<Answer, ExchangeError> {
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() { ExchangeError::TooLong } else { ExchangeError::Cut(error.to_string()) }
    })?;
    Ok(Answer { status: parts.status, headers: parts.headers, body: body.to_bytes() })
}
