//! Descriptors: close_range(2), sealed memory files, locks, openat2(2).

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag};
use nix::libc;
use nix::sys::stat::Mode;

/// Marks every descriptor from `first` on close-on-exec.
pub fn cloexec_from(first: RawFd) -> nix::Result<()> {
    // SAFETY: close_range(2) with CLOSE_RANGE_CLOEXEC closes nothing now, so no owner is left with a dead descriptor.
    super::check(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first as libc::c_uint,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    })
    .map(drop)
}

/// Closes every descriptor from `first` on. Only for a process about to forget all it owns there.
pub fn close_from(first: RawFd) -> nix::Result<()> {
    // SAFETY: called at the start of the program, before anything owns a descriptor from `first` on.
    super::check(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first as libc::c_uint,
            libc::c_uint::MAX,
            0,
        )
    })
    .map(drop)
}

/// Lets a descriptor of this process through exec.
pub fn keep_on_exec(fd: RawFd) -> nix::Result<()> {
    // SAFETY: F_SETFD takes one integer; a number that is no open descriptor is EBADF.
    super::check(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) }.into()).map(drop)
}

/// Opens `path` below `root` as if `root` were `/`: `..` and absolute links stay inside, magic links are refused.
pub fn open_in_root(root: BorrowedFd, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    open_how(
        root,
        path,
        flags,
        ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS,
    )
}

/// Opens `path` below `root` without following any link.
pub fn open_no_links(root: BorrowedFd, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    open_how(
        root,
        path,
        flags,
        ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_SYMLINKS,
    )
}

/// Opens `path` below `root` as [`open_in_root`] does, but where it ends in a link, that link itself.
pub fn open_no_follow(root: BorrowedFd, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
    open_in_root(root, path, flags | OFlag::O_NOFOLLOW)
}

fn open_how(
    root: BorrowedFd,
    path: &Path,
    flags: OFlag,
    resolve: ResolveFlag,
) -> nix::Result<OwnedFd> {
    let mode = if flags.contains(OFlag::O_CREAT) {
        Mode::from_bits_truncate(0o666)
    } else {
        Mode::empty()
    };
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .mode(mode)
        .resolve(resolve);
    // openat2(2): EAGAIN means that a rename raced with the check of `..`; a bounded number of retries suffices.
    for _ in 0..64 {
        match nix::fcntl::openat2(root, path, how) {
            Err(Errno::EAGAIN) => {}
            other => return other,
        }
    }
    Err(Errno::EAGAIN)
}

/// Opens the regular file behind an `O_PATH` descriptor for reading. Whoever owns the file may hold a lease on it and let
/// the open wait for a minute: EAGAIN then.
pub fn open_regular(file: BorrowedFd) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    nix::fcntl::open(link.as_str(), flags, Mode::empty())
}

/// Whether to wait for a lock, and how it is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// One holder.
    Exclusive,
    /// Any number of readers.
    Shared,
}

/// Locks the whole file without waiting, both ways in use: an open-file-description lock (as systemd since 251 takes) and
/// flock(2) (as it took before). They do not see each other, so holding both excludes every version.
pub fn try_lock(file: BorrowedFd, kind: LockKind) -> nix::Result<()> {
    let (record, whole) = match kind {
        LockKind::Exclusive => (libc::F_WRLCK, libc::LOCK_EX),
        LockKind::Shared => (libc::F_RDLCK, libc::LOCK_SH),
    };
    let lock = libc::flock {
        l_type: record as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: F_OFD_SETLK reads one struct flock.
    let ret = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    super::check(ret.into())?;
    // SAFETY: flock(2) takes two integers.
    super::check(unsafe { libc::flock(file.as_raw_fd(), whole | libc::LOCK_NB) }.into()).map(drop)
}

/// Waits for an exclusive lock of the whole file, flock(2).
pub fn lock(file: BorrowedFd) -> nix::Result<()> {
    loop {
        // SAFETY: flock(2) takes two integers.
        match super::check(unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) }.into()) {
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

/// An empty memory file that can be sealed and executed.
pub fn memfd(name: &CStr) -> nix::Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // MFD_EXEC is needed where vm.memfd_noexec is set and unknown before Linux 6.3.
    for flags in [flags | libc::MFD_EXEC, flags] {
        // SAFETY: `name` is a C string.
        match super::check(unsafe { libc::syscall(libc::SYS_memfd_create, name.as_ptr(), flags) }) {
            // SAFETY: memfd_create(2) returned a new descriptor.
            Ok(fd) => return Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }),
            Err(Errno::EINVAL) => {}
            Err(err) => return Err(err),
        }
    }
    Err(Errno::EINVAL)
}

/// Seals a memory file against every change, further seals included.
pub fn seal(file: BorrowedFd) -> nix::Result<()> {
    let seals = libc::F_SEAL_SEAL | libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_WRITE;
    // SAFETY: F_ADD_SEALS takes one integer.
    super::check(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) }.into())
        .map(drop)
}

/// Whether the file carries the seals of [`seal`].
pub fn is_sealed(file: BorrowedFd) -> bool {
    // SAFETY: F_GET_SEALS takes no argument.
    let seals = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) };
    seals >= 0 && seals & libc::F_SEAL_WRITE != 0
}

/// Owns a descriptor that an `SCM_RIGHTS` message brought.
pub fn own_received(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel installed it for the message that the caller took it from; nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_lease_delays_no_reader() {
        let path = std::env::temp_dir().join(format!("skep-lease-{}", std::process::id()));
        let holder = File::create(&path).unwrap();
        let found = nix::fcntl::open(&path, OFlag::O_PATH, Mode::empty()).unwrap();
        assert!(open_regular(found.as_fd()).is_ok());
        let fd = holder.as_raw_fd();
        const F_SETSIG: libc::c_int = 10;
        // SAFETY: F_SETSIG takes one integer: a signal that is ignored by default, where SIGIO would end this process.
        assert_eq!(unsafe { libc::fcntl(fd, F_SETSIG, libc::SIGWINCH) }, 0);
        // SAFETY: F_SETLEASE takes one integer.
        let leased = unsafe { libc::fcntl(fd, libc::F_SETLEASE, libc::F_WRLCK) };
        assert_eq!(leased, 0);
        let begin = Instant::now();
        assert_eq!(open_regular(found.as_fd()).err(), Some(Errno::EAGAIN));
        assert!(begin.elapsed() < Duration::from_secs(1));
        drop(holder);
        assert!(open_regular(found.as_fd()).is_ok());
        std::fs::remove_file(&path).unwrap();
    }
}
