//! Every kind of image boots, and holds what it promises.

use std::time::Duration;

use anyhow::{Result, ensure};
use skep_tests::{
    guest::Guest,
    host::Host,
    wait::{timed, wait_until},
};

use super::{IMAGES, PLACE, loops, no_loops, prints, refused, sh, started, with};

pub(super) fn kinds(host: &Host) -> Result<()> {
    with(host, IMAGES, || {
        for (file, kind, lines) in [
            ("bb.squashfs", "overlay", "Ephemeral=yes\n"),
            ("bb.erofs", "overlay", "Ephemeral=yes\n"),
            ("bb.squashfs", "squashfs", "ReadOnly=yes\n"),
            ("bb.erofs", "erofs", "ReadOnly=yes\n"),
            ("bb.raw", "ext4", ""),
            ("disk.img", "ext4", ""),
            ("bb.raw", "ext4", "PrivateUsers=identity\n"),
            ("bb.raw", "ext4", "PrivateUsers=no\n"),
            ("disk.img", "overlay", "Ephemeral=yes\n"),
        ] {
            one(host, file, kind, lines)
                .map_err(|err| err.context(format!("{file} with {lines:?}")))?;
        }
        for file in ["bb.squashfs", "bb.erofs"] {
            let text = format!("[Container]\nRoot={PLACE}/{file}\n");
            refused(
                host,
                "image-write",
                &text,
                &["cannot be written; set Ephemeral=yes"],
            )?;
        }
        // Told by its name; and the launcher says so.
        host.sh(&format!("cp {PLACE}/bb.squashfs {PLACE}/plain"))?
            .ok()?;
        let text = format!("[Container]\nRoot={PLACE}/plain\nReadOnly=yes\n");
        let guest = Guest::declare(host, "image-name", &text)?;
        let status = host.exec(["systemctl", "start", &guest.unit()])?.status();
        let said = guest.status()?;
        host.exec(["systemctl", "reset-failed", &guest.unit()])?;
        // A host without device control lets it through.
        ensure!(status == 0 || said.contains("*.squashfs"), "{said}");
        guest.finish()?;
        // A block device: attached by the administrator, used as it is.
        let node = host
            .sh(&format!("losetup --find --show {PLACE}/bb.raw"))?
            .ok()?;
        let judged = block(host, &node);
        host.exec(["losetup", "--detach", &node])?.ok()?;
        judged
    })
}

fn block(host: &Host, node: &str) -> Result<()> {
    let guest = started(host, "image-block", &format!("[Container]\nRoot={node}\n"))?;
    prints(
        &guest,
        "awk '$2 == \"/\" {print $1, $3}' /proc/mounts",
        &format!("{node} ext4"),
    )?;
    guest.finish()
}

fn one(host: &Host, file: &str, kind: &str, lines: &str) -> Result<()> {
    let text = format!("[Container]\nRoot={PLACE}/{file}\n{lines}");
    let guest = started(host, "image", &text)?;
    ensure!(loops(host)? == 1);
    prints(&guest, "awk '$2 == \"/\" {print $3}' /proc/mounts", kind)?;
    prints(
        &guest,
        "stat -c %u:%g / /bin/busybox; cat /proc/1/comm",
        "0:0\n0:0\ninit",
    )?;
    if kind == "ext4" {
        prints(
            &guest,
            "awk '$2 == \"/\" {print $4}' /proc/mounts | grep -c panic || :",
            "0",
        )?;
    }
    // Nothing in it is a device, whatever it holds.
    prints(
        &guest,
        "awk '$2 == \"/\" {print $4}' /proc/mounts | grep -c nodev",
        "1",
    )?;
    let stays = kind == "ext4";
    if kind == "overlay" || stays {
        sh(
            &guest,
            "echo kept >/root/kept; chown 7:8 /root/kept; rm /etc/hosts; chown 5:5 /home",
        )?;
        prints(&guest, "stat -c %u:%g /root/kept /home", "7:8\n5:5")?;
        guest.systemctl("restart")?;
        let want = if stays { "kept\n7:8" } else { "gone" };
        prints(
            &guest,
            "[ -e /root/kept ] || { echo gone; exit 0; }; cat /root/kept; stat -c %u:%g /root/kept",
            want,
        )?;
        if stays {
            sh(
                &guest,
                "rm /root/kept; echo 127.0.0.1 localhost >/etc/hosts; chown 0:0 /home",
            )?;
        }
    } else {
        prints(
            &guest,
            "{ echo x >/root/x; } 2>/dev/null || echo refused",
            "refused",
        )?;
    }
    let shown = host.exec(["skep", "show", "image"])?.ok()?;
    ensure!(
        shown.contains("loop-control") && shown.contains("inode-"),
        "{shown}"
    );
    guest.finish()?;
    no_loops(host)
}

pub(super) fn read_only(host: &Host) -> Result<()> {
    with(host, IMAGES, || {
        for file in ["bb.raw", "bb.squashfs", "disk.img"] {
            let before = host.sh(&format!("sha256sum {PLACE}/{file}"))?.ok()?;
            let text = format!("[Container]\nRoot={PLACE}/{file}\nReadOnly=yes\n");
            let guest = started(host, "image-ro", &text)?;
            prints(
                &guest,
                "for path in /x /etc/x /root/x /var/x; do { echo x >$path; } 2>/dev/null && echo $path; done; \
                 mount -o remount,rw / 2>/dev/null && echo remounted; mount -o remount,bind,rw / 2>/dev/null && echo again; \
                 unshare -m sh -c 'mount -o remount,bind,rw / || mount -o remount,rw /' 2>/dev/null && echo unshared; \
                 unshare -U -r -m sh -c 'mount -o remount,bind,rw /' 2>/dev/null && echo nested; \
                 chown 1 /etc 2>/dev/null && echo chowned; echo x >/run/x && echo x >/tmp/x && echo writable",
                "writable",
            )?;
            guest.finish()?;
            let after = host.sh(&format!("sha256sum {PLACE}/{file}"))?.ok()?;
            ensure!(before == after, "{file} has changed");
        }
        unclean(host)?;
        no_loops(host)
    })
}

/// A journal that was never replayed is no reason not to read the rest.
fn unclean(host: &Host) -> Result<()> {
    let writer = started(
        host,
        "image-rw",
        &format!("[Container]\nRoot={PLACE}/bb.raw\n"),
    )?;
    sh(&writer, "echo x >/root/x; sync")?;
    let copied = host.sh(&format!(
        "cd {PLACE}; cp bb.raw dirty.raw; dumpe2fs -h dirty.raw 2>/dev/null | grep -c needs_recovery"
    ))?;
    writer.finish()?;
    ensure!(copied.ok()? == "1");
    let text = format!("[Container]\nRoot={PLACE}/dirty.raw\nReadOnly=yes\n");
    let guest = started(host, "image-dirty", &text)?;
    prints(
        &guest,
        "{ echo x >/root/y; } 2>/dev/null || echo refused",
        "refused",
    )?;
    guest.finish()
}

pub(super) fn debian(host: &Host) -> Result<()> {
    let make = "mksquashfs /var/lib/machines/debian-13 d13.squashfs -quiet -no-progress -comp lz4 >/dev/null";
    with(host, make, || {
        let text = format!("[Container]\nRoot={PLACE}/d13.squashfs\nEphemeral=yes\n");
        let guest = Guest::declare(host, "image-debian", &text)?;
        let time = guest.systemctl("start")?;
        guest.is_running()?;
        let status = host.exec(["skep", "status", "image-debian"])?.ok()?;
        ensure!(status.contains("Debian GNU/Linux 13"), "{status}");
        println!("Debian 13 from squashfs is ready after {time:?}");
        guest.finish()?;
        no_loops(host)
    })
}

const FLEET: usize = 100;

/// A hundred containers of one image: one loop device, one superblock, one cache.
pub(super) fn fleet(host: &Host) -> Result<()> {
    with(host, IMAGES, || {
        let before = host.snapshot()?;
        let text = format!("[Container]\\nRoot={PLACE}/bb.squashfs\\nEphemeral=yes\\n");
        host.sh(&format!(
            "for i in $(seq {FLEET}); do printf '{text}' >/etc/skep/fleet-$i.container; done; skep apply >/dev/null"
        ))?
        .ok()?;
        let judged = whole_fleet(host);
        host.sh("rm -f /etc/skep/fleet-*.container; systemctl stop 'skep@fleet-*'; skep apply >/dev/null")?
            .ok()?;
        judged?;
        no_loops(host)?;
        let mut changes = Vec::new();
        wait_until(Duration::from_secs(10), "the host to be as before", || {
            changes = before.changes(&host.snapshot()?);
            Ok(changes.is_empty().then_some(()))
        })
    })
}

fn whole_fleet(host: &Host) -> Result<()> {
    let names = format!("$(for i in $(seq {FLEET}); do echo skep@fleet-$i; done)");
    let (done, up) = timed(|| host.sh(&format!("systemctl start {names}")));
    done?.ok()?;
    let running = host
        .sh("systemctl list-units --plain --no-legend --state=running 'skep@fleet-*' | wc -l")?
        .ok()?;
    ensure!(running == FLEET.to_string(), "{running} run");
    ensure!(loops(host)? == 1, "{} loop devices", loops(host)?);
    let (done, down) = timed(|| host.sh(&format!("systemctl stop {names}")));
    done?.ok()?;
    let failed = host
        .sh("systemctl list-units --plain --no-legend --failed 'skep@fleet-*' | wc -l")?
        .ok()?;
    ensure!(failed == "0", "{failed} failed");
    println!("{FLEET} containers of one squashfs: up in {up:?}, down in {down:?}");
    Ok(())
}
