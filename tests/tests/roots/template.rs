//! `Template=`: the first start makes the tree, whole or not at all.

use std::time::Duration;

use anyhow::{Result, ensure};
use skep_tests::{guest::Guest, host::Host, wait::wait_until};

use super::{IMAGES, PLACE, prints, refused, sh, started, with};

pub(super) fn once(host: &Host) -> Result<()> {
    with(host, IMAGES, || {
        let tree = format!("[Container]\nRoot={PLACE}/new\nTemplate=/var/lib/machines/busybox\n");
        let guest = Guest::declare(host, "template", &tree)?;
        // Before the first start it can be looked at.
        let shown = host.exec(["skep", "show", "template"])?.ok()?;
        ensure!(
            shown.contains("made from /var/lib/machines/busybox when missing"),
            "{shown}"
        );
        guest.systemctl("start")?;
        sh(&guest, "echo kept >/root/kept; rm /etc/hosts")?;
        guest.systemctl("restart")?;
        prints(
            &guest,
            "cat /root/kept; ls /etc/hosts 2>/dev/null; stat -c %u /bin/busybox",
            "kept\n0",
        )?;
        guest.finish()?;
        let image = format!("[Container]\nRoot={PLACE}/new.raw\nTemplate={PLACE}/bb.raw\n");
        let guest = started(host, "template-image", &image)?;
        sh(&guest, "echo kept >/root/kept")?;
        guest.systemctl("restart")?;
        prints(&guest, "cat /root/kept", "kept")?;
        guest.finish()?;
        ensure!(left(host)?.is_empty());
        // Its copy would be of no one moment.
        let busy = started(host, "template-busy", &tree)?;
        let copy = format!("[Container]\nRoot={PLACE}/other\nTemplate={PLACE}/new\n");
        refused(host, "template", &copy, &["Template=", "/new is in use by"])?;
        busy.finish()?;
        let missing = format!("[Container]\nRoot={PLACE}/other\nTemplate={PLACE}/none\n");
        refused(
            host,
            "template",
            &missing,
            &["open template", "/none", "Template="],
        )?;
        let special = format!("[Container]\nRoot={PLACE}/other\nTemplate=/dev/null\n");
        refused(host, "template", &special, &["no tree to copy"])?;
        host.sh(&format!("[ ! -e {PLACE}/other ]"))?.ok().map(drop)
    })
}

/// Unfinished copies that are left.
fn left(host: &Host) -> Result<String> {
    host.sh(&format!("ls -A {PLACE} | grep skep-part || :"))?
        .ok()
}

pub(super) fn interrupted(host: &Host) -> Result<()> {
    // Large enough to be caught in the middle.
    let make = "mkdir big; cp -a /var/lib/machines/busybox/. big; i=0; while [ $i -lt 6 ]; do head -c 100M /dev/urandom >big/$i; i=$((i + 1)); done; sync -f big";
    with(host, make, || {
        let text = format!("[Container]\nRoot={PLACE}/new\nTemplate={PLACE}/big\n");
        let guest = Guest::declare(host, "template-cut", &text)?;
        let unit = guest.unit();
        let begun = || {
            host.exec(["systemctl", "start", "--no-block", &unit])?
                .ok()?;
            wait_until(Duration::from_secs(10), "the copy to begin", || {
                Ok(host
                    .sh(&format!("[ -e '{PLACE}/.#new.skep-part/0' ]"))?
                    .ok()
                    .ok())
            })
        };
        begun()?;
        let status = host
            .exec(["systemctl", "show", "-P", "StatusText", &unit])?
            .ok()?;
        ensure!(status.starts_with("Copying "), "{status}");
        let time = guest.systemctl("stop")?;
        println!("stopped in the middle of a copy within {time:?}, status was {status:?}");
        ensure!(time < Duration::from_secs(5), "the stop took {time:?}");
        ensure!(left(host)?.is_empty());
        host.sh(&format!("[ ! -e {PLACE}/new ] && ! pgrep -x cp"))?
            .ok()?;
        // Killed it cannot tidy up; the next start does.
        begun()?;
        host.sh(&format!("kill -KILL $(systemctl show -P MainPID {unit})"))?
            .ok()?;
        wait_until(Duration::from_secs(10), "the unit to fail", || {
            Ok(host
                .sh(&format!(
                    "[ $(systemctl show -P ActiveState {unit}) = failed ] && ! pgrep -x cp"
                ))?
                .ok()
                .ok())
        })?;
        host.sh(&format!("[ ! -e {PLACE}/new ]"))?.ok()?;
        host.exec(["systemctl", "reset-failed", &unit])?.ok()?;
        // Longer than the unit may take to start: the copy asks for more time.
        guest.redeclare(&format!("{text}[Service]\nTimeoutStartSec=1\n"))?;
        host.sh(&format!(
            "head -c 700M /dev/zero | tr '\\0' x >{PLACE}/big/more; sync -f {PLACE}"
        ))?
        .ok()?;
        guest.systemctl("start")?;
        ensure!(left(host)?.is_empty());
        prints(
            &guest,
            "ls / | grep -c '^[0-5]$'; stat -c %s /5 /more",
            "6\n104857600\n734003200",
        )?;
        guest.finish()
    })
}
