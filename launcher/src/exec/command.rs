//! The first process of a single command: streams, ids and privileges, then exec, or our own init that starts it.

use std::convert::Infallible;
use std::os::fd::AsFd;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{
    Gid, Uid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fchown, setgroups, setresgid, setresuid,
    setsid,
};

use crate::exec::guest::{open_console, redirect, reset_process};
use crate::exec::limits::{drop_rest, limit};
use crate::exec::program::Program;
use crate::exec::{Stdio, init};
use crate::plan::LaunchPlan;
use crate::plan::command::{CommandPlan, First};
use crate::plan::security::Limits;
use crate::step::{At, StepError};
use crate::sync::Channel;
use crate::sys::clone::{Side, clone3};
use crate::sys::creds::set_undumpable;
use crate::sys::fd::cloexec_from;
use crate::sys::pty::make_controlling;
use crate::sys::signal::default_disposition;

/// Becomes the command, or the init of it.
pub(super) fn run(
    plan: &LaunchPlan,
    command: &CommandPlan,
    channel: &Channel,
    stdio: Stdio,
) -> Result<Infallible, StepError> {
    let argv: Vec<_> = plan.init.argv.iter().map(String::as_bytes).collect();
    let program = Program::new(&argv, &plan.init.environment)?;
    if command.first == First::OwnInit {
        // Our own image: no process of the container may look into it or steer it.
        set_undumpable().at("protect", "this process")?;
        init::block_signals()?;
        match clone3(0, None).at("clone", "command")? {
            Side::Parent(child) => {
                set_pdeathsig(Signal::SIGKILL).at("set", "parent death signal")?;
                channel.refuse_orphan()?;
                return init::run(child, &plan.limits);
            }
            Side::Child => {}
        }
    }
    take_streams(stdio, command)?;
    for signal in 1..=64 {
        // What the caller ignores is none of the command's; the C library keeps two for itself.
        let _ = default_disposition(signal);
    }
    reset_process()?;
    take_user(command.user, &plan.limits)?;
    // After the last change of ids, which clears it.
    set_pdeathsig(Signal::SIGKILL).at("set", "parent death signal")?;
    if command.first == First::Command {
        channel.refuse_orphan()?;
    }
    chdir(&command.directory)
        .at("enter", command.directory.display())
        .map_err(|err| err.cure("the working directory must exist in the container"))?;
    // The barrier socket is close-on-exec already; all else that may be open is now, too.
    cloexec_from(3).at("close", "descriptors")?;
    program.execute()
}

fn take_streams(stdio: Stdio, command: &CommandPlan) -> Result<(), StepError> {
    setsid().at("start", "session")?;
    let terminal = match stdio {
        Stdio::Pipes(pipes) => {
            dup2_stdin(&pipes.input).at("redirect", "standard input")?;
            dup2_stdout(&pipes.output).at("redirect", "standard output")?;
            return dup2_stderr(&pipes.error).at("redirect", "standard error");
        }
        Stdio::Console => {
            let console = open_console()?;
            // As a login does, so that the command can open it anew.
            let user = Some(Uid::from_raw(command.user.0));
            fchown(&console, user, None).at("give the console to user", command.user.0)?;
            console
        }
        Stdio::Terminal(terminal) => {
            make_controlling(terminal.as_fd()).at("make controlling terminal", "pts")?;
            terminal
        }
    };
    redirect(&terminal)
}

fn take_user((user, group): (u32, u32), limits: &Limits) -> Result<(), StepError> {
    limit(limits)?;
    setgroups(&[]).at("clear", "supplementary groups")?;
    let gid = Gid::from_raw(group);
    setresgid(gid, gid, gid).at("set group id", group)?;
    let uid = Uid::from_raw(user);
    setresuid(uid, uid, uid).at("set user id", user)?;
    drop_rest(limits, user)
}
