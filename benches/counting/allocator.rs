//! The system's allocator with counters in front. The only unsafe code of the benches.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// What was allocated, by all threads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Allocated {
    /// How often; a growing counts as one more.
    pub(super) times: u64,
    /// How many bytes; a growing counts with its new size, since it may move what is there.
    pub(super) bytes: u64,
}

static TIMES: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Counting;

/// All since the process began.
pub(super) fn allocated() -> Allocated {
    Allocated { times: TIMES.load(Relaxed), bytes: BYTES.load(Relaxed) }
}

fn count(bytes: usize) {
    TIMES.fetch_add(1, Relaxed);
    BYTES.fetch_add(bytes as u64, Relaxed);
}

// SAFETY: every call goes on to the system's allocator as it came, and its answer comes back as it is. Counting neither
// allocates nor panics.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: what the caller promises us is what the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if new_size > layout.size() {
            count(new_size);
        }
        // SAFETY: as above; the pointer came from this allocator, so from the system's.
        unsafe { System.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}
