//! Attaches to the console of a running container: `console`.
//!
//! The supervisor holds the console; this program moves bytes between it and the caller's terminal or pipes, and gives the
//! terminal back as it was, however it ends. It enters nothing, and nothing of the guest runs here. It waits for nobody: a
//! terminal that does not take output, a frozen container and a supervisor that does not answer leave it free to detach.
//!
//! A reboot of the guest is a new run of the supervisor under the same PID: this program attaches anew.

mod keys;
mod link;
mod output;

use std::io::IsTerminal;
use std::os::fd::{AsFd, AsRawFd};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, recv, send};

use crate::attach::keys::Keys;
use crate::attach::link::{Link, Tried};
use crate::attach::output::Output;
use crate::log;
use crate::step::{At, StepError};
use crate::streams::{End, Raw};
use crate::supervise::console::message::{CHUNK, INPUT_LIMIT, Notice, Request, Wish};
use crate::supervise::signals::Signals;
use crate::sys::pty::Size;

/// Exit status when attaching failed.
const EXIT_FAILED: u8 = 1;

/// Between two attempts to attach.
const PAUSE: Duration = Duration::from_millis(50);

/// After which time without an answer the caller is told.
const PATIENCE: Duration = Duration::from_secs(2);

/// Typed bytes that wait for the container; more are dropped, as those are that a terminal cannot take.
const TYPED_LIMIT: usize = 16 << 10;

/// What to attach to, and how.
#[derive(Debug, Default)]
pub struct Attach {
    /// Container name.
    pub name: String,
    /// Write nothing.
    pub read_only: bool,
    /// Show text only.
    pub clean: bool,
}

/// Why it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    Detached,
    Ended,
    /// By a signal, or as if by one.
    Signal(i32),
}

impl Over {
    fn status(self) -> u8 {
        match self {
            Over::Detached | Over::Ended => 0,
            Over::Signal(signal) => u8::try_from(128 + signal).unwrap_or(u8::MAX),
        }
    }
}

/// Attaches until the caller detaches or the container ends; returns the exit status.
pub fn run(request: &Attach) -> ExitCode {
    match attach(request) {
        Ok(over) => ExitCode::from(over.status()),
        Err(err) => {
            log::line(&err);
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn attach(request: &Attach) -> Result<Over, StepError> {
    let signals = Signals::of_terminal()?;
    let mut link = Link::new(&request.name);
    if let Some(over) = wait_for_console(&mut link, &signals)? {
        return Ok(over);
    }
    let terminal = std::io::stdin().is_terminal();
    let stdin = std::io::stdin().as_fd().try_clone_to_owned();
    let mut session = Session {
        request,
        signals,
        link,
        input: Some(End::source(stdin.at("duplicate", "standard input")?)?),
        keys: terminal.then(Keys::default),
        output: Output::open(request.clean, terminal)?,
        raw: Raw::enter()?,
        typed: Vec::new(),
        resized: false,
        done: false,
        role: None,
        since: Some(Instant::now()),
    };
    if let Some(raw) = &session.raw {
        restore_on_panic(raw.before()?);
    }
    let how = match terminal {
        true => "; press ^] three times within one second to detach",
        false => "",
    };
    session
        .output
        .say(&format!("attached to the console of {}{how}", request.name));
    session.greet();
    let over = session.stay();
    session.leave(over)
}

/// Waits while the container is being started; a first attempt succeeds in one that runs.
fn wait_for_console(link: &mut Link, signals: &Signals) -> Result<Option<Over>, StepError> {
    let mut told = false;
    loop {
        match link.open()? {
            Tried::Connected => return Ok(None),
            Tried::Later if !told => log::line(format_args!("{} is being started", link.name())),
            Tried::Later => {}
        }
        told = true;
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        let pause = PollTimeout::try_from(PAUSE).unwrap_or(PollTimeout::ZERO);
        if poll(&mut fds, pause) == Ok(1)
            && let Some(signal) = signals.take()?.filter(|signal| *signal != libc::SIGWINCH)
        {
            return Ok(Some(Over::Signal(signal)));
        }
    }
}

/// A panic aborts without unwinding: nothing is dropped then.
fn restore_on_panic(raw: Raw) {
    let raw = Mutex::new(raw);
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if let Ok(raw) = raw.try_lock() {
            raw.restore();
        }
        report(info);
    }));
}

/// What woke the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Signals,
    Input,
    Output,
    Console,
    Supervisor,
}

struct Session<'a> {
    request: &'a Attach,
    signals: Signals,
    link: Link,
    /// None at its end.
    input: Option<End>,
    /// On a terminal.
    keys: Option<Keys>,
    output: Output,
    raw: Option<Raw>,
    /// Waits for the supervisor.
    typed: Vec<u8>,
    resized: bool,
    done: bool,
    /// Whether the caller writes; none before the supervisor said so.
    role: Option<bool>,
    /// Since when an answer is waited for.
    since: Option<Instant>,
}

impl Session<'_> {
    fn stay(&mut self) -> Result<Over, StepError> {
        loop {
            if let Some(over) = self.turn()? {
                return Ok(over);
            }
        }
    }

    /// Waits until something happens, and does it.
    fn turn(&mut self) -> Result<Option<Over>, StepError> {
        let mut awake = Vec::new();
        {
            let (sources, mut fds): (Vec<Source>, Vec<PollFd<'_>>) =
                self.interests().into_iter().unzip();
            match poll(&mut fds, self.timeout()) {
                Err(Errno::EINTR) => {}
                other => drop(other.at("wait for", "the console")?),
            }
            for (source, fd) in sources.into_iter().zip(&fds) {
                let flags = fd.revents().unwrap_or(PollFlags::empty());
                awake.extend((!flags.is_empty()).then_some((source, flags)));
            }
        }
        for (source, flags) in awake {
            let over = match source {
                Source::Signals => self.signalled()?,
                Source::Input => self.read()?,
                Source::Output => self.output.write().then_some(Over::Signal(libc::SIGPIPE)),
                Source::Console => {
                    self.send();
                    match flags == PollFlags::POLLOUT || !self.output.is_empty() {
                        true => None,
                        false => self.receive()?,
                    }
                }
                Source::Supervisor => Some(Over::Ended),
            };
            if over.is_some() {
                return Ok(over);
            }
        }
        self.look_after_link()
    }

    fn interests(&self) -> Vec<(Source, PollFd<'_>)> {
        let mut all = vec![(
            Source::Signals,
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
        )];
        // On a terminal the keys that detach must be seen at any time; a pipe waits until its bytes are taken.
        let listens = self.keys.is_some() || (self.typed.is_empty() && self.role == Some(true));
        if let Some(input) = self.input.as_ref().filter(|_| listens) {
            all.push((Source::Input, PollFd::new(input.as_fd(), PollFlags::POLLIN)));
        }
        let full = !self.output.is_empty();
        let room = match full {
            true => PollFlags::POLLOUT,
            false => PollFlags::empty(),
        };
        all.push((Source::Output, PollFd::new(self.output.as_fd(), room)));
        match self.link.socket() {
            Some(socket) => {
                let mut flags = PollFlags::empty();
                flags.set(PollFlags::POLLIN, !full);
                flags.set(PollFlags::POLLOUT, self.wants_to_send());
                // Its end would wake this all the time while there is no room for what it said before.
                if !flags.is_empty() {
                    all.push((Source::Console, PollFd::new(socket, flags)));
                }
            }
            None => {
                if let Some(supervisor) = self.link.supervisor() {
                    all.push((
                        Source::Supervisor,
                        PollFd::new(supervisor, PollFlags::POLLIN),
                    ));
                }
            }
        }
        all
    }

    fn timeout(&self) -> PollTimeout {
        let left = match (self.link.socket(), self.since) {
            (None, _) => PAUSE,
            (Some(_), Some(since)) => PATIENCE.saturating_sub(since.elapsed()),
            (Some(_), None) => return PollTimeout::NONE,
        };
        PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::NONE)
    }

    fn signalled(&mut self) -> Result<Option<Over>, StepError> {
        while let Some(signal) = self.signals.take()? {
            if signal != libc::SIGWINCH {
                return Ok(Some(Over::Signal(signal)));
            }
            self.resized = true;
        }
        self.send();
        Ok(None)
    }

    fn read(&mut self) -> Result<Option<Over>, StepError> {
        let mut bytes = [0; INPUT_LIMIT];
        let Some(input) = &self.input else {
            return Ok(None);
        };
        let length = match input.read(&mut bytes) {
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            Ok(length @ 1..) => length,
            Ok(0) | Err(_) => {
                self.input = None;
                self.done = true;
                self.send();
                // A terminal ends by hanging up.
                return Ok(self.keys.is_some().then_some(Over::Signal(libc::SIGHUP)));
            }
        };
        let keys = self.keys.as_mut();
        let detached = keys.and_then(|keys| keys.detach(&bytes[..length], Instant::now()));
        let bytes = &bytes[..detached.unwrap_or(length)];
        if self.role != Some(false) && self.typed.len() < TYPED_LIMIT {
            self.typed.extend(bytes);
        }
        self.send();
        Ok(detached.map(|_| Over::Detached))
    }

    fn wants_to_send(&self) -> bool {
        let typed = self.role == Some(true) && !self.typed.is_empty();
        self.resized || self.done || typed
    }

    /// Sends what there is room for.
    fn send(&mut self) {
        while let Some(socket) = self.link.socket() {
            let length = match self.role {
                Some(true) => self.typed.len().min(INPUT_LIMIT - 1),
                _ => 0,
            };
            let size = self.size().filter(|_| self.resized);
            let request = match size {
                Some(size) => Request::Resize(size),
                None if length > 0 => Request::Input(&self.typed[..length]),
                None if self.done => Request::Done,
                None => {
                    self.resized = false;
                    return;
                }
            };
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
            match send(socket.as_raw_fd(), &request.encode(), flags) {
                Ok(_) => {}
                Err(Errno::EAGAIN | Errno::EINTR) => return,
                // That it is gone is noticed once all is read that it said.
                Err(_) => {
                    (self.resized, self.done) = (false, false);
                    return self.typed.clear();
                }
            }
            match request {
                Request::Resize(_) => self.resized = false,
                Request::Input(_) => drop(self.typed.drain(..length)),
                _ => self.done = false,
            }
        }
    }

    fn size(&self) -> Option<Size> {
        self.raw.as_ref().and_then(Raw::size)
    }

    /// Says what is wanted; after a reboot as before it.
    fn greet(&mut self) {
        let wish = match (self.request.read_only, self.role) {
            (true, _) => Wish::Read,
            // At its end input is no reason to keep others from writing.
            _ if self.input.is_none() => Wish::Read,
            (false, Some(true)) => Wish::Resume,
            (false, _) => Wish::Write,
        };
        let packet = Request::Hello(wish, self.size()).encode();
        if let Some(socket) = self.link.socket() {
            // The first packet always finds room.
            let _ = send(socket.as_raw_fd(), &packet, MsgFlags::MSG_NOSIGNAL);
        }
        self.since = Some(Instant::now());
    }

    fn receive(&mut self) -> Result<Option<Over>, StepError> {
        let Some(socket) = self.link.socket() else {
            return Ok(None);
        };
        let mut packet = [0; CHUNK + 1];
        let length = match recv(socket.as_raw_fd(), &mut packet, MsgFlags::MSG_DONTWAIT) {
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
            Ok(length @ 1..) => length,
            // It ended, or it boots again: the process behind it tells.
            Ok(0) | Err(_) => {
                self.away();
                return Ok(None);
            }
        };
        self.since = None;
        match Notice::decode(&packet[..length]) {
            Some(Notice::Output(bytes)) => self.output.guest(bytes),
            Some(Notice::Writes) => self.writes(),
            Some(Notice::Reads { writer }) => self.reads(writer),
            Some(Notice::Skipped(bytes)) => self.output.say(&format!(
                "{bytes} bytes were skipped here, as they were not taken in time; the journal has them"
            )),
            Some(Notice::Reboots) => {
                self.output.say(&format!("{} reboots", self.request.name));
                self.away();
            }
            Some(Notice::Ended) => return Ok(Some(Over::Ended)),
            Some(Notice::Refused(why)) => {
                return Err(StepError::new("not attached:", why));
            }
            None => {
                return Err(StepError::new(
                    "not attached:",
                    "the container's launcher is of another release",
                ));
            }
        }
        Ok(self.output.write().then_some(Over::Signal(libc::SIGPIPE)))
    }

    fn writes(&mut self) {
        if self.role == Some(false) && !self.request.read_only {
            self.output.say("you may write now");
        }
        self.role = Some(true);
        self.send();
    }

    fn reads(&mut self, writer: u32) {
        self.role = Some(false);
        self.forget_typed();
        if self.request.read_only {
            self.output.say("read-only");
        } else if self.input.is_some() {
            self.output.say(&format!(
                "read-only as long as process {writer} writes; you follow when it leaves"
            ));
        }
    }

    fn away(&mut self) {
        self.link.close();
        self.forget_typed();
        self.since = None;
    }

    /// What somebody typed is meant for what was on the screen then; a pipe is complete.
    fn forget_typed(&mut self) {
        if self.keys.is_some() {
            self.typed.clear();
        }
    }

    fn look_after_link(&mut self) -> Result<Option<Over>, StepError> {
        if self.link.socket().is_none() {
            match self.link.reopen()? {
                Tried::Connected => self.greet(),
                Tried::Later => {}
            }
        } else if self.since.is_some_and(|since| since.elapsed() > PATIENCE) {
            self.since = None;
            self.output
                .say("no answer yet; the container may be frozen or busy");
        }
        Ok(self.output.write().then_some(Over::Signal(libc::SIGPIPE)))
    }

    /// The last words, which a terminal that takes nothing gets some time for.
    fn leave(mut self, over: Result<Over, StepError>) -> Result<Over, StepError> {
        let name = &self.request.name;
        let last = match over {
            Ok(Over::Detached) => Some(format!("detached from {name}")),
            Ok(Over::Ended) => Some(format!("{name} has ended")),
            Ok(Over::Signal(_)) | Err(_) => None,
        };
        self.output.finish(last.as_deref());
        over
    }
}
