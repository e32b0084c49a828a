//! The caller's side: starts, passes signals on, and waits.

use std::os::fd::{AsFd, OwnedFd};

use nix::libc;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use crate::exec::program::status_of;
use crate::step::{At, StepError};
use crate::streams::{Outer, Streams};
use crate::supervise::signals::Signals;
use crate::sync::{Channel, Frame};
use crate::sys::clone::Child;
use crate::sys::pidfd::{send_signal, try_reap};

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
                let status = status_of(&error);
                return Ok(Started::NotRun { status, error });
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
    let signals = Signals::of_caller()?;
    let outer = outer
        .or(master.map(Outer::Terminal))
        .ok_or_else(|| StepError::new("the container gave no terminal", ""))?;
    let mut streams = Streams::join(outer)?;
    loop {
        let turn = streams.turn(command.pidfd.as_fd(), &signals, None)?;
        // One that comes after the turn is left for the next, which tells of it.
        while turn.signalled
            && let Some(signal) = signals.take()?
        {
            if signal == libc::SIGWINCH {
                streams.resize();
            } else {
                // Gone meanwhile: the next look finds its status.
                let _ = send_signal(command.pidfd.as_fd(), signal);
            }
        }
        let end = try_reap(command.pidfd.as_fd()).at("wait for", "the command")?;
        if let Some(end) = end {
            streams.finish(&signals)?;
            return Ok(end.status());
        }
    }
}
