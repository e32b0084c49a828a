//! Starting, stopping and looking at the units of both sides.

use std::{fs, os::unix::fs::symlink, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use skep_tests::{
    command::{capture, output, program},
    wait::timed,
};

/// Where both sides look for trees.
pub(crate) const MACHINES: &str = "/var/lib/machines";

/// nspawn's unit of a machine.
pub(crate) fn nspawn_unit(name: &str) -> String {
    format!("systemd-nspawn@{name}.service")
}

/// Our unit of a container.
pub(crate) fn skep_unit(name: &str) -> String {
    format!("skep@{name}.service")
}

/// Makes the host quiet, and bounds what would wait for a minute and a half.
///
/// nspawn loses a shutdown signal that comes too early, and a busybox never hears the one that it sends. Its units then
/// wait for their limit, 90 s; ten are enough to see it.
pub(crate) fn prepare() -> Result<()> {
    let directory = "/run/systemd/system/systemd-nspawn@.service.d";
    fs::create_dir_all(directory)?;
    fs::write(
        format!("{directory}/bench.conf"),
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nTimeoutStopSec=10\n",
    )?;
    fs::create_dir_all("/run/systemd/nspawn")?;
    systemctl(&["daemon-reload"])?;
    // An apply that skep.path starts would take part in what is measured.
    systemctl(&[
        "stop",
        "skep.path",
        "skep-settle.timer",
        "skep-apply.service",
    ])
    .map(drop)
}

/// Runs `systemctl`; returns its time in milliseconds.
pub(crate) fn systemctl(arguments: &[&str]) -> Result<f64> {
    let (result, time) = timed(|| capture(&mut program("systemctl", arguments)));
    result.with_context(|| format!("{}\n{}", arguments.join(" "), journal(arguments)))?;
    Ok(milliseconds(time))
}

/// What the last of the arguments, a unit, said last.
fn journal(arguments: &[&str]) -> String {
    let unit = arguments.last().copied().unwrap_or_default();
    let lines = ["--no-pager", "--output=cat", "--lines=8", "--unit", unit];
    capture(&mut program("journalctl", lines)).unwrap_or_default()
}

/// The same for many units at once.
pub(crate) fn systemctl_all(verb: &str, units: &[String]) -> Result<f64> {
    let words: Vec<&str> = [verb]
        .into_iter()
        .chain(units.iter().map(String::as_str))
        .collect();
    systemctl(&words)
}

/// Ends nspawn units without waiting for anything.
pub(crate) fn kill_nspawn(names: &[String]) -> Result<()> {
    for name in names {
        // What it leaves when it does not end by itself makes the next start fail.
        let export = format!("/run/systemd/nspawn/unix-export/{name}");
        let _ = output(&mut program(
            "systemctl",
            ["kill", "--signal=KILL", &nspawn_unit(name)],
        ));
        let _ = output(&mut program("systemctl", ["stop", &nspawn_unit(name)]));
        let _ = output(&mut program(
            "systemctl",
            ["reset-failed", &nspawn_unit(name)],
        ));
        let _ = output(&mut program("umount", ["--lazy", &export]));
    }
    Ok(())
}

/// Declares containers for both sides, alike as far as both can: private ids, private network with nothing but
/// loopback, ready when the guest says so (`ready`) or when its init runs.
pub(crate) fn declare(names: &[String], ready: bool) -> Result<()> {
    fs::create_dir_all("/run/skep")?;
    for name in names {
        let answer = if ready { "yes" } else { "no" };
        let ours = format!(
            "[Unit]\nStartLimitIntervalSec=0\n[Container]\nRoot={MACHINES}/{name}\nNotifyReady={answer}\n"
        );
        fs::write(format!("/run/skep/{name}.container"), ours)?;
        let theirs =
            format!("[Exec]\nNotifyReady={answer}\n[Network]\nPrivate=yes\nVirtualEthernet=no\n");
        fs::write(format!("/run/systemd/nspawn/{name}.nspawn"), theirs)?;
    }
    capture(&mut program("skep", ["apply"])).map(drop)
}

/// Declares containers with the least that stays up: an init that sleeps.
pub(crate) fn declare_sleeping(names: &[String]) -> Result<()> {
    for name in names {
        let text = format!(
            "[Unit]\nStartLimitIntervalSec=0\n[Container]\nRoot={MACHINES}/{name}\nInit=/bin/sleep\nParameters=1000000\n"
        );
        fs::write(format!("/run/skep/{name}.container"), text)?;
        fs::write(format!("/run/systemd/nspawn/{name}.nspawn"), "")?;
    }
    capture(&mut program("skep", ["apply"])).map(drop)
}

/// Takes declarations back.
pub(crate) fn withdraw(names: &[String]) -> Result<()> {
    for name in names {
        fs::remove_file(format!("/run/skep/{name}.container"))?;
        fs::remove_file(format!("/run/systemd/nspawn/{name}.nspawn"))?;
    }
    capture(&mut program("skep", ["apply"])).map(drop)
}

/// A property of a unit.
pub(crate) fn property(unit: &str, name: &str) -> Result<String> {
    let text = capture(&mut program(
        "systemctl",
        ["show", "--value", "--property", name, unit],
    ))?;
    Ok(text.trim().to_owned())
}

/// Fails unless the unit is active.
pub(crate) fn ensure_active(unit: &str) -> Result<()> {
    let state = property(unit, "ActiveState")?;
    ensure!(state == "active", "{unit} is {state}");
    Ok(())
}

/// A copy of the busybox guest.
pub(crate) fn copy_busybox(name: &str) -> Result<()> {
    let tree = format!("{MACHINES}/busybox");
    let target = format!("{MACHINES}/{name}");
    capture(&mut program(
        "cp",
        ["-a", "--no-target-directory", &tree, &target],
    ))
    .map(drop)
}

/// The smallest tree that all programs of the comparison accept, with a static /bin/true.
pub(crate) fn make_tiny_tree(root: &Path) -> Result<()> {
    for directory in [
        "bin", "usr/lib", "etc", "proc", "sys", "dev", "run", "tmp", "var", "root",
    ] {
        fs::create_dir_all(root.join(directory))?;
    }
    fs::copy("/usr/bin/busybox", root.join("bin/busybox")).context("busybox-static")?;
    symlink("busybox", root.join("bin/true"))?;
    fs::write(root.join("etc/os-release"), "ID=tiny\n")?;
    fs::write(root.join("usr/lib/os-release"), "ID=tiny\n")?;
    Ok(())
}

/// A duration in the unit of the figures.
pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
