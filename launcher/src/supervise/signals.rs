//! Signals to the supervisor, as a descriptor.

use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::step::{At, StepError};

/// Blocked signals and the descriptor on which they arrive. Blocking outlives exec, so none is lost when the launcher
/// executes itself anew for a reboot.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks SIGTERM, SIGINT and SIGCHLD from here on.
    pub fn block() -> Result<Signals, StepError> {
        let set = SigSet::from_iter([Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD]);
        set.thread_block().at("block", "signals")?;
        SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .at("create", "signalfd")
            .map(Signals)
    }

    /// Takes what has arrived: whether a stop is among it.
    pub fn stop_requested(&self) -> Result<bool, StepError> {
        let mut stop = false;
        while let Some(info) = self.0.read_signal().at("read", "signalfd")? {
            stop |= info.ssi_signo != Signal::SIGCHLD as u32;
        }
        Ok(stop)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
