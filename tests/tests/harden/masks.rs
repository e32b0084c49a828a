//! What another supervisor hides is hidden here too, with the host that reads it as the control.

use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};
use skep_tests::{
    guest::{sh, started},
    host::Host,
};

/// A path and who else hides it.
const HIDDEN: &[(&str, &str)] = &[
    ("/proc/acpi", "Podman, Docker"),
    ("/proc/asound", "Docker"),
    ("/proc/interrupts", "Podman, Docker"),
    ("/proc/kallsyms", "nspawn"),
    ("/proc/kcore", "nspawn, Podman, Docker, LXC"),
    ("/proc/keys", "nspawn, Podman, Docker"),
    ("/proc/latency_stats", "Podman, Docker"),
    ("/proc/sched_debug", "Podman, Docker"),
    ("/proc/scsi", "Podman, Docker"),
    ("/proc/sysrq-trigger", "nspawn, LXC"),
    ("/proc/timer_list", "nspawn, Podman, Docker"),
    ("/proc/timer_stats", "Podman, Docker"),
    ("/sys/firmware", "Podman, Docker, LXC"),
    ("/sys/fs/selinux", "Podman"),
    ("/sys/devices/virtual/powercap", "Podman, Docker"),
    (
        "/sys/devices/system/cpu/cpu*/thermal_throttle",
        "Podman, Docker",
    ),
];

/// For each path: whether there is one, and how much of it can be read or listed, 4096 bytes or names at most. A trigger is
/// for writing.
const LOOK: &str = r#"
for pattern in $PATHS; do
    there=0 seen=0 mounts=0
    for path in $pattern; do
        [ -e "$path" ] || continue
        there=$((there + 1))
        [ "$(cut -d' ' -f5 /proc/self/mountinfo | grep -cxF "$path")" = 0 ] || mounts=$((mounts + 1))
        if [ -d "$path" ]; then more=$(ls -A "$path" | head -n 4096 | wc -l)
        else more=$(head -c 4096 "$path" 2>/dev/null | wc -c); fi
        seen=$((seen + more))
    done
    echo $there $seen $mounts
done
"#;

pub(crate) fn hidden(host: &Host) -> Result<()> {
    let paths: Vec<&str> = HIDDEN.iter().map(|(path, _)| *path).collect();
    let script = format!("PATHS='{}'\n{LOOK}", paths.join(" "));
    let outside = looks(&host.sh(&script)?.ok()?)?;
    for profile in ["default", "strict"] {
        let text = format!("[Container]\nRoot=/var/lib/machines/busybox\nProfile={profile}\n");
        let guest = started(host, "masked", &text)?;
        let inside = looks(&sh(&guest, &script)?)?;
        let report = compared(&outside, &inside).with_context(|| format!("profile {profile}"))?;
        println!("profile {profile}\n{report}");
        names_all(host)?;
        guest.finish()?;
    }
    Ok(())
}

/// How many there are of a path, how much is seen of them, and how many are mounts.
type Look = (u32, u32, u32);

fn looks(said: &str) -> Result<Vec<Look>> {
    let look = |line: &str| -> Option<Look> {
        let mut numbers = line.split(' ').map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some((next()?, next()?, next()?))
    };
    let looks: Option<Vec<Look>> = said.lines().map(look).collect();
    let looks = looks.with_context(|| said.to_owned())?;
    ensure!(looks.len() == HIDDEN.len(), "{said}");
    Ok(looks)
}

fn compared(outside: &[Look], inside: &[Look]) -> Result<String> {
    let (mut report, mut wrong, mut shown) = (String::new(), Vec::new(), 0);
    for (((path, who), outside), inside) in HIDDEN.iter().zip(outside).zip(inside) {
        let (there, seen, _) = *outside;
        let verdict = match *inside {
            _ if there == 0 => "not on this machine",
            (_, more, _) if more > 0 => "SEEN",
            (there, _, mounts) if there > mounts => "NOT COVERED",
            _ if seen == 0 => "covered; empty on the host, too",
            _ => "hidden",
        };
        writeln!(
            report,
            "{path:<47}{verdict:<33}host sees {seen:<6}also {who}"
        )?;
        shown += u32::from(verdict == "hidden");
        if verdict == verdict.to_uppercase() {
            wrong.push(format!("{path}: {verdict}"));
        }
    }
    ensure!(wrong.is_empty(), "{}\n{report}", wrong.join("\n"));
    // Any kernel has its symbols, timers and interrupts.
    ensure!(shown >= 3, "too few could be shown:\n{report}");
    Ok(report)
}

/// The plan hides what this machine does not have, too.
fn names_all(host: &Host) -> Result<()> {
    let plan = host.exec(["skep", "show", "masked"])?.ok()?;
    for (path, _) in HIDDEN {
        let line = match path.rsplit_once("cpu*/") {
            Some((_, file)) => format!("mask {file} of each processor"),
            None => format!("mask {path}"),
        };
        ensure!(
            plan.lines().any(|said| said.trim() == line),
            "no {line:?} in the plan:\n{plan}"
        );
    }
    Ok(())
}
