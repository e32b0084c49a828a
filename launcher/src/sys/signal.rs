//! Signal dispositions and sets.

use nix::libc;
use nix::sys::signal::{SigHandler, SigSet, Signal};

/// Restores the default disposition of `signal`; Rust's runtime ignores SIGPIPE, and exec would pass that on.
pub fn default_disposition(signal: libc::c_int) -> nix::Result<()> {
    let signal = Signal::try_from(signal)?;
    // SAFETY: SIG_DFL installs no handler.
    unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }.map(drop)
}

/// `set` and a real-time signal, for which `Signal` has no name.
pub fn with_real_time(set: SigSet, signal: libc::c_int) -> SigSet {
    let mut raw = *set.as_ref();
    // SAFETY: `raw` is an initialized set; a number out of range changes nothing.
    unsafe { libc::sigaddset(&raw mut raw, signal) };
    // SAFETY: `raw` is an initialized set.
    unsafe { SigSet::from_sigset_t_unchecked(raw) }
}
