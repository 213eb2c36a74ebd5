//! An S3 client of the harness' own: no retries, no hidden work, each failure handed back.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Result;
use cairn_s3::{RequestParts, sigv4::Signer, uri::aws_encode};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use time::OffsetDateTime;

use crate::{
    connection::{Connection, Dialer},
    content::Outgoing,
    endpoint::Endpoint,
    failure::{Failure, TIMEOUT},
};

/// Unused connections that are kept.
const IDLE_MAX: usize = 1024;
/// The longest answer that is no object: a page of a listing has some 300 KiB.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// A presigned URL is good for an hour, as the runner's are for a job's time.
const EXPIRES_S: u64 = 3600;

/// How a request is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signing {
    /// By the `Authorization` header.
    Header,
    /// By the query: what the runner gets. `Content-Type` and `Last-Modified` are then sent unsigned, as it does.
    Presigned,
}

/// A request to be.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    /// Object key; empty for the bucket itself.
    pub(crate) key: &'a str,
    /// Query, encoded.
    pub(crate) query: String,
    /// Headers that are signed.
    pub(crate) headers: HeaderMap,
    /// Headers that are sent unsigned.
    pub(crate) unsigned: HeaderMap,
    pub(crate) body: Outgoing,
    pub(crate) signing: Signing,
}

impl<'a> Call<'a> {
    /// A request without query, headers or body.
    pub(crate) fn new(method: Method, key: &'a str) -> Self {
        let (headers, unsigned) = (HeaderMap::new(), HeaderMap::new());
        Self { method, key, query: String::new(), headers, unsigned, body: Outgoing::empty(), signing: Signing::Header }
    }

    pub(crate) fn query(self, query: impl Into<String>) -> Self {
        Self { query: query.into(), ..self }
    }

    pub(crate) fn body(self, body: Outgoing) -> Self {
        Self { body, ..self }
    }

    pub(crate) fn signing(self, signing: Signing) -> Self {
        Self { signing, ..self }
    }

    /// Adds a header that is signed. Values that no header can carry are left out.
    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }

    /// Adds a header that is not signed.
    pub(crate) fn unsigned(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.unsigned.insert(HeaderName::from_static(name), value);
        }
        self
    }
}

/// Speaks to one bucket of one server.
pub(crate) struct Client {
    dialer: Dialer,
    signer: Signer,
    authority: String,
    bucket: String,
    idle: Mutex<Vec<Connection>>,
    timeout: Duration,
}

impl Client {
    /// For a bucket of a server.
    ///
    /// # Errors
    /// If its TLS cannot be set up.
    pub(crate) fn new(endpoint: &Endpoint, bucket: &str, timeout: Duration) -> Result<Self> {
        Ok(Self {
            dialer: Dialer::new(endpoint)?,
            signer: Signer::new(&endpoint.access_key, &endpoint.secret_key, &endpoint.region),
            authority: endpoint.authority(),
            bucket: bucket.to_owned(),
            idle: Mutex::new(Vec::new()),
            timeout,
        })
    }

    /// The time an operation may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Closes the connections that are not in use, so that the next request makes a new one.
    pub(crate) fn hang_up(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// A connection that was used before, or a new one; and whether it is new.
    async fn connection(&self) -> Result<(Connection, bool), Failure> {
        loop {
            let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match kept {
                Some(connection) if connection.is_open() => return Ok((connection, false)),
                Some(_) => {}
                None => return Ok((self.dialer.dial().await?, true)),
            }
        }
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX && connection.is_open() {
            idle.push(connection);
        }
    }

    /// Sends a request on a kept connection, or on `stage`'s own.
    ///
    /// # Errors
    /// What broke before the answer's head was there.
    pub(crate) async fn send<'c>(&'c self, call: Call<'_>, stage: Option<&'c Stage>) -> Result<Answer<'c>, Failure> {
        let mut request = self.request(call)?;
        loop {
            let (mut connection, new) = match stage {
                Some(stage) => stage.connection(self).await?,
                None => self.connection().await?,
            };
            match connection.send(request).await {
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    return Ok(Answer { client: self, stage, connection, head, body });
                }
                // The server closed an idle connection at the very moment: nothing was sent, so this is no failure.
                Err((_, Some(unsent))) if !new => request = unsent,
                Err((failure, _)) => return Err(failure),
            }
        }
    }

    fn request(&self, call: Call<'_>) -> Result<Request<Outgoing>, Failure> {
        let path = match call.key {
            "" => format!("/{}", self.bucket),
            key => format!("/{}/{}", self.bucket, aws_encode(key.as_bytes(), true)),
        };
        let parts = RequestParts {
            method: &call.method,
            host: &self.authority,
            path: &path,
            query: &call.query,
            headers: &call.headers,
        };
        let now = OffsetDateTime::now_utc();
        let wrong = |error: cairn_s3::S3Error| Failure::new(format!("sign: {error}"));
        let (mut headers, query) = match call.signing {
            Signing::Header => {
                (self.signer.sign(&parts, "UNSIGNED-PAYLOAD", now).map_err(wrong)?.0, call.query.clone())
            }
            Signing::Presigned => (call.headers.clone(), self.signer.presign(&parts, EXPIRES_S, now).map_err(wrong)?),
        };
        headers.extend(call.unsigned);
        let target = if query.is_empty() { path } else { format!("{path}?{query}") };
        let host = HeaderValue::from_str(&self.authority).map_err(|error| Failure::transport("host", &error))?;
        headers.insert(header::HOST, host);
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        let mut request = Request::new(call.body);
        *request.method_mut() = call.method;
        *request.uri_mut() = target.parse().map_err(|error| Failure::transport("address", &error))?;
        *request.headers_mut() = headers;
        Ok(request)
    }

    /// Sends a request and reads an answer that is small. Any status but success is a failure.
    ///
    /// # Errors
    /// What broke, or what the server said.
    pub(crate) async fn call(&self, call: Call<'_>, stage: Option<&Stage>) -> Result<Small, Failure> {
        let work = async { self.send(call, stage).await?.small().await };
        tokio::time::timeout(self.timeout, work).await.unwrap_or_else(|_| Err(Failure::new(TIMEOUT)))
    }
}

const USER_AGENT: &str = concat!("cairn-bench/", env!("CARGO_PKG_VERSION"));

/// One stage of a job: a process of its own, so a connection of its own, closed when the stage ends.
#[derive(Default)]
pub(crate) struct Stage {
    kept: Mutex<Option<Connection>>,
}

impl Stage {
    async fn connection(&self, client: &Client) -> Result<(Connection, bool), Failure> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        match kept {
            Some(connection) if connection.is_open() => Ok((connection, false)),
            _ => Ok((client.dialer.dial().await?, true)),
        }
    }

    fn keep(&self, connection: Connection) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
    }
}

/// An answer whose body was not read yet.
pub(crate) struct Answer<'c> {
    client: &'c Client,
    stage: Option<&'c Stage>,
    connection: Connection,
    head: http::response::Parts,
    body: Incoming,
}

impl Answer<'_> {
    /// Its status.
    pub(crate) fn status(&self) -> StatusCode {
        self.head.status
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    /// `Content-Length`.
    pub(crate) fn length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    /// Hands each piece of the body over. Answers when the first piece came.
    ///
    /// # Errors
    /// What broke, or what `each` said.
    pub(crate) async fn read(
        mut self,
        mut each: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<Option<Instant>, Failure> {
        let mut first = None;
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| Failure::transport("receive", &error))?;
            if let Some(piece) = frame.data_ref() {
                first.get_or_insert_with(Instant::now);
                each(piece)?;
            }
        }
        match self.stage {
            Some(stage) => stage.keep(self.connection),
            None => self.client.keep(self.connection),
        }
        Ok(first)
    }

    /// Reads an answer that is small.
    ///
    /// # Errors
    /// What broke, or what the server said if it was no success.
    pub(crate) async fn small(self) -> Result<Small, Failure> {
        let (status, headers) = (self.status(), self.head.headers.clone());
        let mut body = Vec::new();
        self.read(|piece| {
            if body.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err(Failure::new("an answer of more than 4 MiB that is no object"));
            }
            body.extend_from_slice(piece);
            Ok(())
        })
        .await?;
        match status.is_success() {
            true => Ok(Small { headers, body }),
            false => Err(Failure::answer(status.as_u16(), &body)),
        }
    }
}

/// An answer that was read.
#[derive(Debug)]
pub(crate) struct Small {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Small {
    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The texts of all elements of a name, with the five entities put back.
    pub(crate) fn elements(&self, name: &str) -> Vec<String> {
        let text = String::from_utf8_lossy(&self.body);
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        let pieces = text.split(open.as_str()).skip(1).filter_map(|piece| piece.split_once(close.as_str()));
        pieces.map(|(inner, _)| unescape(inner)).collect()
    }
}

fn unescape(text: &str) -> String {
    let plain = text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#34;", "\"");
    plain.replace("&apos;", "'").replace("&#39;", "'").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found() {
        let body = b"<R><K>a&amp;lt;b</K><S>1</S><K>c</K><K></K></R>".to_vec();
        let answer = Small { headers: HeaderMap::new(), body };
        assert_eq!(answer.elements("K"), ["a&lt;b", "c", ""]);
        assert_eq!(answer.elements("Key"), Vec::<String>::new());
    }
}
