//! The supervisor's side of a launch. It stays in the host's namespaces throughout.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use skep_spec::Namespace;

use crate::cgroup::Payload;
use crate::exec::explain::explain_clone;
use crate::exec::{Stdio, stage};
use crate::net::{self, Attached};
use crate::plan::LaunchPlan;
use crate::step::{At, StepError};
use crate::supervise::names::Names;
use crate::supervise::signals::Signals;
use crate::sync::{Channel, Frame, Received};
use crate::sys::clone::{Child, Side, clone3};
use crate::sys::pidfd::send_signal;
use crate::tree::Tree;

/// A container whose first process has been executed.
#[derive(Debug)]
pub struct Leader {
    /// That process.
    pub child: Child,
    /// What the stage made for the supervisor: the console's master when there is a console, then the notify socket and the
    /// directory of exported sockets when there are, then the socket for its addresses when it boots in a network namespace
    /// of its own.
    pub built: Vec<OwnedFd>,
    /// Its links; those on the host end with this.
    pub network: Attached,
    /// Files in the container that follow the host's.
    pub names: Names,
}

/// A container whose init has been executed.
#[derive(Debug)]
pub struct Running {
    /// Its init.
    pub leader: Child,
    /// Master of its console.
    pub console: OwnedFd,
    /// Socket on which it says that it is ready.
    pub notify: OwnedFd,
    /// Socket that tells its addresses.
    pub addresses: Option<OwnedFd>,
    /// What the host sees of the sockets that it exports.
    pub export: OwnedFd,
    /// Files in it that follow the host's.
    pub names: Names,
    /// Its links; those on the host end with this.
    pub network: Attached,
}

impl Running {
    /// A container that boots has a console and a notify socket.
    pub fn of(leader: Leader) -> Result<Running, StepError> {
        let mut built = leader.built.into_iter();
        let (Some(console), Some(notify), Some(export)) =
            (built.next(), built.next(), built.next())
        else {
            return Err(StepError::new(
                "the plan has no console, no notify socket or no exported sockets",
                "",
            ));
        };
        Ok(Running {
            leader: leader.child,
            console,
            notify,
            addresses: built.next(),
            export,
            names: leader.names,
            network: leader.network,
        })
    }
}

/// How a launch ended.
#[derive(Debug)]
pub enum Launched {
    /// The first process runs.
    Running(Box<Leader>),
    /// A stop was asked for meanwhile; nothing is left.
    Stopped,
}

/// Processes of an unfinished launch. Dropping kills and reaps them.
#[derive(Debug)]
struct Crew<'a> {
    /// The stage until it has ended, then the guest once it is known.
    known: Vec<Child>,
    payload: &'a Payload,
}

impl Drop for Crew<'_> {
    fn drop(&mut self) {
        let Some(first) = self.known.first() else {
            return;
        };
        for child in &self.known {
            // Ended already: nothing to kill, but to reap.
            let _ = send_signal(child.pidfd.as_fd(), libc::SIGKILL);
        }
        // The stage may have cloned a guest that it had no time to announce, and that would wait for its barrier
        // forever. Once the stage has been reaped no guest can follow.
        let _ = reap(first);
        let _ = fs::write(self.payload.path.join("cgroup.kill"), "1");
        // All of them, the stage's orphaned builder included: a PID namespace cannot end before each of its processes
        // has been reaped.
        while waitid(Id::All, WaitPidFlag::WEXITED) != Err(Errno::ECHILD) {}
    }
}

fn reap(child: &Child) -> nix::Result<()> {
    loop {
        match waitid(Id::PIDFd(child.pidfd.as_fd()), WaitPidFlag::WEXITED) {
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

/// Launches the container of `plan` from `tree` into `payload`.
pub fn launch(
    plan: &LaunchPlan,
    tree: &Tree,
    payload: &Payload,
    signals: &Signals,
    stdio: Stdio,
) -> Result<Launched, StepError> {
    set_child_subreaper(true).at("become", "subreaper")?;
    let (to_stage, stage_end) = Channel::pair()?;
    let (to_guest, guest_end) = Channel::pair()?;
    let flags = if plan.owns(Namespace::Mount) {
        libc::CLONE_NEWNS
    } else {
        0
    };
    let cloned_stage = clone3(flags.cast_unsigned().into(), None);
    let stage = match cloned_stage
        .at("clone", "stage process")
        .map_err(|err| explain_clone(err, flags))?
    {
        Side::Child => {
            drop((to_stage, to_guest));
            stage::run(plan, tree, payload, stage_end, guest_end, stdio)
        }
        Side::Parent(child) => child,
    };
    drop((stage_end, guest_end, stdio));
    let mut crew = Crew {
        known: vec![stage],
        payload,
    };
    let wait = |channel: &Channel| receive_unless_stopped(channel, signals);

    let Some((frame, fds)) = wait(&to_stage)? else {
        return Ok(Launched::Stopped);
    };
    let leader = cloned(frame, fds)?;
    let guest = leader.pid;
    crew.known.push(leader);
    let Some((Frame::Unshared, _)) = wait(&to_guest)? else {
        return Ok(Launched::Stopped);
    };
    if plan.ids.namespace {
        write_maps(plan, guest)?;
    }
    to_stage.send(&Frame::Mapped, &[])?;
    // While the stage builds the tree.
    let network = net::attach(&plan.name, &plan.net, guest)?;
    let Some((Frame::Built, mut built)) = wait(&to_stage)? else {
        return Ok(Launched::Stopped);
    };
    // Before the init runs: its first look-up may need them.
    let fixed = built.len().saturating_sub(plan.followed().count());
    let names = Names::start(plan.followed().zip(built.split_off(fixed)));
    // It has nothing left to do but to reap its builder.
    let stage = crew.known.first().map(|stage| stage.pidfd.as_fd());
    if let Some(stage) = stage
        && poll_unless_stopped(stage, signals)? == Wake::Stop
    {
        return Ok(Launched::Stopped);
    }
    reap(&crew.known.remove(0)).at("wait for", "stage process")?;
    to_guest.send(&Frame::Go, &[])?;
    // The end of the stream: exec closed the guest's end.
    if poll_unless_stopped(to_guest.as_fd(), signals)? == Wake::Stop {
        return Ok(Launched::Stopped);
    }
    if let Some((frame, _)) = to_guest.receive()? {
        return Err(StepError::new(
            "barrier out of order:",
            format_args!("{frame:?} after Go"),
        ));
    }
    let Some(leader) = crew.known.pop() else {
        return Ok(Launched::Stopped);
    };
    // A command may be killed as soon as it runs, or kill itself: its status says so.
    if plan.command.is_none() && exited(&leader) {
        // It died between Go and exec without a word: killed from outside.
        crew.known.push(leader);
        return Err(StepError::new(
            "init was killed before it ran:",
            plan.init.path.display(),
        ));
    }
    Ok(Launched::Running(Box::new(Leader {
        child: leader,
        built,
        network,
        names,
    })))
}

fn cloned(frame: Frame, mut fds: Vec<OwnedFd>) -> Result<Child, StepError> {
    match (frame, fds.pop()) {
        (Frame::Cloned { pid }, Some(pidfd)) => Ok(Child {
            pid: Pid::from_raw(pid),
            pidfd,
        }),
        (frame, _) => Err(StepError::new(
            "barrier out of order:",
            format_args!("{frame:?}, not Cloned"),
        )),
    }
}

/// Whether the process has ended by itself; an init that ran and ended at once still counts as run.
fn exited(child: &Child) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    matches!(
        waitid(Id::PIDFd(child.pidfd.as_fd()), flags),
        Ok(nix::sys::wait::WaitStatus::Signaled(
            _,
            nix::sys::signal::Signal::SIGKILL,
            _
        ))
    )
}

fn write_maps(plan: &LaunchPlan, pid: Pid) -> Result<(), StepError> {
    for file in ["uid_map", "gid_map"] {
        let path = format!("/proc/{pid}/{file}");
        fs::write(&path, plan.ids.map_line()).at("write", &path)?;
    }
    Ok(())
}

/// Receives a frame; `None` when a stop was asked for first. The end of the stream is an error: a frame is due.
fn receive_unless_stopped(
    channel: &Channel,
    signals: &Signals,
) -> Result<Option<Received>, StepError> {
    if poll_unless_stopped(channel.as_fd(), signals)? == Wake::Stop {
        return Ok(None);
    }
    match channel.receive()? {
        Some(received) => Ok(Some(received)),
        None => Err(StepError::new("a process of the launch was killed", "")),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Wake {
    Ready,
    Stop,
}

fn poll_unless_stopped(awaited: BorrowedFd, signals: &Signals) -> Result<Wake, StepError> {
    loop {
        let mut fds = [
            PollFd::new(awaited, PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            other => other.at("wait for", "the launch")?,
        };
        // Also SIGCHLD wakes this; the barrier tells more than it does.
        if fds[1].any() == Some(true) && signals.stop_requested()? {
            return Ok(Wake::Stop);
        }
        if fds[0].any() == Some(true) {
            return Ok(Wake::Ready);
        }
    }
}
