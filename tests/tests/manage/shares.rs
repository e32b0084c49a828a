//! Binds whose source is missing, and targets that a guest would empty.

use anyhow::{Result, ensure};
use skep_tests::{guest::Guest, host::Host};

use super::{WORK, sh};

const BUSYBOX: &str = "[Container]\nRoot=/var/lib/machines/busybox\nEphemeral=yes\n";

/// `create` makes what is missing, on the host and for the guest's root; `-` leaves it out; without either it is an error.
pub(super) fn made(host: &Host) -> Result<()> {
    let lines = format!(
        "Bind={WORK}/new/deep:/srv/new:create\nBindReadOnly={WORK}/read:/srv/read:create\nBind=-{WORK}/none:/srv/none\n"
    );
    let guest = Guest::declare(host, "manage-made", &format!("{BUSYBOX}{lines}"))?;
    guest.systemctl("start")?;
    let said = guest
        .exec(&["sh", "-c", "stat -c '%u:%g %a' /srv/new /srv/read; echo x >/srv/new/file; { echo x >/srv/read/file; } 2>/dev/null; ls /srv"])?
        .ok()?;
    ensure!(said == "0:0 755\n0:0 755\nnew\nread", "{said}");
    guest.finish()?;
    let left = sh(
        host,
        &format!(
            "cd {WORK}; stat -c '%n %u:%g %a' new new/deep read; cat new/deep/file; ls -A read"
        ),
    )?;
    ensure!(
        left == "new 0:0 755\nnew/deep 0:0 755\nread 0:0 755\nx",
        "{left}"
    );
    // What is there is taken as it is.
    sh(
        host,
        &format!("chmod 711 {WORK}/read; chown 5:5 {WORK}/read"),
    )?;
    let guest = Guest::declare(host, "manage-made", &format!("{BUSYBOX}{lines}"))?;
    guest.systemctl("start")?;
    guest.finish()?;
    let left = sh(host, &format!("stat -c '%u:%g %a' {WORK}/read"))?;
    ensure!(left == "5:5 711", "{left}");
    // A source that cannot be made, and one that is missing.
    for (line, words) in [
        (
            format!("Bind={WORK}/read/../link/x:/srv:create"),
            "not normalized|link/x",
        ),
        (format!("Bind={WORK}/file/x:/srv:create"), "ENOTDIR"),
        (format!("Bind={WORK}/gone:/srv"), ":create"),
    ] {
        sh(host, &format!("touch {WORK}/file"))?;
        refused(host, &line, words)?;
    }
    Ok(())
}

/// Fails unless a start with this line fails, with one of the words in its status.
fn refused(host: &Host, line: &str, words: &str) -> Result<()> {
    host.write(
        "/etc/skep/manage-no.container",
        format!("{BUSYBOX}{line}\n"),
    )?;
    host.exec(["skep", "apply"])?;
    let started = host
        .exec(["systemctl", "start", "skep@manage-no"])?
        .status();
    let status = host
        .exec([
            "systemctl",
            "status",
            "--no-pager",
            "--full",
            "--lines=20",
            "skep@manage-no",
        ])?
        .stdout();
    sh(
        host,
        "systemctl reset-failed skep@manage-no; rm /etc/skep/manage-no.container; skep apply",
    )?;
    ensure!(
        started == 1 && words.split('|').any(|word| status.contains(word)),
        "{line}: {started}, no {words} in\n{status}"
    );
    Ok(())
}

/// A mistyped option never waits for the start.
pub(super) fn options(host: &Host) -> Result<()> {
    for (line, words) in [
        ("Bind=/srv:/a:noexec", "unknown option \"noexec\""),
        (
            "BindReadOnly=/srv:/a:idmap,noidmap",
            "contradicts an option before it",
        ),
        ("Bind=-/srv:/a:create", "create contradicts"),
        ("TemporaryFileSystem=/a:uid=0", "unknown option"),
    ] {
        host.write(
            "/etc/skep/manage-no.container",
            format!("{BUSYBOX}{line}\n"),
        )?;
        let checked = host.exec(["skep", "check", "/etc/skep/manage-no.container"])?;
        let said = checked.stdout();
        ensure!(
            checked.status() == 1
                && said.contains("manage-no.container:4: ")
                && said.contains(words),
            "{line}: {said}"
        );
    }
    sh(host, "rm /etc/skep/manage-no.container; skep apply").map(drop)
}

/// Read-only means all mounts below, and the container's root cannot change it.
pub(super) fn read_only(host: &Host) -> Result<()> {
    sh(
        host,
        &format!(
            "mkdir -p {WORK}/ro/below && touch {WORK}/ro/file {WORK}/single && mount -t tmpfs x {WORK}/ro/below && touch {WORK}/ro/below/file"
        ),
    )?;
    let lines = format!(
        "BindReadOnly={WORK}/ro:/srv/ro\nBindReadOnly={WORK}/single:/srv/made/single\nBind={WORK}/single:/srv/w\n"
    );
    let guest = Guest::declare(host, "manage-ro", &format!("{BUSYBOX}{lines}"))?;
    guest.systemctl("start")?;
    let said = guest
        .exec(&[
            "sh",
            "-c",
            "for place in /srv/ro /srv/ro/below /srv/made/single; do \
               for options in remount,rw remount,bind,rw; do mount -o $options $place 2>/dev/null && echo $place $options; done; \
               umount $place 2>/dev/null && echo umount $place; \
             done; \
             for file in /srv/ro/file /srv/ro/below/file /srv/made/single; do { echo x >>$file; } 2>/dev/null && echo wrote $file; done; \
             echo x >/srv/w && echo end",
        ])?
        .ok()?;
    ensure!(said == "end", "{said}");
    guest.finish()?;
    let left = sh(
        host,
        &format!("cat {WORK}/single {WORK}/ro/file {WORK}/ro/below/file; umount {WORK}/ro/below"),
    )?;
    ensure!(left == "x", "{left}");
    Ok(())
}

/// Targets that an init empties: named ones when the declaration is read, links to them at the start. Nothing is deleted.
pub(super) fn wiped(host: &Host) -> Result<()> {
    sh(
        host,
        &format!("mkdir -p {WORK}/data {WORK}/upper && echo kept >{WORK}/data/file"),
    )?;
    for target in ["/tmp", "/run", "/var/run", "/run/lock", "/var/lock"] {
        refused(
            host,
            &format!("Bind={WORK}/data:{target}"),
            "bind to a directory below it",
        )?;
    }
    sh(
        host,
        &format!(
            "cp -a /var/lib/machines/busybox {WORK}/tree && cd {WORK}/tree && rm -rf srv && ln -s run srv && ln -s ../../tmp etc/scratch \
             && mkdir -p var && rm -rf var/run && ln -s ../run var/run"
        ),
    )?;
    for target in ["/srv", "/etc/scratch"] {
        refused(
            host,
            &format!("Root={WORK}/tree\nBind={WORK}/data:{target}"),
            "which a guest empties when it boots",
        )?;
        refused(
            host,
            &format!("Root={WORK}/tree\nOverlay={WORK}/data:{WORK}/upper:{target}"),
            "which a guest empties when it boots",
        )?;
    }
    // Below them it is safe, also by way of a link.
    let lines =
        format!("Root={WORK}/tree\nBind={WORK}/data:/var/run/data\nBind={WORK}/data:/tmp/data\n");
    let guest = Guest::declare(host, "manage-below", &format!("{BUSYBOX}{lines}"))?;
    guest.systemctl("start")?;
    let said = guest
        .exec(&["cat", "/run/data/file", "/tmp/data/file"])?
        .ok()?;
    ensure!(said == "kept\nkept", "{said}");
    guest.finish()?;
    // A directory of which a guest deletes what is old is worth a word.
    host.write(
        "/etc/skep/manage-old.container",
        format!("{BUSYBOX}Bind={WORK}/data:/var/tmp\n"),
    )?;
    let checked = host.exec(["skep", "check", "/etc/skep/manage-old.container"])?;
    let said = checked.stdout();
    ensure!(
        checked.status() == 0 && said.contains("warning: systemd in the guest deletes"),
        "{said}"
    );
    let left = sh(
        host,
        &format!("rm /etc/skep/manage-old.container; cat {WORK}/data/file"),
    )?;
    ensure!(left == "kept", "{left}");
    Ok(())
}
