//! Signal dispositions.

use nix::libc;
use nix::sys::signal::{SigHandler, Signal};

/// Restores the default disposition of `signal`; Rust's runtime ignores SIGPIPE, and exec would pass that on.
pub fn default_disposition(signal: libc::c_int) -> nix::Result<()> {
    let signal = Signal::try_from(signal)?;
    // SAFETY: SIG_DFL installs no handler.
    unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }.map(drop)
}
