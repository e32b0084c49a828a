//! Keys that override what is known of an init.

use std::time::Duration;

use anyhow::{Result, ensure};
use skep_tests::{
    guest::{Guest, prints, started},
    host::Host,
};

use super::leader;

/// Longest stop of a guest that is up.
const LIMIT: Duration = Duration::from_secs(15);

fn declared(tree: &str, more: &str) -> String {
    format!("[Container]\nRoot=/var/lib/machines/{tree}\nEphemeral=yes\n{more}")
}

/// Stops it and says what it was asked for by what it did.
fn stops(guest: &Guest<'_>, did: &str) -> Result<()> {
    let took = guest.systemctl("stop")?;
    let journal = guest.journal()?;
    let state = (guest.property("ActiveState")?, guest.property("Result")?);
    ensure!(
        took < LIMIT && state == ("inactive".into(), "success".into()) && journal.contains(did),
        "{took:?}, {state:?}, no {did:?}\n{journal}"
    );
    Ok(())
}

pub(super) fn count(host: &Host) -> Result<()> {
    systemd(host)?;
    busybox(host)?;
    openrc(host)
}

/// It is active before its default target, is another manager's, and powers off instead of halting.
fn systemd(host: &Host) -> Result<()> {
    let more = "NotifyReady=no\nContainerManager=podman\nKillSignal=SIGRTMIN+4\n";
    let guest = started(host, "over-systemd", &declared("debian-13", more))?;
    let target = guest.exec(&["systemctl", "is-active", "default.target"])?;
    ensure!(target.stdout().trim() != "active", "{target:?}");
    guest
        .exec(&["systemctl", "is-system-running", "--wait"])?
        .stdout();
    prints(&guest, "systemd-detect-virt", "podman")?;
    stops(&guest, "Power Off")?;
    guest.finish()
}

/// It is asked by the signal that it powers off on to reboot, which it is all the same, and by the other one to stop.
fn busybox(host: &Host) -> Result<()> {
    let more = "RebootSignal=SIGUSR2\nKillSignal=SIGTERM\n";
    let guest = started(host, "over-busybox", &declared("busybox", more))?;
    let old = leader(&guest)?;
    host.exec(["skep", "reboot", "over-busybox"])?.ok()?;
    ensure!(leader(&guest)? != old, "{}", guest.status()?);
    let journal = guest.journal()?;
    ensure!(journal.contains("Requesting system poweroff"), "{journal}");
    stops(&guest, "Requesting system reboot")?;
    guest.finish()
}

/// Its services see the manager that is declared.
fn openrc(host: &Host) -> Result<()> {
    let more = "ContainerManager=docker\n";
    let guest = started(host, "over-openrc", &declared("openrc", more))?;
    prints(
        &guest,
        "tr '\\0' '\\n' </proc/1/environ | grep ^container=; cat /run/host/container-manager",
        "container=docker\ndocker",
    )?;
    guest.finish()
}
