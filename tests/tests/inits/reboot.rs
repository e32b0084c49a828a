//! `skep reboot`: what it waits for, when it is refused, and what a stop makes of it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use skep_tests::{
    guest::Guest,
    host::Host,
    wait::{PATIENCE, wait_until},
};

use super::leader;

const BUSYBOX: &str =
    "[Unit]\nStartLimitIntervalSec=0\n[Container]\nRoot=/var/lib/machines/busybox\nEphemeral=yes\n";

/// What a verb prints when it fails.
fn fails(host: &Host, command: &[&str], want: &str) -> Result<()> {
    let done = host.exec(command)?;
    let said = done.stderr();
    ensure!(
        done.status() == 1 && said.contains(want),
        "{command:?}: {} {said:?}, not {want:?}",
        done.status()
    );
    Ok(())
}

/// The unit stays active; a changed declaration is taken; a stop overtakes; what cannot be is told.
pub(super) fn in_place(host: &Host) -> Result<()> {
    fails(
        host,
        &["skep", "reboot", "nobody"],
        "nobody: not rebooted: not declared",
    )?;
    let guest = Guest::declare(host, "again", BUSYBOX)?;
    fails(
        host,
        &["skep", "reboot", "again"],
        "it is inactive; run \"skep start again\"",
    )?;
    guest.systemctl("start")?;
    let (old, since) = (
        leader(&guest)?,
        guest.property("ActiveEnterTimestampMonotonic")?,
    );
    guest.redeclare(&format!("{BUSYBOX}Hostname=renamed\n"))?;
    host.exec(["skep", "reboot", "again"])?.ok()?;
    ensure!(leader(&guest)? != old);
    ensure!(guest.property("ActiveEnterTimestampMonotonic")? == since);
    let name = guest.exec(&["hostname"])?.ok()?;
    ensure!(name == "renamed", "{name}");

    // BusyBox takes two seconds to go down: in these, a stop comes.
    let script = "skep reboot again 2>&1 & sleep 0.5; systemctl stop skep@again; wait $! && echo status 0 || echo status $?; \
                  systemctl show -P ActiveState -P Result skep@again";
    let said = host.sh(script)?.ok()?;
    ensure!(
        said.contains("again: reboot failed: it ") && said.contains("status 1"),
        "{said}"
    );
    ensure!(
        said.contains("inactive") && said.contains("success"),
        "{said}"
    );

    // A program that boots nothing has no signal for it, unless one is declared.
    let text = format!(
        "{BUSYBOX}Init=/bin/sh\nParameters=-c 'trap exit HUP; while :; do sleep 0.1; done'\n"
    );
    guest.redeclare(&text)?;
    guest.systemctl("start")?;
    let old = leader(&guest)?;
    fails(
        host,
        &["skep", "reboot", "again"],
        "its init (other) has no signal for it; set RebootSignal=, or run \"skep restart again\"",
    )?;
    // Asked past the verb, it is not rebooted either.
    host.exec([
        "systemctl",
        "kill",
        "--kill-who=main",
        "--signal=RTMIN+5",
        &guest.unit(),
    ])?
    .ok()?;
    ensure!(leader(&guest)? == old);
    guest.redeclare(&format!("{text}RebootSignal=SIGHUP\n"))?;
    guest.systemctl("restart")?;
    let old = leader(&guest)?;
    host.exec(["skep", "reboot", "again"])?.ok()?;
    ensure!(leader(&guest)? != old);
    guest.finish()
}

/// What BusyBox does at its end, with no signal handler left: longer than an init may take to install one.
const INITTAB: &str = "::sysinit:/etc/init.d/rcS\n::respawn:/bin/sleep 1000000\n\
                       ::shutdown:/bin/sh -c 'echo goes down >/dev/console; sleep 8; echo is down >/dev/console'\n";

/// A stop does not cut short an init that shuts down already, whoever asked it to.
pub(super) fn overtaken(host: &Host) -> Result<()> {
    const PATH: &str = "/run/slow-inittab";
    host.write(PATH, INITTAB)?;
    let text = format!("{BUSYBOX}BindReadOnly={PATH}:/etc/inittab\n");
    let guest = Guest::declare(host, "slow", &text)?;
    let said = |line: &str| -> Result<usize> {
        Ok(guest
            .journal()?
            .lines()
            .filter(|said| *said == line)
            .count())
    };
    let judged = ["skep reboot slow", "skep exec slow -- poweroff"]
        .iter()
        .try_for_each(|command| {
            let before = (said("goes down")?, said("is down")?);
            guest.systemctl("start")?;
            // It has no handler in its first moment.
            std::thread::sleep(Duration::from_secs(1));
            host.sh(&format!("{command} >/dev/null 2>&1 &"))?.ok()?;
            wait_until(Duration::from_secs(10), "the shutdown to begin", || {
                Ok((said("goes down")? > before.0).then_some(()))
            })?;
            let took = guest.systemctl("stop")?;
            wait_until(PATIENCE, "its last line", || {
                Ok((said("is down")? > before.1).then_some(()))
            })
            .with_context(|| format!("{command}: cut short after {took:?}"))
        });
    host.exec(["rm", PATH])?.ok()?;
    judged?;
    guest.finish()
}
