//! What systemd-machined knows of our containers, and what its tools do with them.

#[path = "machined/beside.rs"]
mod beside;
#[path = "machined/checks.rs"]
mod checks;
#[path = "machined/faults.rs"]
mod faults;
#[path = "machined/keeps.rs"]
mod keeps;

use std::{process::ExitCode, time::Duration};

use anyhow::{Result, ensure};
use skep_tests::{
    guest::Guest,
    host::{Host, Os},
    trial::{self, Test},
    wait::wait_until,
};

const DEBIAN: &str = "[Container]\nRoot=/var/lib/machines/debian-13\n";

/// What machined does, it has done after this time.
const LIMIT: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let tests: &[(&str, Test)] = &[
        ("registers", registers),
        ("binds", binds),
        ("beside_nspawn", beside::nspawn),
        ("faults", faults::survived),
        ("is_a_supervisor", keeps::supervisor),
        ("keeps_registration", keeps::registration),
        ("hung_machined", keeps::patience),
        ("without_machined", without),
    ];
    trial::main(trial::everywhere(tests))
}

fn started<'a>(host: &'a Host, name: &str, text: &str) -> Result<Guest<'a>> {
    let guest = Guest::declare(host, name, text)?;
    guest.systemctl("start")?;
    registered(host, name)?;
    Ok(guest)
}

/// The registration runs beside the boot.
fn registered(host: &Host, name: &str) -> Result<()> {
    wait_until(LIMIT, "the registration", || {
        let done = host.exec(["machinectl", "show", name])?;
        Ok(done.ok().ok().map(drop))
    })
}

fn known(host: &Host, name: &str, property: &str) -> Result<String> {
    let show = [
        "machinectl",
        "show",
        "--value",
        "--property",
        property,
        name,
    ];
    host.exec(show)?.ok()
}

/// What a machine is said to be, for any init.
fn registers(host: &Host) -> Result<()> {
    for (name, text) in [
        ("mach-deb", DEBIAN),
        ("mach_busy", "[Container]\nRoot=/var/lib/machines/busybox\n"),
    ] {
        let machine = name.replace('_', "-");
        let guest = Guest::declare(host, name, text)?;
        guest.systemctl("start")?;
        registered(host, &machine)?;
        for (property, want) in [
            ("Class", "container"),
            ("Service", "skep"),
            ("Unit", &*guest.unit()),
            (
                "RootDirectory",
                text.trim().rsplit('=').next().unwrap_or_default(),
            ),
        ] {
            let is = known(host, &machine, property)?;
            ensure!(is == want, "{property} is {is:?}, not {want:?}");
        }
        let id = host
            .sh(&format!(
                "cat /proc/{}/root/run/host/container-uuid",
                known(host, &machine, "Leader")?
            ))?
            .ok()?;
        ensure!(
            known(host, &machine, "Id")? == id,
            "not the machine id {id}"
        );
        guest.finish()?;
        let list = host.exec(["machinectl", "list", "--no-legend"])?.ok()?;
        ensure!(
            !list.contains(&machine),
            "still known after its end:\n{list}"
        );
    }
    Ok(())
}

/// What the manual says of `machinectl bind`: it needs shared users, and a systemd that can mount without nspawn's help.
fn binds(host: &Host) -> Result<()> {
    host.sh("mkdir -p /run/mach-bind && echo found >/run/mach-bind/file")?
        .ok()?;
    for (users, works) in [
        ("pick", false),
        ("identity", host.os() != Os::Bookworm),
        ("no", host.os() != Os::Bookworm),
    ] {
        let text = format!(
            "[Container]\nRoot=/var/lib/machines/busybox\nEphemeral=yes\nPrivateUsers={users}\n"
        );
        let guest = started(host, "mach-bind", &text)?;
        let bound = host.sh("machinectl bind --mkdir mach-bind /run/mach-bind /tmp/bound")?;
        let seen = guest.exec(&["cat", "/tmp/bound/file"])?;
        ensure!(
            (bound.status() == 0) == works && (seen.stdout() == "found") == works,
            "PrivateUsers={users}: {bound:?}, {seen:?}"
        );
        guest.finish()?;
    }
    host.exec(["rm", "-r", "/run/mach-bind"])?.ok().map(drop)
}

/// A host without machined boots containers as fast, and says nothing about it.
fn without(host: &Host) -> Result<()> {
    host.sh("systemctl mask --now --runtime systemd-machined.socket systemd-machined.service 2>/dev/null")?.ok()?;
    let judged = silently(host);
    host.sh("systemctl unmask --runtime systemd-machined.socket systemd-machined.service && { systemctl start systemd-machined.socket 2>/dev/null || :; }")?
        .ok()?;
    judged
}

fn silently(host: &Host) -> Result<()> {
    let guest = Guest::declare(
        host,
        "mach-none",
        "[Container]\nRoot=/var/lib/machines/busybox\n",
    )?;
    let took = guest.systemctl("start")?;
    ensure!(took < Duration::from_secs(5), "the start took {took:?}");
    guest.systemctl("stop")?;
    let journal = guest.journal()?;
    ensure!(!journal.contains("machined"), "{journal}");
    guest.finish()
}
