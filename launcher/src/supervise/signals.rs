//! Signals to the supervisor, as a descriptor.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd};

use nix::libc;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::step::{At, StepError};

/// Blocked signals and the descriptor on which they arrive. Blocking outlives exec, so none is lost when the launcher
/// executes itself anew for a reboot.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
    /// The signal that asked for a stop last.
    stop: Cell<Option<i32>>,
}

/// Whether a signal asks for an end.
pub fn is_stop(signal: i32) -> bool {
    [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT].contains(&signal)
}

impl Signals {
    /// Blocks SIGTERM, SIGINT and SIGCHLD from here on.
    pub fn block() -> Result<Signals, StepError> {
        Signals::of(&[Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD])
    }

    /// Blocks these from here on.
    pub fn of(signals: &[Signal]) -> Result<Signals, StepError> {
        let set = SigSet::from_iter(signals.iter().copied());
        set.thread_block().at("block", "signals")?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .at("create", "signalfd")?;
        Ok(Signals {
            fd,
            stop: Cell::new(None),
        })
    }

    /// Takes the next one that has arrived.
    pub fn take(&self) -> Result<Option<i32>, StepError> {
        let info = self.fd.read_signal().at("read", "signalfd")?;
        Ok(info.map(|info| info.ssi_signo.cast_signed()))
    }

    /// Takes what has arrived: whether a stop is among it.
    pub fn stop_requested(&self) -> Result<bool, StepError> {
        let mut stop = None;
        while let Some(signal) = self.take()? {
            stop = stop.or(Some(signal).filter(|signal| is_stop(*signal)));
        }
        if stop.is_some() {
            self.stop.set(stop);
        }
        Ok(stop.is_some())
    }

    /// The signal that the last [`Signals::stop_requested`] found.
    pub fn stopped_by(&self) -> Option<i32> {
        self.stop.get()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
