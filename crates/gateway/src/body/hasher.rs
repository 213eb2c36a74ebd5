//! Hashes the bodies of all requests.
//!
//! MD5 is most of it, and costs a core about as much for eight bodies as for one. So pieces that wait are hashed
//! together, and a second thread is begun only when it would have its lanes full.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use cairn_s3::{BODIES_AT_ONCE, BodyVerifier};
use tokio::{sync::oneshot, task::spawn_blocking};

/// A piece of a body. Each body has one at a time, so admission is the bound of all.
struct Piece {
    verifier: Box<BodyVerifier>,
    bytes: Vec<Bytes>,
    reply: oneshot::Sender<Box<BodyVerifier>>,
}

#[derive(Default)]
struct Work {
    waiting: VecDeque<Piece>,
    threads: usize,
}

/// Cheap handle on the hashing threads.
#[derive(Clone, Default)]
pub(crate) struct Hasher(Arc<Mutex<Work>>);

impl Hasher {
    /// The verifier, when it took the bytes; an error if the thread is gone.
    pub(crate) fn hash(&self, verifier: Box<BodyVerifier>, bytes: Vec<Bytes>) -> oneshot::Receiver<Box<BodyVerifier>> {
        let (reply, hashed) = oneshot::channel();
        let mut work = self.work();
        work.waiting.push_back(Piece { verifier, bytes, reply });
        if work.threads == 0 || work.waiting.len() >= BODIES_AT_ONCE {
            work.threads += 1;
            let thread = Thread(self.clone());
            drop(spawn_blocking(move || while thread.step() {}));
        }
        hashed
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counted until it is dropped, also where the runtime ends before it began.
struct Thread(Hasher);

impl Thread {
    /// Hashes what waits; whether there was any.
    fn step(&self) -> bool {
        let mut pieces: Vec<Piece> = {
            let mut work = self.0.work();
            let count = work.waiting.len().min(BODIES_AT_ONCE);
            work.waiting.drain(..count).collect()
        };
        let bodies = pieces.iter_mut().map(|piece| (&mut *piece.verifier, &piece.bytes[..]));
        BodyVerifier::update_many(bodies);
        let any = !pieces.is_empty();
        for piece in pieces {
            // The request may be gone.
            let _ = piece.reply.send(piece.verifier);
        }
        any
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.0.work().threads -= 1;
    }
}

#[cfg(test)]
mod tests {
    use cairn_s3::{PayloadKind, RequestChecksums};

    use super::*;

    fn verifier() -> Box<BodyVerifier> {
        Box::new(BodyVerifier::new(PayloadKind::Unsigned, RequestChecksums::default(), None))
    }

    #[tokio::test]
    async fn more_bodies_than_lanes_are_all_hashed_and_the_threads_end() {
        let hasher = Hasher::default();
        let bodies: Vec<Bytes> = (0..100_u8).map(|body| vec![body; 10_000 + usize::from(body)].into()).collect();
        let hashing: Vec<_> = bodies.iter().map(|body| hasher.hash(verifier(), vec![body.clone()])).collect();
        for (body, hashed) in bodies.iter().zip(hashing) {
            let mut alone = verifier();
            alone.update(body);
            assert_eq!(hashed.await.unwrap().finish(None).unwrap(), alone.finish(None).unwrap());
        }
        tokio::time::timeout(std::time::Duration::from_secs(20), async {
            while hasher.work().threads > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("no thread stays");
        let again = hasher.hash(verifier(), vec![bodies[0].clone()]).await;
        assert!(again.is_ok());
    }
}
