//! `Overlay=`, `OverlayReadOnly=` and `Volatile=` from inside.

use anyhow::{Result, ensure};
use skep_tests::host::Host;

use super::{PLACE, prints, refused, sh, started, with};

const LAYERS: &str = "mkdir -p low high up two deep/sub 'odd:name'; echo low >low/a; echo low >low/b; echo high >high/b; echo high >high/c; \
     echo two >two/t; echo odd >'odd:name/o'; chown 12:34 low/a; mkdir low/dir; echo x >low/dir/gone; ln -s /etc/hostname low/link";

pub(super) fn overlays(host: &Host) -> Result<()> {
    for users in ["", "PrivateUsers=identity\n", "PrivateUsers=no\n"] {
        with(host, LAYERS, || overlays_of(host, users)).map_err(|err| err.context(users))?;
    }
    Ok(())
}

fn overlays_of(host: &Host, users: &str) -> Result<()> {
    let text = format!(
        "[Container]\nRoot=/var/lib/machines/busybox\nEphemeral=yes\n{users}\
         Overlay={PLACE}/low:{PLACE}/high:{PLACE}/up:/o/disk\nOverlay={PLACE}/low:{PLACE}/high::/o/memory\n\
         OverlayReadOnly={PLACE}/low:{PLACE}/high:/o/ro\nOverlay={PLACE}/low:{PLACE}/two\n\
         OverlayReadOnly={PLACE}/low:{PLACE}/odd\\:name:/o/odd\nBind={PLACE}/two:/o/disk/bound\n"
    );
    let guest = started(host, "overlay", &text)?;
    for place in ["/o/disk", "/o/memory", "/o/ro"] {
        prints(
            &guest,
            &format!("cd {place}; cat a b c; stat -c %u:%g a b"),
            "low\nhigh\nhigh\n12:34\n0:0",
        )?;
    }
    prints(
        &guest,
        &format!("cat /o/odd/o /o/odd/a {PLACE}/two/t {PLACE}/two/a /o/disk/bound/t"),
        "odd\nlow\ntwo\nlow\ntwo",
    )?;
    for place in ["/o/disk", "/o/memory"] {
        prints(
            &guest,
            &format!(
                "cd {place}; echo new >a; rm b; rm -r dir; mkdir dir made; echo n >made/n; chown 5:6 made/n c; cat a; ls dir; stat -c %u:%g a made/n c; \
                 ln made/n hard; mv made/n moved; cat moved; mknod fifo p"
            ),
            "new\n12:34\n5:6\n5:6\nn",
        )?;
    }
    prints(
        &guest,
        "for file in /o/ro/a /o/ro/new /o/odd/x; do { echo x >$file; } 2>/dev/null && echo $file; done; echo end",
        "end",
    )?;
    if users != "PrivateUsers=no\n" {
        prints(
            &guest,
            "mount -o remount,bind,rw /o/ro 2>/dev/null && echo remounted; umount /o/ro 2>/dev/null && echo unmounted; echo end",
            "end",
        )?;
    }
    guest.systemctl("restart")?;
    prints(
        &guest,
        "cat /o/memory/a /o/memory/b; cat /o/disk/a; ls /o/disk/b 2>/dev/null; stat -c %u:%g /o/disk/moved",
        "low\nhigh\nnew\n5:6",
    )?;
    guest.finish()?;
    // What is on disk has the container's own ids, whatever its range; the lower layers are as they were.
    let disk = host
        .sh(&format!("cd {PLACE}; cat low/a low/b high/b up/a; stat -c %u:%g up/a up/moved; ls -A | grep work; ls low/dir"))?
        .ok()?;
    let want = "low\nlow\nhigh\nnew\n12:34\n5:6\n.#two.skep-work\n.#up.skep-work\ngone";
    ensure!(disk == want, "{disk}");
    Ok(())
}

pub(super) fn wrong(host: &Host) -> Result<()> {
    with(host, LAYERS, || {
        let root = "[Container]\nRoot=/var/lib/machines/busybox\nEphemeral=yes\n";
        for (line, words) in [
            (
                "Overlay=DIR/none:DIR/up:/o",
                &["/none", "ENOENT", "create the directory"][..],
            ),
            (
                "Overlay=DIR/low:DIR/none:/o",
                &["/none", "ENOENT", "create the directory"],
            ),
            (
                "Overlay=DIR/low/a:DIR/up:/o",
                &["not a directory", "/low/a"],
            ),
            (
                "Overlay=DIR/low:DIR/up:/etc/hosts",
                &["attach", "/etc/hosts"],
            ),
        ] {
            let text = format!("{root}{}\n", line.replace("DIR", PLACE));
            refused(host, "overlay-wrong", &text, words)?;
        }
        host.sh(&format!("mount -t tmpfs up {PLACE}/up"))?.ok()?;
        let text = format!("{root}Overlay={PLACE}/low:{PLACE}/up:/o\n");
        let judged = refused(host, "overlay-wrong", &text, &["is a mount point"]);
        host.sh(&format!("umount {PLACE}/up"))?.ok()?;
        judged?;
        // An overlay is no layer with private users: said so, with a cure.
        host.sh(&format!(
            "cd {PLACE}; mkdir w m; mount -t overlay o -o lowerdir=low,upperdir=up,workdir=w m"
        ))?
        .ok()?;
        let text = format!("{root}OverlayReadOnly={PLACE}/m:{PLACE}/two:/o\n");
        let judged = refused(
            host,
            "overlay-wrong",
            &text,
            &["idmap", "overlay", "PrivateUsers=identity"],
        );
        host.sh(&format!("umount {PLACE}/m"))?.ok()?;
        judged
    })
}

pub(super) fn volatile(host: &Host) -> Result<()> {
    let tree = "/var/lib/machines/debian-13";
    let facts = format!("ls -la {tree} {tree}/etc {tree}/var | sha256sum");
    let before = host.sh(&facts)?.ok()?;
    let text = |value: &str| format!("[Container]\nRoot={tree}\nVolatile={value}\n");
    let guest = started(host, "volatile", &text("yes"))?;
    let state = guest.exec(&["systemctl", "is-system-running"])?.stdout();
    let failed = guest
        .exec(&[
            "systemctl",
            "list-units",
            "--failed",
            "--plain",
            "--no-legend",
        ])?
        .stdout();
    println!("Debian 13 with Volatile=yes is {state}: {failed}");
    ensure!(
        state == "running" || state == "degraded",
        "{state}\n{failed}"
    );
    prints(
        &guest,
        "findmnt -no FSTYPE /; readlink /bin /lib /sbin; { echo x >/usr/x; } 2>/dev/null || echo refused; \
         umount /usr 2>/dev/null; mount -o remount,bind,rw /usr 2>/dev/null; { echo x >/usr/x; } 2>/dev/null || echo locked; \
         stat -c %u:%g:%a / /usr /etc /var /root; echo x >/etc/mark; cat /etc/machine-id | wc -c",
        "tmpfs\nusr/bin\nusr/lib\nusr/sbin\nrefused\nlocked\n0:0:755\n0:0:755\n0:0:755\n0:0:755\n0:0:700\n33",
    )?;
    guest.systemctl("restart")?;
    prints(&guest, "[ -e /etc/mark ] || echo gone", "gone")?;
    guest.finish()?;
    let guest = started(host, "volatile", &text("state"))?;
    guest.is_running()?;
    prints(
        &guest,
        "findmnt -no FSTYPE /var; { echo x >/etc/x; } 2>/dev/null || echo refused; echo x >/var/mark && echo written; stat -c %a /var",
        "tmpfs\nrefused\nwritten\n755",
    )?;
    guest.finish()?;
    let guest = started(host, "volatile", &text("overlay"))?;
    guest.is_running()?;
    prints(
        &guest,
        "findmnt -no FSTYPE /; echo x >/etc/mark && echo written",
        "overlay\nwritten",
    )?;
    guest.finish()?;
    // Without a merged /usr there is nothing to boot from.
    with(
        host,
        "mkdir -p old/bin old/usr old/sbin; cp /var/lib/machines/busybox/bin/busybox old/bin; ln -s ../bin/busybox old/sbin/init",
        || {
            let text = format!("[Container]\nRoot={PLACE}/old\nVolatile=yes\n");
            refused(
                host,
                "volatile",
                &text,
                &["/bin is not a link into /usr", "merged /usr"],
            )
        },
    )?;
    let after = host.sh(&facts)?.ok()?;
    ensure!(before == after, "the tree has changed");
    let image = "mksquashfs /var/lib/machines/debian-13 d13.squashfs -quiet -no-progress -comp lz4 >/dev/null";
    with(host, image, || {
        let text = format!("[Container]\nRoot={PLACE}/d13.squashfs\nVolatile=yes\n");
        let guest = started(host, "volatile", &text)?;
        sh(&guest, "findmnt -no FSTYPE /usr | grep squashfs")?;
        guest.finish()
    })
}
