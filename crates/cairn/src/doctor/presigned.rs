//! The flow of a GitLab runner's cache: restore (a miss), save, restore, all by presigned URLs, and the headers that
//! the runner's helper adds without signing them.

use bytes::Bytes;
use cairn_meta::Clock;
use cairn_s3::dates::{format_http, from_unix_ms, parse_http};
use http::Method;

use super::{
    client::{Call, S3Client, refusal_of},
    objects::{judge_get, judge_head, judge_miss, judge_range, put_refused},
    report::Trouble,
};
use crate::http_client::Answer;

/// A Last-Modified this far ahead of our clock freezes the cache on this machine.
const AHEAD_MAX_S: i64 = 5;

/// Goes through the flow. The object it wrote stays, for the caller to remove.
pub(super) async fn runner_flow(client: &S3Client<'_>, key: &str, body: &Bytes) -> Result<(String, ()), Trouble> {
    let get = || Call { query: "x-id=GetObject", ..Call::of(Method::GET, key) };
    let missing = client.presigned(Call::of(Method::HEAD, key)).await.map_err(at("HEAD before the save"))?;
    judge_miss(missing.status.as_u16()).map_err(at("HEAD before the save"))?;
    let missing = client.presigned(get()).await.map_err(at("GET before the save"))?;
    judge_miss(missing.status.as_u16()).map_err(at("GET before the save"))?;

    save(client, key, body).await.map_err(at("PUT"))?;

    let found = client.presigned(Call::of(Method::HEAD, key)).await.map_err(at("HEAD"))?;
    judge_head(&found, body.len()).and_then(|_| judge_date(&found, client.clock.as_ref())).map_err(at("HEAD"))?;
    let found = client.presigned(get()).await.map_err(at("GET"))?;
    judge_get(&found, body).map_err(at("GET"))?;
    let first = Call { unsigned: &[("range", "bytes=0-0")], ..get() };
    let found = client.presigned(first).await.map_err(at("GET of a range"))?;
    judge_range(&found, body).map_err(at("GET of a range"))?;
    Ok(("miss, save and restore as the runner does them".to_owned(), ()))
}

async fn save(client: &S3Client<'_>, key: &str, body: &Bytes) -> Result<(), Trouble> {
    let now = from_unix_ms(i64::try_from(client.clock.now_ms()).unwrap_or(i64::MAX));
    let modified = format_http(now);
    let call = Call {
        query: "x-id=PutObject",
        signed: &[("x-amz-meta-cachekey", "cairn-doctor")],
        unsigned: &[("content-type", "application/octet-stream"), ("last-modified", modified.as_str())],
        body: body.clone(),
        ..Call::of(Method::PUT, key)
    };
    let answer = client.presigned(call).await?;
    match refusal_of(&answer) {
        None => Ok(()),
        Some(refusal) if refusal.message.to_ascii_lowercase().contains("signed") => Err(Trouble::new(
            refusal.shown(),
            "this server wants headers signed that the runner does not sign: it needs an update",
        )),
        Some(refusal) => Err(put_refused(&refusal, client)),
    }
}

fn judge_date(answer: &Answer, clock: &dyn Clock) -> Result<(), Trouble> {
    let Some(date) = answer.header("last-modified").and_then(parse_http) else { return Ok(()) };
    let ahead_s = date.unix_timestamp() - i64::try_from(clock.now_ms() / 1000).unwrap_or(i64::MAX);
    if ahead_s > AHEAD_MAX_S {
        return Err(Trouble::new(
            format!(
                "Last-Modified is {ahead_s} s ahead of this machine's clock: the runner would take its own copy for old"
            ),
            "set both clocks by NTP",
        ));
    }
    Ok(())
}

/// Names the request that went wrong.
fn at(request: &'static str) -> impl Fn(Trouble) -> Trouble {
    move |trouble| Trouble::new(format!("{request}: {}", trouble.reason), trouble.remedy)
}
