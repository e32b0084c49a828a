//! Walks a launch plan.
//!
//! `parent` is the supervisor's side, `stage` the process that builds in a mount namespace of its own, `builder` its child
//! inside the guest's other namespaces, `guest` the future init. Each sends its error over its barrier socket and ends.

pub mod builder;
pub mod guest;
pub mod parent;
pub mod root;
pub mod stage;
pub mod store;
pub mod target;

/// Where the stage builds, in its own mount namespace: a tmpfs over this directory of the host.
pub const WORK: &str = "/run/skep/machine";

/// The new root below [`WORK`].
pub const ROOT: &str = "/run/skep/machine/root";
