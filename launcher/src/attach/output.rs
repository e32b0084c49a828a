//! The caller's output: what the guest writes, and between it words of our own.

use std::io::{IsTerminal, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::log;
use crate::step::{At, StepError};
use crate::streams::End;
use crate::supervise::console::clean::Shown;

/// How long last words wait for a terminal that takes nothing.
const FLUSH_LIMIT: Duration = Duration::from_millis(500);

/// Takes back what a guest may have set on a terminal: other characters, colours, and by a soft reset (DECSTR) inserting, a
/// part of the screen that scrolls and more; lines that do not wrap, the hidden cursor, keys in application mode and reported
/// with modifiers, mouse and focus reports, bracketed paste. Nothing of it shows where it was not set.
const RESET: &[u8] = b"\x0f\x1b(B\x1b[0m\x1b[!p\x1b[4l\x1b[?7h\x1b[?25h\x1b[?1l\x1b>\x1b[?1000l\x1b[?1002l\x1b[?1003l\
\x1b[?1004l\x1b[?1006l\x1b[?2004l\x1b[>4m";

/// Leave the other screen of a terminal, where full-screen programs are shown; with `h` at their end they enter it.
const LEAVE: [&[u8]; 3] = [b"\x1b[?47l", b"\x1b[?1047l", b"\x1b[?1049l"];

/// The longest of them.
const LONGEST: usize = LEAVE[2].len();

/// Shifts to other characters.
const SHIFT_OUT: u8 = 0x0e;

/// Standard output.
#[derive(Debug)]
pub(super) struct Output {
    sink: End,
    terminal: bool,
    /// Standard input is a terminal in raw mode, which may be that of standard error, too.
    raw: bool,
    shown: Option<Shown>,
    screen: Screen,
    waiting: Vec<u8>,
    /// Whether the cursor may be within a line.
    within: bool,
}

impl Output {
    /// With `clean` only text is shown.
    pub(super) fn open(clean: bool, raw: bool) -> Result<Output, StepError> {
        let stdout = std::io::stdout();
        let own = stdout.as_fd().try_clone_to_owned();
        Ok(Output {
            sink: End::sink(own.at("duplicate", "standard output")?)?,
            terminal: stdout.is_terminal(),
            raw,
            shown: clean.then(Shown::default),
            screen: Screen::default(),
            waiting: Vec::new(),
            within: false,
        })
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.sink.as_fd()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Adds what the guest wrote.
    pub(super) fn guest(&mut self, bytes: &[u8]) {
        match &mut self.shown {
            Some(shown) => self.waiting.extend(shown.feed(bytes).as_bytes()),
            None => {
                self.screen.feed(bytes);
                self.waiting.extend(bytes);
            }
        }
        self.within = self
            .waiting
            .last()
            .map_or(self.within, |byte| *byte != b'\n');
    }

    /// Adds a line of our own: to the terminal in its place, else to standard error.
    pub(super) fn say(&mut self, text: &str) {
        if !self.terminal && !self.raw {
            return log::line(text);
        }
        let text = log::escaped(text);
        if !self.terminal {
            let _ = std::io::stderr().write_all(format!("skep: {text}\r\n").as_bytes());
            return;
        }
        if std::mem::take(&mut self.within) {
            self.waiting.extend(b"\r\n");
        }
        self.waiting.extend(format!("skep: {text}\r\n").as_bytes());
    }

    /// Writes what there is room for; whether nobody reads it any more.
    pub(super) fn write(&mut self) -> bool {
        while !self.waiting.is_empty() {
            let mut fds = [PollFd::new(self.sink.as_fd(), PollFlags::POLLOUT)];
            if poll(&mut fds, PollTimeout::ZERO) != Ok(1) {
                return false;
            }
            match self.sink.write(&self.waiting) {
                Ok(length) => drop(self.waiting.drain(..length)),
                Err(Errno::EAGAIN | Errno::EINTR) => return false,
                Err(_) => return true,
            }
        }
        let mut fds = [PollFd::new(self.sink.as_fd(), PollFlags::empty())];
        poll(&mut fds, PollTimeout::ZERO) == Ok(1)
    }

    /// Leaves the terminal as it was, and writes the rest and a last line.
    pub(super) fn finish(&mut self, last: Option<&str>) {
        if self.terminal {
            self.waiting.extend(self.screen.undo());
            if std::mem::take(&mut self.within) {
                self.waiting.extend(b"\r\n");
            }
        }
        if let Some(last) = last {
            self.say(last);
        }
        let end = Instant::now() + FLUSH_LIMIT;
        while !self.write() && !self.waiting.is_empty() {
            let left = end.saturating_duration_since(Instant::now()).as_millis();
            let mut fds = [PollFd::new(self.sink.as_fd(), PollFlags::POLLOUT)];
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            if poll(&mut fds, timeout) != Ok(1) {
                return;
            }
        }
    }
}

/// What is known of the state of the terminal.
#[derive(Debug, Default)]
struct Screen {
    touched: bool,
    /// What leaves the other screen, when that is shown.
    other: Option<&'static [u8]>,
    recent: Vec<u8>,
}

impl Screen {
    fn feed(&mut self, bytes: &[u8]) {
        self.touched |= bytes.iter().any(|byte| [0x1b, SHIFT_OUT].contains(byte));
        if !self.touched {
            return;
        }
        let kept = self.recent.len().min(LONGEST - 1);
        self.recent.drain(..self.recent.len() - kept);
        self.recent.extend(bytes);
        for at in 0..self.recent.len() {
            for leave in LEAVE {
                let Some((last, mode)) = leave.split_last() else {
                    continue;
                };
                let rest = self.recent[at..].strip_prefix(mode);
                match rest.and_then(<[u8]>::first) {
                    Some(b'h') => self.other = Some(leave),
                    Some(byte) if byte == last => self.other = None,
                    _ => {}
                }
            }
        }
    }

    fn undo(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(self.other.unwrap_or_default());
        if self.touched {
            out.extend(RESET);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_screen_is_left_as_it_was() {
        let left = |leave: usize| [LEAVE[leave], RESET].concat();
        for (parts, want) in [
            (&[&b"plain"[..]][..], Vec::new()),
            (&[b"\x1b[31m"], RESET.to_vec()),
            (&[b"shifted \x0e"], RESET.to_vec()),
            (&[b"\x1b[?1049h"], left(2)),
            (&[b"\x1b[?1047h"], left(1)),
            (&[b"\x1b[?47hvim"], left(0)),
            (&[b"\x1b[?47h\x1b[?1049h\x1b[?1049l"], RESET.to_vec()),
            (&[b"x\x1b[?10", b"49hvim"], left(2)),
            (&[b"x\x1b[?4", b"7", b"h"], left(0)),
            (&[b"\x1b[?1049h", b"vim\x1b[?1049", b"l"], RESET.to_vec()),
        ] {
            let mut screen = Screen::default();
            parts.iter().for_each(|part| screen.feed(part));
            assert_eq!(screen.undo(), want, "{parts:?}");
        }
    }
}
