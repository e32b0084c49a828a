//! clone3(2), used like fork(2).

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::libc;
use nix::unistd::Pid;

/// `CLONE_*` flags as clone3 takes them; nix's `CloneFlags` is an `int` and cannot hold `CLONE_INTO_CGROUP`.
pub type Flags = u64;

/// libc's constant of this name is an `int` and overflows.
const CLONE_INTO_CGROUP: Flags = 0x2_0000_0000;

/// The new process as its creator sees it.
#[derive(Debug)]
pub struct Child {
    /// PID in the caller's PID namespace.
    pub pid: Pid,
    /// Handle that survives PID reuse.
    pub pidfd: OwnedFd,
}

/// Which side of the clone this is.
#[derive(Debug)]
pub enum Side {
    /// The caller.
    Parent(Child),
    /// The new process. It must end in `execve` or [`exit_now`].
    Child,
}

/// Clones this process. `exit_signal` is SIGCHLD unless `CLONE_PARENT` passes the caller's own on. With `cgroup`, an fd of
/// a cgroup2 directory, the child starts there (Linux 5.7).
///
/// The caller must be single-threaded, as the launcher always is: the child is a copy that may allocate.
pub fn clone3(flags: Flags, cgroup: Option<BorrowedFd>) -> nix::Result<Side> {
    clone(flags, cgroup, &[])
}

/// Clones this process into the PID namespace of its children with this PID there, which must be free (Linux 5.5). The
/// number that the namespace gives out next stays what it was.
pub fn clone3_as(pid: Pid) -> nix::Result<Side> {
    clone(0, None, &[pid.as_raw()])
}

fn clone(flags: Flags, cgroup: Option<BorrowedFd>, pids: &[libc::pid_t]) -> nix::Result<Side> {
    let mut pidfd: libc::c_int = -1;
    let mut args = libc::clone_args {
        flags: flags | libc::CLONE_PIDFD as u64,
        pidfd: (&raw mut pidfd) as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: if flags & libc::CLONE_PARENT as u64 == 0 {
            libc::SIGCHLD as u64
        } else {
            0
        },
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: if pids.is_empty() {
            0
        } else {
            pids.as_ptr() as u64
        },
        set_tid_size: pids.len() as u64,
        cgroup: 0,
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: `args` is a valid clone_args of the given size with pointers that outlive the call, no new stack and no CLONE_VM: the child continues here on a
    // copy of this memory, and one thread means that no lock is held by another.
    let pid = super::check(unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw mut args,
            size_of::<libc::clone_args>(),
        )
    })?;
    if pid == 0 {
        return Ok(Side::Child);
    }
    // SAFETY: CLONE_PIDFD stored a new descriptor that nobody else owns.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    Ok(Side::Parent(Child {
        pid: Pid::from_raw(pid as i32),
        pidfd,
    }))
}

/// Ends a cloned process without running exit handlers, which belong to its creator.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit(2) has no precondition.
    unsafe { libc::_exit(status) }
}
