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
