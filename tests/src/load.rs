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
use aws_sdk_s3::{Client, error::SdkError, primitives::ByteStream};
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

    /// One request. Answers whether it was acknowledged.
    async fn step(&mut self, client: &Client) -> anyhow::Result<bool> {
        let key = format!("worker {}/{}", self.worker, self.random.random_range(0..KEYS));
        match self.random.random_range(0..10) {
            0 => self.change(client, key, None).await,
            1..=2 => {
                let known = self.keys.get(&key).cloned().unwrap_or_default();
                match read(client, &self.bucket, &key).await? {
                    Some(found) => judge(&key, &known, found).map(|()| true),
                    None => Ok(false),
                }
            }
            kind => {
                // Inline, WAL lane, group log, more than one segment's first stripes.
                let longest = match kind {
                    3..=5 => 16 << 10,
                    6..=7 => 200 << 10,
                    8 => 3 << 20,
                    _ => 9 << 20,
                };
                let content = Some((self.random.random(), self.random.random_range(0..longest)));
                self.change(client, key, content).await
            }
        }
    }

    async fn change(&mut self, client: &Client, key: String, content: Content) -> anyhow::Result<bool> {
        let known = self.keys.entry(key.clone()).or_default();
        known.unknown.push(content);
        let answered = match content {
            None => {
                let answer = client.delete_object().bucket(&self.bucket).key(&key).send().await;
                heard(&answer.map(|_| ()))?
            }
            Some((seed, length)) => {
                let body = ByteStream::from(bytes_of(seed, length));
                let answer = client.put_object().bucket(&self.bucket).key(&key).body(body).send().await;
                heard(&answer.map(|_| ()))?
            }
        };
        if answered {
            *known = Known { acknowledged: content, unknown: Vec::new() };
        }
        Ok(answered)
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

/// Whether a change was acknowledged. A refusal is a wrong answer; no answer or a 5xx leaves it unknown.
fn heard<E: std::fmt::Debug>(answer: &Result<(), SdkError<E>>) -> anyhow::Result<bool> {
    match answer {
        Ok(()) => Ok(true),
        Err(SdkError::ServiceError(refused)) if refused.raw().status().as_u16() < 500 => bail!("refused: {refused:?}"),
        Err(_) => Ok(false),
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
