//! Hashes the bodies of all requests.
//!
//! MD5 is most of it, and costs a core about as much for eight bodies as for one. So a piece waits until all bodies on
//! their way have one here, or until its own body comes near the end of the next and would have to wait itself. A second
//! thread is begun only when it would have its lanes full. A body that gains nothing by that is hashed alone.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use cairn_s3::{BODIES_AT_ONCE, BodyVerifier};
use tokio::{sync::oneshot, task::spawn_blocking};

/// Where a hashed piece goes.
pub(super) type Hashing = oneshot::Receiver<Box<BodyVerifier>>;

/// A piece of a body. Each body has one at a time, so admission is the bound of all.
struct Piece {
    verifier: Box<BodyVerifier>,
    bytes: Vec<Bytes>,
    reply: oneshot::Sender<Box<BodyVerifier>>,
}

#[derive(Default)]
struct Work {
    waiting: VecDeque<Piece>,
    /// So many of them, from the front, are to be hashed now.
    hurried: usize,
    threads: usize,
    /// Threads that have not taken anything yet.
    starting: usize,
    /// On their way.
    bodies: usize,
}

impl Work {
    fn is_due(&self) -> bool {
        let enough = BODIES_AT_ONCE.min(self.bodies).max(1);
        self.hurried > 0 || self.waiting.len() >= enough
    }

    /// What is to be hashed now, if anything is.
    fn take(&mut self) -> Vec<Piece> {
        if !self.is_due() {
            return Vec::new();
        }
        let count = self.waiting.len().min(BODIES_AT_ONCE);
        self.hurried = self.hurried.saturating_sub(count);
        self.waiting.drain(..count).collect()
    }
}

/// Cheap handle on the hashing threads.
#[derive(Clone, Default)]
pub(crate) struct Hasher(Arc<Mutex<Work>>);

impl Hasher {
    /// A body is on its way, until what is answered is dropped.
    pub(super) fn enter(&self) -> HashedBody {
        self.work().bodies += 1;
        HashedBody(self.clone())
    }

    fn start_if_due(&self, mut work: MutexGuard<'_, Work>) {
        let lanes_full = work.waiting.len() >= BODIES_AT_ONCE * (work.starting + 1);
        if work.is_due() && (work.threads == 0 || lanes_full) {
            work.threads += 1;
            work.starting += 1;
            let thread = Thread { hasher: self.clone(), starting: true, counted: true };
            drop(work);
            drop(spawn_blocking(move || thread.run()));
        }
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hashes a piece on a thread of its own.
pub(super) fn hash_alone(mut verifier: Box<BodyVerifier>, bytes: Vec<Bytes>) -> Hashing {
    let (reply, hashing) = oneshot::channel();
    drop(spawn_blocking(move || {
        bytes.iter().for_each(|piece| verifier.update(piece));
        // The request may be gone.
        let _ = reply.send(verifier);
    }));
    hashing
}

/// A body on its way.
pub(super) struct HashedBody(Hasher);

impl HashedBody {
    /// The verifier, when it took the bytes; an error if the thread is gone.
    pub(super) fn hash(&self, verifier: Box<BodyVerifier>, bytes: Vec<Bytes>) -> Hashing {
        let (reply, hashing) = oneshot::channel();
        let mut work = self.0.work();
        work.waiting.push_back(Piece { verifier, bytes, reply });
        self.0.start_if_due(work);
        hashing
    }

    /// What waits is wanted now.
    pub(super) fn hurry(&self) {
        let mut work = self.0.work();
        work.hurried = work.waiting.len();
        self.0.start_if_due(work);
    }
}

impl Drop for HashedBody {
    fn drop(&mut self) {
        let mut work = self.0.work();
        work.bodies -= 1;
        // The others may have waited for its next piece.
        self.0.start_if_due(work);
    }
}

/// Counted until it finds nothing more to do, or is dropped: also where the runtime ends before it began.
struct Thread {
    hasher: Hasher,
    starting: bool,
    counted: bool,
}

impl Thread {
    /// Hashes until nothing is due.
    fn run(mut self) {
        while let Some(mut pieces) = self.next() {
            BodyVerifier::update_many(pieces.iter_mut().map(|piece| (&mut *piece.verifier, &piece.bytes[..])));
            for piece in pieces {
                // The request may be gone.
                let _ = piece.reply.send(piece.verifier);
            }
        }
    }

    /// Finding nothing and no longer being counted are one: else what comes in between would wait for nobody.
    fn next(&mut self) -> Option<Vec<Piece>> {
        let mut work = self.hasher.work();
        work.starting -= usize::from(std::mem::take(&mut self.starting));
        let pieces = work.take();
        if pieces.is_empty() {
            work.threads -= 1;
            self.counted = false;
            return None;
        }
        Some(pieces)
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        let mut work = self.hasher.work();
        work.starting -= usize::from(self.starting);
        work.threads -= usize::from(self.counted);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cairn_s3::{PayloadKind, RequestChecksums};

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn verifier() -> Box<BodyVerifier> {
        Box::new(BodyVerifier::new(PayloadKind::Unsigned, RequestChecksums::default(), None))
    }

    fn piece(number: u8) -> Bytes {
        vec![number; 10_000 + usize::from(number)].into()
    }

    async fn check(number: u8, hashing: Hashing) {
        let mut alone = verifier();
        alone.update(&piece(number));
        let hashed = tokio::time::timeout(SOON, hashing).await.expect("it is hashed").unwrap();
        assert_eq!(hashed.finish(None).unwrap(), alone.finish(None).unwrap());
    }

    async fn until_idle(hasher: &Hasher) {
        let idle = async {
            while hasher.work().threads > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(SOON, idle).await.expect("no thread stays");
    }

    #[tokio::test]
    async fn more_bodies_than_lanes_are_all_hashed_and_the_threads_end() {
        let hasher = Hasher::default();
        let bodies: Vec<HashedBody> = (0..100).map(|_| hasher.enter()).collect();
        let hashing: Vec<Hashing> =
            (0..).zip(&bodies).map(|(number, body)| body.hash(verifier(), vec![piece(number)])).collect();
        bodies[99].hurry();
        for (number, hashing) in (0..).zip(hashing) {
            check(number, hashing).await;
        }
        until_idle(&hasher).await;
        drop(bodies);
        let again = hasher.enter();
        check(1, again.hash(verifier(), vec![piece(1)])).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn no_piece_comes_between_a_threads_last_look_and_its_end() {
        let hasher = Hasher::default();
        let body = hasher.enter();
        for _ in 0..20_000 {
            let hashing = body.hash(verifier(), vec![Bytes::from_static(b"x")]);
            tokio::time::timeout(SOON, hashing).await.expect("it is hashed").unwrap();
        }
    }

    #[tokio::test]
    async fn a_piece_waits_for_those_of_the_others_but_not_for_ever() {
        let hasher = Hasher::default();
        let [first, second, third] = [(); 3].map(|()| hasher.enter());
        let waiting = |hasher: &Hasher| hasher.work().waiting.len();

        let one = first.hash(verifier(), vec![piece(1)]);
        let two = second.hash(verifier(), vec![piece(2)]);
        until_idle(&hasher).await;
        assert_eq!(waiting(&hasher), 2, "the third has none yet");
        check(3, third.hash(verifier(), vec![piece(3)])).await;
        check(1, one).await;
        check(2, two).await;

        let one = first.hash(verifier(), vec![piece(1)]);
        until_idle(&hasher).await;
        assert_eq!(waiting(&hasher), 1);
        first.hurry();
        check(1, one).await;

        let one = first.hash(verifier(), vec![piece(1)]);
        drop((second, third));
        check(1, one).await;
        check(1, first.hash(verifier(), vec![piece(1)])).await;
        drop(first);
        assert_eq!(hasher.work().bodies, 0);
    }
}
