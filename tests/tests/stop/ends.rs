//! Every way in which a container ends by itself, and inits that do not follow the shutdown signal.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use skep_tests::{
    guest::Guest,
    host::Host,
    wait::{timed, wait_until},
};

use super::{BUSYBOX, DEBIAN, ensure_state, stop_within};

const REBOOTS: u32 = 20;

pub(super) fn reboots_debian(host: &Host) -> Result<()> {
    // Its start limit is systemd's default of five in ten seconds: a reboot inside is no start.
    let text = "[Container]\nRoot=/var/lib/machines/debian-12\n";
    let guest = Guest::declare(host, "reboot-debian", text)?;
    reboots(host, &guest, &["systemctl", "--no-block", "reboot"])?;
    // Fails until systemd has its bus.
    wait_until(Duration::from_secs(20), "the last boot", || {
        let state = guest.exec(&["systemctl", "is-system-running", "--wait"])?;
        Ok(["running", "degraded"]
            .contains(&state.stdout().as_str())
            .then_some(()))
    })?;
    guest.is_running()?;
    guest.finish()
}

pub(super) fn reboots_busybox(host: &Host) -> Result<()> {
    let text = "[Container]\nRoot=/var/lib/machines/busybox\n";
    let guest = Guest::declare(host, "reboot-busybox", text)?;
    // Without -f BusyBox sleeps for two seconds of each shutdown.
    reboots(host, &guest, &["/sbin/reboot", "-f"])?;
    // This one is a signal, which an init that has only begun does not hear.
    wait_until(Duration::from_secs(10), "the service", || {
        let all = guest.exec(&["ps", "-o", "args"])?.stdout();
        Ok(all.contains("sleep 1000000").then_some(()))
    })?;
    reboot(&guest, &["/sbin/reboot"])?;
    guest.finish()
}

fn reboots(host: &Host, guest: &Guest<'_>, command: &[&str]) -> Result<()> {
    guest.systemctl("start")?;
    reboot(guest, command)?;
    let facts = || -> Result<String> {
        let pid = guest.property("MainPID")?;
        let unit = guest.unit();
        host.sh(&format!(
            "echo main {pid}, descriptors $(ls /proc/{pid}/fd | wc -l), mounts $(wc -l </proc/1/mountinfo), \
             of the launcher $(wc -l </proc/{pid}/mountinfo), \
             cgroups $(find /sys/fs/cgroup/machine.slice/{unit} -maxdepth 1 -type d | wc -l), \
             threads $(grep -c . /sys/fs/cgroup/machine.slice/{unit}/supervisor/cgroup.procs)"
        ))?
        .ok()
    };
    let before = facts()?;
    let (all, time) = timed(|| (0..REBOOTS).try_for_each(|_| reboot(guest, command)));
    all?;
    let after = facts()?;
    println!("{REBOOTS} reboots in {time:?}; {after}");
    ensure!(
        before == after,
        "reboots left something:\n{before}\n{after}"
    );
    ensure!(
        guest.property("NRestarts")? == "0",
        "systemd restarted the unit"
    );
    ensure_state(guest, "active", "success")
}

/// One reboot from inside, until the next boot can be entered.
fn reboot(guest: &Guest<'_>, command: &[&str]) -> Result<()> {
    let before = boot_id(guest)?;
    let mut asked = false;
    wait_until(Duration::from_secs(30), "the next boot", || {
        let state = guest.property("ActiveState")?;
        ensure!(
            state == "active",
            "{state} in a reboot\n{}",
            guest.status()?
        );
        if boot_id(guest).is_ok_and(|id| id != before) {
            return Ok(Some(()));
        }
        // Early in its boot systemd takes no requests (1), and in a reboot nobody can enter (125); later the command may be
        // killed by what it asks for.
        asked = asked || ![1, 125].contains(&guest.exec(command)?.status());
        Ok(None)
    })
}

fn boot_id(guest: &Guest<'_>) -> Result<String> {
    guest
        .exec(&["/bin/cat", "/proc/sys/kernel/random/boot_id"])?
        .ok()
}

/// Waits until the unit runs no more.
fn ended(guest: &Guest<'_>, limit: Duration) -> Result<()> {
    wait_until(limit, "the end of the unit", || {
        let state = guest.property("ActiveState")?;
        Ok(["inactive", "failed"]
            .contains(&state.as_str())
            .then_some(()))
    })
    .with_context(|| guest.status().unwrap_or_default())
}

pub(super) fn powers_off(host: &Host) -> Result<()> {
    for (text, commands) in [
        (
            DEBIAN,
            &[["systemctl", "poweroff"], ["systemctl", "halt"]][..],
        ),
        (
            BUSYBOX,
            &[["/sbin/poweroff", "-d0"], ["/sbin/halt", "-d0"]][..],
        ),
    ] {
        let guest = Guest::declare(host, "power", text)?;
        for command in commands {
            guest.systemctl("start")?;
            // BusyBox is ready when it runs: a request in its first moment finds no handler yet.
            std::thread::sleep(Duration::from_millis(500));
            // The command may be killed by what it asks for, but it must be there.
            let status = guest.exec(command)?.status();
            ensure!(status != 127, "there is no {command:?}");
            ended(&guest, Duration::from_secs(10))?;
            ensure_state(&guest, "inactive", "success")?;
        }
        guest.finish()?;
    }
    Ok(())
}

/// A container whose init is a shell with this script.
fn shell(script: &str, more: &str) -> String {
    format!("{BUSYBOX}Init=/bin/sh\nParameters=-c \"{script}\"\n{more}")
}

pub(super) fn init_fails(host: &Host) -> Result<()> {
    let guest = Guest::declare(host, "fails", &shell("sleep 0.2; exit 3", ""))?;
    // Ready as soon as it runs, so the start itself is no failure.
    guest.systemctl("start")?;
    ended(&guest, Duration::from_secs(5))?;
    ensure_state(&guest, "failed", "exit-code")?;
    let code = guest.property("ExecMainStatus")?;
    ensure!(code == "3", "the exit status is {code}");
    let status = guest.status()?;
    for line in [
        "Status: \"Failed: the init exited with status 3",
        "skep: the init exited with status 3",
    ] {
        ensure!(
            status.contains(line),
            "the status does not say {line:?}:\n{status}"
        );
    }
    guest.redeclare(&shell(
        "sleep 0.2; exit 3",
        "[Service]\nRestart=on-failure\nRestartSec=50ms\n",
    ))?;
    guest.systemctl("start")?;
    wait_until(Duration::from_secs(10), "two restarts", || {
        Ok((guest.property("NRestarts")?.parse::<u32>()? >= 2).then_some(()))
    })?;
    stop_within(&guest, Duration::from_secs(5))?;
    let _ = host.exec(["systemctl", "reset-failed", &guest.unit()])?;
    guest.finish()
}

/// systemd catches SIGABRT, dumps core and, in a container, exits with 255.
pub(super) fn init_crashes(host: &Host) -> Result<()> {
    let guest = Guest::declare(host, "crashes", DEBIAN)?;
    for (signal, reason) in [("ABRT", "status 255"), ("KILL", "killed by SIGKILL")] {
        guest.systemctl("start")?;
        let leader =
            "sed 's/.*\"leader\":\\([0-9]*\\).*/\\1/' /run/skep/machine/crashes/state.json";
        host.sh(&format!("kill -{signal} $({leader})"))?.ok()?;
        ended(&guest, Duration::from_secs(20))?;
        ensure_state(&guest, "failed", "exit-code")?;
        let status = guest.status()?;
        ensure!(status.contains(reason), "no {reason:?}:\n{status}");
    }
    host.exec(["systemctl", "reset-failed", &guest.unit()])?
        .ok()?;
    guest.finish()
}

pub(super) fn second_signal(host: &Host) -> Result<()> {
    let guest = Guest::declare(
        host,
        "twice",
        &shell(
            "trap : TERM; while :; do sleep 1; done",
            "KillSignal=SIGTERM\n",
        ),
    )?;
    guest.systemctl("start")?;
    // Its trap must be in place, or it is killed for being deaf.
    std::thread::sleep(Duration::from_millis(500));
    let unit = guest.unit();
    host.sh(&format!("systemctl stop --no-block {unit}; sleep 0.5; [ \"$(systemctl show -P ActiveState {unit})\" = deactivating ]"))?
        .ok()?;
    let (killed, time) = timed(|| host.exec(["systemctl", "kill", "--kill-who=main", &unit]));
    killed?.ok()?;
    ended(&guest, Duration::from_secs(2))?;
    println!("ended {time:?} after the second signal");
    ensure_state(&guest, "inactive", "success")?;
    // Not to all processes: SIGTERM makes the guest's own systemd execute itself anew, and one that does so within the
    // first moments of its shutdown does not always finish it before TimeoutStopSec=.
    guest.redeclare(DEBIAN)?;
    guest.systemctl("start")?;
    host.exec(["systemctl", "kill", "--kill-who=main", &unit])?
        .ok()?;
    ended(&guest, Duration::from_secs(10))?;
    ensure_state(&guest, "inactive", "success")?;
    guest.finish()
}

pub(super) fn deaf_init(host: &Host) -> Result<()> {
    let text = format!("{BUSYBOX}Init=/bin/sleep\nParameters=infinity\n");
    let guest = Guest::declare(host, "deaf", &text)?;
    for _ in 0..3 {
        guest.systemctl("start")?;
        stop_within(&guest, Duration::from_millis(1500))?;
        ensure_state(&guest, "inactive", "success")?;
    }
    guest.finish()
}

pub(super) fn stubborn_init(host: &Host) -> Result<()> {
    let text = shell(
        "trap : TERM; while :; do sleep 1; done",
        "KillSignal=SIGTERM\n[Service]\nTimeoutStopSec=3\n",
    );
    let guest = Guest::declare(host, "stubborn", &text)?;
    guest.systemctl("start")?;
    std::thread::sleep(Duration::from_millis(500));
    let time = guest.systemctl("stop")?;
    ensure!(
        (3.0..5.0).contains(&time.as_secs_f32()),
        "the stop took {time:?}"
    );
    ensure_state(&guest, "failed", "timeout")?;
    host.exec(["systemctl", "reset-failed", &guest.unit()])?
        .ok()?;
    guest.finish()
}
