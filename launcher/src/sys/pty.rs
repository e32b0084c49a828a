//! Pseudo-terminals.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::fcntl::OFlag;
use nix::libc;

/// Size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters per line.
    pub columns: u16,
}

/// Unlocks the pseudo-terminal of `master` and returns its number in its devpts.
pub fn unlock(master: BorrowedFd) -> nix::Result<u32> {
    let unlocked: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int.
    let ret = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked) };
    super::check(ret.into())?;
    let mut number: libc::c_uint = 0;
    // SAFETY: TIOCGPTN writes one unsigned int.
    let ret = unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN, &raw mut number) };
    super::check(ret.into())?;
    Ok(number)
}

/// Opens the other end without a path, which a guest could redirect (Linux 4.13).
pub fn peer(master: BorrowedFd) -> nix::Result<OwnedFd> {
    let flags = (OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).bits();
    // SAFETY: TIOCGPTPEER takes open flags by value.
    let fd =
        super::check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) }.into())?;
    // SAFETY: TIOCGPTPEER returned a new descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Makes `terminal` the controlling terminal of this session leader.
pub fn make_controlling(terminal: BorrowedFd) -> nix::Result<()> {
    // SAFETY: TIOCSCTTY takes one integer.
    super::check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) }.into()).map(drop)
}

/// Reads the size of a terminal.
pub fn size(terminal: BorrowedFd) -> nix::Result<Size> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCGWINSZ writes one winsize.
    let ret = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    super::check(ret.into())?;
    Ok(Size {
        rows: size.ws_row,
        columns: size.ws_col,
    })
}

/// Sets the size of a terminal.
pub fn set_size(terminal: BorrowedFd, size: Size) -> nix::Result<()> {
    let size = libc::winsize {
        ws_row: size.rows,
        ws_col: size.columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCSWINSZ reads one winsize.
    super::check(
        unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }.into(),
    )
    .map(drop)
}
