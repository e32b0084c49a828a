//! The container's first process: from the clone to exec.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{
    Gid, Uid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, execve, setgroups, sethostname,
};
use nix::unistd::{setresgid, setresuid, setsid};
use skep_spec::Namespace;

use crate::exec::explain::explain_clone;
use crate::exec::limits::{drop_rest, limit, limit_namespaces};
use crate::exec::stage::fail;
use crate::exec::{Stdio, command, init};
use crate::handed;
use crate::plan::LaunchPlan;
use crate::plan::init::{Init, InitKind};
use crate::step::{At, StepError};
use crate::sync::{Channel, Frame};
use crate::sys::clone::{Side, clone3};
use crate::sys::creds::{new_keyring, set_undumpable};
use crate::sys::fd::cloexec_from;
use crate::sys::pty::make_controlling;
use crate::sys::signal::default_disposition;

/// Becomes the init or the command, or reports why not.
pub fn run(plan: &LaunchPlan, channel: Channel, stdio: Stdio) -> ! {
    let result = match settle(plan, &channel) {
        Err(error) => Err(error),
        Ok(()) => match &plan.command {
            None => become_init(plan, &channel),
            Some(command) => command::run(plan, command, &channel, stdio),
        },
    };
    let error = match result {
        Ok(never) => match never {},
        Err(error) => error,
    };
    fail(&channel, error)
}

/// Takes the last namespaces, and the ids once they are mapped and the tree stands.
fn settle(plan: &LaunchPlan, channel: &Channel) -> Result<(), StepError> {
    if plan.owns(Namespace::Cgroup) {
        unshare(CloneFlags::CLONE_NEWCGROUP)
            .at("unshare", "cgroup namespace")
            .map_err(|err| explain_clone(err, libc::CLONE_NEWCGROUP))?;
    }
    if plan.ids.namespace {
        limit_namespaces(&plan.limits)?;
    }
    channel.send(&Frame::Unshared, &[])?;
    channel.expect(&Frame::Go)?;
    if plan.ids.namespace {
        take_ids()?;
    }
    if plan.owns(Namespace::Mount) {
        // After the stage has pivoted (pivot_root of a locked root is EINVAL): from here on its mounts are locked, and
        // the container's own mount and unmount calls stay inside.
        unshare(CloneFlags::CLONE_NEWNS)
            .at("unshare", "mount namespace")
            .map_err(|err| explain_clone(err, libc::CLONE_NEWNS))?;
    }
    if plan.owns(Namespace::Uts) {
        sethostname(&plan.hostname).at("set host name", &plan.hostname)?;
    }
    chdir("/").at("enter", "/")
}

fn become_init(plan: &LaunchPlan, channel: &Channel) -> Result<Infallible, StepError> {
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_SHARED,
        None::<&str>,
    )
    .at("make mounts shared below", "/")?;
    if plan.init.kind == InitKind::Own {
        // Our own image: no process of the container may look into it or steer it.
        set_undumpable().at("protect", "this process")?;
        init::block_signals()?;
        match clone3(0, None).at("clone", plan.init.path.display())? {
            Side::Parent(child) => {
                set_pdeathsig(Signal::SIGKILL).at("set", "parent death signal")?;
                channel.refuse_orphan()?;
                return init::run(child, &plan.limits);
            }
            Side::Child => {}
        }
    }
    setsid().at("start", "session")?;
    redirect(&open_console()?)?;
    reset_process()?;
    // After the last change of ids, which clears it.
    set_pdeathsig(Signal::SIGKILL).at("set", "parent death signal")?;
    channel.refuse_orphan()?;
    limit(&plan.limits)?;
    drop_rest(&plan.limits, 0)?;
    // The barrier socket is close-on-exec already; all else that may be open is now, too.
    cloexec_from(3).at("close", "descriptors")?;
    handed::pass_on(plan.sockets.len())?;
    exec_init(&plan.init)
}

fn take_ids() -> Result<(), StepError> {
    setgroups(&[]).at("clear", "supplementary groups")?;
    let (root, group) = (Uid::from_raw(0), Gid::from_raw(0));
    setresgid(group, group, group).at("set", "group ids")?;
    setresuid(root, root, root).at("set", "user ids")
}

/// The console, which becomes the controlling terminal of this session leader.
pub(super) fn open_console() -> Result<OwnedFd, StepError> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let console =
        nix::fcntl::open("/dev/console", flags, Mode::empty()).at("open", "/dev/console")?;
    make_controlling(console.as_fd()).at("make controlling terminal", "/dev/console")?;
    Ok(console)
}

/// Standard input, output and error become this terminal.
pub(super) fn redirect(terminal: &OwnedFd) -> Result<(), StepError> {
    dup2_stdin(terminal).at("redirect", "standard input")?;
    dup2_stdout(terminal).at("redirect", "standard output")?;
    dup2_stderr(terminal).at("redirect", "standard error")
}

/// Undoes what the launcher set for itself: blocked signals, an ignored SIGPIPE, its umask, the host's keyring.
pub(super) fn reset_process() -> Result<(), StepError> {
    umask(Mode::from_bits_truncate(0o022));
    default_disposition(libc::SIGPIPE).at("reset", "SIGPIPE")?;
    SigSet::empty()
        .thread_set_mask()
        .at("reset", "signal mask")?;
    // A kernel without keyrings has none to share.
    let _ = new_keyring();
    Ok(())
}

fn exec_init(init: &Init) -> Result<Infallible, StepError> {
    let text = |text: &str| {
        CString::new(text).map_err(|_| StepError::new("NUL in", format_args!("{text:?}")))
    };
    let path = text(&init.path.to_string_lossy())?;
    let argv = init
        .argv
        .iter()
        .map(|arg| text(arg))
        .collect::<Result<Vec<_>, _>>()?;
    let environment = init
        .environment
        .iter()
        .map(|entry| text(entry))
        .collect::<Result<Vec<_>, _>>()?;
    execve(&path, &argv, &environment).at("execute init", init.path.display()).map_err(|err| {
        if err.is(nix::errno::Errno::ENOEXEC) {
            err.cure("it is not a program for this machine; check the tree's architecture or set Init=")
        } else if err.is(nix::errno::Errno::ENOENT) {
            err.cure("the file or its interpreter is missing in the tree")
        } else {
            err
        }
    })
}
