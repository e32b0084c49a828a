//! Signals to the supervisor, as a descriptor.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd};

use nix::libc;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::plan::init::SIGRTMIN;
use crate::step::{At, StepError};
use crate::sys::signal::with_real_time;

/// Blocked signals and the descriptor on which they arrive. Blocking outlives exec, so none is lost when the launcher
/// executes itself anew for a reboot.
#[derive(Debug)]
pub struct Signals {
    fd: SignalFd,
    /// The signal that asked for a stop last.
    stop: Cell<Option<i32>>,
    /// A reboot was asked for, too.
    reboot: Cell<bool>,
    /// Whether [`REGISTER`] has come.
    register: Cell<bool>,
}

/// Has a container register with machined once more: skep-register.service sends it after each start of machined, which
/// may have lost what it knew. One that does nothing to a process that does not expect it, such as this program in another
/// version or before it supervises.
pub const REGISTER: Signal = Signal::SIGURG;

/// What asks for a reboot of the container: the signal of systemd that means the same.
pub const REBOOT: i32 = SIGRTMIN + 5;

/// PID of the service manager.
const MANAGER: u32 = 1;

/// Whether a signal asks for an end.
fn is_stop(signal: i32) -> bool {
    [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT].contains(&signal)
}

impl Signals {
    /// Blocks SIGTERM, SIGINT, SIGCHLD, [`REGISTER`] and [`REBOOT`] from here on.
    pub fn block() -> Result<Signals, StepError> {
        let signals = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGCHLD, REGISTER];
        Signals::of_set(&with_real_time(SigSet::from_iter(signals), REBOOT))
    }

    /// Blocks what is meant for a program that works for its caller: requests to end, and changes of the terminal's size.
    pub fn of_caller() -> Result<Signals, StepError> {
        Signals::of(&[
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGHUP,
            Signal::SIGQUIT,
            Signal::SIGWINCH,
        ])
    }

    /// The same with every other signal that would end a program unasked, for one that has to tidy up first. Those by which
    /// the kernel tells a fault stay, they cannot wait.
    pub fn of_terminal() -> Result<Signals, StepError> {
        let signals = [
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGHUP,
            Signal::SIGQUIT,
            Signal::SIGWINCH,
            Signal::SIGUSR1,
            Signal::SIGUSR2,
            Signal::SIGALRM,
            Signal::SIGVTALRM,
            Signal::SIGPROF,
            Signal::SIGIO,
            Signal::SIGPWR,
            Signal::SIGSTKFLT,
            Signal::SIGXCPU,
            Signal::SIGXFSZ,
        ];
        let real_time = SIGRTMIN..=64;
        let set = real_time.fold(SigSet::from_iter(signals), with_real_time);
        Signals::of_set(&set)
    }

    /// Blocks these from here on.
    pub fn of(signals: &[Signal]) -> Result<Signals, StepError> {
        Signals::of_set(&SigSet::from_iter(signals.iter().copied()))
    }

    fn of_set(set: &SigSet) -> Result<Signals, StepError> {
        set.thread_block().at("block", "signals")?;
        let fd = SignalFd::with_flags(set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .at("create", "signalfd")?;
        Ok(Signals {
            fd,
            stop: Cell::new(None),
            register: Cell::new(false),
            reboot: Cell::new(false),
        })
    }

    /// Takes the next one that has arrived.
    pub fn take(&self) -> Result<Option<i32>, StepError> {
        Ok(self.next()?.map(|(signal, _)| signal))
    }

    /// The next one, and the PID of who sent it; 0 is the kernel.
    fn next(&self) -> Result<Option<(i32, u32)>, StepError> {
        let info = self.fd.read_signal().at("read", "signalfd")?;
        Ok(info.map(|info| (info.ssi_signo.cast_signed(), info.ssi_pid)))
    }

    /// Takes what has arrived once the container's init has ended: whether the manager or a terminal is among those who
    /// ask for a stop. systemd-machined (258 and later) asks, too, whenever the init of a machine ends, and would turn every
    /// reboot into a stop.
    pub fn stop_requested_after_end(&self) -> Result<bool, StepError> {
        let mut stop = false;
        while let Some((signal, sender)) = self.next()? {
            stop |= is_stop(signal) && sender <= MANAGER;
        }
        Ok(stop)
    }

    /// Takes what has arrived: whether a stop is among it.
    pub fn stop_requested(&self) -> Result<bool, StepError> {
        let mut stop = None;
        while let Some(signal) = self.take()? {
            stop = stop.or(Some(signal).filter(|signal| is_stop(*signal)));
            self.register
                .set(self.register.get() || signal == REGISTER as i32);
            if signal == REBOOT {
                self.reboot.set(true);
            }
        }
        if stop.is_some() {
            self.stop.set(stop);
        }
        Ok(stop.is_some())
    }

    /// Whether [`REGISTER`] was among what [`Signals::stop_requested`] took since this was asked last.
    pub fn register_requested(&self) -> bool {
        self.register.take()
    }

    /// Whether [`Signals::stop_requested`] found that a reboot was asked for. Tells so once.
    pub fn reboot_requested(&self) -> bool {
        self.reboot.take()
    }

    /// Drops a reboot that was asked for before there was anything to reboot: the boot that begins is the answer.
    pub fn forget_reboot(&self) {
        self.reboot.set(false);
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

#[cfg(test)]
mod tests {
    use nix::sys::signal::raise;

    use super::*;

    #[test]
    fn a_request_to_register_is_no_stop() {
        let signals = Signals::block().unwrap();
        raise(REGISTER).unwrap();
        assert!(!signals.stop_requested().unwrap());
        assert!(signals.register_requested());
        assert!(!signals.register_requested());
    }

    #[test]
    fn a_reboot_of_a_launch_is_forgotten() {
        let signals = Signals::block().unwrap();
        signals.reboot.set(true);
        signals.forget_reboot();
        raise(REGISTER).unwrap();
        assert!(!signals.stop_requested().unwrap());
        assert!(!signals.reboot_requested());
    }

    #[test]
    fn after_the_end_only_the_manager_counts() {
        let signals = Signals::block().unwrap();
        raise(Signal::SIGTERM).unwrap();
        assert!(!signals.stop_requested_after_end().unwrap());
        raise(Signal::SIGTERM).unwrap();
        assert!(signals.stop_requested().unwrap());
        assert!(!signals.stop_requested().unwrap());
    }
}
