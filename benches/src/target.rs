//! A server under load: the operations, each verified, and what they left behind there, so that it can be removed.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use anyhow::Result;
use http::{Method, StatusCode};

use crate::{
    client::{Answer, Call, Client, Signing, Small, Stage},
    content::{Content, Outgoing},
    failure::{Failure, TIMEOUT, WRONG_BYTES},
    recorder::Done,
};

/// What may lie on the server because of us.
#[derive(Debug, Default)]
struct Left {
    keys: BTreeSet<String>,
    /// Upload id to key.
    uploads: BTreeMap<String, String>,
}

/// A server, its bucket and prefix.
pub(crate) struct Target {
    pub(crate) client: Client,
    /// All keys begin with it.
    pub(crate) prefix: String,
    left: Mutex<Left>,
}

/// How an operation is sent.
#[derive(Clone, Copy, Default)]
pub(crate) struct How<'s> {
    /// On a connection of a stage's own, with a presigned URL, as the runner does.
    pub(crate) stage: Option<&'s Stage>,
}

impl How<'_> {
    fn signing(&self) -> Signing {
        if self.stage.is_some() { Signing::Presigned } else { Signing::Header }
    }
}

impl Target {
    /// A server whose keys begin with a prefix.
    pub(crate) fn new(client: Client, prefix: String) -> Self {
        Self { client, prefix, left: Mutex::new(Left::default()) }
    }

    fn left(&self) -> std::sync::MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keys that may be there.
    pub(crate) fn keys_left(&self) -> Vec<String> {
        self.left().keys.iter().cloned().collect()
    }

    /// Uploads that may be there, with their keys.
    pub(crate) fn uploads_left(&self) -> Vec<(String, String)> {
        self.left().uploads.iter().map(|(upload, key)| (upload.clone(), key.clone())).collect()
    }

    /// Writes an object. `version` is noted in the metadata, as the runner notes the name of its cache.
    pub(crate) async fn put(&self, key: &str, content: Content, version: u64, how: How<'_>) -> Result<Done, Failure> {
        self.left().keys.insert(key.to_owned());
        let call = Call::new(Method::PUT, key)
            .header("x-amz-meta-cachekey", &format!("v{version}"))
            .unsigned("content-type", "application/octet-stream")
            .body(Outgoing::whole(content))
            .signing(how.signing());
        let call = match how.stage {
            Some(_) => call.query("x-id=PutObject").unsigned("last-modified", "Sun, 01 Nov 2026 00:00:00 GMT"),
            None => call,
        };
        self.client.call(call, how.stage).await?;
        Ok(Done::bytes(content.length()))
    }

    /// Reads a whole object. `contents` tells, when the answer's head is there, what it may hold.
    pub(crate) async fn get(
        &self,
        key: &str,
        contents: impl FnOnce() -> Result<Vec<Content>, Failure>,
        how: How<'_>,
    ) -> Result<Done, Failure> {
        let call = Call::new(Method::GET, key).signing(how.signing());
        let call = if how.stage.is_some() { call.query("x-id=GetObject") } else { call };
        self.read(call, how.stage, contents, None).await
    }

    /// Reads a part of an object.
    pub(crate) async fn range(&self, key: &str, content: Content, range: Range<u64>) -> Result<Done, Failure> {
        let header = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
        let call = Call::new(Method::GET, key).unsigned("range", &header);
        self.read(call, None, || Ok(vec![content]), Some(range)).await
    }

    /// Sends a request and compares the answer with what must come.
    async fn read(
        &self,
        call: Call<'_>,
        stage: Option<&Stage>,
        contents: impl FnOnce() -> Result<Vec<Content>, Failure>,
        range: Option<Range<u64>>,
    ) -> Result<Done, Failure> {
        let work = async {
            let begun = Instant::now();
            let answer = self.client.send(call, stage).await?;
            let wanted = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
            if answer.status() != wanted {
                return Err(refused(answer.small().await, wanted));
            }
            let (bytes, first) = compare(answer, contents()?, range).await?;
            Ok(Done { bytes, keys: 0, first_byte: first.map(|first| first - begun) })
        };
        tokio::time::timeout(self.client.timeout(), work).await.unwrap_or_else(|_| Err(Failure::new(TIMEOUT)))
    }

    /// Asks for the head of an object that is there; answers its length.
    pub(crate) async fn head(&self, key: &str, how: How<'_>) -> Result<u64, Failure> {
        let answer = self.client.call(Call::new(Method::HEAD, key).signing(how.signing()), how.stage).await?;
        let length = answer.header("content-length").and_then(|length| length.parse().ok());
        length.ok_or_else(|| Failure::new("no Content-Length"))
    }

    /// Asks for the head of an object whose length is known.
    pub(crate) async fn head_of(&self, key: &str, length: u64) -> Result<Done, Failure> {
        match self.head(key, How::default()).await? {
            found if found == length => Ok(Done::default()),
            _ => Err(Failure::new("wrong length")),
        }
    }

    /// Asks for an object that must not be there.
    pub(crate) async fn miss(&self, method: Method, key: &str, how: How<'_>) -> Result<Done, Failure> {
        let call = Call::new(method.clone(), key).signing(how.signing());
        let call = if method == Method::GET && how.stage.is_some() { call.query("x-id=GetObject") } else { call };
        match self.client.call(call, how.stage).await {
            Err(failure) if failure.label().starts_with("404") => Ok(Done::default()),
            Err(failure) => Err(failure),
            Ok(_) => Err(Failure::new("an object that was never written")),
        }
    }

    /// Deletes an object.
    pub(crate) async fn delete(&self, key: &str) -> Result<Done, Failure> {
        self.client.call(Call::new(Method::DELETE, key), None).await?;
        self.left().keys.remove(key);
        Ok(Done::default())
    }

    /// One page of the keys that begin with a prefix and come after a key.
    pub(crate) async fn list(&self, prefix: &str, after: &str, keys_max: usize) -> Result<Vec<String>, Failure> {
        let encode = |text: &str| cairn_s3::uri::aws_encode(text.as_bytes(), false);
        let mut query = format!("list-type=2&max-keys={keys_max}&prefix={}", encode(prefix));
        if !after.is_empty() {
            query.push_str(&format!("&start-after={}", encode(after)));
        }
        let answer = self.client.call(Call::new(Method::GET, "").query(query), None).await?;
        Ok(answer.elements("Key"))
    }

    /// Writes an object in parts, one after the other.
    pub(crate) async fn multipart(&self, key: &str, content: Content, part_bytes: u64) -> Result<Done, Failure> {
        self.left().keys.insert(key.to_owned());
        let created = self.client.call(Call::new(Method::POST, key).query("uploads="), None).await?;
        let uploads = created.elements("UploadId");
        let upload = uploads.first().ok_or_else(|| Failure::new("no UploadId"))?;
        self.left().uploads.insert(upload.clone(), key.to_owned());
        let query = format!("uploadId={}", cairn_s3::uri::aws_encode(upload.as_bytes(), false));
        let mut list = String::from("<CompleteMultipartUpload>");
        let starts = (0..content.length().max(1)).step_by(usize::try_from(part_bytes.max(1)).unwrap_or(usize::MAX));
        for (number, from) in (1..).zip(starts) {
            let body = Outgoing::range(content, from, content.length().min(from + part_bytes));
            let call = Call::new(Method::PUT, key).query(format!("partNumber={number}&{query}")).body(body);
            let answer = self.client.call(call, None).await?;
            let etag = answer.header("etag").ok_or_else(|| Failure::new("no ETag"))?;
            list.push_str(&format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"));
        }
        list.push_str("</CompleteMultipartUpload>");
        let call = Call::new(Method::POST, key).query(query).body(Outgoing::given(list));
        let completed = self.client.call(call, None).await?;
        // A completion may answer 200 and say in its body that it failed.
        if let Some(code) = completed.elements("Code").first() {
            return Err(Failure::new(format!("200 {code}")));
        }
        self.left().uploads.remove(upload);
        Ok(Done::bytes(content.length()))
    }

    /// Ends an upload that was not completed.
    pub(crate) async fn abort(&self, upload: &str, key: &str) -> Result<(), Failure> {
        let query = format!("uploadId={}", cairn_s3::uri::aws_encode(upload.as_bytes(), false));
        match self.client.call(Call::new(Method::DELETE, key).query(query), None).await {
            Err(failure) if !failure.label().starts_with("404") => return Err(failure),
            _ => {}
        }
        self.left().uploads.remove(upload);
        Ok(())
    }
}

/// Compares a body with what it may be, byte by byte. Answers its length and when its first byte came.
async fn compare(
    answer: Answer<'_>,
    mut may_be: Vec<Content>,
    range: Option<Range<u64>>,
) -> Result<(u64, Option<Instant>), Failure> {
    let length = answer.length().ok_or_else(|| Failure::new("no Content-Length"))?;
    may_be.retain(|content| range.as_ref().map_or(content.length(), |range| range.end - range.start) == length);
    let Some(any) = may_be.first() else { return Err(Failure::new("wrong length")) };
    let from = range.as_ref().map_or(0, |range| range.start);
    if let Some(range) = range {
        let wanted = format!("bytes {}-{}/{}", range.start, range.end.saturating_sub(1), any.length());
        if answer.header("content-range") != Some(&wanted) {
            return Err(Failure::new("wrong Content-Range"));
        }
    }
    let mut at = from;
    let first = answer
        .read(|piece| {
            may_be.retain(|content| content.matches(at, piece));
            at += piece.len() as u64;
            if may_be.is_empty() { Err(Failure::new(WRONG_BYTES)) } else { Ok(()) }
        })
        .await?;
    match at - from == length {
        true => Ok((length, first)),
        false => Err(Failure::new("a body that is too short")),
    }
}

/// What an answer with an unwanted status is counted as.
fn refused(answer: Result<Small, Failure>, wanted: StatusCode) -> Failure {
    match answer {
        Err(failure) => failure,
        Ok(_) => Failure::new(format!("another success than {}", wanted.as_u16())),
    }
}
