//! Memory that this process has used and needs no more.

use std::ptr::without_provenance_mut;

use nix::libc;

/// What is left alone below the caller's frame: those of the calls that follow.
const MARGIN: usize = 512;

/// How far below that the stack may have been used. Less than what the kernel keeps free of other mappings there.
const STACK: usize = 256 << 10;

/// The smallest page; on a kernel with larger ones the address may not be the start of one, and the stack is kept.
const PAGE: usize = 4096;

/// Gives pages that hold nothing any more back to the kernel. glibc does so only from a certain size on, and nobody does so
/// for a stack that was deeper; of both a supervisor that stays for months has no use.
pub fn release() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes one integer and touches free memory only.
    unsafe {
        libc::malloc_trim(0);
    }
    release_stack();
}

/// Only for the main thread, the one that a launcher has: below its stack is nothing else.
#[inline(never)]
fn release_stack() {
    let here = std::hint::black_box(0_u8);
    let end = ((&raw const here).addr() - MARGIN) & !(PAGE - 1);
    // SAFETY: the range lies below all frames of this thread, by more than the call needs itself, so that nothing in it is
    // ever read before it is written. What of it is not mapped is an error after the rest was done.
    unsafe {
        libc::madvise(
            without_provenance_mut(end - STACK),
            STACK,
            libc::MADV_DONTNEED,
        );
    }
}
