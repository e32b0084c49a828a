//! The standard streams of a command: fresh pipes or a terminal on its side, the caller's own files on the other.
//!
//! A command never gets a descriptor of the caller, which a hostile one could open anew. Bytes are moved by this process,
//! for `exec` and `run` alike.

mod flow;

use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{dup2_stdin, dup2_stdout, getpgrp, pipe2, tcgetpgrp};

use crate::step::{At, StepError};
pub(crate) use crate::streams::flow::End;
use crate::streams::flow::{Flow, Side};
use crate::supervise::signals::Signals;
use crate::sys::pty;

/// What a pipe of ours holds: as much as a process may ask for without a privilege.
const PIPE_SIZE: i32 = 1 << 20;

/// The command's ends of the pipes.
#[derive(Debug)]
pub struct Inner {
    /// Its standard input.
    pub input: OwnedFd,
    /// Its standard output.
    pub output: OwnedFd,
    /// Its standard error.
    pub error: OwnedFd,
}

/// The caller's ends.
#[derive(Debug)]
pub enum Outer {
    /// Of the pipes.
    Pipes {
        /// Written to.
        input: OwnedFd,
        /// Read from.
        output: OwnedFd,
        /// Read from.
        error: OwnedFd,
    },
    /// The master of the command's terminal.
    Terminal(OwnedFd),
}

/// Three pipes: the command gets these instead of the caller's own files.
pub fn pipes() -> Result<(Outer, Inner), StepError> {
    let pipe = || -> Result<(OwnedFd, OwnedFd), StepError> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC).at("create", "pipe")?;
        // The administrator may allow less: the pipe then keeps its size.
        let _ = fcntl(&write, FcntlArg::F_SETPIPE_SZ(PIPE_SIZE));
        Ok((read, write))
    };
    let ((in_read, in_write), (out_read, out_write), (err_read, err_write)) =
        (pipe()?, pipe()?, pipe()?);
    Ok((
        Outer::Pipes {
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

/// What one turn brought.
#[derive(Debug, Default)]
pub struct Turn {
    /// The process that was watched has ended.
    pub ended: bool,
    /// There are signals to take.
    pub signalled: bool,
    /// The caller's terminal is gone.
    pub hung_up: bool,
}

/// The flows between the caller and the command.
#[derive(Debug)]
pub struct Streams {
    /// Towards the command.
    input: Flow,
    /// Towards the caller: output, and errors unless they share a terminal.
    outputs: Vec<Flow>,
    /// Of the command's terminal.
    master: Option<OwnedFd>,
    raw: Option<Raw>,
}

impl Streams {
    /// Joins the caller's standard streams to the command's.
    pub fn join(outer: Outer) -> Result<Streams, StepError> {
        let own = |fd: BorrowedFd| fd.try_clone_to_owned().at("duplicate", "standard stream");
        let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let (input, output, error, master) = match outer {
            Outer::Pipes {
                input,
                output,
                error,
            } => (input, output, Some(error), None),
            Outer::Terminal(master) => (
                own(master.as_fd())?,
                own(master.as_fd())?,
                None,
                Some(master),
            ),
        };
        let raw = match &master {
            Some(master) => {
                follow_size(master.as_fd());
                match in_background() {
                    true => None,
                    false => Raw::enter()?,
                }
            }
            None => None,
        };
        let input = Flow::new(End::source(own(stdin.as_fd())?)?, End::inner(input)?);
        let mut outputs = vec![Flow::outwards(
            End::inner(output)?,
            End::sink(own(stdout.as_fd())?)?,
        )];
        if let Some(error) = error {
            outputs.push(Flow::outwards(
                End::inner(error)?,
                End::sink(own(stderr.as_fd())?)?,
            ));
        }
        let_go()?;
        Ok(Streams {
            input,
            outputs,
            master,
            raw,
        })
    }

    /// Waits until something happens, or this long, and moves what can be moved.
    pub fn turn(
        &mut self,
        watched: BorrowedFd,
        signals: &Signals,
        limit: Option<Duration>,
    ) -> Result<Turn, StepError> {
        let mut fds = vec![
            PollFd::new(watched, PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        let flows = || std::iter::once(&self.input).chain(&self.outputs);
        let mut roles = Vec::new();
        for (index, flow) in flows().enumerate() {
            for (side, interest) in flow.interests() {
                roles.push((index, side, fds.len()));
                fds.push(interest);
            }
        }
        let limit = limit.and_then(|limit| PollTimeout::try_from(limit).ok());
        match poll(&mut fds, limit.unwrap_or(PollTimeout::NONE)) {
            Err(Errno::EINTR) => return Ok(Turn::default()),
            other => other.at("wait for", "the command")?,
        };
        let awake: Vec<PollFlags> = fds.iter().map(revents).collect();
        drop(fds);
        let before = self.input.ended();
        for (index, side, at) in roles {
            let flow = match index {
                0 => &mut self.input,
                _ => &mut self.outputs[index - 1],
            };
            flow.woken(side, awake[at]);
        }
        let ended = before.is_none() && self.input.ended() == Some(Side::Source);
        Ok(Turn {
            ended: !awake[0].is_empty(),
            signalled: !awake[1].is_empty(),
            hung_up: self.raw.is_some() && ended,
        })
    }

    /// Passes on what the command wrote before its end. The caller may take it slowly, or never: a stop ends the wait.
    pub fn finish(mut self, signals: &Signals) -> Result<(), StepError> {
        // Nobody reads it any more.
        self.input.close(Side::Sink);
        for flow in &mut self.outputs {
            flow.begin_flush();
        }
        loop {
            for flow in &mut self.outputs {
                flow.flush();
            }
            let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
            fds.extend(self.outputs.iter().filter_map(Flow::blocked));
            if fds.len() == 1 {
                return Ok(());
            }
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                other => other.at("wait for", "the reader of the output")?,
            };
            let awake: Vec<PollFlags> = fds[1..].iter().map(revents).collect();
            drop(fds);
            let waiting = self.outputs.iter_mut();
            let waiting = waiting.filter(|flow| flow.blocked().is_some());
            for (flow, flags) in waiting.zip(awake) {
                flow.woken(Side::Sink, flags);
            }
            if signals.stop_requested()? {
                return Ok(());
            }
        }
    }

    /// Gives the command's terminal the size of the caller's.
    pub fn resize(&self) {
        if let (Some(master), Some(raw)) = (&self.master, &self.raw) {
            follow(master.as_fd(), raw.terminal.as_fd());
        }
    }
}

fn revents(fd: &PollFd<'_>) -> PollFlags {
    fd.revents().unwrap_or(PollFlags::empty())
}

/// Gives a terminal the size of standard input's. It stays as it is when that has none.
pub fn follow_size(master: BorrowedFd) {
    follow(master, std::io::stdin().as_fd());
}

fn follow(master: BorrowedFd, terminal: BorrowedFd) {
    // A serial line has no size, nor has one of a program that did not set it.
    if let Ok(size) = pty::size(terminal)
        && (size.rows, size.columns) != (0, 0)
    {
        let _ = pty::set_size(master, size);
    }
}

/// Whether the caller's terminal is another job's, and not to be changed. That of another session is only lent to a unit, whose
/// caller waits in the foreground there.
fn in_background() -> bool {
    tcgetpgrp(std::io::stdin()).is_ok_and(|group| group != getpgrp())
}

/// Keeps no hold on the caller's input and output beside the flows: who is at their other end is to see when they close.
fn let_go() -> Result<(), StepError> {
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .at("open", "/dev/null")?;
    dup2_stdin(&null).at("let go of", "standard input")?;
    dup2_stdout(&null).at("let go of", "standard output")
}

/// Puts the caller's terminal into raw mode until dropped.
#[derive(Debug)]
pub(crate) struct Raw {
    terminal: OwnedFd,
    before: Termios,
}

impl Raw {
    /// None when standard input is no terminal.
    pub(crate) fn enter() -> Result<Option<Raw>, StepError> {
        let stdin = std::io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let terminal = stdin
            .as_fd()
            .try_clone_to_owned()
            .at("duplicate", "terminal")?;
        let before = tcgetattr(&terminal).at("read settings of", "terminal")?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(&terminal, SetArg::TCSADRAIN, &raw).at("set up", "terminal")?;
        Ok(Some(Raw { terminal, before }))
    }
}

impl Raw {
    /// Its size.
    pub(crate) fn size(&self) -> Option<pty::Size> {
        pty::size(self.terminal.as_fd()).ok()
    }

    /// The terminal and its settings before, for an end without a drop.
    pub(crate) fn before(&self) -> Result<Raw, StepError> {
        let terminal = self.terminal.try_clone().at("duplicate", "terminal")?;
        Ok(Raw {
            terminal,
            before: self.before.clone(),
        })
    }

    pub(crate) fn restore(&self) {
        // The terminal may be gone. Output has been formatted when it was written, so there is nothing to wait for, and who
        // stopped the terminal would let that wait last for ever.
        let _ = tcsetattr(&self.terminal, SetArg::TCSANOW, &self.before);
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.restore();
    }
}
