//! Enters a running container: `exec` and `shell`.
//!
//! The most dangerous verb, since a process of the host goes where the guest is root. Hence: this program runs from a
//! sealed copy of itself in memory, undumpable; the guest gets fresh pipes or a terminal of its own devpts, never a
//! descriptor of the caller; all namespaces are joined in one call by the leader's pidfd; and nothing of the guest runs or
//! is loaded before ids and capabilities are dropped. Users are numbers, because names would take guest code to resolve.
//!
//! Three processes: the caller's, which pumps bytes and stays outside; one that joins; and its child, which becomes the
//! command (a PID namespace takes effect for children only).

mod inside;
mod pump;
pub(crate) mod sealed;

use std::ffi::OsString;
use std::fs;
use std::io::IsTerminal;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use nix::fcntl::OFlag;
use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use skep_spec::State;

use crate::handed::Handed;
use crate::host::HostFacts;
use crate::load::state_dir;
use crate::log;
use crate::plan::security::Limits;
use crate::step::{At, StepError};
use crate::streams;
use crate::supervise::publish::start_time;
use crate::sync::Channel;
use crate::sys::caps::CapSet;
use crate::sys::clone::{Side, clone3, exit_now};
use crate::sys::creds::set_undumpable;
use crate::sys::pidfd;

/// Exit status when entering itself failed; 126 and 127 are the command's, as of env(1) and chroot(1).
const EXIT_ENTER: u8 = 125;

/// What to run, and as whom.
#[derive(Debug, Default)]
pub struct Request {
    /// Container name.
    pub name: String,
    /// User and group id inside.
    pub user: (u32, u32),
    /// Working directory inside; empty: the home directory for a shell, else `/`.
    pub directory: String,
    /// `NAME=VALUE` strings.
    pub environment: Vec<String>,
    /// Program and arguments; empty: a login shell.
    pub command: Vec<OsString>,
}

/// Parses `UID` or `UID:GID`.
pub fn parse_user(text: &str) -> Option<(u32, u32)> {
    let id = |text: &str| {
        text.parse::<u32>()
            .ok()
            .filter(|id| *id < skep_spec::ID_RANGE)
    };
    match text.split_once(':') {
        Some((user, group)) => Some((id(user)?, id(group)?)),
        None => id(text).map(|user| (user, user)),
    }
}

/// A running container, held by handles that outlive PID reuse.
#[derive(Debug)]
struct Target {
    leader: OwnedFd,
    namespaces: CloneFlags,
    cgroup: OwnedFd,
    /// No more than the leader has.
    limits: Limits,
}

/// Enters and returns the command's exit status.
pub fn run(request: Request) -> ExitCode {
    match enter(&request) {
        Ok(status) => ExitCode::from(status),
        Err(err) => {
            log::line(&err);
            ExitCode::from(EXIT_ENTER)
        }
    }
}

fn enter(request: &Request) -> Result<u8, StepError> {
    never_stopped()?;
    sealed::ensure(&Handed::default())?;
    set_undumpable().at("protect", "this process")?;
    let target = find(&request.name)?;
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let (channel, inner) = Channel::pair()?;
    let (outer, streams) = if terminal {
        (None, None)
    } else {
        streams::pipes().map(|(a, b)| (Some(a), Some(b)))?
    };
    let joiner = match clone3(0, Some(target.cgroup.as_fd()))
        .at("clone into the cgroup of", &request.name)?
    {
        Side::Child => {
            drop((channel, outer));
            inside::join(target, request, inner, streams)
        }
        Side::Parent(child) => child,
    };
    drop((inner, streams));
    match pump::command_started(&channel, &joiner)? {
        pump::Started::Running { command, master } => pump::until_end(&command, outer, master),
        pump::Started::NotRun { status, error } => {
            log::line(error);
            Ok(status)
        }
    }
}

/// The command is a child of this process, and its PID namespace cannot end before it was reaped: job control of the
/// caller's terminal must not stop who reaps it. With these blocked, a read in the background is an error, and the end of the
/// input.
fn never_stopped() -> Result<(), StepError> {
    let stops = [Signal::SIGTSTP, Signal::SIGTTIN, Signal::SIGTTOU];
    SigSet::from_iter(stops)
        .thread_block()
        .at("block", "signals of job control")
}

/// Finds the container's leader and makes sure that it is the one that the supervisor published.
fn find(name: &str) -> Result<Target, StepError> {
    let not_running = || {
        StepError::new("not running:", name)
            .cure(format!("start it with \"systemctl start skep@{name}\""))
    };
    let path = state_dir(name).join("state.json");
    let text = match fs::read_to_string(&path) {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Err(not_running()),
        other => other.at("read", path.display())?,
    };
    let state: State = serde_json::from_str(&text)
        .map_err(|err| StepError::new("not understood:", format!("{}: {err}", path.display())))?;
    let pid = i32::try_from(state.leader).map_err(|_| not_running())?;
    let leader = pidfd::open(Pid::from_raw(pid)).map_err(|_| not_running())?;
    // Read after the handle was opened: what matches now is what the handle holds.
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).map_err(|_| not_running())?;
    let cgroup = cgroup
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .unwrap_or_default();
    if start_time(pid).ok() != Some(state.leader_start) || !cgroup.contains("/payload") {
        return Err(not_running());
    }
    let mount = HostFacts::gather()?.cgroup_mount;
    let directory = mount.join(cgroup.trim_start_matches('/'));
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let cgroup = nix::fcntl::open(&directory, flags, Mode::empty())
        .at("open cgroup", directory.display())?;
    Ok(Target {
        leader,
        namespaces: foreign_namespaces(pid)?,
        cgroup,
        limits: Limits {
            bounding: bounding_set(pid)?,
            no_new_privileges: state.no_new_privileges,
            system_calls: state.system_calls,
            confinement: state.confinement,
        },
    })
}

/// The namespaces that the leader does not share with this process; joining one's own user namespace is an error.
fn foreign_namespaces(pid: i32) -> Result<CloneFlags, StepError> {
    let mut flags = CloneFlags::empty();
    for (name, flag) in [
        ("user", CloneFlags::CLONE_NEWUSER),
        ("mnt", CloneFlags::CLONE_NEWNS),
        ("pid", CloneFlags::CLONE_NEWPID),
        ("net", CloneFlags::CLONE_NEWNET),
        ("ipc", CloneFlags::CLONE_NEWIPC),
        ("uts", CloneFlags::CLONE_NEWUTS),
        ("cgroup", CloneFlags::CLONE_NEWCGROUP),
    ] {
        let read = |who: &str| {
            fs::read_link(format!("/proc/{who}/ns/{name}")).at("read namespace of", who)
        };
        if read(&pid.to_string())? != read("self")? {
            flags |= flag;
        }
    }
    Ok(flags)
}

/// The leader's bounding set: a command gets no more than it.
fn bounding_set(pid: i32) -> Result<CapSet, StepError> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).at("read", &path)?;
    let hex = text
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .unwrap_or_default();
    u64::from_str_radix(hex.trim(), 16)
        .map(CapSet)
        .map_err(|_| StepError::new("not understood:", path))
}

/// Ends one of the inner processes with its error reported.
fn give_up(channel: &Channel, error: StepError) -> ! {
    let _ = channel.send(&crate::sync::Frame::Failed(error), &[]);
    exit_now(i32::from(EXIT_ENTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users() {
        for (text, want) in [
            ("0", Some((0, 0))),
            ("1000", Some((1000, 1000))),
            ("33:100", Some((33, 100))),
            ("65536", None),
            ("-1", None),
            ("root", None),
            ("1:", None),
        ] {
            assert_eq!(parse_user(text), want, "{text}");
        }
    }
}
