//! What administrators do to units with systemd's own tools.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, ensure};
use skep_tests::{
    host::Host,
    wait::{timed, wait_until},
};

use super::{BUSYBOX, contains, property, started, waiting};

/// Parts of names of properties that change all the time.
const VOLATILE: &[&str] = &[
    "Timestamp",
    "Current",
    "Peak",
    "Usage",
    "Bytes",
    "Packets",
    "Operations",
    "Available",
    "NRestarts",
    "InvocationID",
    "Exec",
    "Status",
    "Refs",
    "Result",
    "PID",
    "ControlGroupId",
    "Condition",
    "Assert",
];

/// Properties of a unit, each value as a sorted list of words.
fn properties(host: &Host, unit: &str) -> Result<BTreeMap<String, Vec<String>>> {
    let shown = host.exec(["systemctl", "show", "--all", unit])?.ok()?;
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    // A list may come as one line per item.
    for (name, value) in shown.lines().filter_map(|line| line.split_once('=')) {
        if !VOLATILE.iter().any(|part| name.contains(part)) {
            let words = value.split(' ').map(str::to_owned);
            // The keeper's name changes with its generation.
            let words = words.filter(|word| !word.starts_with("skep-declared"));
            all.entry(name.to_owned()).or_default().extend(words);
        }
    }
    all.values_mut().for_each(|words| words.sort());
    Ok(all)
}

/// Neither kind of reload changes a unit, and apply then finds nothing to do.
pub(crate) fn reload(host: &Host) -> Result<()> {
    let more = "Environment=\"A=1 2\"\n[Unit]\nDescription=All of 100%% \"it\"\nAfter=network-online.target\n\
                [Service]\nMemoryMax=1G\nTasksMax=333\nRestart=on-failure\nDeviceAllow=/dev/fuse rw\nCPUQuota=50%\n";
    let guest = started(host, "life-reload", more)?;
    host.write(
        "/etc/skep/life-stopped.container",
        format!("[Container]\nRoot=/var/lib/machines/none\n{more}")
            .replace("Environment=\"A=1 2\"\n[Unit]", "[Unit]"),
    )?;
    host.exec(["skep", "apply"])?.ok()?;
    let both = || -> Result<_> {
        Ok([
            properties(host, "skep@life-reload.service")?,
            properties(host, "skep@life-stopped.service")?,
        ])
    };
    let (before, process) = (both()?, guest.property("MainPID")?);
    for verb in ["daemon-reload", "daemon-reexec", "daemon-reload"] {
        host.exec(["systemctl", verb])?.ok()?;
        let said = wait_until(Duration::from_secs(10), "systemd to be back", || {
            let applied = host.exec(["skep", "apply"])?;
            Ok((applied.status() == 0).then(|| applied.stdout()))
        })?;
        contains(&said, &["nothing to do"])?;
        for (was, is) in before.iter().zip(both()?) {
            let changed: Vec<_> = was
                .iter()
                .filter(|(name, value)| is.get(*name) != Some(value))
                .map(|(name, value)| (name, value, is.get(name)))
                .collect();
            ensure!(changed.is_empty(), "after {verb}: {changed:?}");
        }
        ensure!(
            guest.property("MainPID")? == process && guest.property("ActiveState")? == "active"
        );
        ensure!(guest.exec(&["true"])?.status() == 0);
    }
    host.exec(["rm", "/etc/skep/life-stopped.container"])?
        .ok()?;
    guest.finish()
}

/// Drop-ins of systemd, dependencies in both directions, stop, restart, kill and status.
pub(crate) fn systemctl(host: &Host) -> Result<()> {
    // A unit that wants the container is there before the declaration.
    host.write(
        "/etc/systemd/system/life-uses.service",
        "[Unit]\nWants=skep@life-tool.service\nAfter=skep@life-tool.service\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n",
    )?;
    host.write(
        "/etc/systemd/system/skep@.service.d/10.conf",
        "[Service]\nTimeoutStopSec=77\n",
    )?;
    host.write(
        "/etc/systemd/system/skep@life-tool.service.d/override.conf",
        "[Service]\nEnvironment=LIFE=1\nTasksMax=444\n",
    )?;
    host.exec(["systemctl", "daemon-reload"])?.ok()?;
    host.write("/etc/skep/life-tool.container", BUSYBOX)?;
    host.exec(["skep", "apply"])?.ok()?;
    let unit = "skep@life-tool.service";
    let overridden = || {
        ensure!(property(host, unit, "TimeoutStopUSec")? == "1min 17s");
        ensure!(property(host, unit, "TasksMax")? == "444");
        ensure!(property(host, unit, "Environment")?.contains("LIFE=1"));
        Ok(())
    };
    overridden()?;
    host.exec(["systemctl", "start", "life-uses"])?.ok()?;
    ensure!(
        property(host, unit, "ActiveState")? == "active",
        "Wants= did not start it"
    );
    overridden()?;
    let tree = host
        .exec(["systemctl", "list-dependencies", "--plain", unit])?
        .ok()?;
    contains(&tree, &["machine.slice", "sysinit.target"])?;
    let reverse = host
        .exec([
            "systemctl",
            "list-dependencies",
            "--reverse",
            "--plain",
            unit,
        ])?
        .ok()?;
    contains(&reverse, &["life-uses.service"])?;
    // While it runs, systemd reads a drop-in at the next reload.
    host.write(
        "/etc/systemd/system/skep@life-tool.service.d/override.conf",
        "[Service]\nTasksMax=555\n",
    )?;
    host.exec(["systemctl", "daemon-reload"])?.ok()?;
    ensure!(property(host, unit, "TasksMax")? == "555");
    contains(&host.exec(["skep", "apply"])?.ok()?, &["nothing to do"])?;
    contains(
        &host
            .exec(["systemctl", "status", "--no-pager", unit])?
            .ok()?,
        &["active (running)"],
    )?;
    host.exec(["systemctl", "restart", unit])?.ok()?;
    let (done, time) = timed(|| host.exec(["systemctl", "stop", unit]));
    done?.ok()?;
    ensure!(time < Duration::from_secs(10), "stop took {time:?}");
    ensure!(host.exec(["systemctl", "status", unit])?.status() == 3);
    host.exec(["systemctl", "start", unit])?.ok()?;
    // The default signal asks the whole unit to end.
    host.exec(["systemctl", "kill", "--kill-whom=main", unit])?
        .ok()?;
    wait_until(Duration::from_secs(15), "the killed unit to end", || {
        Ok((property(host, unit, "ActiveState")? == "inactive").then_some(()))
    })?;
    host.exec(["systemctl", "start", unit])?.ok()?;
    host.exec(["systemctl", "kill", "--signal=KILL", unit])?
        .ok()?;
    wait_until(Duration::from_secs(15), "the killed unit to fail", || {
        Ok((property(host, unit, "ActiveState")? == "failed").then_some(()))
    })?;
    host.exec(["systemctl", "start", unit])?.ok()?;
    host.exec(["systemctl", "stop", unit, "life-uses"])?.ok()?;
    host.sh("rm -r /etc/systemd/system/skep@* /etc/systemd/system/life-uses.service; systemctl daemon-reload")?.ok()?;
    // Without an apply of ours.
    ensure!(property(host, unit, "TasksMax")? == "16384");
    Ok(())
}

/// A changed unit that another unit holds in memory says so; the others change all the same.
pub(crate) fn pinned(host: &Host) -> Result<()> {
    host.write(
        "/etc/systemd/system/life-pins.service",
        "[Unit]\nRequires=skep@life-pinned.service\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n",
    )?;
    let declare = |name: &str, text: &str| {
        host.write(
            &format!("/etc/skep/{name}.container"),
            format!("{BUSYBOX}[Unit]\nDescription={text}\n"),
        )
    };
    host.exec(["systemctl", "daemon-reload"])?.ok()?;
    declare("life-pinned", "Old")?;
    declare("life-free", "Old")?;
    host.exec(["skep", "apply"])?.ok()?;
    host.exec(["systemctl", "start", "life-pins"])?.ok()?;
    host.sh("systemctl stop --job-mode=ignore-dependencies skep@life-pinned")?
        .ok()?;
    ensure!(property(host, "life-pins.service", "ActiveState")? == "active");
    declare("life-pinned", "New")?;
    declare("life-free", "New")?;
    let applied = host.exec(["skep", "apply"])?;
    let description = property(host, "skep@life-pinned.service", "Description")?;
    println!(
        "pinned: status {}, Description={description}: {}",
        applied.status(),
        applied.stderr()
    );
    ensure!(property(host, "skep@life-free.service", "Description")? == "New");
    if description != "New" {
        ensure!(applied.status() == 1);
        contains(&applied.stderr(), &["life-pinned", "life-pins.service"])?;
        ensure!(!waiting(host, "life-pinned")?.is_empty());
    }
    host.exec(["systemctl", "stop", "life-pins"])?.ok()?;
    host.exec(["skep", "apply"])?.ok()?;
    ensure!(property(host, "skep@life-pinned.service", "Description")? == "New");
    host.sh("rm /etc/systemd/system/life-pins.service; systemctl daemon-reload")?
        .ok()
        .map(drop)
}
