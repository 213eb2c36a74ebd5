//! A load whose outcome can be judged after a crash: every worker owns some keys, knows what was acknowledged, and what
//! it never heard of again.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use anyhow::{bail, ensure};
use aws_sdk_s3::{
    Client,
    config::retry::RetryConfig,
    error::SdkError,
    primitives::ByteStream,
    types::{CompletedMultipartUpload, CompletedPart},
};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

/// What a key may hold: none = no object, else the seed and length that make its bytes.
type Content = Option<(u64, usize)>;

/// What is known of a key.
#[derive(Clone, Default)]
struct Known {
    /// The last acknowledged content.
    acknowledged: Content,
    /// Contents of requests since then that were never answered: each may show, or not.
    unknown: Vec<Content>,
}

/// One worker's keys.
pub struct Load {
    bucket: String,
    worker: u64,
    random: SmallRng,
    keys: BTreeMap<String, Known>,
}

/// What a check found.
#[derive(Debug, Default, Clone, Copy)]
pub struct Judged {
    /// Keys read.
    pub keys: u64,
    /// Of these, keys with an object.
    pub objects: u64,
}

/// Keys of each worker: few, so that they are overwritten all the time.
const KEYS: u64 = 12;
/// The least that a part which is not the last may have.
const PART_BYTES: usize = 5 << 20;
/// The name under which the load's copies name their source.
const WORKER: &str = "worker";

impl Load {
    /// A worker of its own keys.
    #[must_use]
    pub fn new(bucket: &str, worker: u64, seed: u64) -> Self {
        let random = SmallRng::seed_from_u64(seed ^ worker.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        Self { bucket: bucket.to_owned(), worker, random, keys: BTreeMap::new() }
    }

    /// Works until told to stop or until the server no longer answers. Answers how many requests were acknowledged.
    ///
    /// # Errors
    /// If an answer is wrong.
    pub async fn run(&mut self, client: &Client, stop: &AtomicBool, acknowledged: &AtomicU64) -> anyhow::Result<()> {
        while !stop.load(Ordering::Relaxed) {
            if self.step(client).await? {
                acknowledged.fetch_add(1, Ordering::Relaxed);
            } else {
                // The server is gone or busy: the next request is as likely to tell.
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }

    /// One request, or one upload. Answers whether it was acknowledged.
    async fn step(&mut self, client: &Client) -> anyhow::Result<bool> {
        let key = self.any_key();
        match self.random.random_range(0..24) {
            0..=1 => self.change(client, key, Change::Delete).await,
            2..=5 => {
                let known = self.keys.get(&key).cloned().unwrap_or_default();
                match read(client, &self.bucket, &key).await? {
                    Some(found) => judge(&key, &known, found).map(|()| true),
                    None => Ok(false),
                }
            }
            6..=7 => {
                let from = self.any_key();
                match self.certain(&from) {
                    Some(Some((seed, length))) if from != key => {
                        self.change(client, key, Change::Copy { from, seed, length }).await
                    }
                    _ => Ok(false),
                }
            }
            8 => {
                let length = PART_BYTES + self.random.random_range(0..PART_BYTES);
                let seed = self.random.random();
                self.change(client, key, Change::Upload { seed, length }).await
            }
            9..=10 => self.put_if_absent(client, key).await,
            kind => {
                // Inline, WAL lane, group log, several stripes.
                let longest = match kind {
                    11..=17 => 16 << 10,
                    18..=20 => 200 << 10,
                    21..=22 => 3 << 20,
                    _ => 9 << 20,
                };
                let (seed, length) = (self.random.random(), self.random.random_range(0..longest));
                self.change(client, key, Change::Put { seed, length }).await
            }
        }
    }

    fn any_key(&mut self) -> String {
        format!("{WORKER} {}/{}", self.worker, self.random.random_range(0..KEYS))
    }

    /// What a key holds, if nothing of it is unknown.
    fn certain(&self, key: &str) -> Option<Content> {
        match self.keys.get(key) {
            None => Some(None),
            Some(known) => known.unknown.is_empty().then_some(known.acknowledged),
        }
    }

    async fn change(&mut self, client: &Client, key: String, change: Change) -> anyhow::Result<bool> {
        let content = change.content();
        let known = self.keys.entry(key.clone()).or_default();
        known.unknown.push(content);
        let answered = change.make(client, &self.bucket, &key).await?;
        if answered {
            *known = Known { acknowledged: content, unknown: Vec::new() };
        }
        Ok(answered)
    }

    /// `If-None-Match: *`, which must be taken exactly where there is no object.
    async fn put_if_absent(&mut self, client: &Client, key: String) -> anyhow::Result<bool> {
        let Some(stands) = self.certain(&key) else { return Ok(false) };
        let (seed, length) = (self.random.random(), self.random.random_range(0..100 << 10));
        let known = self.keys.entry(key.clone()).or_default();
        if stands.is_none() {
            known.unknown.push(Some((seed, length)));
        }
        let put = client.put_object().bucket(&self.bucket).key(&key).if_none_match("*");
        // A retry of the client's would meet what its first request wrote.
        let once = aws_sdk_s3::config::Builder::new().retry_config(RetryConfig::disabled());
        match put.body(bytes_of(seed, length).into()).customize().config_override(once).send().await {
            Ok(_) => {
                ensure!(stands.is_none(), "{key}: written although there is an object and it was to be absent");
                *known = Known { acknowledged: Some((seed, length)), unknown: Vec::new() };
                Ok(true)
            }
            Err(SdkError::ServiceError(refused)) if refused.raw().status().as_u16() == 412 => {
                ensure!(stands.is_some(), "{key}: refused although there is no object");
                Ok(true)
            }
            Err(SdkError::ServiceError(refused)) if refused.raw().status().as_u16() < 500 => {
                bail!("{key}: refused: {refused:?}")
            }
            Err(_) => Ok(false),
        }
    }

    /// Reads every key and compares. What is found becomes what is known.
    ///
    /// # Errors
    /// If an acknowledged object is lost or an answer is wrong.
    pub async fn judge(&mut self, client: &Client) -> anyhow::Result<Judged> {
        let mut judged = Judged::default();
        for (key, known) in &mut self.keys {
            let Some(found) = read(client, &self.bucket, key).await? else { bail!("{key}: no answer") };
            judge(key, known, found)?;
            judged.keys += 1;
            judged.objects += u64::from(found.is_some());
            *known = Known { acknowledged: found, unknown: Vec::new() };
        }
        Ok(judged)
    }
}

/// A change of one key.
enum Change {
    Delete,
    Put {
        seed: u64,
        length: usize,
    },
    /// By a multipart upload of two parts.
    Upload {
        seed: u64,
        length: usize,
    },
    /// A copy of a key that holds these bytes.
    Copy {
        from: String,
        seed: u64,
        length: usize,
    },
}

impl Change {
    fn content(&self) -> Content {
        match self {
            Self::Delete => None,
            Self::Put { seed, length } | Self::Upload { seed, length } | Self::Copy { seed, length, .. } => {
                Some((*seed, *length))
            }
        }
    }

    /// Answers whether it was acknowledged.
    async fn make(&self, client: &Client, bucket: &str, key: &str) -> anyhow::Result<bool> {
        match self {
            Self::Delete => Ok(answered(client.delete_object().bucket(bucket).key(key).send().await)?.is_some()),
            Self::Put { seed, length } => {
                let body = ByteStream::from(bytes_of(*seed, *length));
                Ok(answered(client.put_object().bucket(bucket).key(key).body(body).send().await)?.is_some())
            }
            Self::Upload { seed, length } => upload(client, bucket, key, &bytes_of(*seed, *length)).await,
            Self::Copy { from, .. } => {
                let source = format!("{bucket}/{}", from.replace(' ', "%20"));
                let copy = client.copy_object().copy_source(source).bucket(bucket).key(key);
                Ok(answered(copy.send().await)?.is_some())
            }
        }
    }
}

/// Uploads in two parts. Until the last request nothing shows.
async fn upload(client: &Client, bucket: &str, key: &str, bytes: &[u8]) -> anyhow::Result<bool> {
    let Some(begun) = answered(client.create_multipart_upload().bucket(bucket).key(key).send().await)? else {
        return Ok(false);
    };
    let id = begun.upload_id().unwrap_or_default();
    let mut parts = Vec::new();
    for (number, part) in (1..).zip([&bytes[..PART_BYTES], &bytes[PART_BYTES..]]) {
        let put = client.upload_part().bucket(bucket).key(key).upload_id(id).part_number(number);
        let Some(put) = answered(put.body(part.to_vec().into()).send().await)? else { return Ok(false) };
        parts.push(CompletedPart::builder().part_number(number).set_e_tag(put.e_tag).build());
    }
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let complete = client.complete_multipart_upload().bucket(bucket).key(key).upload_id(id).multipart_upload(parts);
    Ok(answered(complete.send().await)?.is_some())
}

/// Runs workers until `stop`; answers them with what they know, and how many requests were acknowledged.
///
/// # Errors
/// The first worker's error.
pub async fn run_all(
    loads: Vec<Load>,
    client: &Client,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
) -> anyhow::Result<Vec<Load>> {
    let tasks = loads.into_iter().map(|mut load| {
        let (client, stop, acknowledged) = (client.clone(), Arc::clone(&stop), Arc::clone(&acknowledged));
        tokio::spawn(async move { load.run(&client, &stop, &acknowledged).await.map(|()| load) })
    });
    let mut loads = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        loads.push(task.await??);
    }
    Ok(loads)
}

/// What was answered. A refusal is a wrong answer; no answer or a 5xx leaves it unknown.
fn answered<T, E: std::fmt::Debug>(answer: Result<T, SdkError<E>>) -> anyhow::Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(SdkError::ServiceError(refused)) if refused.raw().status().as_u16() < 500 => bail!("refused: {refused:?}"),
        Err(_) => Ok(None),
    }
}

/// What a key holds; `None` if there was no answer.
async fn read(client: &Client, bucket: &str, key: &str) -> anyhow::Result<Option<Content>> {
    let body = match client.get_object().bucket(bucket).key(key).send().await {
        Ok(found) => found.body,
        Err(SdkError::ServiceError(refused)) if refused.raw().status().as_u16() == 404 => return Ok(Some(None)),
        Err(SdkError::ServiceError(refused)) if refused.raw().status().as_u16() < 500 => {
            bail!("{key}: refused: {refused:?}")
        }
        Err(_) => return Ok(None),
    };
    let Ok(bytes) = body.collect().await else { return Ok(None) };
    let bytes = bytes.into_bytes();
    if bytes.is_empty() {
        return Ok(Some(Some((0, 0))));
    }
    ensure!(bytes.len() >= 8 || bytes.iter().all(|&b| b == bytes[0]), "{key}: bytes that were never written");
    let content = content_of(&bytes);
    let (seed, length) = content;
    ensure!(length < 8 || bytes == bytes_of(seed, length), "{key}: bytes that were never written");
    Ok(Some(Some(content)))
}

fn judge(key: &str, known: &Known, found: Content) -> anyhow::Result<()> {
    let same = |content: &Content| match (content, found) {
        (None, None) => true,
        // Under eight bytes the seed is not in the content.
        (Some((seed, length)), Some(found)) => *length == found.1 && (*length < 8 || *seed == found.0),
        _ => false,
    };
    ensure!(
        same(&known.acknowledged) || known.unknown.iter().any(same),
        "{key}: found {found:?}, acknowledged was {:?}, unknown are {:?}",
        known.acknowledged,
        known.unknown
    );
    Ok(())
}

/// The seed leads, then bytes drawn from it.
fn bytes_of(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    if length < 8 {
        return bytes;
    }
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    SmallRng::seed_from_u64(seed).fill(&mut bytes[8..]);
    bytes
}

fn content_of(bytes: &[u8]) -> (u64, usize) {
    let mut seed = [0; 8];
    if bytes.len() >= 8 {
        seed.copy_from_slice(&bytes[..8]);
    }
    (u64::from_be_bytes(seed), bytes.len())
}
