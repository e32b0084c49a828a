//! The stage process: a mount namespace of its own, owned by the initial user namespace, in which the container's tree is
//! built. Mounts made here are locked for the guest, which later copies them into a namespace of its own.

use std::os::fd::AsFd;

use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use skep_spec::{Namespace, Network};

use crate::cgroup::Payload;
use crate::exec::explain::explain_clone;
use crate::exec::{Stdio, builder, guest, idmap, root};
use crate::net;
use crate::plan::LaunchPlan;
use crate::step::{At, StepError};
use crate::sync::{Channel, Frame};
use crate::sys::clone::{Child, Side, clone3, clone3_as, exit_now};
use crate::sys::creds::act_as;
use crate::tree::Tree;

/// The builder's PID in the container: the first that the init starts gets 2, as on a machine. The kernel allows no
/// `pid_max` below it.
const BUILDER: Pid = Pid::from_raw(300);

/// Runs the stage and ends the process.
pub fn run(
    plan: &LaunchPlan,
    tree: &Tree,
    payload: &Payload,
    channel: Channel,
    guest_end: Channel,
    stdio: Stdio,
) -> ! {
    let cloned = net::join::enter(&plan.net).and_then(|()| clone_guest(plan, payload));
    let result = match cloned {
        Ok(Side::Child) => {
            // While it has a copy of that, the supervisor could not see the end of a stage that was killed.
            drop(channel);
            guest::run(plan, guest_end, stdio)
        }
        Ok(Side::Parent(guest)) => {
            drop((guest_end, stdio));
            stage(plan, tree, &guest, &channel)
        }
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => exit_now(0),
        Err(error) => fail(&channel, error),
    }
}

/// Reports an error and ends the process. With the supervisor gone there is nobody to tell.
pub fn fail(channel: &Channel, error: StepError) -> ! {
    let _ = channel.send(&Frame::Failed(error), &[]);
    exit_now(1)
}

fn clone_guest(plan: &LaunchPlan, payload: &Payload) -> Result<Side, StepError> {
    // The modes of what is made are exact.
    umask(Mode::empty());
    if plan.owns(Namespace::Mount) {
        // Nothing mounted here may reach the host.
        mount(
            None::<&str>,
            "/",
            None::<&str>,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            None::<&str>,
        )
        .at("make mounts private below", "/")?;
    }
    // CLONE_PARENT: the supervisor is to wait for the guest.
    let flags = libc::CLONE_PARENT | namespaces(plan);
    // The kernel counts what a user namespace uses up, inotify instances above all, for the user who made it. As root's,
    // one container could take what the host and all others need.
    let creator = plan.ids.picked().then(|| plan.ids.host(0));
    if let Some(id) = creator {
        act_as(id).at("act as", id)?;
    }
    let cloned = clone3(flags.cast_unsigned().into(), Some(payload.fd.as_fd()));
    // The container's process takes its ids when they are mapped.
    if creator.is_some() && matches!(cloned, Ok(Side::Parent(_)) | Err(_)) {
        act_as(0).at("act as", "root")?;
    }
    cloned
        .at("clone", "container")
        .map_err(|err| explain_clone(err, flags))
}

fn stage(
    plan: &LaunchPlan,
    tree: &Tree,
    guest: &Child,
    channel: &Channel,
) -> Result<(), StepError> {
    channel.send(
        &Frame::Cloned {
            pid: guest.pid.as_raw(),
        },
        &[guest.pidfd.as_fd()],
    )?;
    channel.expect(&Frame::Mapped)?;
    let userns = idmap::of_container(plan, guest)?;
    let userns = userns.as_ref().map(AsFd::as_fd);
    if plan.owns(Namespace::Mount) {
        let of_tree = idmap::of_tree(plan)?;
        let root = root::attach(plan, tree, of_tree.as_ref().map(AsFd::as_fd).or(userns))?;
        build(plan, guest, channel, || {
            builder::build(plan, userns, root, channel)
        })
    } else if plan.network == Network::Private {
        build(plan, guest, channel, || {
            builder::set_up_network()?;
            channel.send(&Frame::Built, &[])
        })
    } else {
        channel.send(&Frame::Built, &[])
    }
}

/// What the guest is cloned with. The mount namespace is not in this list, because the guest takes its own when the tree
/// stands; nor is the cgroup namespace: clone3 would take this process's cgroup as its root, so the guest unshares it
/// once it is in the payload.
fn namespaces(plan: &LaunchPlan) -> libc::c_int {
    let all = [
        (plan.ids.namespace, libc::CLONE_NEWUSER),
        (plan.network == Network::Private, libc::CLONE_NEWNET),
        (plan.owns(Namespace::Pid), libc::CLONE_NEWPID),
        (plan.owns(Namespace::Uts), libc::CLONE_NEWUTS),
        (plan.owns(Namespace::Ipc), libc::CLONE_NEWIPC),
    ];
    let own = all.into_iter().filter(|(own, _)| *own);
    own.fold(0, |flags, (_, flag)| flags | flag)
}

/// Joins the guest's other namespaces and builds there, in a child: a PID namespace takes effect for children only.
fn build(
    plan: &LaunchPlan,
    guest: &Child,
    channel: &Channel,
    work: impl FnOnce() -> Result<(), StepError>,
) -> Result<(), StepError> {
    let all = [
        (plan.network == Network::Private, CloneFlags::CLONE_NEWNET),
        (plan.owns(Namespace::Pid), CloneFlags::CLONE_NEWPID),
        (plan.owns(Namespace::Ipc), CloneFlags::CLONE_NEWIPC),
        (plan.owns(Namespace::Cgroup), CloneFlags::CLONE_NEWCGROUP),
    ];
    let own = all.into_iter().filter(|(own, _)| *own);
    let namespaces: CloneFlags = own.map(|(_, flag)| flag).collect();
    if !namespaces.is_empty() {
        setns(guest.pidfd.as_fd(), namespaces).at("join namespaces of", "the container")?;
    }
    let builder = if plan.owns(Namespace::Pid) {
        clone3_as(BUILDER)
    } else {
        clone3(0, None)
    };
    let builder = match builder.at("clone", "builder")? {
        Side::Child => match work() {
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
