//! What is left of rules when everything is killed, and what is said when there can be none.

use std::time::Duration;

use anyhow::{Result, ensure};
use skep_tests::{
    guest::{Guest, started},
    host::Host,
    wait::{PATIENCE, wait_until},
};

use super::around::{Around, expect, serves, serving};

/// All processes of the unit are killed at once, with the rules of another program among ours; then the one that cleans up,
/// too.
pub(super) fn killed(host: &Host) -> Result<()> {
    let around = Around::up(host)?;
    host.sh("nft 'add table ip filter; add chain ip filter FORWARD { type filter hook forward priority 0; policy drop; }'")?
        .ok()?;
    let judged = kill(host, &around);
    host.sh("nft delete table ip filter")?.ok()?;
    judged
}

fn kill(host: &Host, around: &Around<'_>) -> Result<()> {
    let state = "nft list ruleset; sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding; ls /sys/class/net; \
         ip -6 route show table local ::1; ls /run/skep/network 2>/dev/null || :";
    let before = host.sh(state)?.ok()?;
    let text = serving("k", "80", "Network=nat\nLink=veth\nPort=8080:80\n");
    let guest = started(host, "ports-killed", &text)?;
    let unit = guest.unit();
    for cleaner in ["", "cleaner too"] {
        serves(&guest, 80)?;
        expect(
            "the host",
            |targets| around.host(targets),
            &[("tcp:198.51.100.1:8080", "k:80")],
        )?;
        if !cleaner.is_empty() {
            // In the place of the program, so that what runs stays.
            host.sh("mount --bind /bin/false /usr/libexec/skep/launcher")?
                .ok()?;
        }
        host.exec(["systemctl", "kill", "--signal=KILL", &unit])?
            .ok()?;
        wait_until(Duration::from_secs(20), "the unit to fail", || {
            Ok((guest.property("ActiveState")? == "failed").then_some(()))
        })?;
        if !cleaner.is_empty() {
            host.sh("umount /usr/libexec/skep/launcher")?.ok()?;
            let left = host.sh(state)?.ok()?;
            ensure!(
                left.contains("table inet skep"),
                "something else has cleaned:\n{left}"
            );
            host.exec(["/usr/libexec/skep/launcher", "clean"])?.ok()?;
        }
        let mut after = String::new();
        wait_until(PATIENCE, "everything to be gone", || {
            after = host.sh(state)?.ok()?;
            Ok((before == after).then_some(()))
        })
        .map_err(|error| error.context(format!("before\n{before}\nafter\n{after}")))?;
        println!("killed {cleaner}: nothing is left");
        host.exec(["systemctl", "reset-failed", &unit])?.ok()?;
        guest.systemctl("start")?;
    }
    serves(&guest, 80)?;
    guest.finish()
}

/// A host without nft(8), and one where it fails: the container that needs it says so, others do not care.
pub(super) fn without(host: &Host) -> Result<()> {
    let _around = Around::up(host)?;
    let nat = Guest::declare(
        host,
        "ports-without",
        &serving("w", "80", "Network=nat\nPort=8080:80\n"),
    )?;
    let private = Guest::declare(
        host,
        "ports-private",
        &serving("p", "80", "Network=private\n"),
    )?;
    let with = |setup: &str, back: &str, says: &str| -> Result<()> {
        host.sh(setup)?.ok()?;
        let started = (nat.systemctl("start").is_ok(), private.systemctl("start"));
        let status = nat.status()?;
        host.sh(back)?.ok()?;
        // What could not be removed meanwhile is now.
        host.exec(["/usr/libexec/skep/launcher", "clean"])?.ok()?;
        ensure!(!started.0, "it started");
        started.1?;
        ensure!(status.contains(says), "no {says:?} in\n{status}");
        println!("{says}");
        private.systemctl("stop")?;
        host.exec(["systemctl", "reset-failed", &nat.unit()])?
            .ok()
            .map(drop)
    };
    with(
        "mv /usr/sbin/nft /usr/sbin/nft.away",
        "mv /usr/sbin/nft.away /usr/sbin/nft",
        "the program nft is missing; install nftables",
    )?;
    host.write(
        "/run/ports-nft",
        "#!/bin/sh\necho 'Error: Could not process rule: Operation not supported' >&2\nexit 1\n",
    )?;
    with(
        "chmod 755 /run/ports-nft; mount --bind /run/ports-nft /usr/sbin/nft",
        "umount /usr/sbin/nft; rm /run/ports-nft",
        "the packet filter refused: Error: Could not process rule: Operation not supported",
    )?;
    let links = host.sh("ls /sys/class/net")?.ok()?;
    ensure!(
        !links.contains("skep0") && !links.contains("vb-"),
        "{links}"
    );
    private.finish()?;
    nat.systemctl("start")?;
    nat.finish()
}

/// What one container does wrong, or its root, takes no rule from another.
pub(super) fn of_others_stay(host: &Host) -> Result<()> {
    let guest = |network: &str| {
        format!(
            "[Unit]\nStartLimitIntervalSec=0\n[Container]\nRoot=/var/lib/machines/debian-13\nEphemeral=yes\n\
             Init=/usr/bin/sleep\nParameters=infinity\n{network}"
        )
    };
    let tables = || host.sh("nft list tables")?.ok();
    let two = started(host, "po-n", &guest("Network=nat\nLink=nat\n"))?;
    let fence = "table netdev skep-vb-po-n-host1";
    let before = tables()?;
    ensure!(before.contains(fence), "{before}");
    // Its one link has the name of the other's second.
    let same = Guest::declare(host, "po-n-host1", &guest("Network=nat\n"))?;
    ensure!(same.systemctl("start").is_err(), "it started");
    ensure!(tables()? == before, "was\n{before}\nis\n{}", tables()?);
    host.exec(["systemctl", "reset-failed", &same.unit()])?
        .ok()?;
    same.finish()?;

    // The host's end goes with the container's.
    let other = started(host, "po-y", &guest("Network=nat\nPort=8080:80\n"))?;
    two.exec(&["ip", "link", "del", "host1"])?.ok()?;
    host.sh("nft flush ruleset; /usr/libexec/skep/launcher clean --rules")?
        .ok()?;
    let after = tables()?;
    let back = [
        "table inet skep",
        "table netdev skep-vb-po-y",
        "table netdev skep-vb-po-n",
    ];
    ensure!(
        back.iter()
            .all(|table| after.lines().any(|line| line == *table)),
        "not written again:\n{after}"
    );
    ensure!(
        !after.contains(fence),
        "rules for a link that is gone:\n{after}"
    );
    // The host as it was without both is what the other one knows.
    drop(other);
    two.finish()
}
