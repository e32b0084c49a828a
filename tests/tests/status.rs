//! What people are told about a container: `systemctl status`, `skep status` and `skep list`.

#[path = "status/flood.rs"]
mod flood;

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use skep_tests::{
    guest::{Guest, started},
    host::Host,
    trial::{self, Test},
    wait::{timed, wait_until},
};

const DEBIAN: &str = "[Container]\nRoot=/var/lib/machines/debian-13\nEphemeral=yes\n";
const BUSYBOX: &str = "[Container]\nRoot=/var/lib/machines/busybox\nReadOnly=yes\n";

/// Addresses show after a second.
const SEEN: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let tests: &[(&str, Test)] = &[
        ("a_life", life),
        ("ends", ends),
        ("many", many),
        ("many_addresses", flood::bounded),
    ];
    trial::main(trial::everywhere(tests))
}

fn json(host: &Host, name: &str) -> Result<Value> {
    let text = host.exec(["skep", "status", "--json", name])?.ok()?;
    let mut all: Vec<Value> = serde_json::from_str(&text)?;
    all.pop().context("no container in the answer")
}

fn contains(text: &str, wanted: &[&str]) -> Result<()> {
    for want in wanted {
        ensure!(text.contains(want), "no {want:?} in:\n{text}");
    }
    Ok(())
}

/// Every text that the unit had as its status, from now until it has `last`.
fn texts_until(guest: &Guest<'_>, last: &str) -> Result<Vec<String>> {
    let mut texts: Vec<String> = Vec::new();
    wait_until(Duration::from_secs(40), last, || {
        let text = guest.property("StatusText")?;
        let done = text.starts_with(last);
        if texts.last() != Some(&text) {
            texts.push(text);
        }
        Ok(done.then_some(()))
    })
    .with_context(|| format!("{texts:?}"))?;
    Ok(texts)
}

/// systemd as a guest: start, addresses, reboot and stop.
fn life(host: &Host) -> Result<()> {
    let declared = format!("{DEBIAN}BindReadOnly=/etc/skep:/srv/etc:noidmap\n");
    let guest = Guest::declare(host, "status-deb", &declared)?;
    host.exec(["systemctl", "start", "--no-block", &guest.unit()])?
        .ok()?;
    let running = "Running: Debian GNU/Linux 13 (trixie), systemd 257, leader ";
    let texts = texts_until(&guest, running)?;
    let begins = |text: &String| {
        ["", "Preparing the tree", "Booting"]
            .iter()
            .any(|start| text.starts_with(start))
    };
    ensure!(texts.iter().any(begins), "{texts:?}");
    wait_until(SEEN, "the unit to be up", || {
        Ok((guest.property("ActiveState")? == "active").then_some(()))
    })?;

    let known = json(host, "status-deb")?;
    ensure!(known["init_version"] == "257" && known["addresses"] == Value::Array(Vec::new()));
    ensure!(
        known["boot_msec"].as_u64().is_some_and(|time| time > 0),
        "{known}"
    );
    ensure!(known["last_end"] == Value::Null, "{known}");
    // Addresses that its root gives it, and takes away.
    let leader = known["leader"].as_u64().context("no leader")?;
    let net = format!("nsenter -n -t {leader} ip addr");
    host.sh(&format!(
        "{net} add 10.1.2.3/32 dev lo && {net} add fd00::9/128 dev lo"
    ))?
    .ok()?;
    let both = format!("{running}{leader}, 10.1.2.3, fd00::9");
    texts_until(&guest, &both)?;
    contains(
        &host.exec(["skep", "list"])?.ok()?,
        &["systemd 257", "10.1.2.3"],
    )?;
    let page = host
        .exec(["skep", "status", "--lines=3", "status-deb"])?
        .ok()?;
    contains(
        &page,
        &[
            "State: active (running)",
            "Address: 10.1.2.3\n              fd00::9\n",
            "Start: took ",
            "Root: /var/lib/machines/debian-13 (copy-on-write)",
            "Mounts: /etc/skep on /srv/etc (read-only)",
            "Console: ",
        ],
    )?;
    host.sh(&format!("{net} del 10.1.2.3/32 dev lo"))?.ok()?;
    texts_until(&guest, &format!("{running}{leader}, fd00::9"))?;

    let _ = guest.exec(&["systemctl", "reboot"]);
    wait_until(Duration::from_secs(40), "the reboot", || {
        let known = json(host, "status-deb")?;
        let again = known["leader"].as_u64().is_some_and(|new| new != leader);
        Ok((again && known["ready"] == true).then_some(()))
    })?;
    let known = json(host, "status-deb")?;
    ensure!(known["last_end"]["end"] == "rebooted", "{known}");
    ensure!(known["addresses"] == Value::Array(Vec::new()), "{known}");
    host.exec(["systemctl", "stop", "--no-block", &guest.unit()])?
        .ok()?;
    let texts = texts_until(&guest, "Stopped")?;
    println!("{texts:?}");
    wait_until(SEEN, "the unit to be down", || {
        Ok((guest.property("ActiveState")? == "inactive").then_some(()))
    })?;
    ensure!(json(host, "status-deb")?["last_end"]["end"] == "stopped");
    guest.finish()?;
    ensure!(
        host.exec(["test", "-e", "/run/skep/ended/status-deb.json"])?
            .status()
            == 1
    );
    Ok(())
}

/// Why a container ended, however it did.
fn ends(host: &Host) -> Result<()> {
    let guest = started(host, "status-ends", BUSYBOX)?;
    let last = || -> Result<String> {
        wait_until(SEEN, "the end", || {
            let ended = guest.property("ActiveState")?;
            Ok(["inactive", "failed"]
                .contains(&ended.as_str())
                .then_some(()))
        })?;
        let page = host.exec(["skep", "status", "status-ends"])?.ok()?;
        ensure!(
            !page.contains(" Status: "),
            "a status of the last run:\n{page}"
        );
        let line = page
            .lines()
            .find_map(|line| line.trim().strip_prefix("Last end: "));
        let line = line.with_context(|| format!("no last end:\n{page}"))?;
        Ok(line
            .split_once(": ")
            .map_or(line, |(_, reason)| reason)
            .to_owned())
    };
    let again = || -> Result<()> {
        host.exec(["systemctl", "reset-failed", &guest.unit()])?;
        guest.systemctl("start").map(drop)
    };
    // A request in its first moment finds no handler yet.
    std::thread::sleep(Duration::from_millis(500));
    let _ = guest.exec(&["/sbin/poweroff", "-d0"]);
    ensure!(last()? == "it powered itself off", "{}", last()?);
    again()?;
    let leader = json(host, "status-ends")?["leader"].clone();
    host.exec(["kill", "-KILL", &leader.to_string()])?.ok()?;
    ensure!(last()? == "its init was killed by SIGKILL", "{}", last()?);
    again()?;
    host.exec(["systemctl", "kill", "--signal=KILL", &guest.unit()])?
        .ok()?;
    ensure!(
        last()? == "its supervisor was killed by SIGKILL",
        "{}",
        last()?
    );
    // The next boot finds out by itself.
    again()?;
    ensure!(json(host, "status-ends")?["last_end"]["end"] == "lost");
    guest.systemctl("stop")?;
    ensure!(last()? == "it was asked to stop");
    guest.redeclare("[Container]\nRoot=/var/lib/machines/none\n")?;
    ensure!(host.exec(["systemctl", "start", &guest.unit()])?.status() != 0);
    contains(
        &last()?,
        &["it could not be set up: ", "/var/lib/machines/none"],
    )?;
    guest.redeclare(&format!(
        "{BUSYBOX}Init=/bin/sleep\nParameters=100\nNotifyReady=yes\n[Service]\nTimeoutStartSec=1\n"
    ))?;
    ensure!(host.exec(["systemctl", "start", &guest.unit()])?.status() != 0);
    contains(&last()?, &["it took too long to start"])?;
    host.exec(["systemctl", "reset-failed", &guest.unit()])?;
    guest.finish()
}

const MANY: usize = 20;

/// A list of running containers fits a terminal and does not keep anybody waiting.
fn many(host: &Host) -> Result<()> {
    let tail = "x".repeat(40);
    let names: Vec<String> = (0..MANY).map(|n| format!("status-{tail}-{n}")).collect();
    let before = host.snapshot()?;
    for name in &names {
        host.write(&format!("/etc/skep/{name}.container"), BUSYBOX)?;
    }
    let result = host
        .sh(&format!("skep apply && skep start {}", names.join(" ")))
        .and_then(|done| done.ok())
        .and_then(|_| listed(host));
    host.sh("systemctl stop 'skep@status-*'; rm /etc/skep/status-x*; skep apply")?
        .ok()?;
    result?;
    wait_until(SEEN, "the host to be as before", || {
        Ok(before.changes(&host.snapshot()?).is_empty().then_some(()))
    })
}

fn listed(host: &Host) -> Result<()> {
    let list = host.exec(["skep", "list"])?.ok()?;
    for line in list.lines() {
        ensure!(line.chars().count() <= 80, "{line}");
    }
    for number in 0..MANY {
        let end = format!("x-{number} ");
        let mut lines = list.lines();
        let found = lines.any(|line| line.contains(&end) && line.contains(" active "));
        ensure!(found, "{number} is not told apart:\n{list}");
    }
    ensure!(!list.contains('\u{1b}'), "colours without a terminal");
    let colours = host.sh("SYSTEMD_COLORS=1 skep list")?.ok()?;
    contains(&colours, &["\u{1b}[32mactive\u{1b}[0m"])?;
    // To enter the host takes a while, too.
    let nothing = quickest(host, "true")?;
    for (command, limit) in [("skep list", 100), ("skep list --json", 400)] {
        let time = quickest(host, command)?.saturating_sub(nothing);
        println!("{command} of {MANY} running containers takes {time:?}");
        ensure!(
            time < Duration::from_millis(limit),
            "{command} takes {time:?}"
        );
    }
    Ok(())
}

/// The shortest of five times.
fn quickest(host: &Host, command: &str) -> Result<Duration> {
    let mut shortest = Duration::MAX;
    for _ in 0..5 {
        let (done, time) = timed(|| host.sh(command));
        done?.ok()?;
        shortest = shortest.min(time);
    }
    Ok(shortest)
}
