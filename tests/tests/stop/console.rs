//! The guest's console in the journal: clean, complete as far as the journal takes it, never in the way.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use skep_tests::{
    guest::Guest,
    host::Host,
    wait::{timed, wait_until},
};

use super::{BUSYBOX, ensure_state, stop_within};

const LIMIT: Duration = Duration::from_secs(5);

/// All records of the unit.
fn records(host: &Host, guest: &Guest<'_>) -> Result<Vec<Value>> {
    let unit = guest.unit();
    let text = host
        .exec([
            "journalctl",
            "--all",
            "--no-pager",
            "--output=json",
            "--unit",
            &unit,
        ])?
        .ok()?;
    text.lines()
        .map(|line| serde_json::from_str(line).context("a record"))
        .collect()
}

pub(super) fn clean(host: &Host) -> Result<()> {
    let guest = Guest::declare(host, "console", BUSYBOX)?;
    guest.systemctl("start")?;
    let script = r"{ printf '<0>urgent\n'; printf '\033[31mred\033[0m\001\002 \033]0;title\007end\n';
        printf 'bad \377\376 utf8\n'; printf '\302\233 c1\n'; printf 'a\0b\n'; printf 'cut\033\nnext\n';
        head -c 1048576 /dev/zero | tr '\0' x; printf '\nmarked the end\n'; } >/dev/console";
    guest.exec(&["/bin/sh", "-c", script])?.ok()?;
    wait_until(LIMIT, "the last line in the journal", || {
        Ok(guest.journal()?.contains("marked the end").then_some(()))
    })?;
    let records = records(host, &guest)?;
    let mut long = 0;
    for record in &records {
        let message = &record["MESSAGE"];
        let text = message
            .as_str()
            .with_context(|| format!("a blob: {message}"))?;
        ensure!(
            !text.chars().any(|c| c.is_control() && c != '\t'),
            "{text:?}"
        );
        long += text.bytes().filter(|byte| *byte == b'x').count() / 1000 * 1000;
    }
    ensure!(long > 900_000, "of the long line {long} bytes are there");
    for line in [
        "<0>urgent",
        "red end",
        "bad \u{fffd}\u{fffd} utf8",
        " c1",
        "ab",
        "cut",
        "next",
        "busybox service runs",
    ] {
        let record = records
            .iter()
            .find(|record| record["MESSAGE"] == line)
            .with_context(|| format!("no line {line:?}"))?;
        ensure!(
            record["PRIORITY"] == "6",
            "{line:?} has priority {}",
            record["PRIORITY"]
        );
        ensure!(record["CONTAINER_NAME"] == "console", "{record}");
    }
    guest.finish()
}

pub(super) fn flood(host: &Host) -> Result<()> {
    let guest = Guest::declare(host, "flood", BUSYBOX)?;
    guest.systemctl("start")?;
    let script = "yes 0123456789abcdefghijklmnopqrstuvwxyz | head -c 67108864 >/dev/console";
    let (done, time) = timed(|| guest.exec(&["/bin/sh", "-c", script]));
    done?.ok()?;
    println!("64 MiB in {time:?}");
    ensure!(time < Duration::from_secs(30), "the guest waited {time:?}");
    ensure_state(&guest, "active", "success")?;
    // Without end, from more than one process.
    guest
        .exec(&[
            "/bin/sh",
            "-c",
            "for i in 1 2 3; do yes >/dev/console 2>&1 & done",
        ])?
        .ok()?;
    stop_within(&guest, LIMIT)?;
    guest.finish()
}

pub(super) fn stuck_journal(host: &Host) -> Result<()> {
    let guest = Guest::declare(host, "stuck", BUSYBOX)?;
    guest.systemctl("start")?;
    let journal = host
        .exec(["systemctl", "show", "-P", "MainPID", "systemd-journald"])?
        .ok()?;
    host.exec(["kill", "-STOP", &journal])?.ok()?;
    let judged = without_journal(&guest);
    host.exec(["kill", "-CONT", &journal])?.ok()?;
    judged?;
    guest.systemctl("start")?;
    host.sh("systemctl stop systemd-journald.socket systemd-journald-dev-log.socket systemd-journald-audit.socket systemd-journald 2>/dev/null || :")?.ok()?;
    let judged = without_journal(&guest);
    host.sh(
        "systemctl start systemd-journald.socket systemd-journald-dev-log.socket systemd-journald",
    )?
    .ok()?;
    judged?;
    guest.systemctl("start")?;
    guest.finish()
}

fn without_journal(guest: &Guest<'_>) -> Result<()> {
    let script = "yes 0123456789abcdefghijklmnopqrstuvwxyz | head -c 8388608 >/dev/console";
    let (done, time) = timed(|| guest.exec(&["/bin/sh", "-c", script]));
    done?.ok()?;
    println!("8 MiB in {time:?}");
    ensure!(time < Duration::from_secs(10), "the guest waited {time:?}");
    stop_within(guest, LIMIT)?;
    ensure_state(guest, "inactive", "success")
}
