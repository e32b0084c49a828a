//! Trees, and what lies beside them, that want to be believed.

use anyhow::{Result, ensure};
use skep_tests::{
    guest::{Guest, prints, sh, started},
    host::Host,
};

use super::BUSYBOX;

/// What a `/dev` of the tree's is made of; none of it is to be seen or written to.
const SPOILED: &str = "cd /var/lib/machines/att-dev && rm -rf dev && mkdir dev && ln -s /etc/passwd dev/null && \
     ln -s /proc/sys/kernel/core_pattern dev/console && ln -s /proc/sysrq-trigger dev/ptmx && ln -s /etc dev/pts && \
     ln -s / dev/shm && mkfifo dev/tty && mkdir dev/zero && mkdir -p run/host && ln -s /etc/passwd run/host/notify && \
     ln -s /proc/1/root run/skep && mkdir -p proc/self && echo 0 >proc/self/uid_map && ln -s / proc/sys";

pub(super) fn spoofed_devices(host: &Host) -> Result<()> {
    host.scratch_guest("busybox", "att-dev")?;
    let judged = host.sh(SPOILED)?.ok().and_then(|_| spoofed(host));
    host.remove_guest("att-dev")?;
    judged
}

fn spoofed(host: &Host) -> Result<()> {
    let watched = "cat /proc/sys/kernel/core_pattern; sha256sum /etc/passwd; ls /etc | sha256sum";
    let before = host.sh(watched)?.ok()?;
    let guest = started(
        host,
        "att-dev",
        "[Container]\nRoot=/var/lib/machines/att-dev\n",
    )?;
    prints(
        &guest,
        "for name in null zero tty console ptmx; do stat -Lc '%n %F' /dev/$name; done; stat -f -c %T /dev/pts /dev/shm; \
         cat /proc/self/uid_map | wc -l; stat -c %F /run/host/notify; ls -A /dev/shm | wc -l",
        "/dev/null character special file\n/dev/zero character special file\n/dev/tty character special file\n\
         /dev/console character special file\n/dev/ptmx character special file\ndevpts\ntmpfs\n1\nsocket\n0",
    )?;
    prints(
        &guest,
        "stat -c '%t:%T' /dev/null; cat /proc/kcore /proc/keys 2>/dev/null | wc -c",
        "1:3\n0",
    )?;
    // The same while it runs: the guest's root may mount over its own /dev/pts, and nobody is taken in by it.
    let tty = "script -qec 'skep exec att-dev -- tty' /dev/null </dev/null 2>&1 | tr -d '\\r' | grep -oE '/dev/pts/[0-9]|not a terminal of the container'";
    host.prints(tty, "/dev/pts/1")?;
    for (made, want) in [
        ("echo >/tmp/p/ptmx", "not a terminal of the container"),
        ("mkfifo /tmp/p/ptmx", "not a terminal of the container"),
        (
            "touch /tmp/p/ptmx; mount --bind /dev/null /tmp/p/ptmx",
            "not a terminal of the container",
        ),
        (
            "touch /tmp/p/ptmx; mount --bind /dev/pts/0 /tmp/p/ptmx",
            "not a terminal of the container",
        ),
    ] {
        sh(
            &guest,
            &format!("mkdir /tmp/p && {{ {made}; }} && mount --rbind /tmp/p /dev/pts"),
        )?;
        host.prints(tty, want)?;
        sh(
            &guest,
            "umount -l /dev/pts; umount /tmp/p/ptmx 2>/dev/null; rm -r /tmp/p",
        )?;
    }
    // Nor is the mask of the next boot made of what it has left.
    sh(
        &guest,
        "rm /dev/null && ln -s /etc/passwd /dev/null; rm /dev/console; ln -s /proc/sys/kernel/core_pattern /dev/console",
    )?;
    guest.systemctl("restart")?;
    prints(&guest, "stat -c '%t:%T' /dev/null", "1:3")?;
    let after = host.sh(watched)?.ok()?;
    ensure!(before == after, "from {before} to {after}");
    guest.finish()
}

/// What other container managers look for, beside a tree and in it, and what ours does where it does look.
const SETTINGS: &str = "cd /var/lib/machines; mkdir -p /etc/systemd/nspawn /run/systemd/nspawn att-set/etc/skep att-set/etc/systemd/nspawn att-set.container.d att-set/usr/lib/skep; \
     for file in att-set.nspawn att-set/att-set.nspawn att-set/etc/systemd/nspawn/att-set.nspawn /etc/systemd/nspawn/att-set.nspawn; do \
     printf '[Exec]\\nPrivateUsers=no\\nCapability=all\\nHostname=stolen\\n[Files]\\nBind=/etc:/mnt:noidmap\\n' >$file; done; \
     for file in att-set.container att-set/.container att-set/etc/skep/att-set.container att-set/usr/lib/skep/att-set.container att-set.container.d/10.conf; do \
     printf '[Container]\\nPrivateUsers=no\\nHostname=stolen\\nBind=/etc:/mnt:noidmap\\nProfile=privileged\\n' >$file; done; \
     mkdir -p att-set/run/skep/spec; cp -r att-set/etc/skep/att-set.container att-set/run/skep/";

pub(super) fn settings(host: &Host) -> Result<()> {
    host.scratch_guest("busybox", "att-set")?;
    let cleaned = "cd /var/lib/machines; rm -rf att-set.nspawn att-set.container att-set.container.d /etc/systemd/nspawn/att-set.nspawn";
    let judged = host.between(SETTINGS, cleaned, || settled(host));
    host.remove_guest("att-set")?;
    judged
}

fn settled(host: &Host) -> Result<()> {
    // The control: at its own place the same text counts.
    let all = "skep list --json | grep -o '\"name\": *\"att-set\"' | uniq";
    host.exec(["skep", "apply"])?.ok()?;
    host.prints(all, "")?;
    let probe = "cat /proc/sys/kernel/hostname; ls /mnt | wc -l; awk '$2 == 0 { print \"host ids\" }' /proc/1/uid_map; grep CapBnd /proc/1/status | tr -d '\\t'";
    let plain = started(host, "att-plain", BUSYBOX)?;
    let bounding = sh(&plain, "grep CapBnd /proc/1/status | tr -d '\\t'")?;
    plain.finish()?;
    let text = "[Container]\nRoot=/var/lib/machines/att-set\n";
    let guest = Guest::declare(host, "att-set", text)?;
    guest.systemctl("start")?;
    prints(&guest, probe, &format!("att-set\n0\n{bounding}"))?;
    guest.systemctl("stop")?;
    guest.redeclare(&format!(
        "{text}Hostname=stolen\nBindReadOnly=/etc:/mnt:noidmap\n"
    ))?;
    guest.systemctl("start")?;
    let said = sh(&guest, probe)?;
    ensure!(
        said.starts_with("stolen\n") && !said.starts_with("stolen\n0\n"),
        "no control: {said}"
    );
    guest.finish()
}
