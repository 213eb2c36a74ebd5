//! The free-space guard: where the figures come from, and who may still write.

use std::{
    fmt, io,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{FenceReason, SpaceUse};

/// How old a figure may be before it is asked anew.
const AGE_MAX: Duration = Duration::from_secs(1);

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

type AskSpace = dyn Fn(&Path) -> io::Result<Space> + Send + Sync;

/// Where a disk learns how much space its file system has.
#[derive(Clone)]
pub struct SpaceSource(Arc<AskSpace>);

impl SpaceSource {
    /// Any source: tests inject a full disk.
    pub fn new(source: impl Fn(&Path) -> io::Result<Space> + Send + Sync + 'static) -> Self {
        Self(Arc::new(source))
    }

    /// Asks it.
    ///
    /// # Errors
    /// What the source answers.
    pub fn ask(&self, folder: &Path) -> io::Result<Space> {
        (self.0)(folder)
    }
}

impl Default for SpaceSource {
    /// `statvfs`.
    fn default() -> Self {
        Self::new(|folder| {
            let figures = rustix::fs::statvfs(folder)?;
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

/// The source with its last answer.
#[derive(Debug)]
pub(crate) struct SpaceGuard {
    source: SpaceSource,
    last: Mutex<Option<(Instant, Space)>>,
}

impl SpaceGuard {
    pub(crate) const fn new(source: SpaceSource) -> Self {
        Self { source, last: Mutex::new(None) }
    }

    /// The figures, at most a second old. A source that fails counts as no space: nobody writes blindly.
    pub(crate) fn space(&self, folder: &Path) -> Space {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match *last {
            Some((at, space)) if at.elapsed() < AGE_MAX => space,
            _ => {
                let space = self.source.ask(folder).unwrap_or_default();
                *last = Some((Instant::now(), space));
                space
            }
        }
    }

    /// Why a write must be refused, if it must.
    pub(crate) fn refusal(&self, folder: &Path, space_use: SpaceUse) -> Option<FenceReason> {
        let space = self.space(folder);
        let refused = space.is_short_for(space_use) || space.bytes_total == 0;
        refused.then_some(FenceReason::Full { bytes_free: space.bytes_free, bytes_total: space.bytes_total })
    }
}

#[cfg(test)]
mod tests {
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
        assert!(guard.refusal(Path::new("/"), SpaceUse::Repair).is_some());
    }

    #[test]
    fn statvfs_knows_the_root() {
        assert!(SpaceSource::default().ask(Path::new("/")).unwrap().bytes_total > 0);
    }
}
