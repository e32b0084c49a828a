//! The stage process: a mount namespace of its own, owned by the initial user namespace, in which the container's tree is
//! built. Mounts made here are locked for the guest, which later copies them into a namespace of its own.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use skep_spec::Network;

use crate::cgroup::Payload;
use crate::exec::{builder, guest, root};
use crate::plan::LaunchPlan;
use crate::step::{At, StepError};
use crate::sync::{Channel, Frame};
use crate::sys::clone::{Child, Side, clone3, exit_now};
use crate::tree::Tree;

/// Runs the stage and ends the process.
pub fn run(
    plan: &LaunchPlan,
    tree: &Tree,
    payload: &Payload,
    channel: Channel,
    guest_end: Channel,
) -> ! {
    match stage(plan, tree, payload, &channel, guest_end) {
        Ok(()) => exit_now(0),
        Err(error) => fail(&channel, error),
    }
}

/// Reports an error and ends the process. With the supervisor gone there is nobody to tell.
pub fn fail(channel: &Channel, error: StepError) -> ! {
    let _ = channel.send(&Frame::Failed(error), &[]);
    exit_now(1)
}

fn stage(
    plan: &LaunchPlan,
    tree: &Tree,
    payload: &Payload,
    channel: &Channel,
    guest_end: Channel,
) -> Result<(), StepError> {
    // Nothing mounted here may reach the host, and the modes of what is made are exact.
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .at("make mounts private below", "/")?;
    umask(Mode::empty());
    // CLONE_PARENT: the supervisor is to wait for the guest. The cgroup namespace is not in this list: clone3 would take
    // this process's cgroup as its root, so the guest unshares it once it is in the payload.
    let flags = libc::CLONE_PARENT | libc::CLONE_NEWPID | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC;
    let flags = flags
        | if plan.ids.namespace {
            libc::CLONE_NEWUSER
        } else {
            0
        };
    let flags = flags
        | if plan.network == Network::Private {
            libc::CLONE_NEWNET
        } else {
            0
        };
    let guest = match clone3(flags.cast_unsigned().into(), Some(payload.fd.as_fd()))
        .at("clone", "container")?
    {
        Side::Child => guest::run(plan, guest_end),
        Side::Parent(child) => child,
    };
    drop(guest_end);
    channel.send(
        &Frame::Cloned {
            pid: guest.pid.as_raw(),
        },
        &[guest.pidfd.as_fd()],
    )?;
    channel.expect(&Frame::Mapped)?;
    let userns = user_namespace(plan, &guest)?;
    let tree_root = root::attach(plan, tree, userns.as_ref().map(AsFd::as_fd))?;
    build(
        plan,
        &guest,
        channel,
        userns.as_ref().map(AsFd::as_fd),
        tree_root,
    )
}

/// The namespace through which the tree and the binds are mapped; none when ids are the host's.
fn user_namespace(plan: &LaunchPlan, guest: &Child) -> Result<Option<OwnedFd>, StepError> {
    if !plan.ids.picked() {
        return Ok(None);
    }
    let path = format!("/proc/{}/ns/user", guest.pid);
    File::open(&path)
        .at("open", &path)
        .map(|file| Some(file.into()))
}

/// Joins the guest's other namespaces and builds there, in a child: a PID namespace takes effect for children only.
fn build(
    plan: &LaunchPlan,
    guest: &Child,
    channel: &Channel,
    userns: Option<BorrowedFd>,
    tree_root: OwnedFd,
) -> Result<(), StepError> {
    let mut namespaces =
        CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWCGROUP;
    if plan.network == Network::Private {
        namespaces |= CloneFlags::CLONE_NEWNET;
    }
    setns(guest.pidfd.as_fd(), namespaces).at("join namespaces of", "the container")?;
    let builder = match clone3(0, None).at("clone", "builder")? {
        Side::Child => match builder::build(plan, userns, tree_root, channel) {
            Ok(()) => exit_now(0),
            Err(error) => fail(channel, error),
        },
        Side::Parent(child) => child,
    };
    match waitid(Id::PIDFd(builder.pidfd.as_fd()), WaitPidFlag::WEXITED)
        .at("wait for", "builder")?
    {
        WaitStatus::Exited(_, 0) => Ok(()),
        // It has sent its own error.
        WaitStatus::Exited(..) => exit_now(1),
        other => Err(StepError::new("builder ended:", format_args!("{other:?}"))),
    }
}
