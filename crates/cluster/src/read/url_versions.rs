//! Which version the ranges of one presigned URL are of, in buckets that are caches.
//!
//! A runner reads an archive by many ranges of one URL: `bytes=0-0` first, then 16 at once, with no `If-Match`. An
//! overwrite between two of them must not mix two archives. So the version that a URL's first range saw is remembered
//! and held against reaping, and all further ranges of the URL are of it, until none came for some time.
//!
//! What is remembered is in memory only and bounded. A URL that was quiet for long no longer holds its version, but it is
//! remembered which one it was: a range of the same one goes on, and any but the first (`0-0`) of another one is refused.
//!
//! Of a URL that is not remembered nothing was read since this memory is whole: since the process began, or since the
//! last use of a URL that had to make room. Whether it was used before that is told by times:
//! - it was not, if the URL is younger than the memory however far its signer's clock goes ahead, or its bucket is;
//! - else a version that was written since may not be the one that it saw: refused, but for the first range;
//! - and one that was written before is what it saw if it is older than the URL, since it stands still. A URL names the
//!   second it was signed in, so a version of that very second counts as newer. Signing times are taken back by the
//!   most that a signer's clock was seen to go ahead of ours; one that is in the future now cannot be relied on at all.
//!
//! What remains: after a restart, a signer whose clock goes ahead and who has signed nothing since.
//!
//! Two jobs that sign one key in the same second have the same URL and cannot be told apart. They share what is
//! remembered: the one that begins later reads the version that was current when the first one began, which is not
//! older than the URL by more than the first one's download takes. A later `0-0` therefore changes nothing while the
//! version is held; if it did, the earlier download would be mixed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use cairn_meta::{Body, ObjectRow};
use cairn_proto::{BucketId, VersionId};
use tokio::time::Instant;

use super::object::Hold;

/// Most URLs whose version is held: the one that was quiet for longest goes first.
const URLS_MAX: usize = 1024;
/// Most bytes of rows that are remembered.
const ROW_BYTES_MAX: usize = 32 << 20;
/// What a row takes beside its body.
const ROW_BYTES: usize = 4096;
/// Most URLs of which it is remembered what they saw, after their version was let go: some 2 MiB.
const LET_GO_MAX: usize = 16_384;

/// A presigned URL.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct UrlId(pub [u8; 32]);

/// One range of a presigned URL. Times are milliseconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UrlRange {
    /// The URL, by its signature.
    pub url: UrlId,
    /// The second it was signed in, by its signer's clock.
    pub signed_ms: u64,
    /// How far the clock of a signer may go ahead of ours: URLs from further on are not let in.
    pub ahead_ms_max: u64,
    /// Now, by our clock.
    pub now_ms: u64,
    /// When the bucket was made.
    pub bucket_created_ms: u64,
    /// Whether it is the range that a download by ranges begins with.
    pub is_first: bool,
}

impl UrlRange {
    /// How far its signer's clock is seen to go ahead.
    const fn ahead_ms(&self) -> u64 {
        self.signed_ms.saturating_sub(self.now_ms)
    }

    /// Whether ranges of the URL may have been of another version, by times alone. All uses since `known_since_ms` are
    /// known, and there was none; signers' clocks were seen to be ahead by `ahead_ms`.
    const fn may_have_seen_another(&self, modified_ms: u64, known_since_ms: u64, ahead_ms: u64) -> bool {
        let used_ms_min = self.signed_ms.saturating_sub(self.ahead_ms_max);
        if used_ms_min >= known_since_ms || self.bucket_created_ms > known_since_ms {
            return false;
        }
        let signed_ms = match self.ahead_ms() {
            0 => self.signed_ms.saturating_sub(ahead_ms),
            _ => used_ms_min,
        };
        modified_ms >= known_since_ms || modified_ms >= signed_ms
    }
}

/// A version that ranges are read of.
#[derive(Clone)]
pub(crate) struct SeenVersion {
    pub(crate) hold: Arc<Hold>,
    pub(crate) row: Arc<ObjectRow>,
}

struct Seen {
    version: SeenVersion,
    last: Instant,
    row_bytes: usize,
}

impl Seen {
    /// A range that is being sent has the hold too.
    fn is_read(&self) -> bool {
        Arc::strong_count(&self.version.hold) > 1
    }
}

/// Which versions URLs saw that are no longer held for them, the longest unused first.
struct LetGo {
    by_url: HashMap<UrlId, LetGoVersion>,
    in_order: BTreeMap<u64, UrlId>,
    next: u64,
    /// No use of a URL since then is forgotten.
    whole_since: Instant,
}

struct LetGoVersion {
    version: VersionId,
    last: Instant,
    number: u64,
}

impl LetGo {
    fn new() -> Self {
        Self { by_url: HashMap::new(), in_order: BTreeMap::new(), next: 0, whole_since: Instant::now() }
    }

    fn add(&mut self, url: UrlId, version: VersionId, last: Instant) {
        self.remove(url);
        let number = self.next;
        self.next += 1;
        self.in_order.insert(number, url);
        self.by_url.insert(url, LetGoVersion { version, last, number });
        while self.by_url.len() > LET_GO_MAX {
            let Some((_, oldest)) = self.in_order.pop_first() else { return };
            if let Some(forgotten) = self.by_url.remove(&oldest) {
                self.whole_since = self.whole_since.max(forgotten.last);
            }
        }
    }

    fn remove(&mut self, url: UrlId) {
        if let Some(known) = self.by_url.remove(&url) {
            self.in_order.remove(&known.number);
        }
    }
}

struct Memory {
    seen: HashMap<UrlId, Seen>,
    let_go: LetGo,
    /// The most that a signer's clock was seen to go ahead of ours.
    ahead_ms: u64,
}

impl Memory {
    /// Lets a URL's version go.
    fn let_go(&mut self, url: UrlId) {
        if let Some(seen) = self.seen.remove(&url) {
            self.let_go.add(url, seen.version.row.version, seen.last);
        }
    }

    /// Lets those go that were quiet for longest, but for `newest`.
    fn make_room(&mut self, newest: UrlId) {
        let mut bytes: usize = self.seen.values().map(|seen| seen.row_bytes).sum();
        while self.seen.len() > URLS_MAX || bytes > ROW_BYTES_MAX {
            let others = self.seen.iter().filter(|(url, _)| **url != newest);
            let quietest = others.min_by_key(|(_, seen)| seen.last).map(|(url, seen)| (*url, seen.row_bytes));
            let Some((quietest, row_bytes)) = quietest else { return };
            bytes -= row_bytes;
            self.let_go(quietest);
        }
    }
}

/// The versions that URLs saw.
pub(crate) struct UrlVersions {
    memory: Mutex<Memory>,
    quiet_max: Duration,
}

impl UrlVersions {
    pub(crate) fn new(quiet_max: Duration) -> Self {
        Self { memory: Mutex::new(Memory { seen: HashMap::new(), let_go: LetGo::new(), ahead_ms: 0 }), quiet_max }
    }

    /// The version that is held for the URL.
    pub(crate) fn find(&self, range: &UrlRange, bucket: BucketId, key: &str) -> Option<SeenVersion> {
        self.forget_quiet();
        let mut memory = self.lock();
        memory.ahead_ms = memory.ahead_ms.max(range.ahead_ms());
        // A bucket that was made anew is another one, though its URLs look the same.
        let known = memory.seen.get_mut(&range.url).filter(|known| known.version.hold.is_of(bucket, key))?;
        known.last = Instant::now();
        Some(known.version.clone())
    }

    /// Whether the URL, for which no version is held, may have seen another one than this.
    pub(crate) fn may_have_seen_another(
        &self,
        range: &UrlRange,
        (bucket, key): (BucketId, &str),
        row: &ObjectRow,
    ) -> bool {
        let memory = self.lock();
        if let Some(known) = memory.seen.get(&range.url) {
            // Another range came first and decides, unless it was of a bucket of the same name that is gone.
            return !known.version.hold.is_of(bucket, key);
        }
        if let Some(known) = memory.let_go.by_url.get(&range.url) {
            return known.version != row.version;
        }
        let known_for = u64::try_from(memory.let_go.whole_since.elapsed().as_millis()).unwrap_or(u64::MAX);
        range.may_have_seen_another(row.modified_ms, range.now_ms.saturating_sub(known_for), memory.ahead_ms)
    }

    /// Remembers what the URL sees from now on. Of two ranges that come at once the first one decides.
    pub(crate) fn remember(&self, url: UrlId, version: SeenVersion) -> SeenVersion {
        let mut memory = self.lock();
        let now = Instant::now();
        if let Some(known) = memory.seen.get_mut(&url).filter(|known| known.version.hold.is_same_object(&version.hold))
        {
            known.last = now;
            return known.version.clone();
        }
        // By name, so that a download that goes on for long holds its own version's space and no other's.
        version.hold.by_name();
        let row_bytes = row_bytes(&version.row);
        memory.let_go.remove(url);
        memory.seen.insert(url, Seen { version: version.clone(), last: now, row_bytes });
        memory.make_room(url);
        version
    }

    /// The version cannot be read any more.
    pub(crate) fn let_go(&self, url: UrlId) {
        self.lock().let_go(url);
    }

    /// Lets go of versions that nobody reads and of which no range came for some time.
    pub(crate) fn forget_quiet(&self) {
        let now = Instant::now();
        let mut memory = self.lock();
        let mut quiet = Vec::new();
        for (url, seen) in &mut memory.seen {
            if seen.is_read() {
                seen.last = now;
            }
            if now.duration_since(seen.last) >= self.quiet_max {
                quiet.push(*url);
            }
        }
        quiet.into_iter().for_each(|url| memory.let_go(url));
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().expect("no holder of this lock panics")
    }
}

fn row_bytes(row: &ObjectRow) -> usize {
    let body = match &row.body {
        Body::Inline(bytes) | Body::Sealed(bytes) => bytes.len(),
        Body::Extents(extents) => size_of_val(extents.as_slice()),
        Body::Parts { parts, .. } => size_of_val(parts.as_slice()),
    };
    ROW_BYTES + body
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60_000;
    const NOW: u64 = 1_000_000 * MINUTE;

    /// Signed and seen now, on a bucket of long ago.
    fn range() -> UrlRange {
        UrlRange {
            url: UrlId([0; 32]),
            signed_ms: NOW,
            ahead_ms_max: 15 * MINUTE,
            now_ms: NOW,
            bucket_created_ms: 0,
            is_first: false,
        }
    }

    #[test]
    fn a_url_that_cannot_have_been_used_before_saw_no_other_version() {
        for (signed, known_since, bucket_created, may) in [
            // The process runs for longer than the URL can be old, wherever its signer's clock is.
            (NOW, NOW - 15 * MINUTE, 0, false),
            (NOW, NOW - 15 * MINUTE + 1, 0, true),
            (NOW - 5 * MINUTE, NOW - 20 * MINUTE, 0, false),
            (NOW - 5 * MINUTE, NOW - 19 * MINUTE, 0, true),
            // The bucket was made since.
            (NOW, NOW - MINUTE, NOW - MINUTE, true),
            (NOW, NOW - MINUTE, NOW - MINUTE + 1, false),
        ] {
            let range = UrlRange { signed_ms: signed, bucket_created_ms: bucket_created, ..range() };
            assert_eq!(range.may_have_seen_another(NOW, known_since, 0), may, "{range:?} {known_since}");
        }
    }

    /// The process began a minute ago.
    #[test]
    fn after_a_restart_a_version_counts_that_stood_still_since_the_url_was_signed() {
        let known_since = NOW - MINUTE;
        for (modified, signed, ahead, may) in [
            (NOW - 3 * MINUTE, NOW - 2 * MINUTE, 0, false),
            (NOW - 3 * MINUTE, NOW - 3 * MINUTE, 0, true),
            (NOW - 2 * MINUTE, NOW - 3 * MINUTE, 0, true),
            // Some signer's clock was seen two minutes ahead: this one's may be too.
            (NOW - 3 * MINUTE, NOW - 2 * MINUTE, 2 * MINUTE, true),
            (NOW - 5 * MINUTE, NOW - 2 * MINUTE, 2 * MINUTE, false),
            // This one's is: nobody knows by how much.
            (NOW - 3 * MINUTE, NOW + MINUTE, 0, true),
            (NOW - 15 * MINUTE, NOW + MINUTE, 0, false),
            // Written since the restart: what the URL saw before it was another one, if it was used before.
            (NOW - 30_000, NOW, 0, true),
        ] {
            let range = UrlRange { signed_ms: signed, ..range() };
            assert_eq!(range.may_have_seen_another(modified, known_since, ahead), may, "{modified} {range:?} {ahead}");
        }
    }

    #[test]
    fn where_a_url_is_forgotten_what_came_before_it_is_not_known_any_more() {
        let url = |number: usize| {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            UrlId(id)
        };
        let mut let_go = LetGo::new();
        let begin = let_go.whole_since;
        let last = |number: usize| begin + Duration::from_secs(number as u64);
        for number in 0..LET_GO_MAX {
            let_go.add(url(number), VersionId::default(), last(number));
        }
        // Used again, it is not the longest unused any more; another one was taken out.
        let_go.add(url(0), VersionId::default(), last(LET_GO_MAX));
        let_go.remove(url(1));
        assert_eq!((let_go.by_url.len(), let_go.in_order.len()), (LET_GO_MAX - 1, LET_GO_MAX - 1));
        assert_eq!(let_go.whole_since, begin);
        for number in LET_GO_MAX + 1..LET_GO_MAX + 4 {
            let_go.add(url(number), VersionId::default(), last(number));
        }
        assert_eq!((let_go.by_url.len(), let_go.in_order.len()), (LET_GO_MAX, LET_GO_MAX));
        assert_eq!(let_go.whole_since, last(3), "the second and the third are forgotten");
        assert!(let_go.by_url.contains_key(&url(0)) && !let_go.by_url.contains_key(&url(3)));
    }
}
