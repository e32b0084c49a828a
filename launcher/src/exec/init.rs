//! A small init of ours: reaps, forwards signals, and ends as its command does.
//!
//! It is this program, not yet another image, so it must give a container no hold: it has no descriptor, cannot be traced,
//! and keeps one privilege, to send signals. It starts commands, and the init of a container with `ProcessTwo=`. All it
//! works with was allocated before it began.

use std::convert::Infallible;

use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use skep_spec::FORWARDED;

use crate::step::{At, StepError};
use crate::sys::caps::{CapSet, limit_bounding, limit_permitted};
use crate::sys::clone::{Child, exit_now};
use crate::sys::creds::set_undumpable;
use crate::sys::fd::close_from;
use crate::sys::pidfd::try_reap_any;

/// CAP_KILL: the command may have taken another user's ids.
const KILL: CapSet = CapSet(1 << 5);

/// Signals wait from here on until the init takes them. The command sets its own mask.
pub(super) fn block_signals() -> Result<(), StepError> {
    SigSet::all().thread_set_mask().at("block", "signals")
}

/// Is the init until `command` ends.
pub(super) fn run(command: Child) -> Result<Infallible, StepError> {
    let pid = command.pid;
    // Without a PID namespace of its own, orphans would go to the supervisor.
    set_child_subreaper(true).at("become", "subreaper")?;
    limit_bounding(KILL).at("limit", "capability bounding set")?;
    limit_permitted(KILL).at("set", "capabilities")?;
    set_undumpable().at("protect", "this process")?;
    // Owned descriptors of this process are never dropped: it ends with exit_now.
    std::mem::forget(command);
    close_from(0).at("close", "descriptors")?;
    let mut awaited = SigSet::from_iter(
        FORWARDED
            .iter()
            .filter_map(|signal| Signal::try_from(*signal).ok()),
    );
    awaited.add(Signal::SIGCHLD);
    loop {
        match awaited.wait() {
            Ok(Signal::SIGCHLD) => reap(pid),
            // Gone meanwhile: reaped next.
            Ok(signal) => drop(kill(pid, signal)),
            Err(_) => {}
        }
    }
}

/// Reaps all that have ended; ends when the command is among them.
fn reap(command: Pid) {
    while let Ok(Some((pid, end))) = try_reap_any() {
        if pid == command {
            exit_now(end.status().into());
        }
    }
}
