//! The caller's side: moves bytes between its own streams and the command's, and waits.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, pipe2, read, write};

use crate::step::{At, StepError};
use crate::sync::{Channel, Frame};
use crate::sys::clone::Child;
use crate::sys::pidfd::{End, send_signal, try_reap};
use crate::sys::pty;

/// Bytes held per direction.
const BUFFER: usize = 64 << 10;

/// Bytes read at once.
const CHUNK: usize = 16 << 10;

/// What a pipe holds at most, unless the administrator raised fs.pipe-max-size.
const PIPE_LIMIT: usize = 1 << 20;

/// The command's ends of the pipes.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) input: OwnedFd,
    pub(super) output: OwnedFd,
    pub(super) error: OwnedFd,
}

/// The caller's ends.
#[derive(Debug)]
pub(super) struct Outer {
    input: OwnedFd,
    output: OwnedFd,
    error: OwnedFd,
}

/// Three pipes: the command gets these instead of the caller's own files.
pub(super) fn pipes() -> Result<(Outer, Inner), StepError> {
    let pipe = || pipe2(OFlag::O_CLOEXEC).at("create", "pipe");
    let ((in_read, in_write), (out_read, out_write), (err_read, err_write)) =
        (pipe()?, pipe()?, pipe()?);
    Ok((
        Outer {
            input: in_write,
            output: out_read,
            error: err_read,
        },
        Inner {
            input: in_read,
            output: out_write,
            error: err_write,
        },
    ))
}

/// How the start of the command went.
pub(super) enum Started {
    Running {
        command: Child,
        master: Option<OwnedFd>,
    },
    NotRun {
        status: u8,
        error: StepError,
    },
}

/// Waits until the command has been executed; reaps the joining process.
pub(super) fn command_started(channel: &Channel, joiner: &Child) -> Result<Started, StepError> {
    let cloned = channel.receive();
    waitid(Id::PIDFd(joiner.pidfd.as_fd()), WaitPidFlag::WEXITED)
        .at("wait for", "joining process")?;
    let command = match cloned? {
        Some((Frame::Cloned { pid }, mut fds)) if !fds.is_empty() => Child {
            pid: Pid::from_raw(pid),
            pidfd: fds.swap_remove(0),
        },
        _ => {
            return Err(StepError::new(
                "the container ended while it was entered",
                "",
            ));
        }
    };
    let mut master = None;
    loop {
        match channel.receive() {
            Ok(Some((Frame::Built, mut fds))) => master = fds.pop(),
            Ok(Some((frame, _))) => {
                return Err(StepError::new(
                    "barrier out of order:",
                    format_args!("{frame:?}"),
                ));
            }
            // The end of the stream: exec closed it.
            Ok(None) => return Ok(Started::Running { command, master }),
            Err(error) => {
                // Reaped for its status; the error says more.
                let _ = waitid(Id::PIDFd(command.pidfd.as_fd()), WaitPidFlag::WEXITED);
                let status = match error.step.as_str() {
                    "execute" if error.is(Errno::ENOENT) => 127,
                    "execute" => 126,
                    _ => super::EXIT_ENTER,
                };
                return Ok(Started::NotRun { status, error });
            }
        }
    }
}

/// Puts the caller's terminal into raw mode until dropped.
struct Raw(Termios);

impl Raw {
    fn enter() -> Result<Raw, StepError> {
        let before = tcgetattr(std::io::stdin()).at("read settings of", "terminal")?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, &raw).at("set up", "terminal")?;
        Ok(Raw(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The terminal may be gone.
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, &self.0);
    }
}

/// One direction: bytes from `from` wait in `held` until `to` takes them. Each end is closed as soon as it is of no use.
struct Flow {
    from: Option<OwnedFd>,
    to: Option<OwnedFd>,
    held: VecDeque<u8>,
}

impl Flow {
    fn new(from: OwnedFd, to: OwnedFd) -> Flow {
        Flow {
            from: Some(from),
            to: Some(to),
            held: VecDeque::new(),
        }
    }

    fn wants_read(&self) -> Option<BorrowedFd<'_>> {
        self.from
            .as_ref()
            .filter(|_| self.held.len() < BUFFER)
            .map(AsFd::as_fd)
    }

    fn wants_write(&self) -> Option<BorrowedFd<'_>> {
        self.to
            .as_ref()
            .filter(|_| !self.held.is_empty())
            .map(AsFd::as_fd)
    }

    /// Reads once; false when there was nothing to read now.
    fn fill(&mut self) -> bool {
        let Some(from) = &self.from else { return false };
        let mut bytes = [0; CHUNK];
        match read(from, &mut bytes) {
            Ok(length @ 1..) => self.held.extend(&bytes[..length]),
            Err(Errno::EAGAIN | Errno::EINTR) => return false,
            // The end; EIO of a master means that the last terminal was closed.
            Ok(0) | Err(_) => self.from = None,
        }
        self.close_if_done();
        true
    }

    fn drain(&mut self) {
        let Some(to) = &self.to else { return };
        match write(to, self.held.as_slices().0) {
            Ok(length) => drop(self.held.drain(..length)),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // Nobody takes it: the sender is to notice.
            Err(_) => {
                self.held.clear();
                self.from = None;
            }
        }
        self.close_if_done();
    }

    fn close_if_done(&mut self) {
        if self.from.is_none() && self.held.is_empty() {
            self.to = None;
        }
    }

    /// Passes on what is in the pipe now. A background process of the command may keep it open for ever, or even keep it
    /// filled: no pipe holds more than [`PIPE_LIMIT`], so what comes after that came after the command's end.
    fn flush(&mut self) {
        let mut left = PIPE_LIMIT / CHUNK;
        while (left > 0 && self.fill()) || !self.held.is_empty() {
            left = left.saturating_sub(1);
            self.drain();
            if let Some(to) = self.wants_write() {
                // The caller's stream may be non-blocking.
                let _ = poll(
                    &mut [PollFd::new(to, PollFlags::POLLOUT)],
                    PollTimeout::NONE,
                );
            }
        }
    }
}

/// Pumps until the command has ended and its output is out; returns its exit status, 128+N for signal N.
pub(super) fn until_end(
    command: &Child,
    outer: Option<Outer>,
    master: Option<OwnedFd>,
) -> Result<u8, StepError> {
    let watched = SigSet::from_iter([
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGWINCH,
    ]);
    watched.thread_block().at("block", "signals")?;
    let signals = SignalFd::with_flags(&watched, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .at("create", "signalfd")?;
    let raw = if master.is_some() && std::io::stdin().is_terminal() {
        Some(Raw::enter()?)
    } else {
        None
    };
    if let Some(master) = &master {
        follow_size(master.as_fd());
    }
    let status = pump(command, outer, master.as_ref(), &signals);
    drop(raw);
    status
}

fn pump(
    command: &Child,
    outer: Option<Outer>,
    master: Option<&OwnedFd>,
    signals: &SignalFd,
) -> Result<u8, StepError> {
    let mut flows = flows(outer, master)?;
    loop {
        wait_for_work(&mut flows, command, signals, master)?;
        if let Some(status) = exit_status(command)? {
            // The first one carries input, which nobody reads any more.
            flows.iter_mut().skip(1).for_each(Flow::flush);
            return Ok(status);
        }
    }
}

/// Input first, then output, then errors unless they share a terminal. Only the inner ends are made non-blocking: the
/// caller's own streams may be open files of others.
fn flows(outer: Option<Outer>, master: Option<&OwnedFd>) -> Result<Vec<Flow>, StepError> {
    let own = |fd: BorrowedFd| fd.try_clone_to_owned().at("duplicate", "standard stream");
    let (input, output, error) = match (outer, master) {
        (
            Some(Outer {
                input,
                output,
                error,
            }),
            _,
        ) => (input, output, Some(error)),
        (None, Some(master)) => (own(master.as_fd())?, own(master.as_fd())?, None),
        (None, None) => return Err(StepError::new("the container gave no terminal", "")),
    };
    for fd in [Some(&input), Some(&output), error.as_ref()]
        .into_iter()
        .flatten()
    {
        set_nonblocking(fd.as_fd())?;
    }
    let mut flows = vec![
        Flow::new(own(std::io::stdin().as_fd())?, input),
        Flow::new(output, own(std::io::stdout().as_fd())?),
    ];
    if let Some(error) = error {
        flows.push(Flow::new(error, own(std::io::stderr().as_fd())?));
    }
    Ok(flows)
}

fn wait_for_work(
    flows: &mut [Flow],
    command: &Child,
    signals: &SignalFd,
    master: Option<&OwnedFd>,
) -> Result<(), StepError> {
    let mut fds = vec![
        PollFd::new(command.pidfd.as_fd(), PollFlags::POLLIN),
        PollFd::new(signals.as_fd(), PollFlags::POLLIN),
    ];
    let mut roles = Vec::new();
    for (index, flow) in flows.iter().enumerate() {
        if let Some(from) = flow.wants_read() {
            fds.push(PollFd::new(from, PollFlags::POLLIN));
            roles.push((index, true));
        }
        if let Some(to) = flow.wants_write() {
            fds.push(PollFd::new(to, PollFlags::POLLOUT));
            roles.push((index, false));
        }
    }
    match poll(&mut fds, PollTimeout::NONE) {
        Err(Errno::EINTR) => return Ok(()),
        other => other.at("wait for", "the command")?,
    };
    let awake: Vec<bool> = fds.iter().map(|fd| fd.any() == Some(true)).collect();
    drop(fds);
    if awake[1] {
        pass_signals(signals, command, master)?;
    }
    for ((index, reads), _) in roles.iter().zip(&awake[2..]).filter(|(_, awake)| **awake) {
        if *reads {
            flows[*index].fill();
        } else {
            flows[*index].drain();
        }
    }
    Ok(())
}

fn pass_signals(
    signals: &SignalFd,
    command: &Child,
    master: Option<&OwnedFd>,
) -> Result<(), StepError> {
    while let Some(info) = signals.read_signal().at("read", "signalfd")? {
        match (info.ssi_signo == Signal::SIGWINCH as u32, master) {
            (true, Some(master)) => follow_size(master.as_fd()),
            (true, None) => {}
            // Gone meanwhile: the next look finds its status.
            (false, _) => drop(send_signal(
                command.pidfd.as_fd(),
                info.ssi_signo.cast_signed(),
            )),
        }
    }
    Ok(())
}

fn follow_size(master: BorrowedFd) {
    // Without a size of its own the command's terminal stays as it is.
    if let Ok(size) = pty::size(std::io::stdin().as_fd()) {
        let _ = pty::set_size(master, size);
    }
}

fn exit_status(command: &Child) -> Result<Option<u8>, StepError> {
    let end = try_reap(command.pidfd.as_fd()).at("wait for", "the command")?;
    Ok(end.map(|end| match end {
        End::Exited(status) => u8::try_from(status & 0xff).unwrap_or(u8::MAX),
        End::Killed(signal) => 128 + u8::try_from(signal & 0x7f).unwrap_or(0),
    }))
}

fn set_nonblocking(fd: BorrowedFd) -> Result<(), StepError> {
    let flags = fcntl(fd, FcntlArg::F_GETFL).at("read flags of", "pipe")?;
    let flags = OFlag::from_bits_retain(flags) | OFlag::O_NONBLOCK;
    fcntl(fd, FcntlArg::F_SETFL(flags))
        .at("set flags of", "pipe")
        .map(drop)
}
