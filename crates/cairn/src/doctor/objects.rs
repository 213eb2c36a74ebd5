//! One probe object up, down and away again, by requests that are signed by header.

use bytes::Bytes;
use http::Method;

use super::{
    client::{Call, Refusal, S3Client, refusal_of},
    report::Trouble,
};
use crate::http_client::Answer;

/// What the step answers with when it went well.
type Done = Result<(String, ()), Trouble>;

/// A miss must be a miss: a cache that gets 403 for it is an error to its reader.
pub(super) async fn miss(client: &S3Client<'_>, key: &str) -> Done {
    let answer = client.by_header(Call::of(Method::HEAD, key)).await?;
    judge_miss(answer.status.as_u16())
}

/// Judges the status of a HEAD for a key that is not there.
pub(super) fn judge_miss(status: u16) -> Done {
    match status {
        404 => Ok(("a key that is not there is 404".to_owned(), ())),
        403 => Err(Trouble::new(
            "a key that is not there is 403: every cache miss looks like an error",
            "let the key list the bucket too (s3:ListBucket), or widen its prefix",
        )),
        status => Err(Trouble::new(format!("a key that is not there is {status}"), "look at the server's log")),
    }
}

/// Writes the probe.
pub(super) async fn put(client: &S3Client<'_>, key: &str, body: &Bytes) -> Done {
    let call = Call { body: body.clone(), ..Call::of(Method::PUT, key) };
    let answer = client.by_header(call).await?;
    match refusal_of(&answer) {
        None => Ok((format!("{} bytes as {key}", body.len()), ())),
        Some(refusal) => Err(put_refused(&refusal, client)),
    }
}

fn more_quota(bucket: &str) -> String {
    format!("delete objects, or raise the quota; Cairn: `cairn bucket quota {bucket} SIZE`")
}

/// Why a PUT may have been refused.
pub(super) fn put_refused(refusal: &Refusal, client: &S3Client<'_>) -> Trouble {
    let target = client.target;
    let remedy = match refusal.code.as_str() {
        // Cairn's code for it; other servers have one of their own.
        "AccessDenied" if refusal.message.contains("quota") => more_quota(&target.bucket),
        "AccessDenied" => format!(
            "the key may read only, or its prefix is not `{}`; Cairn: `cairn key list`, `cairn key create --bucket {}`",
            target.prefix, target.bucket
        ),
        "QuotaExceeded" => more_quota(&target.bucket),
        "EntityTooLarge" => "a proxy or the server limits the size of a body (nginx: client_max_body_size)".to_owned(),
        _ if refusal.status == 413 => "a proxy limits the size of a body (nginx: client_max_body_size)".to_owned(),
        _ if refusal.status == 507 => "the disks are full (Cairn: `cairn status`)".to_owned(),
        _ => "look at the server's log and its disks (Cairn: `cairn status`)".to_owned(),
    };
    Trouble::new(refusal.shown(), remedy)
}

/// Asks for the probe's length.
pub(super) async fn head(client: &S3Client<'_>, key: &str, bytes: usize) -> Done {
    let answer = client.by_header(Call::of(Method::HEAD, key)).await?;
    judge_head(&answer, bytes)
}

/// Judges the answer to a HEAD of the probe.
pub(super) fn judge_head(answer: &Answer, bytes: usize) -> Done {
    refused(answer)?;
    let length = answer.header("content-length").and_then(|text| text.parse().ok());
    if length != Some(bytes) {
        return Err(Trouble::new(
            format!("Content-Length is {} and not {bytes}", answer.header("content-length").unwrap_or("missing")),
            "a proxy may compress or rewrite answers: let it pass them on as they are",
        ));
    }
    if answer.header("last-modified").is_none() {
        return Err(Trouble::new("there is no Last-Modified", "the runner needs it; a proxy may take it out"));
    }
    Ok((format!("{bytes} bytes"), ()))
}

/// Reads the probe.
pub(super) async fn get(client: &S3Client<'_>, key: &str, body: &Bytes) -> Done {
    let answer = client.by_header(Call::of(Method::GET, key)).await?;
    judge_get(&answer, body)
}

/// Judges the answer to a GET of the probe.
pub(super) fn judge_get(answer: &Answer, body: &Bytes) -> Done {
    refused(answer)?;
    if answer.body != body {
        return Err(Trouble::new(
            format!("other bytes came back: {} of {}", answer.body.len(), body.len()),
            "a proxy or cache between may change or keep bodies: let it pass them on as they are",
        ));
    }
    Ok((format!("the same {} bytes", body.len()), ()))
}

/// Reads the probe's first byte, with the whole length beside it.
pub(super) async fn range(client: &S3Client<'_>, key: &str, body: &Bytes) -> Done {
    let call = Call { unsigned: &[("range", "bytes=0-0")], ..Call::of(Method::GET, key) };
    let answer = client.by_header(call).await?;
    judge_range(&answer, body)
}

/// Judges the answer to a GET of `bytes=0-0`.
pub(super) fn judge_range(answer: &Answer, body: &Bytes) -> Done {
    refused(answer)?;
    let expected = format!("bytes 0-0/{}", body.len());
    let is_right = answer.status == 206
        && answer.header("content-range") == Some(expected.as_str())
        && body.first().is_some_and(|first| answer.body[..] == [*first]);
    if !is_right {
        return Err(Trouble::new(
            format!(
                "the first byte is answered with HTTP {}, Content-Range {}, {} bytes",
                answer.status.as_u16(),
                answer.header("content-range").unwrap_or("missing"),
                answer.body.len()
            ),
            "a proxy between may not pass ranges on; the runner's parallel download needs them",
        ));
    }
    Ok((expected, ()))
}

/// Removes probes, and looks whether they are gone.
pub(super) async fn delete(client: &S3Client<'_>, keys: &[&str]) -> Done {
    for key in keys {
        let answer = client.by_header(Call::of(Method::DELETE, key)).await?;
        if let Some(refusal) = refusal_of(&answer) {
            return Err(Trouble::new(
                refusal.shown(),
                format!("the runner deletes nothing and needs no such right; remove the object {key} by hand"),
            ));
        }
        let after = client.by_header(Call::of(Method::HEAD, key)).await?;
        if after.status != 404 {
            return Err(Trouble::new(
                format!("{key} is still there (HTTP {})", after.status.as_u16()),
                "is a cache between, or versions held?",
            ));
        }
    }
    Ok((format!("{} probe objects are gone", keys.len()), ()))
}

fn refused(answer: &Answer) -> Result<(), Trouble> {
    match refusal_of(answer) {
        None => Ok(()),
        Some(refusal) if refusal.status == 404 => Err(Trouble::new(
            format!("what was just written is not there: {}", refusal.shown()),
            "is a cache or another server between?",
        )),
        Some(refusal) => Err(Trouble::new(refusal.shown(), "look at the rights of the key and the server's log")),
    }
}
