//! Lines on their way to the journal.
//!
//! Those that it cannot take now are kept up to a limit, then dropped and counted: a stuck journal must never hold the guest
//! or the supervisor.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::fstat;

use super::{retry, set_nonblocking, stream};
use crate::step::{At, StepError};
use crate::sys::memory;

/// How long the last words wait for the journal.
const FLUSH_LIMIT: Duration = Duration::from_millis(500);
const BACKLOG_LIMIT: usize = 256 << 10;
/// What an empty backlog may keep of its memory.
const BACKLOG_KEPT: usize = 16 << 10;

/// Standard output, which is the journal in a unit.
#[derive(Debug)]
pub(super) struct Journal<'a> {
    output: std::io::Stdout,
    /// The container and what its lines are called, for a new stream.
    name: &'a str,
    identifier: &'a str,
    reopened: bool,
    backlog: Vec<u8>,
    lost: usize,
}

impl<'a> Journal<'a> {
    pub(super) fn open(name: &'a str, identifier: &'a str) -> Result<Journal<'a>, StepError> {
        let output = std::io::stdout();
        set_nonblocking(output.as_fd()).at("set up", "standard output")?;
        Ok(Journal {
            output,
            name,
            identifier,
            reopened: false,
            backlog: Vec::new(),
            lost: 0,
        })
    }

    /// The output, when epoll can watch it.
    pub(super) fn watchable(&self) -> Option<BorrowedFd<'_>> {
        let kind = fstat(&self.output).ok()?.st_mode & libc::S_IFMT;
        (kind == libc::S_IFSOCK || kind == libc::S_IFIFO).then(|| self.output.as_fd())
    }

    /// Opens it anew, after it has closed its end.
    pub(super) fn renew(&mut self) -> bool {
        let renewed = stream::reopen(self.name, self.identifier);
        self.reopened |= renewed;
        renewed
    }

    /// Whether the output is another one since this was asked last.
    pub(super) fn reopened(&mut self) -> bool {
        std::mem::take(&mut self.reopened)
    }

    /// Keeps a line for the next [`Journal::write`].
    pub(super) fn push(&mut self, line: &str) {
        if self.backlog.len() + line.len() > BACKLOG_LIMIT {
            self.lost += 1;
        } else {
            self.backlog.extend_from_slice(line.as_bytes());
            self.backlog.push(b'\n');
        }
    }

    /// Writes out what is kept, as far as the journal takes it.
    pub(super) fn write(&mut self) {
        let mut renewed = false;
        while !self.backlog.is_empty() {
            match retry(|| nix::unistd::write(self.output.as_fd(), &self.backlog)) {
                Ok(written) => drop(self.backlog.drain(..written)),
                Err(Errno::EAGAIN) => return,
                Err(Errno::EPIPE) if !renewed && self.renew() => renewed = true,
                // Nobody reads any more.
                Err(_) => self.backlog.clear(),
            }
        }
        if self.backlog.capacity() > BACKLOG_KEPT {
            self.backlog = Vec::new();
            memory::release();
        }
        if self.lost > 0 {
            let lost = std::mem::take(&mut self.lost);
            self.push(&format!(
                "skep: {lost} console lines were dropped: the journal did not take them"
            ));
            self.write();
        }
    }

    /// Gives back the room for lines that were taken.
    pub(super) fn shrink(&mut self) {
        self.backlog.shrink_to_fit();
    }

    /// The last words of a guest that has ended often say why, so a busy journal gets some time for them.
    pub(super) fn flush(&mut self) {
        self.write();
        let end = Instant::now() + FLUSH_LIMIT;
        while !self.backlog.is_empty() {
            let left = end.saturating_duration_since(Instant::now()).as_millis();
            let mut fds = [PollFd::new(self.output.as_fd(), PollFlags::POLLOUT)];
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            if poll(&mut fds, timeout) != Ok(1) {
                return;
            }
            self.write();
        }
    }
}
