//! Leaves what was just written in the page cache.
//!
//! RocksDB's writer of table files tells the kernel after every MiB, and at the end, to drop the pages of the whole file; no
//! setting that its C interface has turns that off. It costs a walk over the file's pages each time, and the shards that are
//! read next are mostly those that were just written. RocksDB calls the C library's `posix_fadvise`, and the linker takes the
//! one that stands in the program itself: this one, which says nothing of pages that are not needed any more, and hands all
//! other advice on.

use std::{ffi::c_int, num::NonZeroU64, os::fd::BorrowedFd};

use rustix::fs::{Advice, fadvise};

/// `POSIX_FADV_RANDOM` and the others, as Linux numbers them.
const NORMAL: c_int = 0;
const RANDOM: c_int = 1;
const SEQUENTIAL: c_int = 2;
const WILL_NEED: c_int = 3;

/// As `posix_fadvise(3)`: answers 0 or an error number.
///
/// # Safety
/// The descriptor must be open, as for the function of the C library.
// SAFETY: the name is that of a function with the same signature and contract.
#[unsafe(no_mangle)]
unsafe extern "C" fn posix_fadvise(fd: c_int, offset: i64, length: i64, advice: c_int) -> c_int {
    let advice = match advice {
        NORMAL => Advice::Normal,
        RANDOM => Advice::Random,
        SEQUENTIAL => Advice::Sequential,
        WILL_NEED => Advice::WillNeed,
        _ => return 0,
    };
    let Ok(offset) = u64::try_from(offset) else { return rustix::io::Errno::INVAL.raw_os_error() };
    // A length of 0 is the rest of the file.
    let length = u64::try_from(length).ok().and_then(NonZeroU64::new);
    // SAFETY: the caller says that the descriptor is open, and it is borrowed for this call alone.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    match fadvise(fd, offset, length, advice) {
        Ok(()) => 0,
        Err(error) => error.raw_os_error(),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::IoSliceMut, path::Path};

    use rustix::io::{Errno, ReadWriteFlags, preadv2};

    use crate::{
        ShardStore, WriteMode,
        conformance::Sample,
        rocks::testing::{files_in, open},
    };

    const PAGE: usize = 4096;

    /// Pages of a file that are read without waiting for a disk, of how many; none where the file system cannot tell.
    fn cached_pages(path: &Path) -> Option<(u64, u64)> {
        let file = File::open(path).unwrap();
        let pages = file.metadata().unwrap().len() / PAGE as u64;
        let mut cached = 0;
        for page in 0..pages {
            let mut bytes = [0; PAGE];
            match preadv2(&file, &mut [IoSliceMut::new(&mut bytes)], page * PAGE as u64, ReadWriteFlags::NOWAIT) {
                Ok(_) => cached += 1,
                Err(Errno::AGAIN) => {}
                Err(Errno::OPNOTSUPP) => return None,
                Err(error) => panic!("{error}"),
            }
        }
        Some((cached, pages))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_just_written_is_read_without_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let disk = open(folder.path());
        Sample::new(1, 40 << 20).write(&*disk, WriteMode::New).await.unwrap();
        let logs: Vec<_> = files_in(folder.path())
            .into_iter()
            .filter(|path| path.metadata().unwrap().len() > 1 << 20 && path.extension().is_some_and(|end| end == "sst"))
            .collect();
        assert!(!logs.is_empty());
        for path in logs {
            let Some((cached, pages)) = cached_pages(&path) else {
                return println!("the file system does not tell what is cached");
            };
            // The kernel may drop some when memory is short.
            assert!(cached * 10 >= pages * 9, "{cached} of {pages} pages of {}", path.display());
        }
        disk.close().await;
    }
}
