//! The guard of the metadata's file system: while it is nearly full, commands that add are refused, and those that
//! make room go on a little longer.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::command::Command;
use crate::error::MetaError;
use crate::raft::folder::LOCK;

/// Under this much free space nothing is added.
pub const ADD_BYTES_MIN: u64 = 192 << 20;
/// Under this much free space nothing is written.
pub(crate) const WRITE_BYTES_MIN: u64 = 16 << 20;

/// Where free space is asked for.
pub trait SpaceSource: Send + Sync + 'static {
    /// Size and free bytes of the file system.
    ///
    /// # Errors
    /// When the file system does not answer.
    fn space(&self) -> io::Result<Space>;
}

/// Size of a file system and what is free of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Space {
    /// Its size.
    pub total_bytes: u64,
    /// What is free for this process.
    pub free_bytes: u64,
}

/// The file system that a voter's folder is on.
pub(crate) struct FolderSpace(pub(crate) PathBuf);

impl SpaceSource for FolderSpace {
    fn space(&self) -> io::Result<Space> {
        // A file of the folder, not the folder: one that was emptied, or that nothing is mounted on any more, is gone.
        let found = rustix::fs::statvfs(self.0.join(LOCK))?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Space { total_bytes: bytes(found.f_blocks), free_bytes: bytes(found.f_bavail) })
    }
}

/// Space that never ends, for rows in memory.
pub(crate) struct EndlessSpace;

impl SpaceSource for EndlessSpace {
    fn space(&self) -> io::Result<Space> {
        Ok(Space { total_bytes: u64::MAX, free_bytes: u64::MAX })
    }
}

/// What was last seen of the free space.
pub(crate) struct SpaceGuard {
    source: Arc<dyn SpaceSource>,
    total_bytes: AtomicU64,
    free_bytes: AtomicU64,
    gone: AtomicBool,
}

impl SpaceGuard {
    /// A guard that has looked once.
    pub(crate) fn new(source: Arc<dyn SpaceSource>) -> io::Result<Self> {
        let guard = Self {
            source,
            total_bytes: AtomicU64::new(0),
            free_bytes: AtomicU64::new(0),
            gone: AtomicBool::new(false),
        };
        guard.look()?;
        Ok(guard)
    }

    /// Asks the source. May block.
    pub(crate) fn look(&self) -> io::Result<()> {
        let space = self.source.space();
        // Rows that went into a folder that is gone would be acknowledged and lost.
        self.gone.store(space.is_err(), Ordering::Relaxed);
        let space = space?;
        self.total_bytes.store(space.total_bytes, Ordering::Relaxed);
        self.free_bytes.store(space.free_bytes, Ordering::Relaxed);
        Ok(())
    }

    /// What was last seen.
    pub(crate) fn seen(&self) -> Space {
        Space {
            total_bytes: self.total_bytes.load(Ordering::Relaxed),
            free_bytes: self.free_bytes.load(Ordering::Relaxed),
        }
    }

    /// Whether commands that add are taken.
    pub(crate) fn writable(&self) -> bool {
        !self.gone.load(Ordering::Relaxed) && self.seen().free_bytes >= ADD_BYTES_MIN
    }

    /// Refuses a command for which there is no room.
    pub(crate) fn admit(&self, command: &Command) -> Result<(), MetaError> {
        if self.gone.load(Ordering::Relaxed) {
            return Err(MetaError::unavailable("the metadata's folder is gone or its file system does not answer"));
        }
        let free_bytes = self.seen().free_bytes;
        let needed_bytes = if adds(command) { ADD_BYTES_MIN } else { WRITE_BYTES_MIN };
        if free_bytes < needed_bytes { Err(MetaError::NoSpace { free_bytes, needed_bytes }) } else { Ok(()) }
    }
}

/// Whether a command leaves lasting rows that a client asked for. The others make room, or are few and small and
/// needed so that others can make room.
const fn adds(command: &Command) -> bool {
    match command {
        Command::CreateBucket { .. }
        | Command::CreateBucketWith { .. }
        | Command::CreatePgs { .. }
        | Command::PutObject { .. }
        | Command::CopyObject { .. }
        | Command::CreateUpload { .. }
        | Command::PutPart { .. }
        | Command::CopyPart { .. }
        | Command::CompleteUpload { .. }
        | Command::PutIdentity { .. }
        | Command::DeclareIdentity { .. } => true,
        Command::Nothing
        | Command::OpenWriter { .. }
        | Command::CloseWriter { .. }
        | Command::RaiseWatermark { .. }
        | Command::AttachDisk { .. }
        | Command::MoveSlot { .. }
        | Command::RetirePg { .. }
        | Command::FinishInventory { .. }
        | Command::DistrustDisk { .. }
        | Command::ReportMissing { .. }
        | Command::FinishRepair { .. }
        | Command::MarkFree { .. }
        | Command::RemoveGarbage { .. }
        | Command::DeleteBucket { .. }
        | Command::SetBucketQuota { .. }
        | Command::SetBucketSettings { .. }
        | Command::DeleteObjects { .. }
        | Command::AbortUpload { .. }
        | Command::SetIdentityEnabled { .. }
        | Command::RemoveIdentity { .. }
        | Command::RaiseVersion { .. }
        | Command::PutClusterKey { .. }
        | Command::PutSnapshot { .. }
        | Command::RemoveSnapshot { .. }
        | Command::DropForgotten {} => false,
    }
}

#[cfg(test)]
mod tests {
    use cairn_proto::BucketId;

    use super::*;

    struct Fixed(AtomicU64);

    impl SpaceSource for Fixed {
        fn space(&self) -> io::Result<Space> {
            Ok(Space { total_bytes: 1 << 40, free_bytes: self.0.load(Ordering::SeqCst) })
        }
    }

    #[test]
    fn deletes_go_on_where_puts_are_refused() {
        let source = Arc::new(Fixed(AtomicU64::new(1 << 30)));
        let guard = SpaceGuard::new(source.clone()).unwrap();
        let put = Command::CreateBucket { name: "a".to_owned() };
        let delete = Command::DeleteObjects { bucket: BucketId(1), keys: Vec::new() };
        let admitted = |free_bytes| {
            source.0.store(free_bytes, Ordering::SeqCst);
            guard.look().unwrap();
            (guard.admit(&put).is_ok(), guard.admit(&delete).is_ok())
        };
        assert_eq!(admitted(ADD_BYTES_MIN), (true, true));
        assert_eq!(admitted(ADD_BYTES_MIN - 1), (false, true));
        assert_eq!(admitted(WRITE_BYTES_MIN), (false, true));
        assert_eq!(admitted(WRITE_BYTES_MIN - 1), (false, false));
        let told = |command| guard.admit(command).unwrap_err().to_string();
        assert!(told(&delete).contains("even to delete"), "{}", told(&delete));
        assert!(!told(&put).contains("deletes"), "{}", told(&put));
        assert_eq!(admitted(WRITE_BYTES_MIN), (false, true));
        assert!(told(&put).contains("deletes still work"), "{}", told(&put));
        assert_eq!(admitted(ADD_BYTES_MIN), (true, true));
    }

    #[test]
    fn nothing_is_taken_while_the_folder_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(LOCK), "").unwrap();
        let guard = SpaceGuard::new(Arc::new(FolderSpace(folder.path().to_owned()))).unwrap();
        let delete = Command::DeleteObjects { bucket: BucketId(1), keys: Vec::new() };
        std::fs::remove_file(folder.path().join(LOCK)).unwrap();
        assert!(guard.look().is_err());
        assert!(!guard.writable() && matches!(guard.admit(&delete), Err(MetaError::Unavailable { .. })));
        std::fs::write(folder.path().join(LOCK), "").unwrap();
        guard.look().unwrap();
        assert!(!matches!(guard.admit(&delete), Err(MetaError::Unavailable { .. })));
    }
}
