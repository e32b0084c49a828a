//! systemd.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use skep_tests::{guest::Guest, host::Host};

use super::{masks, prints, sh, started, state, unchanged, with_copy};

/// A table as an installer writes it, and lines that nobody can mount in a container.
const FSTAB: &str = "# /etc/fstab: static file system information.\n\
    UUID=0a3407de-014b-458b-b5c1-848e92a327a3 / ext4 errors=remount-ro 0 1\n\
    UUID=1234-ABCD /boot/efi vfat umask=0077 0 1\n\
    LABEL=data /data ext4 defaults 0 2\n\
    PARTUUID=0a3407de-01 /srv/part ext4 defaults 0 2\n\
    /dev/sda5 /home ext4 defaults 0 2\n\
    /srv/disk.img /srv/image ext4 loop 0 0\n\
    debugfs /sys/kernel/debug debugfs defaults 0 0\n\
    tmpfs /dev/extra tmpfs size=1M 0 0\n\
    UUID=f9fe0b69-a280-415d-a03a-a32752370dee none swap sw 0 0\n\
    /swapfile none swap sw 0 0\n\
    tmpfs /srv/scratch tmpfs size=1M 0 0\n";

/// Links that a machine has and a container does not.
const INTERFACES: &str = "auto lo\niface lo inet loopback\nauto eth0\niface eth0 inet dhcp\n";

/// Units of an administrator: one that needs the network, and a mount and a swap unit.
const WEB: &str = "[Unit]\nRequires=network-online.target networking.service\nAfter=network-online.target networking.service\n\
    [Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n";
const BACKUP: &str =
    "[Mount]\nWhat=/dev/disk/by-label/backup\nWhere=/backup\n[Install]\nWantedBy=local-fs.target\n";
const SWAP: &str = "[Swap]\nWhat=/dev/sdz9\n[Install]\nWantedBy=swap.target\n";

/// An untouched system of a machine boots without a failed unit.
pub(super) fn boots(host: &Host, network: &str) -> Result<()> {
    let name = format!("metal-{network}");
    with_copy(host, "metal", &name, || {
        let tree = format!("/var/lib/machines/{name}");
        furnish(host, &tree)?;
        let before = state(host, &name)?;
        let text = format!("[Container]\nNetwork={network}\n");
        let guest = Guest::declare(host, &name, &text)?;
        let time = guest.systemctl("start")?;
        println!("{network}: started in {time:?}");
        ensure!(time < Duration::from_secs(30), "something waits: {time:?}");
        guest.is_running()?;
        inside(host, &guest, network)?;
        let plan = masks(host, &name)?;
        println!("{}", plan.join("\n"));
        for unit in [
            "hwclock.service: the clock",
            "backup.mount: the disks",
            "dev-sdz9.swap: swap",
            "networking.service: ",
        ] {
            ensure!(
                plan.iter().any(|line| line.contains(unit)),
                "{unit} is not in\n{}",
                plan.join("\n")
            );
        }
        let stop = guest.systemctl("stop")?;
        ensure!(stop < Duration::from_secs(5), "stopped after {stop:?}");
        unchanged(host, &name, &before)?;
        guest.finish()
    })
}

/// Gives the tree what an installer and an administrator leave on a machine.
fn furnish(host: &Host, tree: &str) -> Result<()> {
    host.write(&format!("{tree}/etc/fstab"), FSTAB)?;
    host.write(&format!("{tree}/etc/network/interfaces"), INTERFACES)?;
    let units = format!("{tree}/etc/systemd/system");
    host.write(&format!("{units}/web.service"), WEB)?;
    host.write(&format!("{units}/backup.mount"), BACKUP)?;
    host.write(&format!("{units}/dev-sdz9.swap"), SWAP)?;
    host.sh(&format!(
        "cd {units} && mkdir -p local-fs.target.wants swap.target.wants && \
         ln -s ../web.service multi-user.target.wants/web.service && \
         ln -s ../backup.mount local-fs.target.wants/backup.mount && \
         ln -s ../dev-sdz9.swap swap.target.wants/dev-sdz9.swap && \
         ln -s /usr/lib/systemd/system/serial-getty@.service getty.target.wants/serial-getty@ttyS0.service"
    ))?
    .ok()
    .map(drop)
}

/// The same as a disk: a partition table with an ext4 root.
pub(super) fn image(host: &Host) -> Result<()> {
    with_copy(host, "metal", "metal-disk", || {
        let tree = "/var/lib/machines/metal-disk";
        furnish(host, tree)?;
        let made = host.sh(&format!(
            "set -e; cd /var/lib/machines; truncate -s 1500M metal.raw metal.part; truncate -s -4M metal.part; \
             mke2fs -q -t ext4 -d {tree} metal.part; \
             printf 'label: gpt\\nstart=2048, size=+1496M, type=linux-root-x86-64\\n' | sfdisk -q metal.raw; \
             dd if=metal.part of=metal.raw bs=1M seek=1 conv=notrunc,sparse status=none; rm metal.part"
        ))?;
        let judged = made.ok().and_then(|_| {
            for network in ["private", "host"] {
                let root = "/var/lib/machines/metal.raw";
                let text = format!("[Container]\nRoot={root}\nNetwork={network}\n");
                let guest = started(host, "metal-disk", &text)?;
                guest.is_running()?;
                prints(
                    &guest,
                    "systemctl is-active web.service network-online.target; stat -f -c %T /",
                    "active\nactive\next2/ext3",
                )?;
                guest.finish()?;
            }
            Ok(())
        });
        host.sh("rm -f /var/lib/machines/metal.raw /var/lib/machines/metal.part /var/lib/machines/.#metal.raw.lck")?.ok()?;
        judged
    })
}

fn inside(host: &Host, guest: &Guest<'_>, network: &str) -> Result<()> {
    // What waited for the network runs; what can be mounted is; what was added by an administrator is honoured.
    prints(
        guest,
        "systemctl is-active web.service network-online.target cron.service; grep -c ' /srv/scratch tmpfs' /proc/mounts",
        "active\nactive\nactive\n1",
    )?;
    // Nobody waits on a terminal that is not there, and one waits on the console.
    prints(
        guest,
        "ps -eo args | grep -E '[g]etty' | grep -c -E 'tty[0-9S]'; systemctl is-active console-getty.service; \
         swapon --show --noheadings; systemctl list-jobs --no-legend | grep -v '^No jobs'; cat /proc/swaps | wc -l",
        "0\nactive\n1",
    )
    .or_else(|error| {
        // A host with swap shows its own lines in /proc/swaps.
        let own = host.sh("wc -l </proc/swaps")?.ok()?;
        ensure!(own.trim() != "1", "{error:#}");
        Ok::<(), anyhow::Error>(())
    })?;
    // Masked for this boot only, by files that the container's root may remove.
    let manager = if network == "host" {
        "masked-runtime"
    } else {
        "enabled"
    };
    prints(
        guest,
        "systemctl is-enabled NetworkManager.service; systemctl is-enabled hwclock.service console-setup.service; \
         touch /etc/systemd/system/mine.service /etc/fstab.new && rm /etc/systemd/system/mine.service /etc/fstab.new && echo writable",
        &format!("{manager}\nmasked-runtime\nmasked-runtime\nwritable"),
    )?;
    sh(
        guest,
        "touch -d @0 /run && ps -eo comm | grep -c NetworkManager || true",
    )
    .and_then(|count| {
        let want = if network == "host" { "0" } else { "1" };
        ensure!(
            count == want,
            "{count} NetworkManager with Network={network}"
        );
        Ok(())
    })
}

/// Old and new systemd leave out of the table what cannot be mounted, together with our masks.
pub(super) fn fstab(host: &Host, tree: &str) -> Result<()> {
    let name = format!("fstab-{tree}");
    with_copy(host, tree, &name, || {
        let path = format!("/var/lib/machines/{name}/etc/fstab");
        host.write(&path, FSTAB)?;
        for network in ["private", "host"] {
            let text = format!("[Container]\nEphemeral=yes\nNetwork={network}\n");
            let guest = started(host, &name, &text)?;
            guest.is_running()?;
            prints(
                &guest,
                "grep -c ' /srv/scratch tmpfs' /proc/mounts; systemctl list-units --failed --no-legend",
                "1",
            )?;
            guest.finish()?;
        }
        Ok(())
    })
}

/// Services that wait for links end at once where there are none.
pub(super) fn online(host: &Host) -> Result<()> {
    with_copy(host, "debian-12", "online", || {
        host.sh(
            "cd /var/lib/machines/online/etc/systemd/system && mkdir -p network-online.target.wants multi-user.target.wants && \
             ln -s /lib/systemd/system/systemd-networkd.service multi-user.target.wants/ && ln -s ../web.service multi-user.target.wants/ && \
             ln -s /lib/systemd/system/systemd-networkd-wait-online.service network-online.target.wants/",
        )?
        .ok()?;
        host.write(
            "/var/lib/machines/online/etc/systemd/system/web.service",
            WEB.replace(" networking.service", ""),
        )?;
        for (network, manager) in [("private", "active"), ("host", "inactive")] {
            let guest = Guest::declare(
                host,
                "online",
                &format!("[Container]\nEphemeral=yes\nNetwork={network}\n"),
            )?;
            let time = guest.systemctl("start")?;
            println!("{network}: {time:?}");
            ensure!(time < Duration::from_secs(30), "{network}: {time:?}");
            guest.is_running()?;
            let active = "systemctl is-active web.service network-online.target systemd-networkd.service || true";
            prints(&guest, active, &format!("active\nactive\n{manager}"))?;
            guest.finish()?;
        }
        Ok(())
    })
}

/// The declaration has the last word, and what is not known runs.
pub(super) fn declared(host: &Host) -> Result<()> {
    with_copy(host, "metal", "declared", || {
        let own =
            "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n";
        for unit in ["mine", "smartd"] {
            host.write(
                &format!("/var/lib/machines/declared/etc/systemd/system/{unit}.service"),
                own,
            )?;
            host.sh(&format!("ln -s ../{unit}.service /var/lib/machines/declared/etc/systemd/system/multi-user.target.wants/"))?.ok()?;
        }
        let active = "systemctl is-active mine smartd cron apt-daily.timer || true";
        let text = "[Container]\nEphemeral=yes\n";
        for (lines, want) in [
            ("", "active\ninactive\nactive\nactive"),
            (
                "Unmask=smartd\nMask=cron apt-daily.timer none.service\n",
                "active\nactive\ninactive\ninactive",
            ),
            ("Adapt=no\n", "active\nactive\nactive\nactive"),
            (
                "Adapt=no\nMask=mine.service\n",
                "inactive\nactive\nactive\nactive",
            ),
        ] {
            let guest = started(host, "declared", &format!("{text}{lines}"))?;
            guest.is_running().with_context(|| lines.to_owned())?;
            prints(&guest, active, want)?;
            if lines.starts_with("Unmask") {
                let plan = masks(host, "declared")?.join("\n");
                ensure!(
                    !plan.contains("smartd") && plan.contains("mask none.service: Mask= names it"),
                    "{plan}"
                );
                // A mask is the container's own to take back.
                sh(
                    &guest,
                    "rm /run/systemd/system.control/cron.service && systemctl daemon-reload && systemctl start cron",
                )?;
            }
            guest.finish()?;
        }
        Ok(())
    })
}
