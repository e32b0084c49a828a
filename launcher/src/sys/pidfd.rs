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

impl End {
    /// As a shell shows it: the exit status, or 128+N for signal N.
    pub fn status(self) -> u8 {
        match self {
            End::Exited(status) => (status & 0xff) as u8,
            End::Killed(signal) => 128 + (signal & 0x7f) as u8,
        }
    }
}

/// Reaps a child if it has ended. Unlike nix's waitid it knows real-time signals, too.
pub fn try_reap(pidfd: BorrowedFd) -> nix::Result<Option<End>> {
    let id = pidfd.as_raw_fd() as libc::id_t;
    wait_id(libc::P_PIDFD, id, libc::WEXITED | libc::WNOHANG).map(|found| found.map(|(_, end)| end))
}

/// Reaps any child that has ended. ECHILD: there is none at all.
pub fn try_reap_any() -> nix::Result<Option<(Pid, End)>> {
    wait_id(libc::P_ALL, 0, libc::WEXITED | libc::WNOHANG | libc::__WALL)
}

fn wait_id(
    kind: libc::idtype_t,
    id: libc::id_t,
    flags: libc::c_int,
) -> nix::Result<Option<(Pid, End)>> {
    // SAFETY: siginfo_t is plain data, for which zeroes are valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: waitid(2) writes one siginfo_t.
    let ret = unsafe { libc::waitid(kind, id, &raw mut info, flags) };
    super::check(ret.into())?;
    // SAFETY: waitid(2) fills the fields of SIGCHLD, or leaves the zeroes when there is nothing to tell.
    let pid = unsafe { info.si_pid() };
    // SAFETY: as above.
    let status = unsafe { info.si_status() };
    let end = match info.si_code {
        libc::CLD_EXITED => End::Exited(status),
        _ => End::Killed(status),
    };
    Ok((pid != 0).then_some((Pid::from_raw(pid), end)))
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
