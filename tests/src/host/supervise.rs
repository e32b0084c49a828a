//! The process that stays with a test host: boots it, boots it again when it reboots, and clears up after it.
//!
//! Three processes make a boot. The supervisor lives in the machine's namespaces. `boot` enters the host's cgroup and
//! takes new namespaces; it is one process per boot, because a process can take a PID namespace for its children only
//! once. Its child `init` is PID 1 in there, builds the root and becomes systemd.

use std::{
    env,
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    pty::openpty,
    sched::{CloneFlags, unshare},
    sys::signal::Signal,
    unistd::setsid,
};

use super::{
    Host,
    cgroup::Node,
    kill,
    state::{Boot, Process, Supervisor, store},
};
use crate::command::{program, run};

/// Exit status of `boot` that says: the host asked for another boot.
const AGAIN: u8 = 99;

/// Starts the supervisor in the background.
pub(super) fn spawn(host: &Host) -> Result<()> {
    let console = File::create(host.console())?;
    let xtask = xtask()?;
    let arguments = ["host-supervise", host.name()];
    if Path::new("/run/systemd/system").exists() {
        // systemd owns the cgroup tree here: only a delegated unit is ours to build in.
        let mut command = program("systemd-run", ["--quiet", "--collect"]);
        for property in [
            "Type=exec",
            "Delegate=yes",
            "KillMode=mixed",
            "TasksMax=infinity",
            "LimitNOFILE=524288",
        ] {
            command.arg(format!("--property={property}"));
        }
        command.arg(format!("--unit=skep-test-host-{}", host.name()));
        if let Some(cache) = env::var_os("SKEP_TEST_CACHE") {
            command.arg(format!(
                "--setenv=SKEP_TEST_CACHE={}",
                Path::new(&cache).display()
            ));
        }
        return run(command.arg(xtask).args(arguments).arg("--delegated"));
    }
    Command::new(xtask)
        .args(arguments)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(console.try_clone()?)
        .stderr(console)
        .spawn()
        .context("cannot start the supervisor")
        .map(drop)
}

/// `xtask host-supervise NAME`: returns when the host is off.
pub fn supervise(name: &str, delegated: bool) -> Result<()> {
    let host = Host::find(name)?;
    // Whoever started us may go, and with it the terminal.
    let _ = setsid();
    let node = Node::create(name, delegated)?;
    let process = Process::current()?;
    store(
        &host.directory.join("supervisor.json"),
        &Supervisor {
            process,
            cgroup: node.path().to_owned(),
        },
    )?;
    let mut orphaned = false;
    for count in 1.. {
        let status = one_boot(&host, &node, count, &mut orphaned)?;
        node.clear_host()?;
        if orphaned || status.code() != Some(i32::from(AGAIN)) {
            break;
        }
        fs::create_dir_all(node.entered())?;
    }
    if !delegated {
        node.leave()?;
        node.remove()?;
    }
    if orphaned {
        host.remove_directory()?;
    }
    Ok(())
}

/// Runs one boot to its end. Its console is a terminal of ours, copied to the log.
fn one_boot(host: &Host, node: &Node, count: u32, orphaned: &mut bool) -> Result<ExitStatus> {
    let pty = openpty(None, None).context("openpty")?;
    let mut child = Command::new("/proc/self/exe")
        .args(["host-boot", host.name(), &count.to_string()])
        .stdin(pty.slave.try_clone()?)
        .stdout(pty.slave.try_clone()?)
        .stderr(pty.slave)
        .spawn()
        .context("cannot start a boot")?;
    let mut terminal = File::from(pty.master);
    let mut log = OpenOptions::new()
        .append(true)
        .create(true)
        .open(host.console())?;
    // Ends with EIO when the last process of the host has let go of its console.
    let pump = thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = terminal.read(&mut buffer) {
            let _ = log.write_all(buffer.get(..length).unwrap_or_default());
        }
    });
    let mut inside = true;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if inside && host.boot()?.is_some_and(|boot| boot.count == count) {
            // The root of the host's cgroup tree must be free of processes that its systemd cannot see.
            node.take_out(child.id())?;
            inside = false;
        }
        if !*orphaned && host.config.owner.is_some_and(|owner| !owner.is_alive()) {
            *orphaned = true;
        }
        if *orphaned && let Some(init) = host.init()? {
            kill(init)?;
        }
        thread::sleep(Duration::from_millis(if inside { 2 } else { 100 }));
    };
    let _ = pump.join();
    Ok(status)
}

/// `xtask host-boot NAME COUNT`: one boot; the exit code tells the supervisor how it ended.
pub fn boot(name: &str, count: u32) -> Result<ExitCode> {
    let host = Host::find(name)?;
    let node = host.node()?;
    fs::write(node.host().join("cgroup.procs"), "0").context("cannot enter the host's cgroup")?;
    unshare(
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWCGROUP,
    )
    .context("unshare")?;
    let first = if count == 1 { "first" } else { "again" };
    let mut init = Command::new("/proc/self/exe")
        .args(["host-init", name, first])
        .spawn()
        .context("cannot start PID 1")?;
    let pid = i32::try_from(init.id())?;
    let process = Process::of(pid).context("PID 1 ended at once")?;
    store(
        &host.directory.join("boot.json"),
        &Boot {
            init: process,
            count,
        },
    )?;
    let status = init.wait()?;
    // reboot(2) in a PID namespace ends its init by SIGHUP for a restart, by SIGINT for anything else.
    match status.signal() {
        Some(signal) if signal == Signal::SIGHUP as i32 => Ok(ExitCode::from(AGAIN)),
        Some(signal) if signal == Signal::SIGINT as i32 => Ok(ExitCode::SUCCESS),
        None if status.success() => Ok(ExitCode::SUCCESS),
        _ => bail!("PID 1 of host {name} ended: {status}"),
    }
}

/// Waits until PID 1 is alone in the host's cgroup, so that systemd may turn controllers on.
pub(super) fn wait_alone(host: &Host) -> Result<()> {
    let procs = host.node()?.host().join("cgroup.procs");
    crate::wait::wait_until(
        Duration::from_secs(10),
        "the booting process to leave",
        || {
            let text = fs::read_to_string(&procs)
                .with_context(|| format!("cannot read {}", procs.display()))?;
            Ok((text.lines().count() == 1).then_some(()))
        },
    )
}

/// The xtask program: ourselves, or from a test program the one that runs the tests or was built beside it.
///
/// Our own path may hold another program by now, or none: a build for tests links xtask anew.
pub fn xtask() -> Result<PathBuf> {
    if let Some(path) = env::var_os("SKEP_XTASK") {
        return Ok(path.into());
    }
    let own = env::current_exe()?;
    if own
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with("xtask"))
    {
        return Ok(format!("/proc/{}/exe", std::process::id()).into());
    }
    let beside = own
        .ancestors()
        .nth(2)
        .context("no directory above the test program")?
        .join("xtask");
    if !beside.exists() {
        bail!("{} is missing: set SKEP_XTASK", beside.display());
    }
    Ok(beside)
}
