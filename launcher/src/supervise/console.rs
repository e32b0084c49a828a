//! The guest's console: line by line into the journal, as it comes to those who are attached.
//!
//! The guest chooses these bytes. The journal gets them clean (`clean`), so that no reader's terminal is steered and no line
//! becomes a binary blob; a terminal that is attached gets them raw, as it would have to on any console. Neither a stuck
//! journal nor a stuck terminal may ever hold the guest or this loop.

pub(crate) mod clean;
mod journal;
pub(crate) mod message;
mod seats;
pub(crate) mod share;
mod stream;
mod tail;

use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::epoll::Epoll;

use crate::step::{At, StepError};
use crate::supervise::console::clean::Cleaner;
use crate::supervise::console::journal::Journal;
use crate::supervise::console::message::{CHUNK, Notice, OUTPUT};
use crate::supervise::console::share::{Asked, Share};
use crate::supervise::console::tail::Tail;
use crate::supervise::state::Outcome;
use crate::sys::pty;

/// Reads of one turn.
const READS: usize = 16;

/// Input that may wait for the guest.
const INPUT_KEPT: usize = 16 << 10;

/// How soon input is offered again to a guest that did not take it. The terminal says when it has room, but not reliably.
const AGAIN: Duration = Duration::from_millis(200);

/// Console and journal.
#[derive(Debug)]
pub struct Console<'a> {
    master: BorrowedFd<'a>,
    cleaner: Cleaner,
    journal: Journal<'a>,
    tail: Tail,
    share: Option<Share>,
    /// What the guest has not taken yet.
    input: Vec<u8>,
}

impl<'a> Console<'a> {
    /// Reads from `master`, writes to standard output, for the container `name`.
    pub fn new(master: BorrowedFd<'a>, name: &'a str) -> Result<Console<'a>, StepError> {
        set_nonblocking(master).at("set up", "console")?;
        Ok(Console {
            master,
            cleaner: Cleaner::default(),
            journal: Journal::open(name)?,
            tail: Tail::default(),
            share: None,
            input: Vec::new(),
        })
    }

    /// Lets others attach through a socket at `path`. The container runs without it, too.
    pub fn listen(&mut self, path: &Path, epoll: &Epoll) {
        match Share::open(path, epoll) {
            Ok(share) => self.share = Some(share),
            Err(err) => crate::log::line(err),
        }
    }

    /// Opens the journal anew, after it has closed its end.
    pub fn renew(&mut self) {
        self.journal.renew();
    }

    /// Whether the output is another one since this was asked last, to be watched anew.
    pub fn reopened(&mut self) -> bool {
        self.journal.reopened()
    }

    /// The output, when epoll can watch it.
    pub fn watchable_output(&self) -> Option<BorrowedFd<'_>> {
        self.journal.watchable()
    }

    /// Takes what the guest has written, and says whether there may be more: a guest that writes without end must not
    /// keep its supervisor from all else. EIO: no process has the terminal open just now.
    pub fn read(&mut self) -> bool {
        let mut packet = [OUTPUT; 1 + CHUNK];
        for _ in 0..READS {
            let Ok(length @ 1..) = retry(|| nix::unistd::read(self.master, &mut packet[1..]))
            else {
                return false;
            };
            if let Some(share) = &mut self.share {
                share.output(&packet[..=length]);
            }
            self.cleaner.feed(&packet[1..=length], |line| {
                self.journal.push(line);
                self.tail.push(line);
            });
            self.journal.write();
        }
        true
    }

    /// Writes out what is kept, as far as the journal takes it.
    pub fn write(&mut self) {
        self.journal.write();
    }

    /// Takes what happened at the socket, or at that of a client.
    pub fn event(&mut self, id: u64, epoll: &Epoll) {
        let Some(share) = &mut self.share else { return };
        for asked in share.event(id, epoll) {
            match asked {
                // More comes only from one that leaves and does not wait.
                Asked::Input(bytes) if self.input.len() < INPUT_KEPT => self.input.extend(bytes),
                Asked::Input(_) => {}
                // A terminal that no process has open keeps its size, too.
                Asked::Size(size) => drop(pty::set_size(self.master, size)),
                Asked::Replay(id) => {
                    let line = self.cleaner.unfinished();
                    let lines = self.tail.last(CHUNK - line.len().min(CHUNK));
                    let text = [lines, line.as_bytes()].concat();
                    if !text.is_empty() {
                        share.replay(id, &text);
                    }
                }
            }
        }
    }

    /// When to call [`Console::pass_input`] at the latest.
    pub fn again(&self) -> Option<Duration> {
        (!self.input.is_empty()).then_some(AGAIN)
    }

    /// Passes on what was typed, as far as the guest takes it, and looks after those who are attached.
    pub fn pass_input(&mut self, epoll: &Epoll) {
        let Some(share) = &mut self.share else { return };
        if !self.input.is_empty() {
            match retry(|| nix::unistd::write(self.master, &self.input)) {
                Ok(written) => drop(self.input.drain(..written)),
                Err(Errno::EAGAIN) => {}
                // EIO: no process of the guest has the terminal open.
                Err(_) => self.input.clear(),
            }
        }
        share.watch(!self.input.is_empty(), epoll);
    }

    /// Takes the last words of a guest that has ended, and tells those who are attached why.
    pub fn finish(&mut self, outcome: Option<&Outcome>) {
        while self.read() {}
        self.cleaner.finish(|line| self.journal.push(line));
        if let Some(share) = &mut self.share {
            share.tell_all(match outcome {
                Some(Outcome::Reboot) => Notice::Reboots,
                _ => Notice::Ended,
            });
        }
        self.journal.flush();
    }
}

fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            other => return other,
        }
    }
}

fn set_nonblocking(fd: BorrowedFd) -> nix::Result<RawFd> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(fd.as_raw_fd())
}
