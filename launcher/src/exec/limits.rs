//! What a process of the container gives up before it runs anything of the container's.

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
    set_filter(&filter::program(&limits.system_calls)).at("set", "system call filter")
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
