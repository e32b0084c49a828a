//! What each capability of the default set is for: something that a Debian does works with the set, and does not with that
//! one capability less. What systemd-nspawn keeps beside it does nothing here.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use skep_spec::{KEPT, KEPT_PRIVATE_NETWORK};
use skep_tests::{
    guest::{sh, started},
    host::Host,
};

/// A capability and something that needs it.
struct Need {
    capability: &'static str,
    /// Who misses it.
    who: &'static str,
    /// Fails without it.
    script: &'static str,
}

const fn need(capability: &'static str, who: &'static str, script: &'static str) -> Need {
    Need {
        capability,
        who,
        script,
    }
}

const NEEDS: &[Need] = &[
    need(
        "CHOWN",
        "useradd, and every package with users of its own",
        "useradd --create-home kim",
    ),
    need(
        "DAC_OVERRIDE",
        "an administrator who puts keys into a user's private home",
        "install -d -o nobody -m 700 /tmp/home; mkdir /tmp/home/.ssh",
    ),
    need(
        "DAC_READ_SEARCH",
        "backup services without root: AmbientCapabilities=CAP_DAC_READ_SEARCH",
        "setpriv --reuid 65534 --clear-groups --inh-caps +dac_read_search --ambient-caps +dac_read_search \
         head -c 0 /etc/shadow",
    ),
    need(
        "FOWNER",
        "dpkg and install: a mode for a file that has its owner already",
        "install -o nobody -m 640 /dev/null /tmp/file",
    ),
    need(
        "FSETID",
        "packages with programs for a group, such as crontab",
        "install -g mail -m 2755 /bin/true /tmp/program; [ $(stat -c %a /tmp/program) = 2755 ]",
    ),
    need(
        "KILL",
        "the end of services that run as users",
        "setpriv --reuid 65534 --clear-groups sleep 60 & sleep .1; kill $!",
    ),
    need(
        "SETGID",
        "User= and Group= of services, su, cron",
        "setpriv --regid 65534 --clear-groups true",
    ),
    need(
        "SETUID",
        "User= of services, su, cron",
        "setpriv --reuid 65534 true",
    ),
    need(
        "SETPCAP",
        "CapabilityBoundingSet= of services",
        "setpriv --bounding-set -net_raw true",
    ),
    need(
        "NET_BIND_SERVICE",
        "servers on ports below 1024, sshd first",
        "perl -MIO::Socket::INET -e 'IO::Socket::INET->new(Listen => 1, LocalPort => 22) or die $!'",
    ),
    need(
        "IPC_OWNER",
        "a server as root that reads the shared memory of its clients, such as Xorg",
        "setpriv --reuid 65534 --clear-groups ipcmk --shmem 4096 --mode 600 >/dev/null; \
         perl -e 'shmread(0, $text, 0, 1) or die $!'",
    ),
    need(
        "SYS_CHROOT",
        "chroot, sshd's separation of privileges, debootstrap",
        "chroot / true",
    ),
    need(
        "SYS_PTRACE",
        "start-stop-daemon --exec on services that run as users; debuggers",
        "setpriv --reuid 65534 --clear-groups sleep 60 & sleep .1; start-stop-daemon --status --exec /usr/bin/sleep",
    ),
    need(
        "SYS_ADMIN",
        "mount units, sandboxes of services",
        "mount -t tmpfs own /mnt",
    ),
    need(
        "SYS_BOOT",
        "reboot and poweroff",
        // It ends the namespace and its init with a signal.
        "status=0; unshare --pid --fork reboot --force --force || status=$?; [ $status -gt 128 ]",
    ),
    need(
        "SYS_NICE",
        "renice and taskset on services that run as users",
        "setpriv --reuid 65534 --clear-groups sleep 60 & sleep .1; renice -n 5 -p $!",
    ),
    need(
        "SYS_RESOURCE",
        "prlimit on services that run as users",
        "setpriv --reuid 65534 --clear-groups sleep 60 & sleep .1; prlimit --pid $! --nofile=64",
    ),
    need(
        "MKNOD",
        "debootstrap, with PrivateUsers=no",
        "mknod -m 666 /tmp/null c 1 3",
    ),
    need(
        "SETFCAP",
        "packages with file capabilities, such as ping's",
        "cp /bin/true /tmp/program; setcap cap_net_raw+ep /tmp/program",
    ),
    need(
        "NET_ADMIN",
        "systemd-networkd, ifupdown, ip",
        "ip link set lo down && ip link set lo up",
    ),
    need(
        "NET_RAW",
        "DHCP clients, ping, tcpdump",
        "perl -e 'socket(S, 17, 3, 0) or die $!'",
    ),
    need(
        "NET_BROADCAST",
        "what follows the links of network namespaces: ip monitor all-nsid",
        // The time that it is given ends it.
        "status=0; timeout 0.2 ip monitor all-nsid link || status=$?; [ $status = 124 ]",
    ),
];

/// What systemd-nspawn keeps and we do not: no different with it.
const NO_NEEDS: &[Need] = &[
    need(
        "LEASE",
        "a lease on another user's file",
        "install -o nobody /dev/null /tmp/file; perl -e 'open F, q(<), q(/tmp/file); fcntl(F, 1024, 0) or die $!'",
    ),
    need(
        "SYS_TTY_CONFIG",
        "vhangup(2)",
        "perl -e 'syscall(153) == 0 or die $!'",
    ),
    need(
        "AUDIT_WRITE",
        "a socket of the audit system",
        "perl -e 'socket(S, 16, 3, 9) or die $!'",
    ),
    need(
        "AUDIT_CONTROL",
        "the login user id of another process",
        "sleep 60 & echo 5 >/proc/$!/loginuid",
    ),
    need(
        "LINUX_IMMUTABLE",
        "an immutable file",
        "touch /tmp/file; perl -e '$flags = pack(q(L!), 16); open F, q(<), q(/tmp/file); \
         ioctl(F, 0x40086602, $flags) or die $!'",
    ),
];

/// Units of Debian 13 that fail when it boots without the capability.
const UNITS: &[(&str, &str)] = &[
    ("SETGID", "dbus.service"),
    ("SETUID", "dbus.service"),
    ("SETPCAP", "systemd-journald.service"),
    ("SYS_ADMIN", "tmp.mount"),
];

const SCOPE: &str = "[Container]\nRoot=/var/lib/machines/debian-13\nEphemeral=yes\n";

/// Prints a name, and the exit statuses of the script with the capability and without it.
const RUN: &str = "
try() {
    status=0
    timeout 20 skep run --quiet --pipe --like \"$1\" -- /bin/sh -ec \"$2\" >>/run/skep-ablation 2>&1 </dev/null || status=$?
    statuses=\"$statuses $status\"
}
judge() {
    statuses=\"\"
    : >/run/skep-ablation
    try \"$2\" \"$4\"
    try \"$3\" \"$4\"
    echo \"$1$statuses $(tail -n 1 /run/skep-ablation)\"
}
";

pub(crate) fn capabilities(host: &Host) -> Result<()> {
    let rows: Vec<&str> = NEEDS.iter().map(|need| need.capability).collect();
    let kept: Vec<&str> = KEPT.into_iter().chain(KEPT_PRIVATE_NETWORK).collect();
    ensure!(rows == kept, "not a row for each: {rows:?}\n{kept:?}");
    let before = host.snapshot()?;
    let judged = declared(host).and_then(|()| judged(host));
    host.sh("rm -f /etc/skep/ablation-*.container /run/skep-ablation; skep apply")?
        .ok()?;
    let (report, wrong) = judged?;
    println!("{report}");
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    let changes = before.changes(&host.snapshot()?);
    ensure!(changes.is_empty(), "{}", changes.join("\n"));
    for (capability, unit) in UNITS {
        fails_to_boot(host, capability, unit).with_context(|| (*capability).to_owned())?;
    }
    Ok(())
}

/// The kernel makes device nodes for the initial user namespace only.
fn users(capability: &str) -> &'static str {
    if capability == "MKNOD" {
        "PrivateUsers=no\n"
    } else {
        ""
    }
}

/// Names of the containers that a row is tried in: with the capability and without it.
fn names(need: &Need, kept: bool) -> (String, String) {
    let own = format!(
        "ablation-{}",
        need.capability.to_lowercase().replace('_', "-")
    );
    let base = match (kept, users(need.capability)) {
        (_, "") => "ablation-base",
        (_, _) => "ablation-host-users",
    };
    if kept {
        (base.to_owned(), own)
    } else {
        (own, base.to_owned())
    }
}

fn declared(host: &Host) -> Result<()> {
    let write = |name: &str, lines: &str| {
        host.write(
            &format!("/etc/skep/{name}.container"),
            format!("{SCOPE}{lines}"),
        )
    };
    write("ablation-base", "")?;
    write("ablation-host-users", users("MKNOD"))?;
    for need in NEEDS {
        let drop = format!(
            "{}DropCapability={}\n",
            users(need.capability),
            need.capability
        );
        write(&names(need, true).1, &drop)?;
    }
    for need in NO_NEEDS {
        let lines = format!("Capability={}\n", need.capability);
        write(&names(need, false).0, &lines)?;
    }
    host.exec(["skep", "apply"])?.ok().map(drop)
}

/// The table, and what it should not say.
fn judged(host: &Host) -> Result<(String, Vec<String>)> {
    let mut script = RUN.to_owned();
    for (needs, kept) in [(NEEDS, true), (NO_NEEDS, false)] {
        for need in needs {
            let (with, less) = names(need, kept);
            let quoted = need.script.replace('\'', r"'\''");
            writeln!(script, "judge {} {with} {less} '{quoted}'", need.capability)?;
        }
    }
    let said = host.sh(&script)?.ok()?;
    let mut lines = said.lines();
    let (mut report, mut wrong) = (String::new(), Vec::new());
    for (needs, kept) in [(NEEDS, true), (NO_NEEDS, false)] {
        for need in needs {
            let line = lines.next().context("a row without a result")?;
            let mut words = line.splitn(4, ' ').skip(1);
            let mut works = || words.next().map(|status| status == "0");
            let (with, less) = (works(), works());
            let said = words.next().unwrap_or_default();
            let verdict = match (with, less) {
                (Some(true), Some(false)) => "needed",
                (Some(false), Some(false)) => "no effect",
                _ => "works without",
            };
            writeln!(
                report,
                "{:<17}{verdict:<14}{}: {said}",
                need.capability, need.who
            )?;
            if (verdict == "needed") != kept {
                wrong.push(format!("{}: {verdict}: {line}", need.capability));
            }
        }
    }
    Ok((report, wrong))
}

fn fails_to_boot(host: &Host, capability: &str, unit: &str) -> Result<()> {
    let name = format!("ablation-{}", capability.to_lowercase().replace('_', "-"));
    let text = format!("{SCOPE}DropCapability={capability}\n");
    let guest = started(host, &name, &text)?;
    let state = guest.exec(&["systemctl", "is-system-running", "--wait"])?;
    let failed = sh(&guest, "systemctl --failed --plain --no-legend")?;
    println!(
        "without {capability} a Debian 13 is {}:\n{failed}",
        state.stdout()
    );
    ensure!(
        failed.lines().any(|line| line.starts_with(unit)),
        "{unit} does not fail: {failed}"
    );
    guest.finish()
}
