//! How far a container is confined, by its profile, and what still works in there.

#[path = "harden/ablation.rs"]
mod ablation;
#[path = "harden/masks.rs"]
mod masks;
#[path = "harden/nesting.rs"]
mod nesting;

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, Result, ensure};
use skep_tests::{
    guest::{Guest, prints, sh, started},
    host::{Host, Os},
    trial::{self, Test},
    wait::wait_until,
};

/// Exposure of a unit, by systemd's own measure, that must not be exceeded: what 252, 257 and 262 say alike.
const EXPOSURE: f64 = 7.3;

fn main() -> ExitCode {
    let tests: &[(&str, Test)] = &[
        ("unit_exposure", exposure),
        ("kept_capabilities", ablation::capabilities),
        ("masks_of_all_peers", masks::hidden),
        ("profile_strict", strict),
        ("profile_strict_other_inits", strict_other_inits),
        ("profile_privileged", privileged),
        ("user_namespaces", user_namespaces),
        ("key_system_call_architectures", architectures),
    ];
    let mut trials: Vec<_> = trial::everywhere(tests);
    for (name, test) in [
        ("nesting_podman", nesting::podman as Test),
        ("nesting_nspawn", nesting::nspawn),
        ("nesting_skep", nesting::skep),
    ] {
        trials.extend(trial::on_each(&[Os::Trixie], name, test));
    }
    trial::main(trials)
}

fn exposure(host: &Host) -> Result<()> {
    let guest = Guest::declare(
        host,
        "exposed",
        "[Container]\nRoot=/var/lib/machines/busybox\n",
    )?;
    let (line, level) = exposed(host, &guest.unit())?;
    ensure!(level <= EXPOSURE, "{line}");
    let (line, theirs) = exposed(host, "systemd-nspawn@exposed.service")?;
    ensure!(level < theirs, "{line}");
    guest.systemctl("start")?;
    // It is inherited, and must not be.
    prints(&guest, "grep NoNewPrivs /proc/1/status", "NoNewPrivs:\t0")?;
    guest.finish()
}

/// What systemd-analyze says about a unit, in a line and a number.
fn exposed(host: &Host, unit: &str) -> Result<(String, f64)> {
    let said = host
        .exec(["systemd-analyze", "security", "--no-pager", unit])?
        .ok()?;
    let line = said.lines().last().unwrap_or_default();
    println!("{line}");
    let level = line
        .split_ascii_whitespace()
        .find_map(|word| word.parse().ok())
        .with_context(|| format!("no number in {line:?}"))?;
    Ok((line.to_owned(), level))
}

/// Operating systems boot without a failed unit; what the profile takes is gone for PID 1 and for who enters.
fn strict(host: &Host) -> Result<()> {
    for tree in ["debian-12", "debian-13", "debian-sid", "busybox"] {
        let text = format!("[Container]\nRoot=/var/lib/machines/{tree}\nProfile=strict\n");
        let guest = started(host, &format!("strict-{tree}"), &text)?;
        if tree != "busybox" {
            guest.is_running().with_context(|| tree.to_owned())?;
        }
        prints(
            &guest,
            "grep -h ^CapBnd /proc/1/status /proc/self/status | uniq; cat /proc/sys/user/max_user_namespaces",
            "CapBnd:\t00000000804405fb\n0",
        )?;
        for refused in [
            "mount -t tmpfs x /mnt",
            "unshare -m true",
            "umount /tmp",
            "unshare -U true",
        ] {
            let said = sh(
                &guest,
                &format!("{refused} 2>/dev/null && echo worked || echo refused"),
            )?;
            ensure!(said == "refused", "{tree}: {refused}: {said}");
        }
        guest.finish().with_context(|| tree.to_owned())?;
    }
    Ok(())
}

/// Says `runs` when cron does.
const RUNS: &str = "grep -qx cron /proc/[0-9]*/comm 2>/dev/null && echo runs || echo not yet";

/// An init of another kind boots, its service runs, and it stops in order.
fn strict_other_inits(host: &Host) -> Result<()> {
    for tree in ["sysvinit", "openrc", "runit", "s6", "shepherd"] {
        let text = format!("[Container]\nRoot=/var/lib/machines/{tree}\nProfile=strict\n");
        let guest = started(host, &format!("strict-{tree}"), &text)?;
        wait_until(Duration::from_secs(30), "cron", || {
            Ok((sh(&guest, RUNS)? == "runs").then_some(()))
        })
        .with_context(|| tree.to_owned())?;
        prints(
            &guest,
            "grep -h ^CapBnd /proc/1/status; mount -t tmpfs x /mnt 2>/dev/null || echo refused; \
             su nobody -s /bin/sh -c 'id -un'",
            "CapBnd:\t00000000804405fb\nrefused\nnobody",
        )?;
        guest.finish().with_context(|| tree.to_owned())?;
    }
    Ok(())
}

/// What it says it gives up, and nothing of the namespaces.
fn privileged(host: &Host) -> Result<()> {
    let text = "[Container]\nRoot=/var/lib/machines/debian-13\nProfile=privileged\n";
    let guest = started(host, "privileged", text)?;
    guest.is_running()?;
    for (script, want) in [
        ("grep Seccomp: /proc/1/status", "Seccomp:\t0"),
        ("grep CapBnd /proc/self/status", "CapBnd:\t000001fffdfcffff"),
        ("grep -c CPU0 /proc/interrupts", "1"),
        // The boot id of its own lies over the host's: only Nesting= shows a /proc with nothing over it.
        (
            "mount -t proc proc /mnt 2>/dev/null || echo refused",
            "refused",
        ),
        ("mknod /tmp/n c 1 1 2>/dev/null || echo refused", "refused"),
        (
            "{ true >/proc/sys/kernel/core_pattern; } 2>/dev/null || echo refused",
            "refused",
        ),
        ("ls /sys/class/net", "lo"),
    ] {
        prints(&guest, script, want)?;
    }
    let map = sh(&guest, "awk '{ print $1, $3 }' /proc/self/uid_map")?;
    ensure!(map == "0 65536", "{map}");
    guest.finish()
}

/// The attacking init shows that they have an end; the bound is the container's own and cannot be raised.
fn user_namespaces(host: &Host) -> Result<()> {
    let before = host.sh("cat /proc/sys/user/max_user_namespaces")?.ok()?;
    let text = "[Container]\nRoot=/var/lib/machines/debian-13\n";
    let guest = started(host, "bounded", text)?;
    let script = "cat /proc/sys/user/max_user_namespaces; \
                  { echo 9999 >/proc/sys/user/max_user_namespaces; } 2>/dev/null || echo refused";
    prints(&guest, script, "256\nrefused")?;
    let after = host.sh("cat /proc/sys/user/max_user_namespaces")?.ok()?;
    ensure!(
        before == after,
        "the host's own was {before} and is {after}"
    );
    guest.finish()
}

/// A static 32-bit program of 120 bytes that prints `ia32`.
const PROGRAM: &str = r"\177ELF\001\001\001\000\000\000\000\000\000\000\000\000\002\000\003\000\001\000\000\000\124\200\004\010\064\000\000\000\000\000\000\000\000\000\000\000\064\000\040\000\001\000\050\000\000\000\000\000\001\000\000\000\000\000\000\000\000\200\004\010\000\200\004\010\170\000\000\000\170\000\000\000\005\000\000\000\000\020\000\000\270\004\000\000\000\273\001\000\000\000\271\163\200\004\010\272\005\000\000\000\315\200\270\001\000\000\000\061\333\315\200ia32\n";

fn architectures(host: &Host) -> Result<()> {
    for (lines, want) in [
        ("", "Bad system call\n159"),
        ("SystemCallArchitectures=native x86\n", "ia32\n0"),
    ] {
        let text = format!("[Container]\nRoot=/var/lib/machines/debian-13\nEphemeral=yes\n{lines}");
        let guest = started(host, "machines", &text)?;
        let script = format!(
            "printf '{PROGRAM}' >/root/ia32; chmod 755 /root/ia32; \
             /bin/sh -c '/root/ia32; echo $?' 2>&1 | sed 's/.*Bad system call.*/Bad system call/'"
        );
        prints(&guest, &script, want)?;
        guest.is_running()?;
        guest.finish()?;
    }
    Ok(())
}
