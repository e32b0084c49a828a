//! System V init, OpenRC and BusyBox.

use std::time::Duration;

use anyhow::{Result, ensure};
use skep_tests::{guest::Guest, host::Host, wait::wait_until};

use super::{masks, prints, sh, started, state, unchanged, with_copy};

const FSTAB: &str = "UUID=1 / ext4 errors=remount-ro 0 1\nLABEL=data /data ext4 defaults 0 2\n/swapfile none swap sw 0 0\n\
    proc /proc proc defaults 0 0\ntmpfs /srv/scratch tmpfs size=1M 0 0\n";
const INTERFACES: &str = "auto lo\niface lo inet loopback\nauto eth0\niface eth0 inet dhcp\n";

/// A service of an administrator that needs the network and the clock.
const MINE: &str = "#!/bin/sh\n### BEGIN INIT INFO\n# Provides: mine\n# Required-Start: $network $remote_fs networking hwclock\n# Required-Stop:\n\
    # Default-Start: 2 3 4 5\n# Default-Stop:\n### END INIT INFO\n[ \"$1\" != start ] || echo ran >/run/mine\nexit 0\n";

const LAST: Duration = Duration::from_secs(60);

/// OpenRC takes two seconds of processor time to stop, which a busy machine stretches.
const STOP: Duration = Duration::from_secs(20);

/// Boots with both networks; no service fails, no login waits on a terminal that is not there.
pub(super) fn boots(host: &Host, kind: &str) -> Result<()> {
    let name = format!("rc-{kind}");
    with_copy(host, kind, &name, || {
        let tree = format!("/var/lib/machines/{name}");
        host.write(&format!("{tree}/etc/fstab"), FSTAB)?;
        host.write(&format!("{tree}/etc/network/interfaces"), INTERFACES)?;
        host.write(&format!("{tree}/etc/init.d/mine"), MINE)?;
        let enable = if kind == "openrc" {
            "ln -s /etc/init.d/mine etc/runlevels/default/mine"
        } else {
            "chroot . update-rc.d mine defaults >/dev/null"
        };
        host.sh(&format!(
            "cd {tree} && mkdir -p srv/scratch data && chmod 755 etc/init.d/mine && {enable}"
        ))?
        .ok()?;
        let before = state(host, &name)?;
        for network in ["private", "host"] {
            let guest = started(host, &name, &format!("[Container]\nNetwork={network}\n"))?;
            booted(&guest, kind)?;
            let plan = masks(host, &name)?.join("\n");
            for part in [
                "networking: ",
                "hwclock.sh: the clock",
                "login on tty1",
                "/etc/fstab: LABEL=data on /data: the disks",
            ] {
                ensure!(plan.contains(part), "{part} is not in\n{plan}");
            }
            let stop = guest.systemctl("stop")?;
            println!("{kind}, {network}: stopped in {stop:?}");
            ensure!(stop < STOP, "stopped after {stop:?}");
            let journal = guest.journal()?;
            let failed = journal.lines().filter(|line| {
                line.contains("failed!") || line.contains("ERROR") || line.contains("crashed")
            });
            let failed: Vec<_> = failed.collect();
            ensure!(failed.is_empty(), "{failed:#?}\n{journal}");
            guest.finish()?;
        }
        unchanged(host, &name, &before)
    })
}

fn booted(guest: &Guest<'_>, kind: &str) -> Result<()> {
    wait_until(LAST, "a login on the console", || {
        let ran = guest.exec(&["/bin/sh", "-c", "ps -eo args | grep -q '[g]etty.*console'"])?;
        Ok((ran.status() == 0).then_some(()))
    })?;
    prints(
        guest,
        "cat /run/mine; grep -c ' /srv/scratch tmpfs' /proc/mounts; grep -c ' /data ' /proc/mounts; ps -eo comm | grep -c -x cron; \
         ps -eo args | grep '[g]etty' | grep -c 'tty[0-9]'; true",
        "ran\n1\n0\n1\n0",
    )?;
    let (container, init) = if kind == "openrc" {
        ("lxc", "openrc")
    } else {
        ("skep", "sysvinit")
    };
    prints(
        guest,
        "tr '\\000' '\\n' </proc/1/environ | grep '^container='",
        &format!("container={container}"),
    )?;
    let status = guest.status()?;
    ensure!(status.contains(init), "{status}");
    if kind == "openrc" {
        let services = sh(guest, "rc-status sysinit; rc-status default")?;
        println!("{services}");
        ensure!(
            !services.contains("stopped") && !services.contains("crashed"),
            "{services}"
        );
        prints(
            guest,
            "rc-service networking status >/dev/null; echo $?",
            "0",
        )?;
    }
    Ok(())
}

/// OpenRC's own first process is found by its name and ends by the same signal.
pub(super) fn openrc_init(host: &Host) -> Result<()> {
    with_copy(host, "openrc", "rc-init", || {
        let guest = started(
            host,
            "rc-init",
            "[Container]\nEphemeral=yes\nInit=/sbin/openrc-init\n",
        )?;
        wait_until(LAST, "cron", || {
            let ran = guest.exec(&["/bin/sh", "-c", "ps -eo comm | grep -q -x cron"])?;
            Ok((ran.status() == 0).then_some(()))
        })?;
        ensure!(guest.status()?.contains("openrc"));
        let stop = guest.systemctl("stop")?;
        // It waits three seconds for processes, whether there are any or not.
        println!("stopped in {stop:?}");
        ensure!(stop < STOP, "stopped after {stop:?}");
        guest.finish()
    })
}

/// BusyBox gets neither logins on missing terminals nor mounts that cannot work.
pub(super) fn busybox(host: &Host) -> Result<()> {
    with_copy(host, "busybox", "bb", || {
        host.write("/var/lib/machines/bb/etc/fstab", FSTAB)?;
        host.sh("cd /var/lib/machines/bb && mkdir -p srv/scratch && \
                 printf 'tty1::respawn:/sbin/getty 38400 tty1\\n::once:/bin/mount -a\\n' >>etc/inittab")?
            .ok()?;
        let before = state(host, "bb")?;
        let guest = started(host, "bb", "[Container]\n")?;
        wait_until(LAST, "the mount", || {
            let there = guest.exec(&[
                "/bin/sh",
                "-c",
                "grep -q ' /srv/scratch tmpfs' /proc/mounts",
            ])?;
            Ok((there.status() == 0).then_some(()))
        })?;
        prints(
            &guest,
            "grep -c ' /data ' /proc/mounts; ps | grep -c '[g]etty.*tty1'; true",
            "0\n0",
        )?;
        guest.finish()?;
        unchanged(host, "bb", &before)
    })
}
