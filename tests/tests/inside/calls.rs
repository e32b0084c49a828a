//! System calls that a container is refused, with the host as the control that shows that the probes work.

use anyhow::{Result, ensure};
use skep_tests::host::Host;

use crate::{sh, started};

/// Prints one word per probe: what the call says, without capabilities having a part in it where that can be had.
const PROBES: &str = r#"
sub probe { my ($name, $number, @rest) = @_; $! = 0; my $r = syscall($number, @rest); print "$name=", ($r == -1 ? 0 + $! : "ok"), "\n" }
my $buffer = "\0" x 256;
probe("keyctl", 250, 0, -3, 0, 0, 0);
probe("io_uring_setup", 425, 1, $buffer);
probe("userfaultfd", 323, 1);
probe("perf_event_open", 298, 0, 0, 0, 0, 0);
probe("bpf", 321, 999, 0, 0);
probe("af_alg", 41, 38, 5, 0);
probe("af_vsock", 41, 40, 1, 0);
probe("pair_vsock", 53, 40, 1, 0, $buffer);
probe("pair_unix", 53, 1, 1, 0, $buffer);
probe("audit", 41, 16, 3, 9);
probe("inet", 41, 2, 1, 0);
probe("tiocsti", 16, 99, 0x5412, $buffer);
probe("personality", 135, 0x40000);
probe("mincore", 27, 0, 0, 0);
probe("unknown", 1023);
"#;

/// EPERM 1, EBADF 9, EFAULT 14, EINVAL 22, ENOSYS 38, EAFNOSUPPORT 97.
pub(crate) fn refused(host: &Host) -> Result<()> {
    let guest = started(
        host,
        "in-calls",
        "[Container]\nRoot=/var/lib/machines/debian-13\n",
    )?;
    let script = format!("perl -e '{PROBES}'");
    let inside = sh(&guest, &script)?;
    let outside = host.sh(&script)?.ok()?;
    println!("inside:\n{inside}\non the host:\n{outside}");
    for (probe, want) in [
        ("keyctl", "1"),
        ("io_uring_setup", "1"),
        ("userfaultfd", "1"),
        ("perf_event_open", "1"),
        ("bpf", "1"),
        ("af_alg", "97"),
        ("af_vsock", "97"),
        ("pair_vsock", "97"),
        ("pair_unix", "ok"),
        ("audit", "97"),
        ("inet", "ok"),
        ("tiocsti", "1"),
        ("personality", "1"),
        ("mincore", "ok"),
        ("unknown", "38"),
    ] {
        let line = format!("{probe}={want}");
        ensure!(
            inside.lines().any(|said| said == line),
            "not {line}:\n{inside}"
        );
    }
    for line in [
        "keyctl=1",
        "bpf=1",
        "tiocsti=1",
        "personality=1",
        "perf_event_open=1",
    ] {
        ensure!(
            !outside.lines().any(|said| said == line),
            "no control, {line}:\n{outside}"
        );
    }
    let mode = sh(
        &guest,
        "grep -h ^Seccomp: /proc/1/status /proc/self/status | cut -f2",
    )?;
    ensure!(mode == "2\n2", "PID 1 and a command that entered: {mode:?}");
    guest.finish()
}

/// A declaration allows a call and refuses another, for its init and for who enters.
pub(crate) fn key(host: &Host) -> Result<()> {
    let guest = started(
        host,
        "in-callkey",
        "[Container]\nRoot=/var/lib/machines/debian-13\nSystemCallFilter=@keyring\nSystemCallFilter=~mincore\n",
    )?;
    let said = sh(&guest, &format!("perl -e '{PROBES}'"))?;
    ensure!(said.lines().any(|line| line == "keyctl=ok"), "{said}");
    ensure!(said.lines().any(|line| line == "mincore=1"), "{said}");
    guest.is_running()?;
    guest.finish()
}

/// A declared node works, belongs to the container's root, and is the only one beside the usual.
pub(crate) fn device(host: &Host) -> Result<()> {
    let guest = started(
        host,
        "in-device",
        "[Container]\nRoot=/var/lib/machines/debian-13\nDevice=/dev/fuse\nDevice=-/dev/no-such\nDevice=/dev/full:/dev/sub/node:r\n",
    )?;
    for (script, want) in [
        (
            "stat -c '%F %U %t:%T' /dev/fuse",
            "character special file root a:e5",
        ),
        ("exec 3<>/dev/fuse && echo opened", "opened"),
        ("head -c1 /dev/sub/node | wc -c", "1"),
        (
            "cd /dev; for n in * sub/*; do [ -c $n ] && [ ! -L $n ] && printf '%s ' $n; done; :",
            "full fuse null random tty urandom zero sub/node",
        ),
        (
            "mknod /tmp/n c 10 229 2>/dev/null || echo refused",
            "refused",
        ),
    ] {
        let said = sh(&guest, script)?;
        ensure!(said == want, "{script}: {said:?}, not {want:?}");
    }
    guest.finish()
}

/// What is kept and dropped, by the bounding sets of the init and of a command that enters.
pub(crate) fn capabilities(host: &Host) -> Result<()> {
    let guest = started(
        host,
        "in-caps",
        "[Container]\nRoot=/var/lib/machines/busybox\nCapability=CAP_IPC_LOCK\nDropCapability=MKNOD CAP_LEASE\nNoNewPrivileges=yes\n",
    )?;
    let said = sh(
        &guest,
        "grep -hE '^(CapBnd|NoNewPrivs):' /proc/1/status /proc/self/status | tr -d '\\t'",
    )?;
    let lines: Vec<&str> = said.lines().collect();
    let [bounding, no_new, bounding_too, no_new_too] = lines.as_slice() else {
        anyhow::bail!("{said}");
    };
    ensure!(
        bounding == bounding_too && [*no_new, *no_new_too] == ["NoNewPrivs:1"; 2],
        "{said}"
    );
    let set = u64::from_str_radix(bounding.trim_start_matches("CapBnd:"), 16)?;
    ensure!(
        set & 1 << 14 != 0 && set & (1 << 27 | 1 << 28) == 0 && set & 1 != 0,
        "{said}"
    );
    guest.finish()
}
