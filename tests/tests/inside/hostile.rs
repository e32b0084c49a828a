//! Trees made to mislead the launcher. Each boots safely or fails with a message, and the host stays as it was.

use anyhow::{Result, ensure};
use skep_tests::{guest::Guest, host::Host};

use super::prints;

/// What a case must come to.
enum Outcome {
    /// It boots; the script inside prints the text.
    Boots(&'static str, &'static str),
    /// It does not start, and the status says this.
    Fails(&'static str),
}

use Outcome::{Boots, Fails};

/// A case: lines for the declaration, a script that spoils the tree (from its root), and what comes of it.
type Case = (&'static str, &'static str, Outcome);

/// Bytes, names, owners and times of what the trees point at.
const WATCHED: &str = "find /var/lib/machines/.src/hostile -printf '%p %U %G %m %T@ %C@ %s\\n' | sort; \
     stat -c '%n %u %g %a %Y' /etc /srv /usr /var /root; sha256sum /var/lib/machines/.src/hostile/file /etc/passwd";

fn run(host: &Host, name: &str, cases: &[Case]) -> Result<()> {
    host.sh("mkdir -p /var/lib/machines/.src/hostile/directory && echo host >/var/lib/machines/.src/hostile/file && chmod 755 /var/lib/machines/.src/hostile/file")?
        .ok()?;
    let mut failures = Vec::new();
    for case in cases {
        host.scratch_guest("busybox", name)?;
        let judged = one(host, name, case);
        host.remove_guest(name)?;
        if let Err(error) = judged {
            failures.push(format!("{} {}: {error:#}", case.0, case.1));
        }
    }
    host.sh("rm -rf /var/lib/machines/.src")?.ok()?;
    ensure!(failures.is_empty(), "{}", failures.join("\n"));
    Ok(())
}

fn one(host: &Host, name: &str, (lines, spoil, outcome): &Case) -> Result<()> {
    host.sh(&format!("cd /var/lib/machines/{name}; {spoil}"))?
        .ok()?;
    let before = host.sh(WATCHED)?.ok()?;
    let text = format!("[Container]\nRoot=/var/lib/machines/{name}\n{lines}\n");
    let guest = Guest::declare(host, name, &text)?;
    match outcome {
        Boots(script, text) => {
            guest.systemctl("start")?;
            prints(&guest, script, text)?;
            guest.finish()?;
        }
        Fails(reason) => {
            let unit = guest.unit();
            let started = host.exec(["timeout", "20", "systemctl", "start", &unit])?;
            ensure!(started.status() == 1, "start: status {}", started.status());
            let status = guest.status()?;
            ensure!(status.contains(reason), "no {reason:?} in\n{status}");
            host.exec(["systemctl", "reset-failed", &unit])?.ok()?;
        }
    }
    let after = host.sh(WATCHED)?.ok()?;
    ensure!(
        before == after,
        "the host changed from\n{before}\nto\n{after}"
    );
    Ok(())
}

pub(super) fn mount_points(host: &Host) -> Result<()> {
    const NOT: &str = "it must be a directory in the tree, not a link or a file";
    run(
        host,
        "hostile-points",
        &[
            (
                "",
                "rmdir proc; ln -s /var/lib/machines/.src/hostile/directory proc",
                Fails(NOT),
            ),
            (
                "",
                "rmdir sys; ln -s ../../../../var/lib/machines/.src/hostile/directory sys",
                Fails(NOT),
            ),
            ("", "rm -r dev; ln -s .. dev", Fails(NOT)),
            (
                "",
                "rmdir run; ln -s /var/lib/machines/.src/hostile run",
                Fails(NOT),
            ),
            (
                "",
                "rmdir tmp; ln -s /var/lib/machines/.src/hostile tmp",
                Fails(NOT),
            ),
            ("", "rmdir proc; echo >proc", Fails(NOT)),
            (
                "",
                "rmdir proc sys run tmp; rm -r dev",
                Boots(
                    "ls -d /proc/1 /sys/fs /dev/null /run/host",
                    "/dev/null\n/proc/1\n/run/host\n/sys/fs",
                ),
            ),
            // Here a link to the host's directory leads nowhere, and one that climbs ends at the tree's own root.
            (
                "",
                "mv etc real; ln -s /var/lib/machines/.src/hostile etc",
                Boots("ls /etc/ 2>/dev/null; echo over", "over"),
            ),
            (
                "",
                "mv etc usr/etc; ln -s ../../../../../usr/etc etc",
                Boots("grep -c . /etc/hosts", "2"),
            ),
        ],
    )
}

pub(super) fn files(host: &Host) -> Result<()> {
    const FINE: Outcome = Boots("cat /proc/sys/kernel/hostname", "hostile-files");
    run(
        host,
        "hostile-files",
        &[
            ("", "rm etc/os-release; mkfifo etc/os-release", FINE),
            ("", "rm etc/os-release; mknod etc/os-release c 10 130", FINE),
            ("", "rm etc/os-release; truncate -s 1G etc/os-release", FINE),
            (
                "",
                "ln -sf /var/lib/machines/.src/hostile/file etc/os-release",
                FINE,
            ),
            (
                "",
                "rm etc/os-release; ln -s ../../../../../var/lib/machines/.src/hostile/file etc/os-release",
                FINE,
            ),
            (
                "",
                "rm etc/os-release; ln -s /proc/self/fd/3 etc/os-release",
                FINE,
            ),
            ("", "rm etc/os-release; mkdir etc/os-release", FINE),
            (
                "",
                "printf 'PRETTY_NAME=\"a\\033[31m\\001\\377\\n' >etc/os-release",
                FINE,
            ),
            ("", "rm -f etc/machine-id; mkfifo etc/machine-id", FINE),
            ("", "rm -f etc/machine-id; mknod etc/machine-id b 7 0", FINE),
            (
                "",
                "rm -f etc/machine-id; truncate -s 1G etc/machine-id",
                FINE,
            ),
            ("", "ln -sf /etc/machine-id etc/machine-id", FINE),
            // A tree cloned from this host must not run under the host's machine id, whatever the file is.
            (
                "Ephemeral=yes",
                "cp -f /etc/machine-id etc/machine-id",
                FINE,
            ),
            ("ReadOnly=yes", "cp -f /etc/machine-id etc/machine-id", FINE),
        ],
    )
}

pub(super) fn inits(host: &Host) -> Result<()> {
    run(
        host,
        "hostile-inits",
        &[
            // Resolved inside: the tree's own /var/lib/machines/.src/hostile/file, not the host's.
            (
                "Init=/start",
                "mkdir -p var/lib/machines/.src/hostile; printf '#!/bin/sh\\nexec sleep 1000\\n' >var/lib/machines/.src/hostile/file; chmod 755 var/lib/machines/.src/hostile/file; \
                 ln -s /var/lib/machines/.src/hostile/file start",
                Boots("tr '\\000' ' ' </proc/1/cmdline", "sleep 1000"),
            ),
            (
                "Init=/start",
                "ln -s /var/lib/machines/.src/hostile/file start",
                Fails("no such file in the tree"),
            ),
            (
                "Init=/start",
                "ln -s ../../../../var/lib/machines/.src/hostile/file start",
                Fails("no such file in the tree"),
            ),
            (
                "Init=/start",
                "ln -s nothing start",
                Fails("no such file in the tree"),
            ),
            ("Init=/start", "ln -s start start", Fails("ELOOP")),
            (
                "Init=/start",
                "ln -s /proc/self/exe start",
                Fails("no such file in the tree"),
            ),
            (
                "Init=/start",
                "mkdir start",
                Fails("not an executable file"),
            ),
            (
                "Init=/start",
                "echo >start",
                Fails("not an executable file"),
            ),
            (
                "Init=/start",
                "mkfifo -m 777 start",
                Fails("not an executable file"),
            ),
            (
                "Init=/start",
                "mknod -m 777 start c 1 3",
                Fails("not an executable file"),
            ),
            (
                "Init=/start",
                "echo garbage >start; chmod 755 start",
                Fails("not a program for this machine"),
            ),
            (
                "Init=/start",
                "printf '#!/none\\n' >start; chmod 755 start",
                Fails("interpreter is missing"),
            ),
            (
                "",
                "rm sbin/init; ln -s /var/lib/machines/.src/hostile/file sbin/init; rm -f init bin/init linuxrc",
                Fails("no init in"),
            ),
        ],
    )
}

pub(super) fn targets(host: &Host) -> Result<()> {
    run(
        host,
        "hostile-targets",
        &[
            (
                "BindReadOnly=/var/lib/machines/.src/hostile:/mnt/a/new/dir",
                "ln -s /../../etc mnt/a",
                Boots("cat /etc/new/dir/file; ls -d /mnt/a", "host\n/mnt/a"),
            ),
            (
                "BindReadOnly=/var/lib/machines/.src/hostile/file:/mnt/a",
                "ln -s ../../../../../var/lib/machines/.src/hostile/new mnt/a",
                Fails("mnt/a"),
            ),
            (
                "TemporaryFileSystem=/mnt/a",
                "ln -s /var/lib/machines/.src/hostile mnt/a",
                Fails("mnt/a"),
            ),
            (
                "BindReadOnly=/var/lib/machines/.src/hostile:/mnt/a",
                "ln -s a mnt/a",
                Fails("ELOOP"),
            ),
            (
                "BindReadOnly=/var/lib/machines/.src/hostile:/mnt/a",
                "ln -s /proc/self/cwd mnt/a",
                Fails("mnt/a"),
            ),
            (
                "BindReadOnly=/var/lib/machines/.src/hostile:/mnt/a",
                "ln -s /proc/1/root/srv mnt/a",
                Fails("mnt/a"),
            ),
            (
                "BindReadOnly=/var/lib/machines/.src/hostile:/mnt/a",
                "ln -s /proc mnt/a",
                Fails("a part of /proc, /sys, /dev or /run/host"),
            ),
            (
                "BindReadOnly=/var/lib/machines/.src/hostile:/mnt/a",
                "ln -s ../sys/fs/cgroup mnt/a",
                Fails("a part of /proc, /sys, /dev or /run/host"),
            ),
            (
                "BindReadOnly=/var/lib/machines/.src/hostile/file:/mnt/a/uptime",
                "ln -s /proc mnt/a",
                Fails("a part of /proc, /sys, /dev or /run/host"),
            ),
            (
                "TemporaryFileSystem=/mnt/a",
                "ln -s /dev mnt/a",
                Fails("a part of /proc, /sys, /dev or /run/host"),
            ),
            (
                "Overlay=/var/lib/machines/.src/hostile::/mnt/a",
                "ln -s ../run/host mnt/a",
                Fails("a part of /proc, /sys, /dev or /run/host"),
            ),
            (
                "BindReadOnly=/var/lib/machines/.src/hostile:/mnt/a",
                "echo >mnt/a",
                Fails("one is a directory, the other is not"),
            ),
            // A directory that only its owner may enter; root may, as ever.
            (
                "BindReadOnly=/var/lib/machines/.src/hostile:/home/user/new/dir",
                "mkdir -m 700 home/user; chown 1000:1000 home/user",
                Boots(
                    "cat /home/user/new/dir/file; stat -c %u:%a /home/user /home/user/new",
                    "host\n1000:700\n0:755",
                ),
            ),
        ],
    )
}
