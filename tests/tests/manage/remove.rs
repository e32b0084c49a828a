//! `skep remove`.

use anyhow::{Result, ensure};
use skep_tests::{host::Host, wait::timed};

use super::{WORK, fails, sh, skep};

const REMOVE: &str = "remove manage-tree --yes";

fn tree(host: &Host) -> Result<()> {
    skep(host, "create manage-tree --from /var/lib/machines/busybox")?
        .ok()
        .map(drop)
}

/// What is in use, mounted or shared stays, and so does everything in it.
pub(super) fn refuses(host: &Host) -> Result<()> {
    tree(host)?;
    let place = "/var/lib/machines/manage-tree";
    let count = sh(host, &format!("find {place} | wc -l"))?;
    sh(
        host,
        &format!("mkdir -p {WORK}/data && echo kept >{WORK}/data/file"),
    )?;
    for mount in [
        format!("mount -t tmpfs x {place}/mnt"),
        format!("mount --bind {WORK}/data {place}/mnt"),
        format!("mount --bind {place} {place}"),
        format!("mkdir -p '{place}/a b' && mount --bind {WORK}/data '{place}/a b'"),
    ] {
        sh(host, &mount)?;
        fails(host, REMOVE, 1, "is a mount point")?;
        sh(
            host,
            &format!(
                "awk '$5 ~ \"^{place}\" {{ print $5 }}' /proc/self/mountinfo | sed 's/.040/ /g' | xargs -d '\\n' umount; rm -rf '{place}/a b'"
            ),
        )?;
    }
    fails(host, "remove manage-tree", 2, "--yes")?;
    fails(
        host,
        "remove manage-none --yes",
        1,
        "there is no /var/lib/machines/manage-none",
    )?;
    fails(
        host,
        "remove manage-tree --yes --keep-tree",
        2,
        "--declaration",
    )?;
    // Others need it: as their tree, below it, above it.
    for (text, refused) in [
        (format!("Root={place}\nReadOnly=yes"), true),
        (
            format!("Root=/var/lib/machines/busybox\nEphemeral=yes\nBind={place}/etc:/mnt"),
            true,
        ),
        ("Root=/var/lib/machines".to_owned(), true),
        ("Root=/var/lib/machines/manage-tree2".to_owned(), false),
    ] {
        host.write(
            "/etc/skep/manage-other.container",
            format!("[Container]\n{text}\n"),
        )?;
        match refused {
            true => fails(host, REMOVE, 1, "is also used by manage-other")?,
            false => sh(host, "rm /etc/skep/manage-other.container").map(drop)?,
        }
    }
    // It runs: for systemd, and for the lock alone.
    host.write("/etc/skep/manage-tree.container", "[Container]\n")?;
    sh(host, "skep apply && systemctl start skep@manage-tree")?;
    fails(host, REMOVE, 1, "systemctl stop skep@manage-tree")?;
    sh(host, "systemctl stop skep@manage-tree")?;
    let held = format!("flock -x {place}/../.#manage-tree.lck skep {REMOVE}");
    ensure!(host.sh(&held)?.stderr().contains("is in use"));
    host.write("/etc/skep/manage-root.container", "[Container]\nRoot=/\n")?;
    fails(host, "remove manage-root --yes", 1, "this host's own OS")?;
    host.write(
        "/etc/skep/manage-wide.container",
        "[Container]\nRoot=/srv\n",
    )?;
    fails(host, "remove manage-wide --yes", 1, "right below /")?;
    host.write("/etc/skep/manage-bad.container", "[Container]\nRoot=x\n")?;
    fails(host, "remove manage-bad --yes", 1, "declaration is wrong")?;
    sh(
        host,
        &format!("rm /etc/skep/manage-tree.container; ln -s {place} /var/lib/machines/manage-link"),
    )?;
    fails(host, "remove manage-link --yes", 1, "it is a link")?;
    let left = sh(host, &format!("find {place} | wc -l; cat {WORK}/data/file"))?;
    ensure!(left == format!("{count}\nkept"), "{left}");
    sh(
        host,
        "rm /etc/skep/manage-* /var/lib/machines/manage-link && skep apply",
    )?;
    skep(host, REMOVE)?.ok().map(drop)
}

/// Depth, numbers and links lead nowhere else.
pub(super) fn hostile(host: &Host) -> Result<()> {
    tree(host)?;
    sh(
        host,
        &format!(
            "mkdir -p {WORK}/data && echo kept >{WORK}/data/file && cd /var/lib/machines/manage-tree && mkdir many deep \
             && ln -s {WORK}/data link && ln -s / slash && ln {WORK}/data/file hard && ln -s ../.manage up && touch -- '-rf' '*' $'new\\nline' $'\\033[31m' \
             && perl -e 'chdir \"many\"; for (1..50000) {{ open F, \">f$_\" or die $! }}' \
             && perl -e 'chdir \"deep\"; for (1..10000) {{ mkdir \"d\" or die $!; chdir \"d\" or die $! }} symlink \"{WORK}/data\", \"link\" or die $!'"
        ),
    )?;
    let (done, time) = timed(|| skep(host, REMOVE));
    let done = done?;
    let said = done.stderr();
    done.ok()?;
    ensure!(!said.contains('\u{1b}'), "{said:?}");
    let left = sh(
        host,
        &format!("cat {WORK}/data/file; ls -A /var/lib/machines | grep manage- || true"),
    )?;
    ensure!(left == "kept", "{left}");
    println!("50000 files and 10000 levels removed in {time:?}, saying {said:?}");
    Ok(())
}

/// What cannot be deleted is said, and the next run goes on; so it does after a kill.
pub(super) fn goes_on(host: &Host) -> Result<()> {
    tree(host)?;
    if host.sh("touch /var/lib/machines/manage-tree/etc/fixed && chattr +i /var/lib/machines/manage-tree/etc/fixed")?.status() == 0 {
        fails(host, REMOVE, 1, "/var/lib/machines/.#manage-tree.skep-old")?;
        sh(host, "test ! -e /var/lib/machines/manage-tree && chattr -i '/var/lib/machines/.#manage-tree.skep-old/etc/fixed'")?;
        skep(host, REMOVE)?.ok()?;
    } else {
        println!("no immutable files on this host");
        skep(host, REMOVE)?.ok()?;
    }
    let left = sh(host, "ls -A /var/lib/machines | grep manage- || true")?;
    ensure!(left.is_empty(), "{left}");
    tree(host)?;
    sh(
        host,
        "perl -e 'chdir \"/var/lib/machines/manage-tree/mnt\"; for (1..100000) { open F, \">f$_\" or die $! }'",
    )?;
    host.sh(&format!("timeout --foreground -s KILL 0.1 skep {REMOVE}"))?;
    sh(host, "test ! -e /var/lib/machines/manage-tree")?;
    // rm lives on for a moment, and its lock with it; when it was done there is nothing left to remove.
    sh(
        host,
        &format!(
            "for i in $(seq 100); do [ -e '/var/lib/machines/.#manage-tree.skep-old' ] || exit 0; skep {REMOVE} && exit 0; sleep 0.2; done; exit 1"
        ),
    )?;
    let left = sh(
        host,
        "ls -Ad /var/lib/machines/.#manage-tree.skep-old 2>/dev/null || true",
    )?;
    ensure!(left.is_empty(), "{left}");
    sh(host, "rm -f /var/lib/machines/.#manage-tree.lck").map(drop)
}

/// The declaration goes with the tree: file, autostart, id range and unit.
pub(super) fn with_declaration(host: &Host) -> Result<()> {
    skep(
        host,
        "create manage-tree --from /var/lib/machines/busybox --declare",
    )?
    .ok()?;
    skep(host, "enable manage-tree")?.ok()?;
    sh(
        host,
        "grep -q '^manage-tree ' /var/lib/skep/ids && systemctl cat skep@manage-tree >/dev/null",
    )?;
    skep(host, &format!("{REMOVE} --declaration"))?.ok()?;
    sh(
        host,
        "! ls -d /etc/skep/manage* /var/lib/machines/manage* 2>/dev/null && ! grep manage-tree /var/lib/skep/ids \
         && ! systemctl cat skep@manage-tree 2>/dev/null",
    )?;
    // One that shares its tree can go alone; what a package declares cannot.
    host.write(
        "/etc/skep/manage-a.container",
        "[Container]\nRoot=/var/lib/machines/busybox\nEphemeral=yes\n",
    )?;
    host.write(
        "/etc/skep/manage-b.container",
        "[Container]\nRoot=/var/lib/machines/busybox\nEphemeral=yes\n",
    )?;
    fails(host, "remove manage-a --yes", 1, "is also used by manage-b")?;
    skep(host, "remove manage-a --yes --declaration --keep-tree")?.ok()?;
    sh(
        host,
        "test ! -e /etc/skep/manage-a.container && test -e /var/lib/machines/busybox/sbin/init && rm /etc/skep/manage-b.container",
    )?;
    sh(
        host,
        "mkdir -p /usr/lib/skep && echo '[Container]' >/usr/lib/skep/manage-c.container",
    )?;
    let judged = fails(
        host,
        "remove manage-c --yes --declaration --keep-tree",
        1,
        "ln -s /dev/null",
    );
    sh(
        host,
        "rm /usr/lib/skep/manage-c.container; rmdir --ignore-fail-on-non-empty /usr/lib/skep; skep apply",
    )?;
    judged
}
