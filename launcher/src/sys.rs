//! System calls that nix lacks, as thin safe functions: `BorrowedFd` and `&CStr` in, `OwnedFd` or `Errno` out.
//!
//! The only module with unsafe code. Nothing here decides, logs or knows what a container is.
#![allow(unsafe_code)]
// Descriptors, flags and numbers change between int and long as the kernel's interface has them.
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

pub mod caps;
pub mod clone;
pub mod creds;
pub mod fd;
pub mod link;
pub mod loop_device;
pub mod memory;
pub mod mount;
pub mod netlink;
pub mod pidfd;
pub mod pty;
pub mod seccomp;
pub mod signal;

use nix::errno::Errno;
use nix::libc;

/// Turns the return value of a raw system call into a result.
fn check(ret: libc::c_long) -> nix::Result<libc::c_long> {
    if ret < 0 { Err(Errno::last()) } else { Ok(ret) }
}
