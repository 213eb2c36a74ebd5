//! The C library's allocator, set for buffers that come and go with every stripe.
//!
//! By default it gives memory back to the kernel as soon as 128 KiB are free, and the kernel clears each page that it gives
//! again: of a large PUT that was a fifteenth of all CPU. What is kept instead is bounded by these numbers.

/// Free memory at the end of an arena that is kept.
#[cfg(target_env = "gnu")]
const KEPT_BYTES: i32 = 32 << 20;
/// Buffers from here on come from the kernel and go back to it: stripes and units are smaller.
#[cfg(target_env = "gnu")]
const MAPPED_FROM_BYTES: i32 = 4 << 20;
/// Arenas, each of which keeps free memory of its own. By default there are eight for each core.
#[cfg(target_env = "gnu")]
const ARENAS_MAX: i32 = 4;

/// Call it before threads begin.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the C library has no other way to set its allocator")]
pub(super) fn keep_buffers() {
    for (setting, value) in [
        (libc::M_TRIM_THRESHOLD, KEPT_BYTES),
        (libc::M_MMAP_THRESHOLD, MAPPED_FROM_BYTES),
        (libc::M_ARENA_MAX, ARENAS_MAX),
    ] {
        // SAFETY: it takes two numbers, and is called while there is one thread. What it does not know it leaves.
        unsafe { libc::mallopt(setting, value) };
    }
}

/// Other C libraries have no such settings.
#[cfg(not(target_env = "gnu"))]
pub(super) fn keep_buffers() {}
