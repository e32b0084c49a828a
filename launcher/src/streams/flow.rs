//! One direction of a stream.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, send};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{read, write};

use crate::step::{At, StepError};

/// Bytes moved at once, at first and for those who have much to say.
const BUFFER: std::ops::RangeInclusive<usize> = (4 << 10)..=(256 << 10);

/// What a pipe that polls as writable takes without blocking: PIPE_BUF of pipe(7).
const SMALL: usize = 4096;

/// What a command can have left in a pipe or terminal at most, unless the administrator raised fs.pipe-max-size.
const LEFT_OVER: usize = 1 << 20;

/// How to read and write without being held up by the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Non-blocking, or a file that never blocks.
    Plain,
    /// A socket, whose open file is shared with the caller.
    Socket,
    /// A blocking file shared with the caller: little at a time.
    Small,
}

/// Which end of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Where the bytes come from.
    Source,
    /// Where they go.
    Sink,
}

/// One end of a flow.
#[derive(Debug)]
pub(crate) struct End {
    fd: OwnedFd,
    way: Way,
    kind: Kind,
}

/// What an end is, as far as bytes can be moved without a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A pipe that never blocks this process.
    Pipe,
    /// Anything else.
    Other,
}

impl End {
    /// An end of our own making.
    pub(super) fn inner(fd: OwnedFd) -> Result<End, StepError> {
        let flags = fcntl(&fd, FcntlArg::F_GETFL).at("read flags of", "pipe")?;
        let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
        fcntl(&fd, FcntlArg::F_SETFL(flags)).at("set flags of", "pipe")?;
        let kind = fstat(&fd).at("stat", "pipe")?.st_mode & libc::S_IFMT;
        Ok(End::plain(fd, kind))
    }

    /// A non-blocking one, or a file that never blocks.
    fn plain(fd: OwnedFd, kind: libc::mode_t) -> End {
        let kind = match kind {
            libc::S_IFIFO => Kind::Pipe,
            _ => Kind::Other,
        };
        End {
            fd,
            way: Way::Plain,
            kind,
        }
    }

    /// The caller's, to read from.
    pub(crate) fn source(fd: OwnedFd) -> Result<End, StepError> {
        End::of_caller(fd, OFlag::O_RDONLY)
    }

    /// The caller's, to write to.
    pub(crate) fn sink(fd: OwnedFd) -> Result<End, StepError> {
        End::of_caller(fd, OFlag::O_WRONLY)
    }

    /// The caller's open file may be shared with other processes, so its flags are not changed: a pipe or terminal is
    /// opened anew.
    fn of_caller(fd: OwnedFd, access: OFlag) -> Result<End, StepError> {
        let kind = fstat(&fd).at("stat", "standard stream")?.st_mode & libc::S_IFMT;
        let opened_anew = || {
            let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
            let flags = access | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
            nix::fcntl::open(path.as_str(), flags, Mode::empty())
        };
        let waits = kind == libc::S_IFIFO || nix::unistd::isatty(&fd) == Ok(true);
        Ok(match (kind, waits) {
            (libc::S_IFSOCK, _) => End {
                fd,
                way: Way::Socket,
                kind: Kind::Other,
            },
            (_, false) => End::plain(fd, kind),
            // It fails for a pipe whose other end is closed: there is nothing to wait for then.
            (_, true) => match opened_anew() {
                Ok(fd) => End::plain(fd, kind),
                Err(_) => End {
                    fd,
                    way: Way::Small,
                    kind: Kind::Other,
                },
            },
        })
    }

    /// For poll(2).
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Whether nothing is to be read now.
    fn is_drained(&self) -> bool {
        let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO) != Ok(1)
            || !fds[0]
                .revents()
                .is_some_and(|flags| flags.contains(PollFlags::POLLIN))
    }

    /// Reads what is there.
    pub(crate) fn read(&self, bytes: &mut [u8]) -> nix::Result<usize> {
        match self.way {
            Way::Socket => recv(self.fd.as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT),
            Way::Plain | Way::Small => read(&self.fd, bytes),
        }
    }

    /// Writes as much as there is room for; where it might block, only what a poll has promised.
    pub(crate) fn write(&self, bytes: &[u8]) -> nix::Result<usize> {
        match self.way {
            Way::Plain => write(&self.fd, bytes),
            Way::Socket => {
                let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                send(self.fd.as_raw_fd(), bytes, flags)
            }
            Way::Small => write(&self.fd, &bytes[..bytes.len().min(SMALL)]),
        }
    }
}

/// Bytes from `source` wait until `sink` takes them. Each end is closed as soon as it is of no use.
#[derive(Debug)]
pub(super) struct Flow {
    source: Option<End>,
    sink: Option<End>,
    /// Grows with each read that fills it; `taken..filled` waits.
    buffer: Vec<u8>,
    taken: usize,
    filled: usize,
    /// How many bytes may still be read, once the command has ended.
    left: usize,
    ended: Option<Side>,
    /// Bytes go from pipe to pipe without a copy.
    splice: Splice,
}

/// Whether a flow splices, splice(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Splice {
    /// It copies.
    No,
    /// It does, and waits for the source.
    Source,
    /// It does, and waits for the sink: the source had something that found no room.
    Sink,
}

impl Flow {
    pub(super) fn new(source: End, sink: End) -> Flow {
        Flow {
            source: Some(source),
            sink: Some(sink),
            buffer: Vec::new(),
            taken: 0,
            filled: 0,
            left: usize::MAX,
            ended: None,
            splice: Splice::No,
        }
    }

    /// Towards the caller: without a copy if possible. The other way there is none, since a page of a caller's file must
    /// not come within the reach of a guest.
    pub(super) fn outwards(source: End, sink: End) -> Flow {
        let splice = match (source.kind, sink.kind) {
            (Kind::Pipe, Kind::Pipe) => Splice::Source,
            _ => Splice::No,
        };
        Flow {
            splice,
            ..Flow::new(source, sink)
        }
    }

    /// The end that ended first.
    pub(super) fn ended(&self) -> Option<Side> {
        self.ended
    }

    /// Closes both ends because of `side`.
    pub(super) fn close(&mut self, side: Side) {
        self.ended = self.ended.or(Some(side));
        self.source = None;
        self.sink = None;
        self.taken = self.filled;
    }

    fn is_empty(&self) -> bool {
        self.taken == self.filled
    }

    /// Whether something waits for the sink.
    fn wants_room(&self) -> bool {
        self.splice == Splice::Sink || !self.is_empty()
    }

    /// What to wait for: input while nothing is held, else room for it. The sink is always watched for its end, which
    /// the source's writer is to notice.
    pub(super) fn interests(&self) -> impl Iterator<Item = (Side, PollFd<'_>)> {
        let empty = !self.wants_room();
        let source = self.source.as_ref().filter(|_| empty);
        let source = source.map(|end| PollFd::new(end.fd.as_fd(), PollFlags::POLLIN));
        let room = if empty {
            PollFlags::empty()
        } else {
            PollFlags::POLLOUT
        };
        let sink = self.sink.as_ref();
        let sink = sink.map(|end| PollFd::new(end.fd.as_fd(), room));
        let source = source.map(|fd| (Side::Source, fd));
        source.into_iter().chain(sink.map(|fd| (Side::Sink, fd)))
    }

    /// Moves what can be moved after `side` woke with `flags`.
    pub(super) fn woken(&mut self, side: Side, flags: PollFlags) {
        match side {
            _ if flags.is_empty() => {}
            Side::Source if self.splice != Splice::No => {
                let _ = self.splice_once(Splice::Sink);
            }
            Side::Sink if flags.contains(PollFlags::POLLOUT) && self.splice != Splice::No => {
                let _ = self.splice_once(Splice::Source);
            }
            Side::Source => {
                self.fill();
                // A blocking sink is written to only when it has room.
                if self.sink.as_ref().is_some_and(|end| end.way != Way::Small) {
                    self.drain();
                }
            }
            Side::Sink if flags.contains(PollFlags::POLLOUT) => self.drain(),
            Side::Sink => self.close(Side::Sink),
        }
    }

    /// Moves once; whether there was something, be it the end. When nothing moved although one end woke, the other one
    /// is what holds it up: `otherwise`.
    fn splice_once(&mut self, otherwise: Splice) -> bool {
        let (Some(source), Some(sink)) = (&self.source, &self.sink) else {
            return false;
        };
        let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
        match splice(&source.fd, None, &sink.fd, None, LEFT_OVER, flags) {
            Ok(length @ 1..) => {
                self.left = self.left.saturating_sub(length);
                self.splice = Splice::Source;
            }
            Ok(0) => self.close(Side::Source),
            Err(Errno::EAGAIN | Errno::EINTR) => {
                self.splice = otherwise;
                return false;
            }
            Err(_) => self.close(Side::Sink),
        }
        true
    }

    /// Reads once into the empty buffer; whether there was something, be it the end.
    fn fill(&mut self) -> bool {
        let Some(source) = &self.source else {
            return false;
        };
        if self.filled == self.buffer.len() {
            let size = (self.filled * 8).clamp(*BUFFER.start(), *BUFFER.end());
            self.buffer.resize(size, 0);
        }
        (self.taken, self.filled) = (0, 0);
        match source.read(&mut self.buffer) {
            Ok(length @ 1..) => {
                self.filled = length;
                self.left = self.left.saturating_sub(length);
            }
            Err(Errno::EAGAIN | Errno::EINTR) => return false,
            // The end; EIO of a master means that the last terminal was closed.
            Ok(0) | Err(_) => {
                self.ended = self.ended.or(Some(Side::Source));
                self.source = None;
            }
        }
        self.close_if_done();
        true
    }

    fn drain(&mut self) {
        while !self.is_empty() {
            let Some(sink) = &self.sink else { return };
            match sink.write(&self.buffer[self.taken..self.filled]) {
                Ok(length) => self.taken += length,
                Err(Errno::EAGAIN | Errno::EINTR) => break,
                // Nobody takes it: the writer is to notice.
                Err(_) => return self.close(Side::Sink),
            }
            if sink.way == Way::Small {
                break;
            }
        }
        self.close_if_done();
    }

    fn close_if_done(&mut self) {
        if self.source.is_none() && self.is_empty() {
            self.sink = None;
        }
    }

    /// From here on only what is there already: a background process of the command may keep the pipe open for ever, or
    /// even keep it filled.
    pub(super) fn begin_flush(&mut self) {
        self.left = LEFT_OVER;
    }

    /// Moves until the sink has no room or nothing is left.
    pub(super) fn flush(&mut self) {
        while self.splice != Splice::No {
            // Which end holds it up is not known: an empty source ends the flush, a full sink is waited for.
            if self.left == 0 || !self.splice_once(Splice::Sink) {
                if self.source.as_ref().is_none_or(End::is_drained) || self.left == 0 {
                    self.splice = Splice::Source;
                }
                return;
            }
        }
        let small = |sink: &End| sink.way == Way::Small;
        loop {
            if !self.is_empty() && !self.sink.as_ref().is_some_and(small) {
                self.drain();
            }
            if !self.is_empty() || self.left == 0 || !self.fill() {
                return;
            }
        }
    }

    /// The sink, while a flush waits for it.
    pub(super) fn blocked(&self) -> Option<PollFd<'_>> {
        let sink = self.sink.as_ref().filter(|_| self.wants_room())?;
        Some(PollFd::new(sink.fd.as_fd(), PollFlags::POLLOUT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::unistd::pipe;

    /// A flow between two pipes, with the outer ends.
    fn flow() -> (OwnedFd, Flow, OwnedFd) {
        let ((source, feed), (result, sink)) = (pipe().unwrap(), pipe().unwrap());
        let flow = Flow::new(End::source(source).unwrap(), End::sink(sink).unwrap());
        (feed, flow, result)
    }

    #[test]
    fn last_words_arrive_and_the_end_after_them() {
        let (feed, mut flow, result) = flow();
        write(&feed, b"last").unwrap();
        drop(feed);
        flow.begin_flush();
        flow.flush();
        assert!(flow.blocked().is_none() && flow.sink.is_none());
        let mut bytes = [0; 9];
        assert_eq!(read(&result, &mut bytes), Ok(4));
        assert_eq!(read(&result, &mut bytes), Ok(0));
    }

    #[test]
    fn the_writer_notices_that_the_reader_is_gone() {
        let (feed, mut flow, result) = flow();
        drop(result);
        flow.woken(Side::Sink, PollFlags::POLLERR);
        assert_eq!(flow.ended(), Some(Side::Sink));
        // Rust's runtime ignores SIGPIPE.
        assert_eq!(write(&feed, b"x"), Err(Errno::EPIPE));
    }

    #[test]
    fn a_flush_does_not_wait_for_those_who_write_on() {
        let (feed, mut flow, _result) = flow();
        write(&feed, b"x").unwrap();
        flow.begin_flush();
        flow.flush();
        assert!(flow.blocked().is_none() && flow.source.is_some());
    }
}
