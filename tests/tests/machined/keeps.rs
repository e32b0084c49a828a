//! Registrations last: over the guest's reboots, restarts of machined, and the loss of what it knew.

use std::time::Duration;

use anyhow::{Result, ensure};
use skep_tests::{
    guest::Guest,
    host::Host,
    wait::{PATIENCE, wait_until},
};

use super::{DEBIAN, LIMIT, known, registered, started};

/// A new leader is known after the guest's reboot, and machined, however it ends, finds the container again.
pub(super) fn registration(host: &Host) -> Result<()> {
    let guest = started(host, "mach-again", DEBIAN)?;
    let leader = || known(host, "mach-again", "Leader");
    let first = leader()?;
    for script in [
        "systemctl restart systemd-machined",
        "systemctl kill --signal=KILL systemd-machined",
        // Nothing is left that it could read.
        "systemctl stop systemd-machined && rm -r /run/systemd/machines && systemctl start systemd-machined",
        "systemctl kill --signal=KILL systemd-machined && rm -r /run/systemd/machines; machinectl list",
    ] {
        host.sh(script)?.ok()?;
        registered(host, "mach-again").map_err(|err| err.context(script))?;
        ensure!(leader()? == first, "another leader after: {script}");
        host.sh("systemctl -M mach-again is-system-running --wait")?
            .ok()?;
    }
    host.exec(["systemctl", "reset-failed", "systemd-machined"])?
        .ok()?;
    guest.exec(&["systemctl", "reboot"])?;
    wait_until(LIMIT, "another leader", || {
        let now = leader().unwrap_or_default();
        Ok((!now.is_empty() && now != first).then_some(()))
    })?;
    ensure!(guest.property("ActiveState")? == "active");
    guest.systemctl("restart")?;
    registered(host, "mach-again")?;
    let journal = guest.journal()?;
    ensure!(!journal.contains("not registered"), "{journal}");
    guest.finish()
}

/// machined asks the launcher for an end, from 258 on: the first time in order, the second time at once. Before, systemd
/// asks the first time and has nothing to say the second time.
pub(super) fn supervisor(host: &Host) -> Result<()> {
    let guest = started(host, "mach-signals", DEBIAN)?;
    guest.systemctl("start")?;
    host.sh(
        "systemctl -M mach-signals is-system-running --wait; systemd-run -M mach-signals --quiet --unit=slow \
         --property=TimeoutStopSec=1min --property=ExecStop='/bin/sleep 60' sleep 1000",
    )?
    .ok()?;
    host.exec(["machinectl", "terminate", "mach-signals"])?
        .ok()?;
    wait_until(LIMIT, "the guest to stop its units", || {
        let said = guest.exec(&["systemctl", "show", "-P", "ActiveState", "slow.service"])?;
        Ok((said.stdout() == "deactivating").then_some(()))
    })?;
    let status = guest.property("StatusText")?;
    ensure!(status.starts_with("Shutting down (asked)"), "{status}");
    let signals_supervisor = host
        .sh("[ $(systemctl --version | awk '{ print $2; exit }' | cut -d. -f1 | tr -dc 0-9) -ge 258 ]")?
        .ok()
        .is_ok();
    let again = match signals_supervisor {
        true => "machinectl terminate mach-signals",
        false => "systemctl kill --kill-whom=main --signal=TERM skep@mach-signals",
    };
    host.sh(again)?.ok()?;
    wait_until(PATIENCE, "the end of the unit", || {
        Ok((guest.property("ActiveState")? != "deactivating").then_some(()))
    })
    .map_err(|err| err.context(again))?;
    let list = host.exec(["machinectl", "list", "--no-legend"])?.ok()?;
    ensure!(!list.contains("mach-signals"), "still known:\n{list}");
    guest.finish()
}

/// A machined that answers nothing holds neither the start nor the stop of a container.
pub(super) fn patience(host: &Host) -> Result<()> {
    let guest = Guest::declare(
        host,
        "mach-hung",
        "[Container]\nRoot=/var/lib/machines/busybox\n",
    )?;
    let hung = "systemctl start systemd-machined && systemctl kill --signal=STOP systemd-machined";
    host.sh(hung)?.ok()?;
    let judged = quickly(&guest);
    host.exec(["systemctl", "kill", "--signal=CONT", "systemd-machined"])?
        .ok()?;
    judged?;
    guest.finish()?;
    wait_until(LIMIT, "machined to know nothing of it", || {
        let list = host.exec(["machinectl", "list", "--no-legend"])?.ok()?;
        Ok((!list.contains("mach-hung")).then_some(()))
    })
}

fn quickly(guest: &Guest<'_>) -> Result<()> {
    for verb in ["start", "stop"] {
        let took = guest.systemctl(verb)?;
        ensure!(took < Duration::from_secs(5), "the {verb} took {took:?}");
    }
    Ok(())
}
