//! What an image goes through: the launcher dies, the guest reboots, others want it, too.

use std::time::Duration;

use anyhow::{Result, ensure};
use skep_tests::{guest::Guest, host::Host, wait::wait_until};

use super::{IMAGES, LOOPS, PLACE, loops, no_loops, prints, refused, sh, started, with};

pub(super) fn killed(host: &Host) -> Result<()> {
    with(host, IMAGES, || {
        for lines in ["Root=DIR/bb.raw\n", "Root=DIR/bb.squashfs\nEphemeral=yes\n"] {
            let text = format!("[Container]\n{}", lines.replace("DIR", PLACE));
            let guest = Guest::declare(host, "image-killed", &text)?;
            let script = format!(
                "{LOOPS}; unit={}; for ms in 0 5 10 15 20 25 30 40 60 100 300; do
                   systemctl start --no-block $unit; sleep $(printf '0.%03d' $ms)
                   pid=$(systemctl show -P MainPID $unit); [ $pid = 0 ] || kill -KILL $pid || :
                   for turn in $(seq 100); do
                     case $(systemctl show -P ActiveState $unit) in inactive | failed) break ;; esac; sleep 0.05
                   done
                   for turn in $(seq 100); do
                     [ -n \"$(loops)\" ] || break; sleep 0.05
                   done
                   [ -z \"$(loops)\" ] || {{ echo \"left after $ms ms\"; exit 1; }}
                   systemctl reset-failed $unit 2>/dev/null
                   systemctl start $unit || {{ echo \"no start after $ms ms\"; exit 1; }}
                   systemctl stop $unit || exit 1
                 done; exit 0",
                guest.unit()
            );
            host.sh(&script)?.ok()?;
            guest.finish()?;
            no_loops(host)?;
        }
        Ok(())
    })
}

pub(super) fn rebooted(host: &Host) -> Result<()> {
    with(host, IMAGES, || {
        for file in ["bb.raw", "disk.img"] {
            let guest = started(
                host,
                "image-reboot",
                &format!("[Container]\nRoot={PLACE}/{file}\n"),
            )?;
            for turn in 1..=5 {
                let before = leader(host)?;
                sh(&guest, &format!("echo {turn} >/root/turn"))?;
                guest.exec(&["reboot"])?;
                wait_until(Duration::from_secs(20), "the reboot", || {
                    let now = leader(host)?;
                    Ok((!now.is_empty() && now != before).then_some(()))
                })?;
                wait_until(Duration::from_secs(10), "the container to answer", || {
                    let done = guest.exec(&["cat", "/root/turn"])?;
                    Ok((done.status() == 0 && done.stdout() == turn.to_string()).then_some(()))
                })?;
                ensure!(loops(host)? == 1, "{} loop devices", loops(host)?);
            }
            guest.finish()?;
            no_loops(host)?;
            let check = if file == "bb.raw" {
                "e2fsck -fn bb.raw"
            } else {
                "true"
            };
            host.sh(&format!("cd {PLACE}; {check}"))?.ok()?;
        }
        Ok(())
    })
}

fn leader(host: &Host) -> Result<String> {
    let state = "sed -n 's/.*\"leader\": *\\([0-9]*\\).*/\\1/p' /run/skep/machine/image-reboot/state.json 2>/dev/null || :";
    host.sh(state)?.ok()
}

pub(super) fn locked(host: &Host) -> Result<()> {
    with(host, IMAGES, || {
        let write = format!("[Container]\nRoot={PLACE}/bb.raw\n");
        let first = started(host, "image-first", &write)?;
        refused(
            host,
            "image-second",
            &write,
            &["is in use by another container"],
        )?;
        let read = format!("{write}Ephemeral=yes\n");
        refused(
            host,
            "image-second",
            &read,
            &["is in use by another container"],
        )?;
        ensure!(loops(host)? == 1);
        // The files in which systemd-nspawn and machinectl look.
        host.sh(&format!(
            "cd {PLACE}; for lock in .#bb.raw.lck /run/systemd/nspawn/locks/inode-$(stat -c %d:%i bb.raw); do \
             [ -e $lock ] && ! flock --nonblock --exclusive $lock true || exit 1; done"
        ))?
        .ok()?;
        // Looking at it takes no lock and changes nothing.
        let shown = host.exec(["skep", "show", "image-first"])?.ok()?;
        ensure!(
            shown.contains(&format!(".#bb.raw.lck (Root={PLACE}/bb.raw)")),
            "{shown}"
        );
        sh(&first, "echo x >/root/x")?;
        first.finish()?;
        let one = started(host, "image-one", &read)?;
        let two = Guest::declare(host, "image-two", &format!("{write}ReadOnly=yes\n"))?;
        two.systemctl("start")?;
        ensure!(loops(host)? == 1, "readers share one device");
        refused(
            host,
            "image-second",
            &write,
            &["is in use by another container"],
        )?;
        prints(&one, "cat /root/x", "x")?;
        host.exec(["systemctl", "stop", &one.unit()])?.ok()?;
        prints(&two, "cat /root/x", "x")?;
        // Stopped and withdrawn first: the host as it was without both is what the other one knows.
        drop(two);
        one.finish()?;
        no_loops(host)?;
        // Attached by somebody else: not mounted a second time.
        let node = host
            .sh(&format!("losetup --find --show {PLACE}/bb.raw"))?
            .ok()?;
        let judged = refused(host, "image-second", &write, &["image in use", "losetup"]);
        host.exec(["losetup", "--detach", &node])?.ok()?;
        judged
    })
}

/// A look at an image that was not unmounted cleanly writes nothing to it, on a device that would take it.
pub(super) fn looked(host: &Host) -> Result<()> {
    // Copied while it is mounted and has just been written to: with a journal that is to be replayed.
    let make = format!(
        "{IMAGES}
         mkdir mnt; mount -o loop bb.raw mnt; echo journalled >mnt/root/late; sync -f mnt
         cp bb.raw dirty.raw; umount mnt; rmdir mnt
         dumpe2fs -h dirty.raw 2>/dev/null | grep -q needs_recovery"
    );
    with(host, &make, || {
        let node = host
            .sh(&format!("losetup --find --show {PLACE}/dirty.raw"))?
            .ok()?;
        let judged = look_at(host, &node);
        host.exec(["losetup", "--detach", &node])?.ok()?;
        judged
    })
}

fn look_at(host: &Host, node: &str) -> Result<()> {
    let sum = format!("sync; sha256sum <{PLACE}/dirty.raw");
    let before = host.sh(&sum)?.ok()?;
    let text = format!("[Container]\nRoot={node}\n");
    let guest = Guest::declare(host, "image-look", &text)?;
    let shown = host.exec(["skep", "show", "image-look"])?.ok()?;
    ensure!(shown.contains("busybox"), "{shown}");
    ensure!(host.sh(&sum)?.ok()? == before, "the look has written");
    guest.systemctl("start")?;
    prints(&guest, "cat /root/late", "journalled")?;
    // Shares the mounted file system.
    host.exec(["skep", "show", "image-look"])?.ok()?;
    sh(&guest, "echo more >/root/more")?;
    guest.finish()?;
    ensure!(host.sh(&sum)?.ok()? != before, "nothing was replayed");
    Ok(())
}
