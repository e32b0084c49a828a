//! The user namespaces through which mounts are mapped.
//!
//! Binds and layers are mapped through the container's own. Its tree is, where it can be written, mapped through another one
//! in which root of the host has an id, too: one that no process of the container has, can take or can give away.
//! `machinectl copy-to` creates files as root of the host, which has no id in the tree otherwise, and then gives them to the
//! container. What it leaves behind when it dies in between is nobody's inside; a set-user-ID bit of such a file counts for
//! no process of the container, since the owner has no id in its namespace.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};

use nix::libc;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use skep_spec::Access;

use crate::exec::explain::explain_clone;
use crate::plan::LaunchPlan;
use crate::step::{At, StepError};
use crate::sync::Channel;
use crate::sys::clone::{Child, Flags, Side, clone3, exit_now};

/// The namespace of the container whose init is `guest`; none when ids are the host's.
pub fn of_container(plan: &LaunchPlan, guest: &Child) -> Result<Option<OwnedFd>, StepError> {
    if !plan.ids.picked() {
        return Ok(None);
    }
    user_namespace(guest).map(Some)
}

/// The namespace for the tree; none when the container's own serves as well.
pub fn of_tree(plan: &LaunchPlan) -> Result<Option<OwnedFd>, StepError> {
    if !plan.ids.picked() || plan.access != Access::Write || plan.command.is_some() {
        return Ok(None);
    }
    let (channel, inner) = Channel::pair()?;
    let flags = libc::CLONE_NEWUSER;
    let holder = match clone3(Flags::from(flags.cast_unsigned()), None)
        .at("clone", "holder of a user namespace")
        .map_err(|err| explain_clone(err, flags))?
    {
        Side::Child => {
            // Until the other end closes, by whatever.
            drop(channel);
            let _ = inner.receive();
            exit_now(0)
        }
        Side::Parent(child) => child,
    };
    drop(inner);
    for file in ["uid_map", "gid_map"] {
        let path = format!("/proc/{}/{file}", holder.pid);
        fs::write(&path, plan.ids.tree_map()).at("write", &path)?;
    }
    let namespace = user_namespace(&holder)?;
    drop(channel);
    waitid(Id::PIDFd(holder.pidfd.as_fd()), WaitPidFlag::WEXITED)
        .at("wait for", "holder of a user namespace")?;
    Ok(Some(namespace))
}

fn user_namespace(of: &Child) -> Result<OwnedFd, StepError> {
    let path = format!("/proc/{}/ns/user", of.pid);
    File::open(&path).at("open", &path).map(OwnedFd::from)
}
