//! The daemon's heap: kept small, and given back when nothing is under way.
//!
//! glibc gives threads heaps of their own and keeps what they free. A daemon that makes a thousand disks on a dozen threads
//! would stay as large as all of them together at their largest.

#![allow(unsafe_code)]

/// Heaps that threads share.
const ARENAS: libc::c_int = 2;
/// From this size on, in bytes, a block has pages of its own, which go back as soon as it is freed.
const OWN_PAGES: libc::c_int = 64 << 10;
/// How much of a heap's end may be free, in bytes, before it goes back.
const KEEP_FREE: libc::c_int = 256 << 10;

/// Sets the bounds. To be called before there are threads.
pub(crate) fn bound() {
    for (parameter, value) in
        [(libc::M_ARENA_MAX, ARENAS), (libc::M_MMAP_THRESHOLD, OWN_PAGES), (libc::M_TRIM_THRESHOLD, KEEP_FREE)]
    {
        // SAFETY: mallopt(3) takes any two integers and touches nothing but the allocator's own parameters; one that it does
        // not know it refuses, and then the heap is merely larger.
        unsafe { libc::mallopt(parameter, value) };
    }
}

/// Gives free pages back to the system. Takes a few milliseconds.
pub(crate) fn give_back() {
    // SAFETY: malloc_trim(3) is safe to call from any thread at any time; it takes the allocator's own locks.
    unsafe { libc::malloc_trim(0) };
}
