//! Every key of `[Container]` does inside what it says.

use anyhow::{Result, ensure};
use skep_tests::{guest::Guest, host::Host};

use super::{prints, sh, started};

const BUSYBOX: &str = "[Container]\nRoot=/var/lib/machines/busybox\n";
const EPHEMERAL: &str = "[Container]\nRoot=/var/lib/machines/busybox\nEphemeral=yes\n";

const SOURCES: &str = "mkdir -p /var/lib/machines/.keys/dir/nested && cd /var/lib/machines/.keys && echo file >file && echo below >dir/file \
     && mount -t tmpfs keys /var/lib/machines/.keys/dir/nested && echo nested >dir/nested/file \
     && cp /var/lib/machines/debian-12/bin/dash setuid && chmod 4755 setuid && mknod -m 666 zero c 1 5";
const CLEAR: &str = "umount -l /var/lib/machines/.keys/dir/nested; rm -rf /var/lib/machines/.keys";

pub(super) fn binds(host: &Host) -> Result<()> {
    host.between(SOURCES, CLEAR, || binds_of(host))
}

fn binds_of(host: &Host) -> Result<()> {
    let lines = "Bind=/var/lib/machines/.keys/dir:/b/deep\nBind=/var/lib/machines/.keys/dir:/b/flat:norbind\nBind=/var/lib/machines/.keys/file:/b/file\n\
         BindReadOnly=/var/lib/machines/.keys/dir:/b/ro\nBindReadOnly=/var/lib/machines/.keys/file:/b/rofile\nBind=-/var/lib/machines/.keys/none:/b/none\n\
         BindReadOnly=-/var/lib/machines/.keys/file:/b/there\nBind=/var/lib/machines/.keys/file\nBind=/var/lib/machines/.keys:/b/raw:noidmap,suid,dev\n\
         Bind=/var/lib/machines/.keys:/b/safe\nBind=/var/lib/machines/.keys:/b/suid:suid\n";
    let guest = started(host, "key-binds", &format!("{EPHEMERAL}{lines}"))?;
    prints(
        &guest,
        "cat /b/deep/file /b/deep/nested/file /b/flat/file /b/file /b/ro/nested/file /b/there /var/lib/machines/.keys/file; \
         ls /b/flat/nested /b/none 2>/dev/null; ls -d /b/none 2>/dev/null; echo end",
        "below\nnested\nbelow\nfile\nnested\nfile\nfile\n/b/flat/nested:\nend",
    )?;
    // Written through, or refused.
    prints(
        &guest,
        "echo new >/b/deep/new && echo new >/b/deep/nested/new && echo new >>/b/file && echo ok; \
         for file in /b/ro/x /b/ro/nested/x /b/rofile /b/there; do { echo x >>$file; } 2>/dev/null && echo $file; done; echo end",
        "ok\nend",
    )?;
    let written = host
        .sh("cd /var/lib/machines/.keys; cat dir/new dir/nested/new file; stat -c %u:%g dir/new dir/nested/new")?
        .ok()?;
    ensure!(written == "new\nnew\nfile\nnew\n0:0\n0:0", "{written}");
    // The owner seen inside: root with idmap, nobody without.
    prints(&guest, "stat -c %u /b/safe/file /b/raw/file", "0\n65534")?;
    prints(
        &guest,
        "grep -c ' /b/safe .*nosuid.*nodev' /proc/self/mountinfo; grep ' /b/suid ' /proc/self/mountinfo | grep -c nosuid; \
         head -c 4 /b/safe/zero 2>/dev/null | wc -c; head -c 4 /b/raw/zero | wc -c",
        "1\n0\n0\n4",
    )?;
    guest.finish()?;
    setuid(host)?;
    // A missing source without "-" is an error that names it.
    let guest = Guest::declare(
        host,
        "key-missing",
        &format!("{EPHEMERAL}Bind=/var/lib/machines/.keys/none:/b\n"),
    )?;
    let unit = guest.unit();
    ensure!(host.exec(["systemctl", "start", &unit])?.status() == 1);
    let status = guest.status()?;
    ensure!(
        status.contains("/var/lib/machines/.keys/none") && status.contains("write \"-\""),
        "{status}"
    );
    host.exec(["systemctl", "reset-failed", &unit])?
        .ok()
        .map(drop)
}

/// A setuid program gives its owner's id only where it may, and there only an id of the container's own.
fn setuid(host: &Host) -> Result<()> {
    let text = "[Container]\nRoot=/var/lib/machines/debian-12\nEphemeral=yes\nBind=/var/lib/machines/.keys:/b/safe\n\
         Bind=/var/lib/machines/.keys:/b/suid:suid\n";
    let guest = started(host, "key-setuid", text)?;
    prints(
        &guest,
        "for path in safe suid; do setpriv --reuid 1000 /b/$path/setuid -p -c 'id -u'; done",
        "1000\n0",
    )?;
    guest.finish()
}

pub(super) fn tree(host: &Host) -> Result<()> {
    let all = "find /var/lib/machines/busybox -printf '%p %U %G %m %s %T@\\n' | sort | sha256sum";
    let before = host.sh(all)?.ok()?;
    let text = format!(
        "{EPHEMERAL}TemporaryFileSystem=/t/one:size=1M,mode=1750,nr_inodes=10\nTemporaryFileSystem=/t/two:ro,noexec\n\
         TemporaryFileSystem=/var/lib\n"
    );
    let guest = started(host, "key-tree", &text)?;
    prints(
        &guest,
        "stat -c '%a %u %g' /t/one; df -k /t/one | awk 'NR == 2 { print $2 }'; df -i /t/one | awk 'NR == 2 { print $2 }'; \
         { echo x >/t/two/x; } 2>/dev/null || echo refused; \
         cp /bin/busybox /t/one/x 2>/dev/null || echo full; rm /t/one/x; \
         grep ' /t/two ' /proc/mounts | grep -c noexec; echo x >/var/lib/x; stat -c %a /var/lib",
        "1750 0 0\n1024\n10\nrefused\nfull\n1\n755",
    )?;
    sh(
        &guest,
        "rm /etc/hosts; echo x >/etc/new; mkdir /new; chown 5:5 /home; ln -s x /root/link",
    )?;
    prints(&guest, "ls /etc/new; stat -c %u /home", "/etc/new\n5")?;
    guest.systemctl("restart")?;
    prints(
        &guest,
        "ls /etc/hosts; ls -d /new /etc/new 2>/dev/null; stat -c %u /home",
        "/etc/hosts\n0",
    )?;
    guest.finish()?;
    let guest = started(host, "key-tree", &format!("{BUSYBOX}ReadOnly=yes\n"))?;
    prints(
        &guest,
        "for path in /x /etc/x /root/x /var/x; do { echo x >$path; } 2>/dev/null && echo $path; done; \
         mount -o remount,rw / 2>/dev/null && echo remounted; mount -o remount,bind,rw / 2>/dev/null && echo again; \
         chown 1 /etc 2>/dev/null && echo chowned; \
         echo x >/run/x && echo x >/tmp/x && echo x >/dev/shm/x && echo writable",
        "writable",
    )?;
    guest.finish()?;
    let after = host.sh(all)?.ok()?;
    ensure!(before == after, "the tree has changed");
    Ok(())
}

/// Runs `work` with a copy of a tree, named `name`.
fn with_copy(host: &Host, tree: &str, name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    host.scratch_guest(tree, name)?;
    let judged = work();
    host.remove_guest(name)?;
    judged
}

/// Puts an executable script into a tree.
fn script(host: &Host, path: &str, text: &str) -> Result<()> {
    host.write(path, format!("#!/bin/sh\n{text}"))?;
    host.exec(["chmod", "755", path])?.ok().map(drop)
}

/// An init that is a script.
const OWN_INIT: &str = "trap 'echo heard HUP; exit 0' HUP\ntrap 'echo heard TERM' TERM\necho \"as $0 with $1\"\n\
     while :; do sleep 0.1; done\n";

/// Parameters, environment, the stop signal and readiness.
pub(super) fn init(host: &Host) -> Result<()> {
    with_copy(host, "busybox", "key-init", || init_of(host))?;
    with_copy(host, "debian-12", "key-ready", || ready_of(host))
}

fn init_of(host: &Host) -> Result<()> {
    script(host, "/var/lib/machines/key-init/start", OWN_INIT)?;
    host.exec(["systemctl", "set-environment", "PASSED=yes", "STAYS=out"])?
        .ok()?;
    let text = "[Container]\nInit=/start\nParameters=\"two words\" %n\nKillSignal=SIGHUP\n\
         Environment=A=1 \"B=two words\" A=3\nPassEnvironment=PASSED ABSENT\n";
    let guest = started(host, "key-init", text)?;
    prints(
        &guest,
        "tr '\\000' '\\n' </proc/1/cmdline; tr '\\000' '\\n' </proc/1/environ | grep -v -E '^(PATH|TERM|HOME|USER|LOGNAME|container_.*)=' | sort",
        "/bin/sh\n/start\ntwo words\nskep@key-init.service\nA=3\nB=two words\nNOTIFY_SOCKET=/run/host/notify\nPASSED=yes\ncontainer=skep",
    )?;
    guest.systemctl("stop")?;
    let journal = guest.journal()?;
    ensure!(
        journal.contains("as /start with two words")
            && journal.contains("heard HUP")
            && !journal.contains("heard TERM"),
        "{journal}"
    );
    guest.finish()?;
    host.exec(["systemctl", "unset-environment", "PASSED", "STAYS"])?
        .ok()
        .map(drop)
}

/// Says that it is ready after two seconds; only the init itself may say so.
const LATE: &str = "exec perl -MSocket -e '$SIG{TERM} = sub { exit 0 }; sleep 2; socket(S,AF_UNIX,SOCK_DGRAM,0); \
     send(S,\"READY=1\",0,sockaddr_un($ENV{NOTIFY_SOCKET})) or die $!; sleep 1 while 1'\n";

fn ready_of(host: &Host) -> Result<()> {
    script(host, "/var/lib/machines/key-ready/start", LATE)?;
    let text = |value: &str| format!("[Container]\nInit=/start\nNotifyReady={value}\n");
    let guest = started(host, "key-ready", &text("no"))?;
    let early = guest.systemctl("restart")?;
    guest.systemctl("stop")?;
    guest.redeclare(&text("yes"))?;
    let late = guest.systemctl("start")?;
    println!("started in {early:?}, in {late:?} when it says so");
    ensure!(late.as_secs_f32() > 1.9, "{late:?}: before it said so");
    ensure!(early < late, "{early:?}: it need not say so");
    guest.finish()
}

pub(super) fn machine(host: &Host) -> Result<()> {
    with_copy(host, "debian-12", "key-machine", || machine_of(host))
}

fn machine_of(host: &Host) -> Result<()> {
    let id = "0123456789abcdef0123456789abcdef";
    host.sh("cd /var/lib/machines/key-machine/etc; rm -f hostname; : >machine-id")?
        .ok()?;
    let text = format!("[Container]\nHostname=wiki.example\nMachineID={id}\n");
    let guest = started(host, "key-machine", &text)?;
    guest.is_running()?;
    prints(
        &guest,
        "uname -n; cat /etc/machine-id /run/host/container-uuid",
        &format!("wiki.example\n{id}\n{id}"),
    )?;
    prints(
        &guest,
        "cat /run/host/container-manager; systemd-detect-virt",
        "skep\ncontainer-other",
    )?;
    let host_boot = host.sh("cat /proc/sys/kernel/random/boot_id")?.ok()?;
    let boot = sh(&guest, "cat /proc/sys/kernel/random/boot_id")?;
    ensure!(boot.len() == 36 && boot != host_boot, "boot id {boot}");
    guest.finish()
}

pub(super) fn users(host: &Host) -> Result<()> {
    for (value, map) in [
        ("6553600", "0 6553600 65536"),
        ("identity", "0 0 65536"),
        ("no", "0 0 4294967295"),
    ] {
        let guest = started(
            host,
            "key-users",
            &format!("{EPHEMERAL}PrivateUsers={value}\n"),
        )?;
        prints(&guest, "awk '{ print $1, $2, $3 }' /proc/1/uid_map", map)?;
        prints(
            &guest,
            "id -u; touch /x && chown 7:8 /x && stat -c '%u %g' /x /etc/passwd",
            "0\n7 8\n0 0",
        )?;
        guest.finish()?;
    }
    // A whole system without a user namespace of its own.
    for value in ["identity", "no"] {
        let text = format!(
            "[Container]\nRoot=/var/lib/machines/debian-12\nEphemeral=yes\nPrivateUsers={value}\n"
        );
        let guest = started(host, "key-users", &text)?;
        guest.is_running()?;
        guest.finish()?;
    }
    Ok(())
}

pub(super) fn network(host: &Host) -> Result<()> {
    with_copy(host, "busybox", "key-net", || network_of(host))
}

fn network_of(host: &Host) -> Result<()> {
    // The first instruction of the init already has it.
    let start = "ip -o addr >/early\ntrap 'exit 0' TERM\nwhile :; do sleep 0.1; done\n";
    script(host, "/var/lib/machines/key-net/start", start)?;
    let text = "[Container]\nInit=/start\n";
    let guest = started(host, "key-net", text)?;
    prints(
        &guest,
        "sleep 0.5; awk '{ print $2, $4 }' /early; ls /sys/class/net; \
         echo 1 >/proc/sys/net/ipv4/ip_forward && cat /proc/sys/net/ipv4/ip_forward; \
         ping -c 1 -W 2 127.0.0.1 >/dev/null && echo pong",
        "lo 127.0.0.1/8\nlo ::1/128\nlo\n1\npong",
    )?;
    guest.finish()?;
    let links = host
        .sh("ls /sys/class/net; readlink /proc/self/ns/net")?
        .ok()?;
    let guest = started(host, "key-net", &format!("{text}Network=host\n"))?;
    prints(
        &guest,
        "ls /sys/class/net; readlink /proc/self/ns/net",
        &links,
    )?;
    for change in [
        "echo 1 >/proc/sys/net/ipv4/ip_forward",
        "ip link add dummy9 type dummy",
        "ip link set lo down",
    ] {
        let done = guest.exec(&["sh", "-c", change])?;
        ensure!(done.status() != 0, "worked on the host's network: {change}");
    }
    guest.finish()
}
