//! Checks C1-C12: what stands before the first instruction, devices, cgroups, mounts.

use anyhow::{Result, ensure};
use skep_tests::{
    guest::{Guest, sh, started},
    host::Host,
    interface::Sheet,
};

use super::{DEBIAN, FIRST, settled};

/// `NAME MAJOR:MINOR MODE` of the pseudo devices, in hexadecimal.
const DEVICES: &str = "null 1:3 666\nzero 1:5 666\nfull 1:7 666\nrandom 1:8 666\nurandom 1:9 666\ntty 5:0 666\nptmx 5:2 666";

pub(super) fn facts(host: &Host, sheet: &mut Sheet) -> Result<()> {
    let before = cgroups(host, "ci-exec")?;
    let mounts = "cut -d' ' -f5- /proc/1/mountinfo | grep -v -e /run/credentials -e ' /run/skep' | sort | sha256sum";
    let mounted = host.sh(mounts)?.ok()?;
    first(host, sheet)?;
    let guest = started(host, "ci-exec", DEBIAN)?;
    settled(&guest)?;
    sheet.inside(
        &guest,
        "C1",
        "/etc/hostname of the tree wins",
        "if [ -s /etc/hostname ]; then cat /etc/hostname; else echo ci-exec; fi | cmp - /proc/sys/kernel/hostname && echo same",
        "same",
    );
    kernel_files(host, &guest, sheet)?;
    devices(&guest, sheet);
    own_cgroup(host, &guest, sheet, &before)?;
    sheet.inside(
        &guest,
        "C12",
        "every mount is shared",
        "grep -v ' shared:' /proc/1/mountinfo | grep -v ' /run/host/incoming '; echo end",
        "end",
    );
    let mount = "mkdir -p /run/ci/mount && mount -t tmpfs ci /run/ci/mount && mount -t tmpfs ci /mnt && echo mounted";
    sheet.inside(&guest, "C12", "the container may mount", mount, "mounted");
    sheet.outside(
        host,
        "C12",
        "no mount of it reaches the host",
        mounts,
        &mounted,
    );
    guest.finish()
}

/// What the very first process finds.
fn first(host: &Host, sheet: &mut Sheet) -> Result<()> {
    let guest = started(host, "ci-first", &format!("{FIRST}Hostname=set-before\n"))?;
    let found = sh(
        &guest,
        "while [ $(wc -l </run/found) -lt 3 ]; do sleep 0.1; done; cat /run/found",
    )?;
    let found: Vec<&str> = found.lines().collect();
    for (index, (check, what, want)) in [
        ("C1", "set before the first instruction", "set-before"),
        ("C2", "there at the first instruction", "1"),
        ("C3", "there and read-only at the first instruction", "1"),
    ]
    .into_iter()
    .enumerate()
    {
        let got = found.get(index).copied();
        let judged = || -> Result<()> {
            ensure!(got == Some(want), "{found:?}");
            Ok(())
        };
        sheet.fact(check, what, judged());
    }
    guest.finish()
}

fn kernel_files(host: &Host, guest: &Guest<'_>, sheet: &mut Sheet) -> Result<()> {
    sheet.inside(
        guest,
        "C3",
        "root cannot write to it or remount it",
        "findmnt -no OPTIONS /sys | tr , '\\n' | grep -x ro; mount -o remount,bind,rw /sys 2>/dev/null && echo remounted; \
         { echo x >/sys/kernel/uevent_helper; } 2>/dev/null && echo written; echo end",
        "ro\nend",
    );
    let forward = "cat /proc/sys/net/ipv4/ip_forward";
    let before = host.sh(forward)?.ok()?;
    sheet.inside(
        guest,
        "C4",
        "settings of the kernel refuse to be written",
        "for file in kernel/sysrq vm/swappiness fs/file-max kernel/core_pattern; do \
         { echo 1 >/proc/sys/$file; } 2>/dev/null && echo $file; done; echo end",
        "end",
    );
    sheet.inside(
        guest,
        "C4",
        "those of its own network do not",
        "echo 1 >/proc/sys/net/ipv4/ip_forward && cat /proc/sys/net/ipv4/ip_forward",
        "1",
    );
    sheet.outside(host, "C4", "the host's stay", forward, &before);
    if host.sh("test -e /sys/fs/selinux/enforce")?.status() == 0 {
        sheet.inside(
            guest,
            "C5",
            "read-only",
            "findmnt -no OPTIONS /sys/fs/selinux | tr , '\\n' | grep -x ro",
            "ro",
        );
    } else {
        sheet.inside(
            guest,
            "C5",
            "none on a host without SELinux",
            "ls /sys/fs/selinux/enforce 2>/dev/null; echo end",
            "end",
        );
    }
    sheet.inside(
        guest,
        "C8",
        "udev is not started, for /sys is read-only",
        "systemctl is-active systemd-udevd 2>/dev/null; ls /run/udev/control 2>/dev/null; systemctl --failed --no-legend; echo end",
        "inactive\nend",
    );
    Ok(())
}

fn devices(guest: &Guest<'_>, sheet: &mut Sheet) {
    sheet.inside(
        guest,
        "C6",
        "a tmpfs of its own",
        "findmnt -no FSTYPE /dev; findmnt -no FSTYPE /dev/pts; findmnt -no FSTYPE /dev/shm; findmnt -no FSTYPE /dev/mqueue",
        "tmpfs\ndevpts\ntmpfs\nmqueue",
    );
    sheet.inside(
        guest,
        "C6",
        "all pseudo devices",
        "for name in null zero full random urandom tty ptmx; do stat -Lc \"$name %t:%T %a\" /dev/$name; done",
        DEVICES,
    );
    sheet.inside(
        guest,
        "C6",
        "the console is a terminal, before and after systemd executes itself anew",
        "test -t 0 </dev/console && echo yes; systemctl daemon-reexec; test -t 0 </dev/console && echo yes; \
         echo hello >/dev/console && readlink /dev/console | grep -c '^pts/'",
        "yes\nyes\n1",
    );
    sheet.inside(
        guest,
        "C7",
        "nodes of other devices are not made, or of no use",
        "mknod /tmp/ci-b b 8 0 2>/dev/null && cat /tmp/ci-b 2>/dev/null && echo block; \
         mknod /tmp/ci-c c 1 1 2>/dev/null && cat /tmp/ci-c 2>/dev/null && echo memory; rm -f /tmp/ci-b /tmp/ci-c; echo end",
        "end",
    );
    sheet.inside(
        guest,
        "C7",
        "a service with PrivateDevices= starts",
        "systemd-run --quiet --wait --pipe --property=PrivateDevices=yes ls /dev/null",
        "/dev/null",
    );
    sheet.inside(
        guest,
        "C9",
        "console-getty only",
        "systemctl is-active console-getty.service; systemctl list-units --plain --no-legend 'getty@*' 'serial-getty@*' | wc -l",
        "active\n0",
    );
}

/// All cgroups outside of the container's unit.
fn cgroups(host: &Host, name: &str) -> Result<String> {
    host.sh(&format!(
        "find $(findmnt -no TARGET -t cgroup2 | head -1)/machine.slice -type d 2>/dev/null | grep -v 'skep@{name}' | sort"
    ))?
    .ok()
}

fn own_cgroup(host: &Host, guest: &Guest<'_>, sheet: &mut Sheet, before: &str) -> Result<()> {
    sheet.inside(
        guest,
        "C10",
        "its own cgroup is the root of what it sees",
        "sed -n 's/^0:://p' /proc/1/cgroup | sed 's,^/init.scope$,ok,'; test -d /sys/fs/cgroup/init.scope && echo there; \
         systemctl status >/dev/null && echo status",
        "ok\nthere\nstatus",
    );
    let bare = "grep -cE ' - cgroup2? ' /proc/1/mountinfo; findmnt -no FSROOT /sys/fs/cgroup";
    sheet.inside(
        guest,
        "C44",
        "one mount, of the whole namespaced tree",
        bare,
        "1\n/",
    );
    let unit = guest.unit();
    sheet.outside(
        host,
        "C11",
        "a unit with Delegate=",
        &format!("systemctl show --value --property Delegate,Slice {unit} | sort"),
        "machine.slice\nyes",
    );
    let after = cgroups(host, "ci-exec")?;
    let same = |what: &str| -> Result<()> {
        let new: Vec<&str> = after
            .lines()
            .filter(|line| !before.contains(line) && !line.ends_with("machine.slice"))
            .collect();
        ensure!(new.is_empty(), "{what}: {new:?}");
        Ok(())
    };
    sheet.fact("C11", "no cgroup beside it", same("made outside"));
    sheet.inside(
        guest,
        "C22",
        "its own cgroup.procs leads nowhere else",
        "test -e /sys/fs/cgroup/../supervisor && echo out; { echo $$ >/sys/fs/cgroup/cgroup.max.depth; } 2>/dev/null && echo limit; echo end",
        "end",
    );
    sheet.outside(
        host,
        "C22",
        "all its processes are below its unit",
        &format!(
            "group=$(systemctl show --value --property ControlGroup {unit}); \
             leader=$(sed -n 's/.*\"leader\":\\([0-9]*\\).*/\\1/p' /run/skep/machine/ci-exec/state.json); \
             space=$(readlink /proc/$leader/ns/pid); for process in /proc/[0-9]*; do \
             [ \"$(readlink $process/ns/pid || :)\" != \"$space\" ] || sed -n \"s,^0::,,p\" $process/cgroup | grep -v \"^$group/payload\" || :; done 2>/dev/null; echo end"
        ),
        "end",
    );
    Ok(())
}
