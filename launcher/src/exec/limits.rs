//! What a process of the container gives up before it runs anything of the container's.

use nix::errno::Errno;
use nix::sys::prctl::set_no_new_privs;

use crate::plan::filter;
use crate::plan::security::Limits;
use crate::step::{At, StepError};
use crate::sys::caps::{CapSet, limit_bounding, limit_permitted};
use crate::sys::seccomp::set_filter;

/// Limits what this process and its descendants can ever have. Before a change of ids, which may take the capabilities
/// that this needs.
pub fn limit(limits: &Limits) -> Result<(), StepError> {
    limit_bounding(limits.bounding).at("limit", "capability bounding set")?;
    if limits.no_new_privileges {
        set_no_new_privs().at("set", "no_new_privs")?;
    }
    match filter::program(&limits.system_calls, &limits.confinement) {
        Some(program) => set_filter(&program).at("set", "system call filter"),
        None => Ok(()),
    }
}

/// Limits how many user namespaces each user of this one may have. Before the container has its own tree: there the file
/// is read-only for good.
pub fn limit_namespaces(limits: &Limits) -> Result<(), StepError> {
    const FILE: &str = "/proc/sys/user/max_user_namespaces";
    let Some(most) = limits.user_namespaces() else {
        return Ok(());
    };
    match std::fs::write(FILE, most.to_string()) {
        // This host is a container that may not change it, and that is bounded itself.
        Err(error) if error.raw_os_error() == Some(Errno::EROFS as i32) => Ok(()),
        other => other.at("write", FILE),
    }
}

/// Limits what it has, by the user that it has become.
pub fn drop_rest(limits: &Limits, user: u32) -> Result<(), StepError> {
    let kept = if user == 0 {
        limits.bounding
    } else {
        CapSet(0)
    };
    limit_permitted(kept).at("set", "capabilities")
}
