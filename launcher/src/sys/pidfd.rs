//! Process handles.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::libc;
use nix::unistd::Pid;

/// A handle of a running process.
pub fn open(pid: Pid) -> nix::Result<OwnedFd> {
    // SAFETY: two integers.
    let fd = super::check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })?;
    // SAFETY: pidfd_open(2) returned a new descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Sends signal number `signal`, which may be a real-time one; 0 only asks whether the process lives.
pub fn send_signal(pidfd: BorrowedFd, signal: i32) -> nix::Result<()> {
    // SAFETY: a null siginfo makes the kernel fill it as kill(2) does.
    super::check(unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            std::ptr::null::<libc::siginfo_t>(),
            0,
        )
    })
    .map(drop)
}
