//! The processes that go in. Both report errors over the barrier socket and never return.

use std::io::{PipeReader, Read as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::sched::setns;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, fstat, umask};
use nix::sys::statfs::{DEVPTS_SUPER_MAGIC, fstatfs};
use nix::unistd::{
    Gid, Uid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, execve, setgroups, setresgid, setresuid,
    setsid,
};

use crate::exec::limits::{drop_rest, limit};
use crate::exec::program::{PATH, Program, STEP, c_string};
use crate::join::{Request, Target, give_up};
use crate::plan::security::Limits;
use crate::step::{At, StepError};
use crate::streams::{Inner, follow_size};
use crate::sync::{Channel, Frame};
use crate::sys::clone::{Flags, Side, clone3, exit_now};
use crate::sys::creds::{new_keyring, set_undumpable};
use crate::sys::fd::cloexec_from;
use crate::sys::pty;
use crate::sys::signal::default_disposition;

/// Joins the container and clones the command's process there.
pub(super) fn join(
    target: Target,
    request: &Request,
    channel: Channel,
    streams: Option<Inner>,
) -> ! {
    let Target {
        leader,
        namespaces,
        cgroup,
        limits,
    } = target;
    // Both send to the caller, which must hear of the command before it hears from the command.
    let (told, telling) = match std::io::pipe().at("create", "a pipe") {
        Ok(pipe) => pipe,
        Err(err) => give_up(&channel, err),
    };
    let result = || -> Result<Side, StepError> {
        // A directory of the host must not be within reach of a guest without a user namespace for one moment: `..` from
        // there leads anywhere.
        drop(cgroup);
        // Host look-ups end here: strings for exec are made on the other side without touching a file.
        setns(leader.as_fd(), namespaces).at("join namespaces of", &request.name)?;
        drop(leader);
        // The caller waits for the command, so it must be its parent.
        clone3(libc::CLONE_PARENT as Flags, None).at("clone", "command")
    };
    match result() {
        Err(err) => give_up(&channel, err),
        Ok(Side::Child) => {
            drop(telling);
            wait_for_end(told);
            let error = match become_command(&limits, request, &channel, streams) {
                Ok(never) => match never {},
                Err(error) => error,
            };
            give_up(&channel, error)
        }
        Ok(Side::Parent(child)) => {
            match channel.send(
                &Frame::Cloned {
                    pid: child.pid.as_raw(),
                },
                &[child.pidfd.as_fd()],
            ) {
                Ok(()) => exit_now(0),
                Err(err) => give_up(&channel, err),
            }
        }
    }
}

/// Waits until the other end is closed.
fn wait_for_end(mut pipe: PipeReader) {
    // Nothing is ever written; an error is an end, too.
    let _ = pipe.read(&mut [0]);
}

fn become_command(
    limits: &Limits,
    request: &Request,
    channel: &Channel,
    streams: Option<Inner>,
) -> Result<std::convert::Infallible, StepError> {
    let with_terminal = streams.is_none();
    setsid().at("start", "session")?;
    match streams {
        Some(streams) => redirect(
            streams.input.as_fd(),
            streams.output.as_fd(),
            streams.error.as_fd(),
        )?,
        None => {
            let (master, terminal) = open_terminal()?;
            channel.send(&Frame::Built, &[master.as_fd()])?;
            pty::make_controlling(terminal.as_fd()).at("make controlling terminal", "/dev/pts")?;
            redirect(terminal.as_fd(), terminal.as_fd(), terminal.as_fd())?;
        }
    }
    umask(Mode::from_bits_truncate(0o022));
    // What the caller ignores, say under nohup(1), is none of the command's; the C library keeps two for itself.
    for signal in 1..=64 {
        let _ = default_disposition(signal);
    }
    SigSet::empty()
        .thread_set_mask()
        .at("reset", "signal mask")?;
    let _ = new_keyring();
    drop_to(request.user, limits)?;
    // After the last change of ids, which clears it.
    set_pdeathsig(Signal::SIGKILL).at("set", "parent death signal")?;
    channel.refuse_orphan()?;
    enter_directory(request)?;
    cloexec_from(3).at("close", "descriptors")?;
    execute(request, with_terminal)
}

fn redirect(input: BorrowedFd, output: BorrowedFd, error: BorrowedFd) -> Result<(), StepError> {
    dup2_stdin(input).at("redirect", "standard input")?;
    dup2_stdout(output).at("redirect", "standard output")?;
    dup2_stderr(error).at("redirect", "standard error")
}

/// A terminal of the container's devpts. The guest may have put anything there, so it is made sure to be one.
fn open_terminal() -> Result<(OwnedFd, OwnedFd), StepError> {
    const PTMX: &str = "/dev/pts/ptmx";
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let master = nix::fcntl::open(PTMX, flags, Mode::empty()).at("open", PTMX)?;
    let stat = fstat(&master).at("stat", PTMX)?;
    let on_devpts = fstatfs(&master).at("stat", PTMX)?.filesystem_type() == DEVPTS_SUPER_MAGIC;
    if !on_devpts
        || stat.st_mode & libc::S_IFMT != libc::S_IFCHR
        || stat.st_rdev != libc::makedev(5, 2)
    {
        return Err(StepError::new("not a terminal of the container:", PTMX));
    }
    pty::unlock(master.as_fd()).at("unlock", PTMX)?;
    let terminal = pty::peer(master.as_fd()).at("open terminal of", PTMX)?;
    // Before the command can ask: standard input is still the caller's terminal.
    follow_size(master.as_fd());
    Ok((master, terminal))
}

fn drop_to((user, group): (u32, u32), limits: &Limits) -> Result<(), StepError> {
    limit(limits)?;
    setgroups(&[]).at("clear", "supplementary groups")?;
    let gid = Gid::from_raw(group);
    setresgid(gid, gid, gid).at("set group id", group)?;
    let uid = Uid::from_raw(user);
    setresuid(uid, uid, uid).at("set user id", user)?;
    // A change of ids sets it to fs.suid_dumpable, which may be 1.
    set_undumpable().at("protect", "this process")?;
    drop_rest(limits, user)
}

fn home(request: &Request) -> &'static str {
    if request.user.0 == 0 { "/root" } else { "/" }
}

fn enter_directory(request: &Request) -> Result<(), StepError> {
    if !request.directory.is_empty() {
        return chdir(request.directory.as_str()).at("enter", &request.directory);
    }
    if request.command.is_empty() && chdir(home(request)).is_ok() {
        return Ok(());
    }
    chdir("/").at("enter", "/")
}

fn execute(request: &Request, with_terminal: bool) -> Result<std::convert::Infallible, StepError> {
    let environment = environment(request, with_terminal);
    if request.command.is_empty() {
        let environment = environment
            .iter()
            .map(|entry| c_string(entry.as_bytes()))
            .collect::<Result<Vec<_>, _>>()?;
        for (path, name) in [(c"/bin/bash", c"-bash"), (c"/bin/sh", c"-sh")] {
            let Err(errno) = execve(path, &[name], &environment);
            if errno != Errno::ENOENT {
                return Err(errno).at(STEP, path.to_string_lossy());
            }
        }
        return Err(Errno::ENOENT).at(STEP, "/bin/bash or /bin/sh");
    }
    let argv: Vec<_> = request.command.iter().map(|arg| arg.as_bytes()).collect();
    Program::new(&argv, &environment)?.execute()
}

fn environment(request: &Request, with_terminal: bool) -> Vec<String> {
    let mut variables = vec![
        format!("PATH={PATH}"),
        format!("HOME={}", home(request)),
        "container=skep".to_owned(),
    ];
    if request.user.0 == 0 {
        variables.extend(["USER=root".to_owned(), "LOGNAME=root".to_owned()]);
    }
    // The one variable of the caller that describes the caller's terminal.
    let plain = |text: &str| {
        !text.is_empty()
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-+._".contains(c))
    };
    if let Some(term) = std::env::var("TERM")
        .ok()
        .filter(|term| with_terminal && plain(term))
    {
        variables.push(format!("TERM={term}"));
    }
    for entry in &request.environment {
        let name = entry.split('=').next().unwrap_or_default();
        variables.retain(|known| {
            !known
                .strip_prefix(name)
                .is_some_and(|rest| rest.starts_with('='))
        });
        variables.push(entry.clone());
    }
    variables
}
