//! A new stream to the journal where the old one has ended.
//!
//! systemd keeps the streams of journald over its restarts and crashes, but not when it is stopped: whoever writes to one
//! then gets EPIPE for good. systemd-journald.socket still listens, so a new connection brings journald back.

use std::io::Write as _;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, getpeername, socket};
use nix::unistd::{dup2_stderr, dup2_stdout};

/// Where journald takes lines.
const SOCKET: &str = "/run/systemd/journal/stdout";

/// Replaces standard output, and standard error where that was one, too, by a new stream for container `name`, whose lines
/// are called `identifier`. False when standard output is none, or when no other can be had now.
pub(super) fn reopen(name: &str, identifier: &str) -> bool {
    is_stream(std::io::stdout().as_fd()) && try_reopen(name, identifier).is_ok()
}

fn is_stream(fd: BorrowedFd) -> bool {
    getpeername::<UnixAddr>(fd.as_raw_fd()).is_ok_and(|peer| peer.path() == Some(Path::new(SOCKET)))
}

fn try_reopen(name: &str, identifier: &str) -> std::io::Result<()> {
    // A full queue is an error instead of a wait.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(stream.as_raw_fd(), &UnixAddr::new(SOCKET)?)?;
    let mut stream = UnixStream::from(stream);
    // Identifier, unit, priority "info", and four times no: prefixes of level, copies to syslog, kmsg and console.
    stream.write_all(format!("{identifier}\nskep@{name}.service\n6\n0\n0\n0\n0\n").as_bytes())?;
    if is_stream(std::io::stderr().as_fd()) {
        dup2_stderr(&stream)?;
    }
    dup2_stdout(&stream)?;
    Ok(())
}
