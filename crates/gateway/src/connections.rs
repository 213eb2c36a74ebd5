//! The places for connections. When all are taken the connection goes that has rested longest: whoever holds many and asks for
//! nothing shuts nobody out.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::activity::Activity;

/// A connection that has rested for less is about to send its first request, or its next.
const RESTED_MIN: Duration = Duration::from_secs(1);
/// Who waits for a place looks again so often for one that rests.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// That all places are taken is told no more often.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// All connections of the gateway.
pub(crate) struct Connections {
    max: usize,
    places: Arc<Semaphore>,
    open: Mutex<BTreeMap<u64, Open>>,
    next: AtomicU64,
    told: Mutex<Option<Instant>>,
}

struct Open {
    activity: Activity,
    go: CancellationToken,
}

/// A connection's place, free again when it is dropped.
pub(crate) struct Place {
    connections: Arc<Connections>,
    number: u64,
    go: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            places: Arc::new(Semaphore::new(max)),
            open: Mutex::default(),
            next: AtomicU64::new(0),
            told: Mutex::default(),
        })
    }

    /// Waits for a place. Where all are taken, one that rests is freed; where all work, one that ends.
    pub(crate) async fn enter(self: &Arc<Self>, activity: Activity) -> Place {
        let permit = loop {
            if let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() {
                break permit;
            }
            self.tell();
            self.end_longest_rested();
            if let Ok(Ok(permit)) = timeout(LOOK_AGAIN, Arc::clone(&self.places).acquire_owned()).await {
                break permit;
            }
        };
        let (number, go) = (self.next.fetch_add(1, Ordering::Relaxed), CancellationToken::new());
        self.open().insert(number, Open { activity, go: go.clone() });
        Place { connections: Arc::clone(self), number, go, _permit: permit }
    }

    fn end_longest_rested(&self) {
        let open = self.open();
        let resting = open.values().filter(|open| !open.go.is_cancelled());
        let longest = resting.map(|open| (open.activity.rested(), open)).max_by_key(|(rested, _)| *rested);
        if let Some((rested, open)) = longest
            && rested >= RESTED_MIN
        {
            open.go.cancel();
        }
    }

    fn tell(&self) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= TOLD_EVERY) {
            *told = Some(Instant::now());
            tracing::warn!(connections = self.max, "all places for connections are taken: those that rest are closed");
        }
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u64, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Resolves when the connection shall go, since another needs its place.
    pub(crate) async fn is_needed(&self) {
        self.go.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.open().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn who_rested_longest_makes_room_and_who_works_does_not() {
        let connections = Connections::new(2);
        let (working, resting) = (Activity::default(), Activity::default());
        let request = working.begin();
        let first = connections.enter(working).await;
        let second = connections.enter(resting).await;
        let mut third = Box::pin(connections.enter(Activity::default()));
        assert!(poll!(&mut third).is_pending());
        assert!(poll!(Box::pin(second.is_needed())).is_pending(), "it has only just come");
        let gone = tokio::select! {
            _ = &mut third => unreachable!("nobody went"),
            () = second.is_needed() => second,
            () = first.is_needed() => unreachable!("it works"),
        };
        drop(gone);
        let third = third.await;
        assert_eq!(connections.open().len(), 2);

        drop(request);
        tokio::time::sleep(RESTED_MIN).await;
        let mut fourth = Box::pin(connections.enter(Activity::default()));
        assert!(poll!(&mut fourth).is_pending());
        assert!(poll!(Box::pin(third.is_needed())).is_ready(), "it came before the other one's request ended");
        drop(third);
        drop((fourth.await, first));
        assert!(connections.open().is_empty());
    }
}
