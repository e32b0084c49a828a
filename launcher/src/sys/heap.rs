//! The allocator's memory.

/// Gives pages that hold nothing any more back to the kernel. glibc does so only from a certain size on, of which a
/// supervisor that stays for months has no use.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) takes one integer and touches free memory only.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}
