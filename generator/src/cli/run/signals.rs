//! Signals to the caller, which are meant for the command.

use std::io;
use std::task::{Context, Poll};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use zruntime::{AsyncIo, Shared, SharedRuntime};

/// What is passed on.
const FORWARDED: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];

/// Those signals, held back: they are read, and interrupt nothing. Threads that are started later hold them back too.
pub(super) struct Held(SigSet);

impl Held {
    /// Holds them back from here on.
    pub(super) fn hold() -> io::Result<Self> {
        let set: SigSet = FORWARDED.into_iter().collect();
        let mut blocked = set;
        // Setting the terminal from the background must not stop us.
        blocked.add(Signal::SIGTTOU);
        blocked.thread_block()?;
        Ok(Self(set))
    }
}

/// The signals that came.
pub(super) struct Signals {
    fd: AsyncIo<SignalFd, Shared>,
}

impl Signals {
    /// Reads the signals that are held back; inside the runtime only.
    pub(super) fn open(held: &Held) -> io::Result<Self> {
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let fd = SignalFd::with_flags(&held.0, flags)?;
        let runtime = SharedRuntime::current()?;
        Ok(Self {
            fd: AsyncIo::new_nonblocking(&runtime, fd)?,
        })
    }

    /// The next one.
    pub(super) fn poll_next(&self, context: &mut Context<'_>) -> Poll<io::Result<i32>> {
        self.fd
            .poll_read_with(context, |fd| match fd.read_signal()? {
                Some(info) => i32::try_from(info.ssi_signo).map_err(|_| Errno::EINVAL.into()),
                None => Err(io::ErrorKind::WouldBlock.into()),
            })
    }
}
