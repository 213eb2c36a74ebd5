//! Which version the ranges of one presigned URL are of, in buckets that are caches.
//!
//! A runner reads an archive by many ranges of one URL: `bytes=0-0` first, then 16 at once, with no `If-Match`. An
//! overwrite between two of them must not mix two archives. So the version that a URL's first range saw is remembered
//! and held against reaping, and all further ranges of the URL are of it, until none came for some time.
//!
//! What is remembered is in memory only and bounded. Where nothing is known of a URL:
//! - a version that is older than the URL is what every earlier range saw, since it stands still: it is taken;
//! - a version that may be newer is taken for the first range (`0-0`), and refused for any other: earlier ranges may
//!   have been of the version before. A URL names the second it was signed in, so a version of that very second counts
//!   as newer.
//!
//! Two jobs that sign one key in the same second have the same URL and cannot be told apart. They share what is
//! remembered: the one that begins later reads the version that was current when the first one began, which is not
//! older than the URL by more than the first one's download takes. A later `0-0` therefore changes nothing while the
//! version is held; if it did, the earlier download would be mixed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use cairn_meta::{Body, ObjectRow};
use cairn_proto::BucketId;
use tokio::time::Instant;

use super::object::Hold;

/// Most URLs that are remembered: the one that was quiet for longest goes first.
const URLS_MAX: usize = 1024;
/// Most bytes of rows that are remembered.
const ROW_BYTES_MAX: usize = 32 << 20;
/// What a row takes beside its body.
const ROW_BYTES: usize = 4096;

/// A presigned URL.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct UrlId(pub [u8; 32]);

/// One range of a presigned URL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UrlRange {
    /// The URL, by its signature.
    pub url: UrlId,
    /// The second it was signed in, milliseconds since 1970.
    pub signed_ms: u64,
    /// Whether it is the range that a download by ranges begins with.
    pub is_first: bool,
}

impl UrlRange {
    /// Whether ranges of the URL may have been of another version before this one came.
    pub(crate) const fn may_have_seen_another(&self, row: &ObjectRow) -> bool {
        row.modified_ms >= self.signed_ms && !self.is_first
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

/// The versions that URLs saw.
pub(crate) struct UrlVersions {
    seen: Mutex<HashMap<UrlId, Seen>>,
    quiet_max: Duration,
}

impl UrlVersions {
    pub(crate) fn new(quiet_max: Duration) -> Self {
        Self { seen: Mutex::default(), quiet_max }
    }

    /// The version that the URL saw.
    pub(crate) fn find(&self, url: UrlId, bucket: BucketId, key: &str) -> Option<SeenVersion> {
        self.forget_quiet();
        let mut seen = self.lock();
        // A bucket that was made anew is another one, though its URLs look the same.
        let known = seen.get_mut(&url).filter(|known| known.version.hold.is_of(bucket, key))?;
        known.last = Instant::now();
        Some(known.version.clone())
    }

    /// Remembers what the URL sees from now on. Of two ranges that come at once the first one decides.
    pub(crate) fn remember(&self, url: UrlId, version: SeenVersion) -> SeenVersion {
        let mut seen = self.lock();
        let now = Instant::now();
        if let Some(known) = seen.get_mut(&url).filter(|known| known.version.hold.is_same_object(&version.hold)) {
            known.last = now;
            return known.version.clone();
        }
        // By name, so that a download that goes on for long holds its own version's space and no other's.
        version.hold.by_name();
        let row_bytes = row_bytes(&version.row);
        seen.insert(url, Seen { version: version.clone(), last: now, row_bytes });
        make_room(&mut seen, url);
        version
    }

    /// The version cannot be read any more.
    pub(crate) fn forget(&self, url: UrlId) {
        self.lock().remove(&url);
    }

    /// Lets go of versions that nobody reads and of which no range came for some time.
    pub(crate) fn forget_quiet(&self) {
        let now = Instant::now();
        self.lock().retain(|_, seen| {
            if seen.is_read() {
                seen.last = now;
            }
            now.duration_since(seen.last) < self.quiet_max
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<UrlId, Seen>> {
        self.seen.lock().expect("no holder of this lock panics")
    }
}

/// Forgets those that were quiet for longest, but for `newest`.
fn make_room(seen: &mut HashMap<UrlId, Seen>, newest: UrlId) {
    let mut bytes: usize = seen.values().map(|seen| seen.row_bytes).sum();
    while seen.len() > URLS_MAX || bytes > ROW_BYTES_MAX {
        let others = seen.iter().filter(|(url, _)| **url != newest);
        let Some(quietest) = others.min_by_key(|(_, seen)| seen.last).map(|(url, _)| *url) else { return };
        bytes -= seen.remove(&quietest).map_or(0, |seen| seen.row_bytes);
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
