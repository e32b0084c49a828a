//! Process handles.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::libc;
use nix::unistd::Pid;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with this status.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

/// Reaps a child if it has ended. Unlike nix's waitid it knows real-time signals, too.
pub fn try_reap(pidfd: BorrowedFd) -> nix::Result<Option<End>> {
    let id = pidfd.as_raw_fd() as libc::id_t;
    // SAFETY: siginfo_t is plain data, for which zeroes are valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: waitid(2) writes one siginfo_t.
    let ret = unsafe {
        libc::waitid(
            libc::P_PIDFD,
            id,
            &raw mut info,
            libc::WEXITED | libc::WNOHANG,
        )
    };
    super::check(ret.into())?;
    // SAFETY: waitid(2) fills the fields of SIGCHLD, or leaves the zeroes when there is nothing to tell.
    let pid = unsafe { info.si_pid() };
    // SAFETY: as above.
    let status = unsafe { info.si_status() };
    Ok(match (pid, info.si_code) {
        (0, _) => None,
        (_, libc::CLD_EXITED) => Some(End::Exited(status)),
        _ => Some(End::Killed(status)),
    })
}

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
