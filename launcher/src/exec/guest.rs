//! The future init: from the clone to exec.

use std::ffi::CString;
use std::os::fd::AsFd;

use nix::fcntl::OFlag;
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::{set_no_new_privs, set_pdeathsig};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{
    Gid, Uid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, execve, setgroups, sethostname,
};
use nix::unistd::{setresgid, setresuid, setsid};

use crate::exec::stage::fail;
use crate::plan::LaunchPlan;
use crate::plan::filter;
use crate::plan::init::Init;
use crate::step::{At, StepError};
use crate::sync::{Channel, Frame};
use crate::sys::caps::{limit_bounding, limit_permitted};
use crate::sys::creds::new_keyring;
use crate::sys::fd::cloexec_from;
use crate::sys::pty::make_controlling;
use crate::sys::seccomp::set_filter;
use crate::sys::signal::default_disposition;

/// Becomes the init, or reports why not.
pub fn run(plan: &LaunchPlan, channel: Channel) -> ! {
    let error = match become_init(plan, &channel) {
        Ok(never) => match never {},
        Err(error) => error,
    };
    fail(&channel, error)
}

fn become_init(
    plan: &LaunchPlan,
    channel: &Channel,
) -> Result<std::convert::Infallible, StepError> {
    unshare(CloneFlags::CLONE_NEWCGROUP).at("unshare", "cgroup namespace")?;
    channel.send(&Frame::Unshared, &[])?;
    channel.expect(&Frame::Go)?;
    if plan.ids.namespace {
        take_ids()?;
    }
    // After the stage has pivoted (pivot_root of a locked root is EINVAL): from here on its mounts are locked, and the
    // container's own mount and unmount calls stay inside.
    unshare(CloneFlags::CLONE_NEWNS).at("unshare", "mount namespace")?;
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_SHARED,
        None::<&str>,
    )
    .at("make mounts shared below", "/")?;
    sethostname(&plan.hostname).at("set host name", &plan.hostname)?;
    open_console()?;
    reset_process()?;
    // After the last change of ids, which clears it.
    set_pdeathsig(Signal::SIGKILL).at("set", "parent death signal")?;
    refuse_orphan(channel)?;
    drop_privileges(plan)?;
    // The barrier socket is close-on-exec already; all else that may be open is now, too.
    cloexec_from(3).at("close", "descriptors")?;
    exec_init(&plan.init)
}

/// A supervisor that died before it was watched cannot end this process any more. There is no other way to see that: the
/// parent of a PID namespace's first process is always 0.
fn refuse_orphan(channel: &Channel) -> Result<(), StepError> {
    let mut fds = [PollFd::new(channel.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::ZERO).at("look at", "the supervisor")? {
        0 => Ok(()),
        _ => Err(StepError::new("the supervisor is gone", "")),
    }
}

fn take_ids() -> Result<(), StepError> {
    setgroups(&[]).at("clear", "supplementary groups")?;
    let (root, group) = (Uid::from_raw(0), Gid::from_raw(0));
    setresgid(group, group, group).at("set", "group ids")?;
    setresuid(root, root, root).at("set", "user ids")
}

/// Standard input, output and error become the console, which is also the controlling terminal.
fn open_console() -> Result<(), StepError> {
    chdir("/").at("enter", "/")?;
    setsid().at("start", "session")?;
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let console =
        nix::fcntl::open("/dev/console", flags, Mode::empty()).at("open", "/dev/console")?;
    make_controlling(console.as_fd()).at("make controlling terminal", "/dev/console")?;
    dup2_stdin(&console).at("redirect", "standard input")?;
    dup2_stdout(&console).at("redirect", "standard output")?;
    dup2_stderr(&console).at("redirect", "standard error")
}

/// Undoes what the launcher set for itself: blocked signals, an ignored SIGPIPE, its umask, the host's keyring.
fn reset_process() -> Result<(), StepError> {
    umask(Mode::from_bits_truncate(0o022));
    default_disposition(libc::SIGPIPE).at("reset", "SIGPIPE")?;
    SigSet::empty()
        .thread_set_mask()
        .at("reset", "signal mask")?;
    // A kernel without keyrings has none to share.
    let _ = new_keyring();
    Ok(())
}

/// Limits the bounding set and the system calls first: both take capabilities that the last step may drop.
fn drop_privileges(plan: &LaunchPlan) -> Result<(), StepError> {
    limit_bounding(plan.capabilities).at("limit", "capability bounding set")?;
    if plan.no_new_privileges {
        set_no_new_privs().at("set", "no_new_privs")?;
    }
    set_filter(&filter::program(&plan.system_calls)).at("set", "system call filter")?;
    limit_permitted(plan.capabilities).at("set", "capabilities")
}

fn exec_init(init: &Init) -> Result<std::convert::Infallible, StepError> {
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
