//! `launcher run`: one command in a container of its own, with the caller's streams, until it ends.
//!
//! Its exit status is the command's; 125 when the container could not be set up, 126 and 127 when the command could not be
//! executed or found, as of env(1). Nothing is left when it returns.

mod life;
mod pidfile;

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{Pid, Uid, fchown};
use skep_spec::{Content, Namespace, Streams as Kind};

use crate::cgroup::{self, Payload};
use crate::exec::Stdio;
use crate::exec::parent::{Launched, Leader, launch};
use crate::exec::program::status_of;
use crate::handed::Handed;
use crate::join::sealed;
use crate::load::load_spec;
use crate::lock::remove_ranges;
use crate::log;
use crate::plan::LaunchPlan;
use crate::plan::command::{CommandPlan, First};
use crate::prepare::{Prepared, prepare};
use crate::run::life::{Answer, Life};
use crate::run::pidfile::PidFile;
use crate::step::{At, StepError};
use crate::streams::{Outer, Streams, follow_size, pipes};
use crate::supervise::hearing::{Hearing, LOOK, hearing};
use crate::supervise::publish::Publisher;
use crate::supervise::signals::Signals;
use crate::sys::fd::close_from;
use crate::sys::pidfd::{End, send_signal, try_reap_any};
use crate::sys::pty;

/// Directory of the spec files of single commands.
const SPEC_DIR: &str = "/run/skep/run";

/// What happens to the spec file once it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// It stays.
    Spec,
    /// It is removed.
    Nothing,
}

/// The spec file of the command container `name`.
pub fn spec_path(name: &str) -> PathBuf {
    Path::new(SPEC_DIR).join(format!("{name}.json"))
}

/// Runs the command of a spec and returns its exit status.
pub fn run(spec: &Path, keep: Keep) -> ExitCode {
    match set_up_and_run(spec, keep) {
        Ok(status) => ExitCode::from(status),
        Err(err) => {
            log::line(&err);
            ExitCode::from(status_of(&err))
        }
    }
}

fn set_up_and_run(path: &Path, keep: Keep) -> Result<u8, StepError> {
    // systemd passes nothing above standard error; whoever else does must not reach the guest.
    close_from(3).at("close", "inherited descriptors")?;
    std::env::set_current_dir("/").at("enter", "/")?;
    let signals = Signals::of(&[
        Signal::SIGTERM,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGWINCH,
        Signal::SIGCHLD,
    ])?;
    let file = load_spec(path)?;
    let Content::Boot(spec) = file.content.clone() else {
        return Err(StepError::new("a refused spec:", path.display()));
    };
    let Some(command) = &spec.command else {
        return Err(StepError::new("no command in", path.display()));
    };
    if command.init && spec.users == skep_spec::Users::Host {
        // Our init is this program, and root of the initial user namespace could reach its file through /proc.
        sealed::ensure(&Handed::default())?;
    }
    if keep == Keep::Nothing {
        fs::remove_file(path).at("remove", path.display())?;
    }
    let Some(prepared) = prepare(file, &spec, Some(&signals))? else {
        return Ok(End::Killed(signals.stopped_by().unwrap_or(libc::SIGTERM)).status());
    };
    let result = in_cgroup(&prepared, &signals);
    remove_ranges(&prepared.plan.locks, prepared.locks);
    result
}

fn in_cgroup(prepared: &Prepared, signals: &Signals) -> Result<u8, StepError> {
    let payload = cgroup::prepare(&prepared.host, prepared.plan.ids.host(0))?;
    let result = in_payload(prepared, &payload, signals);
    if result.is_err() {
        // The error that is reported is the first one.
        let _ = end_rest(&payload);
    }
    payload.remove();
    result
}

fn in_payload(prepared: &Prepared, payload: &Payload, signals: &Signals) -> Result<u8, StepError> {
    let Prepared {
        file, plan, tree, ..
    } = prepared;
    let Some(command) = &plan.command else {
        return Err(StepError::new("the plan has no command", ""));
    };
    let (outer, stdio) = streams_of(plan, command)?;
    match launch(plan, tree, payload, signals, stdio)? {
        Launched::Stopped => {
            Ok(End::Killed(signals.stopped_by().unwrap_or(libc::SIGTERM)).status())
        }
        Launched::Running(mut leader) => {
            let master = leader.built.pop().map(Outer::Terminal);
            let Some(outer) = outer.or(master) else {
                return Err(StepError::new("the container gave no terminal", ""));
            };
            let pid_file = command
                .pid_file
                .as_deref()
                .map(|path| PidFile::write(path, leader.child.pid))
                .transpose()?;
            let leader_pid = leader.child.pid.as_raw();
            let mut publisher = Publisher::new(plan, &file.id, leader_pid, Instant::now())?;
            publisher.ready()?;
            announce(plan, &leader);
            let status = stay(plan, command, &leader, payload, outer, signals);
            drop(pid_file);
            publisher.withdraw();
            status
        }
    }
}

/// The caller's and the command's side of its streams. With a mount namespace of its own, its terminal is of a devpts that
/// does not stand yet.
fn streams_of(
    plan: &LaunchPlan,
    command: &CommandPlan,
) -> Result<(Option<Outer>, Stdio), StepError> {
    match command.streams {
        Kind::Pipes => {
            let (outer, inner) = pipes()?;
            for end in [&inner.input, &inner.output, &inner.error] {
                give(end, plan, command)?;
            }
            Ok((Some(outer), Stdio::Pipes(inner)))
        }
        Kind::Terminal if plan.owns(Namespace::Mount) => Ok((None, Stdio::Console)),
        Kind::Terminal => {
            let (master, terminal) = terminal_of_host()?;
            give(&terminal, plan, command)?;
            Ok((Some(Outer::Terminal(master)), Stdio::Terminal(terminal)))
        }
    }
}

/// Gives a stream to the command's user, who may open it anew through /proc, as programs do that write to /dev/stderr.
fn give(stream: &OwnedFd, plan: &LaunchPlan, command: &CommandPlan) -> Result<(), StepError> {
    let user = Uid::from_raw(plan.ids.host(command.user.0));
    fchown(stream, Some(user), None).at("give a stream to user", command.user.0)
}

fn terminal_of_host() -> Result<(OwnedFd, OwnedFd), StepError> {
    const PTMX: &str = "/dev/ptmx";
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let master = nix::fcntl::open(PTMX, flags, Mode::empty()).at("open", PTMX)?;
    pty::unlock(master.as_fd()).at("unlock", PTMX)?;
    let terminal = pty::peer(master.as_fd()).at("open terminal of", PTMX)?;
    // Before the command can ask.
    follow_size(master.as_fd());
    Ok((master, terminal))
}

/// Says in the journal who runs and how to get in; a caller's own standard error is the command's alone.
fn announce(plan: &LaunchPlan, leader: &Leader) {
    let Ok(stat) = fstat(std::io::stderr()) else {
        return;
    };
    let journal = format!("{}:{}", stat.st_dev, stat.st_ino);
    if std::env::var("JOURNAL_STREAM").is_ok_and(|own| own == journal) {
        let (name, pid) = (&plan.name, leader.child.pid);
        log::line(format_args!(
            "{name} is leader {pid} (command); enter it with \"skep shell {name}\" or \"nsenter -a -t {pid}\""
        ));
    }
}

/// Stays with the command until it and all its processes have ended.
fn stay(
    plan: &LaunchPlan,
    command: &CommandPlan,
    leader: &Leader,
    payload: &Payload,
    outer: Outer,
    signals: &Signals,
) -> Result<u8, StepError> {
    let leader = &leader.child;
    // Only an init without a handler does not hear; of ours it is known that it does.
    let deaf = plan.owns(Namespace::Pid) && command.first == First::Command;
    let mut life = Life::default();
    let mut streams = Streams::join(outer)?;
    // Signals that have no answer yet, and when they came.
    let mut waiting: Vec<(i32, Instant)> = Vec::new();
    let end = loop {
        let limit = (!waiting.is_empty()).then_some(LOOK);
        let turn = streams.turn(leader.pidfd.as_fd(), signals, limit)?;
        let mut arrived = std::mem::take(&mut waiting);
        // One that comes after the turn is left for the next, which tells of it.
        while turn.signalled
            && let Some(signal) = signals.take()?
        {
            arrived.push((signal, Instant::now()));
        }
        // A terminal that is gone says so as every terminal does.
        arrived.extend(turn.hung_up.then(|| (libc::SIGHUP, Instant::now())));
        for (signal, since) in arrived {
            if signal == libc::SIGWINCH {
                streams.resize();
            }
            let heard = || match deaf {
                true => hearing(leader.pid.as_raw(), signal).after(since.elapsed()),
                false => Hearing::Hears,
            };
            // Gone meanwhile: the next look finds its status.
            match life.answer(signal, heard) {
                Answer::Nothing => {}
                Answer::Pass => drop(send_signal(leader.pidfd.as_fd(), signal)),
                Answer::Kill => drop(send_signal(leader.pidfd.as_fd(), libc::SIGKILL)),
                Answer::Later => waiting.push((signal, since)),
            }
        }
        if let Some(end) = reap(leader.pid) {
            break end;
        }
    };
    end_rest(payload)?;
    streams.finish(signals)?;
    Ok(life.status(end))
}

/// Reaps all that have ended: the command, and its orphans when they have no PID namespace to go to.
fn reap(command: Pid) -> Option<End> {
    while let Ok(Some((pid, end))) = try_reap_any() {
        if pid == command {
            return Some(end);
        }
    }
    None
}

/// Ends what the command left behind, so that nobody writes to its streams any more.
fn end_rest(payload: &Payload) -> Result<(), StepError> {
    payload.kill()?;
    payload.wait_until_empty()?;
    while let Ok(Some(_)) = try_reap_any() {}
    Ok(())
}
