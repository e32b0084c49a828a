//! Walks a launch plan.
//!
//! `parent` is the supervisor's side, `stage` the process that builds in a mount namespace of its own, `builder` its child
//! inside the guest's other namespaces, `guest` the future init. Each sends its error over its barrier socket and ends.

pub mod builder;
mod command;
mod explain;
pub mod guest;
pub mod idmap;
mod init;
pub mod limits;
pub mod overlay;
pub mod parent;
pub mod program;
pub mod root;
pub mod share;
pub mod stage;
pub mod store;
pub mod target;
pub mod volatile;

use std::os::fd::OwnedFd;

use crate::streams::Inner;

/// What the first process gets as its standard streams.
#[derive(Debug)]
pub enum Stdio {
    /// The container's `/dev/console`.
    Console,
    /// Pipes.
    Pipes(Inner),
    /// A terminal of the host's, for a command that sees the host's files.
    Terminal(OwnedFd),
}

/// Where the stage builds, in its own mount namespace: a tmpfs over this directory of the host.
pub const WORK: &str = "/run/skep/machine";

/// The new root below [`WORK`].
pub const ROOT: &str = "/run/skep/machine/root";
