//! The free-space guard: where the figures come from, and who may still write.

use std::{
    fmt, io,
    os::fd::BorrowedFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crate::{FenceReason, SpaceUse};

/// Size and free bytes of a file system.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Space {
    /// Its size.
    pub bytes_total: u64,
    /// What an ordinary user may still write.
    pub bytes_free: u64,
}

impl Space {
    /// Whether a write for `space_use` must be refused: clients in the last 10 %, repair in the last 5 %.
    #[must_use]
    pub const fn is_short_for(self, space_use: SpaceUse) -> bool {
        let reserve_percent = match space_use {
            SpaceUse::Client => 10,
            SpaceUse::Repair => 5,
        };
        self.bytes_free < self.bytes_total / 100 * reserve_percent
    }
}

type AskSpace = dyn Fn(BorrowedFd<'_>) -> io::Result<Space> + Send + Sync;

/// Where a disk learns how much space its file system has.
#[derive(Clone)]
pub struct SpaceSource(Arc<AskSpace>);

impl SpaceSource {
    /// Any source, asked with the disk's opened folder: tests inject a full disk, or one that hangs.
    pub fn new(source: impl Fn(BorrowedFd<'_>) -> io::Result<Space> + Send + Sync + 'static) -> Self {
        Self(Arc::new(source))
    }

    /// Asks it.
    ///
    /// # Errors
    /// What the source answers.
    pub fn ask(&self, folder: BorrowedFd<'_>) -> io::Result<Space> {
        (self.0)(folder)
    }
}

impl Default for SpaceSource {
    /// `fstatvfs`: of the folder that is open, whatever has taken its place.
    fn default() -> Self {
        Self::new(|folder| {
            let figures = rustix::fs::fstatvfs(folder)?;
            Ok(Space {
                bytes_total: figures.f_blocks.saturating_mul(figures.f_frsize),
                bytes_free: figures.f_bavail.saturating_mul(figures.f_frsize),
            })
        })
    }
}

impl fmt::Debug for SpaceSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SpaceSource")
    }
}

/// The source with its last answer. Who asks for the figures never waits for the file system.
#[derive(Debug)]
pub(crate) struct SpaceGuard {
    source: SpaceSource,
    last: Mutex<Space>,
    /// Bytes taken since that answer was asked for: a fast writer fills a small disk between two looks.
    spent: AtomicU64,
}

impl SpaceGuard {
    /// A guard that has not looked yet: nobody writes.
    pub(crate) fn new(source: SpaceSource) -> Self {
        Self { source, last: Mutex::default(), spent: AtomicU64::new(0) }
    }

    /// Asks the source; may block. A source that fails counts as no space: nobody writes blindly.
    pub(crate) fn look(&self, folder: BorrowedFd<'_>) {
        let spent_before = self.spent.load(Relaxed);
        let space = self.source.ask(folder).unwrap_or_default();
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = space;
        self.spent.fetch_sub(spent_before, Relaxed);
    }

    /// Bytes are about to be written.
    pub(crate) fn spend(&self, bytes: u64) {
        self.spent.fetch_add(bytes, Relaxed);
    }

    /// The last figures, less what was written since.
    pub(crate) fn space(&self) -> Space {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        Space { bytes_free: last.bytes_free.saturating_sub(self.spent.load(Relaxed)), ..last }
    }

    /// Why a write must be refused, if it must.
    pub(crate) fn refusal(&self, space_use: SpaceUse) -> Option<FenceReason> {
        let space = self.space();
        let refused = space.is_short_for(space_use) || space.bytes_total == 0;
        refused.then_some(FenceReason::Full { bytes_free: space.bytes_free, bytes_total: space.bytes_total })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsFd};

    use super::*;

    #[test]
    fn the_last_tenth_is_not_for_clients() {
        let free = |bytes_free| Space { bytes_total: 1000, bytes_free };
        assert!(!free(100).is_short_for(SpaceUse::Client));
        assert!(free(99).is_short_for(SpaceUse::Client));
        assert!(!free(50).is_short_for(SpaceUse::Repair));
        assert!(free(49).is_short_for(SpaceUse::Repair));
    }

    #[test]
    fn a_source_that_fails_lets_nobody_write() {
        let guard = SpaceGuard::new(SpaceSource::new(|_| Err(io::ErrorKind::NotFound.into())));
        guard.look(File::open("/").unwrap().as_fd());
        assert!(guard.refusal(SpaceUse::Repair).is_some());
    }

    #[test]
    fn what_is_written_between_two_looks_counts() {
        let guard = SpaceGuard::new(SpaceSource::new(|_| Ok(Space { bytes_total: 1000, bytes_free: 500 })));
        let folder = File::open("/").unwrap();
        guard.look(folder.as_fd());
        guard.spend(400);
        assert_eq!(guard.refusal(SpaceUse::Client), None);
        guard.spend(1);
        assert!(guard.refusal(SpaceUse::Client).is_some());
        guard.look(folder.as_fd());
        assert_eq!(guard.refusal(SpaceUse::Client), None, "the file system says what is true");
    }

    #[test]
    fn the_file_system_tells_its_size() {
        assert!(SpaceSource::default().ask(File::open("/").unwrap().as_fd()).unwrap().bytes_total > 0);
    }
}
