//! The guest's console, line by line into the journal.
//!
//! The guest chooses these bytes: escape sequences and control characters are removed, so that no reader's terminal is
//! steered and no line becomes a binary blob. Output that the journal cannot take now is kept up to a limit, then dropped
//! and counted: a stuck journal must never hold the guest or this loop.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::fstat;

use crate::step::{At, StepError};
use crate::supervise::journal;

const LINE_LIMIT: usize = 2048;
/// Reads of one turn.
const READS: usize = 16;
/// How long the last words wait for the journal.
const FLUSH_LIMIT: Duration = Duration::from_millis(500);
const BACKLOG_LIMIT: usize = 256 << 10;

/// Console and journal.
#[derive(Debug)]
pub struct Console<'a> {
    master: BorrowedFd<'a>,
    output: std::io::Stdout,
    cleaner: Cleaner,
    backlog: Vec<u8>,
    lost: usize,
    /// The container, for a new stream to the journal.
    name: &'a str,
    reopened: bool,
}

impl<'a> Console<'a> {
    /// Reads from `master`, writes to standard output, for the container `name`.
    pub fn new(master: BorrowedFd<'a>, name: &'a str) -> Result<Console<'a>, StepError> {
        let output = std::io::stdout();
        set_nonblocking(master).at("set up", "console")?;
        set_nonblocking(output.as_fd()).at("set up", "standard output")?;
        Ok(Console {
            master,
            output,
            cleaner: Cleaner::default(),
            backlog: Vec::new(),
            lost: 0,
            name,
            reopened: false,
        })
    }

    /// Opens the journal anew, after it has closed its end.
    pub fn renew(&mut self) -> bool {
        let renewed = journal::reopen(self.name);
        self.reopened |= renewed;
        renewed
    }

    /// Whether the output is another one since this was asked last, to be watched anew.
    pub fn reopened(&mut self) -> bool {
        std::mem::take(&mut self.reopened)
    }

    /// The output, when epoll can watch it.
    pub fn watchable_output(&self) -> Option<BorrowedFd<'_>> {
        let kind = fstat(&self.output).ok()?.st_mode & libc::S_IFMT;
        (kind == libc::S_IFSOCK || kind == libc::S_IFIFO).then(|| self.output.as_fd())
    }

    /// Takes what the guest has written, and says whether there may be more: a guest that writes without end must not
    /// keep its supervisor from all else. EIO: no process has the terminal open just now.
    pub fn read(&mut self) -> bool {
        let mut bytes = [0; 8192];
        for _ in 0..READS {
            let Ok(length @ 1..) = retry(|| nix::unistd::read(self.master, &mut bytes)) else {
                return false;
            };
            for line in self.cleaner.feed(&bytes[..length]) {
                self.push(&line);
            }
            self.write();
        }
        true
    }

    /// Writes out what is kept, as far as the journal takes it.
    pub fn write(&mut self) {
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
        if self.lost > 0 {
            let lost = std::mem::take(&mut self.lost);
            self.push(&format!(
                "skep: {lost} console lines were dropped: the journal did not take them"
            ));
            self.write();
        }
    }

    /// Takes the last words of a guest that has ended. They often say why, so a busy journal gets some time for them.
    pub fn finish(&mut self) {
        while self.read() {}
        if let Some(line) = self.cleaner.finish() {
            self.push(&line);
        }
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

    fn push(&mut self, line: &str) {
        if self.backlog.len() + line.len() > BACKLOG_LIMIT {
            self.lost += 1;
        } else {
            self.backlog.extend_from_slice(line.as_bytes());
            self.backlog.push(b'\n');
        }
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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    Start,
    /// `ESC [`: up to a final byte.
    Control,
    /// `ESC ]`, `P`, `X`, `^` or `_`: up to BEL or `ESC \`.
    Text,
    EndOfText,
}

/// Splits console bytes into clean lines.
#[derive(Debug, Default)]
struct Cleaner {
    line: Vec<u8>,
    escape: Escape,
}

impl Cleaner {
    fn feed(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for &byte in bytes {
            // Whatever a sequence was to become: it does not swallow the next line.
            let ended = byte == b'\n';
            if ended {
                self.escape = Escape::None;
            } else {
                self.take(byte);
            }
            if ended || self.line.len() >= LINE_LIMIT {
                lines.extend(self.finish());
            }
        }
        lines
    }

    fn take(&mut self, byte: u8) {
        self.escape = match (self.escape, byte) {
            (Escape::None, 0x1b) => Escape::Start,
            (Escape::None, b'\t' | 0x20..=0x7e | 0x80..) => {
                self.line.push(byte);
                Escape::None
            }
            (Escape::None, _) => Escape::None,
            (Escape::Start, b'[') => Escape::Control,
            (Escape::Start, b']' | b'P' | b'X' | b'^' | b'_') => Escape::Text,
            // Intermediate bytes, as of "ESC ( B", are followed by the final one.
            (Escape::Start, 0x20..=0x2f) => Escape::Start,
            (Escape::Start, _) => Escape::None,
            (Escape::Control, 0x40..=0x7e) => Escape::None,
            (Escape::Control, _) => Escape::Control,
            (Escape::Text, 0x07) => Escape::None,
            (Escape::Text, 0x1b) => Escape::EndOfText,
            (Escape::Text, _) => Escape::Text,
            (Escape::EndOfText, b'\\') => Escape::None,
            (Escape::EndOfText, _) => Escape::Text,
        };
    }

    /// What is there of the current line; an empty one is no line for the journal.
    fn finish(&mut self) -> Option<String> {
        let bytes = std::mem::take(&mut self.line);
        let text: String = String::from_utf8_lossy(&bytes)
            .chars()
            .filter(|c| *c == '\t' || !c.is_control())
            .collect();
        let text = text.trim_end();
        (!text.is_empty()).then(|| text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_clean() {
        for (bytes, want) in [
            (
                &b"[\x1b[0;32m  OK  \x1b[0m] Started x.\r\n"[..],
                vec!["[  OK  ] Started x."],
            ),
            (b"a\n\r\nb\n", vec!["a", "b"]),
            (b"\x1b]0;title\x07x\n", vec!["x"]),
            (b"\x1b]0;t\x1b\\x\x08\n", vec!["x"]),
            (b"\x1b(Bx\n", vec!["x"]),
            (b"caf\xc3\xa9 \xc2\x9b31m\n", vec!["café 31m"]),
            (b"<0>panic\n", vec!["<0>panic"]),
            (b"\x1b[12\nnext\n", vec!["next"]),
            (
                b"a\x1b\nb\x1b]0;t\x1b\nc\x1b[1\nd\n",
                vec!["a", "b", "c", "d"],
            ),
            (b"unfinished", vec![]),
        ] {
            assert_eq!(
                Cleaner::default().feed(bytes),
                want,
                "{}",
                bytes.escape_ascii()
            );
        }
    }

    #[test]
    fn sequences_may_be_cut_anywhere() {
        let bytes = b"a\x1b[31mb\x1b]0;t\x07c\n";
        for cut in 0..bytes.len() {
            let mut cleaner = Cleaner::default();
            let mut lines = cleaner.feed(&bytes[..cut]);
            lines.extend(cleaner.feed(&bytes[cut..]));
            assert_eq!(lines, ["abc"], "{cut}");
        }
    }

    #[test]
    fn endless_lines_are_split() {
        let lines = Cleaner::default().feed(&vec![b'x'; 5000]);
        assert_eq!(
            lines.iter().map(String::len).collect::<Vec<_>>(),
            [LINE_LIMIT, LINE_LIMIT]
        );
    }
}
