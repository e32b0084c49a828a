//! `skep reboot`: what it waits for, and when it is refused.

use anyhow::{Result, ensure};
use skep_tests::{guest::Guest, host::Host};

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
