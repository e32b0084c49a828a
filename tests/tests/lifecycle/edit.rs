//! Declarations that change while their containers run.

use std::{thread::sleep, time::Duration};

use anyhow::{Result, ensure};
use skep_tests::{
    host::Host,
    wait::{PATIENCE, wait_until},
};

use super::{BUSYBOX, SEEN, contains, loaded, property, started, wait_pending, waiting};

/// Edits of declarations and drop-ins take effect with `systemctl restart` alone, and the host then comes to rest.
pub(crate) fn by_itself(host: &Host) -> Result<()> {
    host.sh("for d in a b; do mkdir -p /run/life-$d; echo $d >/run/life-$d/which; done")?
        .ok()?;
    let text = |source: &str| format!("{BUSYBOX}BindReadOnly=/run/life-{source}:/mnt\n");
    let guest = started(host, "life-edit", "BindReadOnly=/run/life-a:/mnt\n")?;
    let which = || guest.exec(&["cat", "/mnt/which"])?.ok();
    ensure!(which()? == "a");
    host.write(&guest.declaration(), text("b"))?;
    wait_pending(host, "life-edit", "container")?;
    ensure!(which()? == "a", "a running container changed");
    guest.systemctl("restart")?;
    ensure!(which()? == "b", "the restart did not take the edited bind");
    // Which mounts have to be there first is the unit's business: only a new unit has that.
    let waits = waiting(host, "life-edit")?;
    ensure!(
        waits.starts_with("RequiresMountsFor=; "),
        "pending after a restart: {waits}"
    );
    host.exec(["skep", "restart", "life-edit"])?.ok()?;
    ensure!(waiting(host, "life-edit")?.is_empty());

    // The first one makes the directory, the others only change something in it.
    let dropin = "/etc/skep/life-edit.container.d/10-name.conf";
    for name in ["first", "second", "third"] {
        host.write(dropin, format!("[Container]\nHostname={name}\n"))?;
        wait_pending(host, "life-edit", "container")?;
        guest.systemctl("restart")?;
        let hostname = guest.exec(&["hostname"])?.ok()?;
        ensure!(hostname == name, "{hostname} instead of {name}");
        ensure!(waiting(host, "life-edit")?.is_empty());
    }
    host.exec(["rm", "-r", "/etc/skep/life-edit.container.d"])?
        .ok()?;
    wait_pending(host, "life-edit", "container")?;
    comes_to_rest(host)?;
    guest.finish()?;
    host.sh("rm -r /run/life-a /run/life-b")?.ok().map(drop)
}

/// No run of apply triggers the next one.
fn comes_to_rest(host: &Host) -> Result<()> {
    let runs = || {
        host.exec([
            "systemctl",
            "show",
            "--property=InvocationID,ExecMainStartTimestampMonotonic",
            "skep-apply.service",
            "skep-settle.service",
            "skep-dropins.service",
        ])?
        .ok()
    };
    sleep(Duration::from_secs(3));
    let before = runs()?;
    sleep(Duration::from_secs(5));
    ensure!(before == runs()?, "still applying:\n{before}\n{}", runs()?);
    Ok(())
}

/// Limits change on the running unit, and go back when they are no longer declared.
pub(crate) fn live_limits(host: &Host) -> Result<()> {
    let guest = started(
        host,
        "life-limits",
        "[Service]\nMemoryMax=200M\nTasksMax=100\nCPUWeight=50\n",
    )?;
    let unit = guest.unit();
    let limits = || -> Result<[String; 3]> {
        Ok([
            property(host, &unit, "MemoryMax")?,
            property(host, &unit, "TasksMax")?,
            property(host, &unit, "CPUWeight")?,
        ])
    };
    let process = guest.property("MainPID")?;
    let reached = |wanted: [&str; 3]| {
        let mut now = limits()?;
        let end = wait_until(SEEN, "the limits", || {
            now = limits()?;
            Ok((now == wanted).then_some(()))
        });
        ensure!(end.is_ok(), "{now:?} instead of {wanted:?}");
        ensure!(guest.property("MainPID")? == process, "it was restarted");
        ensure!(waiting(host, "life-limits")?.is_empty());
        Ok(())
    };
    reached(["209715200", "100", "50"])?;
    let edit = |service: &str| {
        host.write(
            &guest.declaration(),
            format!("{BUSYBOX}[Service]\n{service}"),
        )
    };
    edit("MemoryMax=300M\nTasksMax=200\nCPUWeight=70\n")?;
    reached(["314572800", "200", "70"])?;
    println!(
        "live; memory.max in the unit's cgroup: {} (test hosts have no controllers: properties of the unit are judged)",
        host.sh(&format!(
            "cat /sys/fs/cgroup/machine.slice/{unit}/memory.max 2>/dev/null || echo none"
        ))?
        .stdout()
    );
    edit("")?;
    reached(["infinity", "16384", "[not set]"])?;
    host.exec(["systemctl", "daemon-reload"])?.ok()?;
    reached(["infinity", "16384", "[not set]"])?;
    guest.systemctl("restart")?;
    ensure!(limits()? == ["infinity", "16384", "[not set]"]);
    guest.finish()?;
    let left = host
        .sh("ls -d /run/systemd/system.control/skep@life-limits* 2>/dev/null || :")?
        .stdout();
    ensure!(left.is_empty(), "left behind: {left}");
    Ok(())
}

/// What only a new unit has waits for `skep restart`, and says so.
pub(crate) fn pending(host: &Host) -> Result<()> {
    let guest = started(host, "life-pending", "[Unit]\nDescription=Old\n")?;
    host.write(
        &guest.declaration(),
        format!("{BUSYBOX}[Unit]\nDescription=Old\n# nothing new\n"),
    )?;
    host.exec(["skep", "apply"])?.ok()?;
    let asks = guest.property("NeedDaemonReload")?;
    ensure!(asks == "no", "systemd asks for a reload after an edit");
    let process = guest.property("MainPID")?;
    host.write(
        &guest.declaration(),
        format!("{BUSYBOX}Hostname=changed\n[Unit]\nDescription=New\n[Service]\nMemoryMax=1G\n"),
    )?;
    let said = host.exec(["skep", "apply"])?.ok()?;
    contains(&said, &["life-pending", "skep restart life-pending"])?;
    contains(
        &waiting(host, "life-pending")?,
        &["Description=", "container", "skep restart life-pending"],
    )?;
    let list = host.exec(["skep", "list"])?.ok()?;
    contains(&list, &["life-pending", "restart"])?;
    ensure!(guest.property("Description")? == "Old");
    ensure!(guest.property("MemoryMax")? == "1073741824");
    // The spec is taken by any restart, the unit is not.
    guest.systemctl("restart")?;
    ensure!(guest.exec(&["hostname"])?.ok()? == "changed");
    let waits = waiting(host, "life-pending")?;
    ensure!(
        waits.contains("Description=") && !waits.contains("container"),
        "{waits}"
    );
    host.exec(["skep", "restart", "life-pending"])?.ok()?;
    ensure!(guest.property("Description")? == "New");
    ensure!(guest.property("MemoryMax")? == "1073741824");
    ensure!(guest.property("MainPID")? != process);
    ensure!(waiting(host, "life-pending")?.is_empty());
    guest.finish()
}

/// A mistake stops nothing that runs: not when it is asked to reboot, and not when it reboots by itself.
pub(crate) fn mistake(host: &Host) -> Result<()> {
    let guest = started(host, "life-mistake", "Hostname=before\n")?;
    let leader = || {
        host.sh("sed 's/.*\"leader\":\\([0-9]*\\).*/\\1/' /run/skep/machine/life-mistake/state.json 2>/dev/null || :")?.ok()
    };
    let first = leader()?;
    host.write(
        &guest.declaration(),
        format!("{BUSYBOX}Hostname=after\nBnd=x\n"),
    )?;
    host.exec(["skep", "apply"])?;
    let asked = host.exec(["skep", "reboot", "life-mistake"])?;
    ensure!(asked.status() == 1, "{}", asked.stderr());
    contains(
        &asked.stderr(),
        &["Bnd=", "not rebooted: its declaration is wrong"],
    )?;
    ensure!(leader()? == first, "it was rebooted");

    guest.exec(&["reboot"])?;
    wait_until(PATIENCE, "the reboot", || {
        let now = leader()?;
        Ok((!now.is_empty() && now != first).then_some(()))
    })?;
    ensure!(guest.property("ActiveState")? == "active");
    ensure!(guest.exec(&["hostname"])?.ok()? == "before");
    contains(&guest.journal()?, &["Bnd=", "boots as before"])?;
    contains(&waiting(host, "life-mistake")?, &["container"])?;

    guest.redeclare(&format!("{BUSYBOX}Hostname=after\n"))?;
    host.exec(["skep", "reboot", "life-mistake"])?.ok()?;
    ensure!(guest.exec(&["hostname"])?.ok()? == "after");
    guest.finish()
}

/// A container that others name takes what only a new unit has, as any other.
pub(crate) fn named(host: &Host) -> Result<()> {
    const UNIT: &str = "skep@life-db.service";
    let web = "[Unit]\nWants=skep@life-db.service\nAfter=skep@life-db.service\n";
    host.write("/etc/skep/life-db.container", BUSYBOX)?;
    host.write("/etc/skep/life-web.container", format!("{web}{BUSYBOX}"))?;
    host.exec(["skep", "apply"])?.ok()?;
    let edited = format!("{BUSYBOX}[Service]\nTimeoutStopSec=5min\n");
    host.write("/etc/skep/life-db.container", edited)?;
    host.exec(["skep", "apply"])?.ok()?;
    ensure!(property(host, UNIT, "TimeoutStopUSec")? == "5min");
    host.sh("rm /etc/skep/life-db.container /etc/skep/life-web.container; skep apply")?
        .ok()
        .map(drop)
}

/// A restart that takes a change starts again what it stopped.
pub(crate) fn required(host: &Host) -> Result<()> {
    let one = |name: &str, more: &str| {
        let text = format!("{BUSYBOX}Ephemeral=yes\n[Unit]\n{more}");
        host.write(&format!("/etc/skep/{name}.container"), text)
    };
    one("life-db", "Description=Old\n")?;
    let requires = "Requires=skep@life-db.service\nAfter=skep@life-db.service\n";
    one("life-web", requires)?;
    let binds = "BindsTo=skep@life-web.service\nAfter=skep@life-web.service\n";
    one("life-top", binds)?;
    host.exec(["skep", "apply"])?.ok()?;
    host.exec(["skep", "start", "life-top"])?.ok()?;
    one("life-db", "Description=New\n")?;
    host.exec(["skep", "apply"])?.ok()?;
    host.exec(["skep", "restart", "life-db"])?.ok()?;
    for name in ["life-db", "life-web", "life-top"] {
        wait_until(PATIENCE, name, || {
            let state = property(host, &format!("skep@{name}.service"), "ActiveState")?;
            Ok((state == "active").then_some(()))
        })?;
    }
    host.sh("rm /etc/skep/life-db.container /etc/skep/life-web.container /etc/skep/life-top.container; skep apply --prune")?
        .ok()
        .map(drop)
}

/// What is no longer declared goes: at once, when it stops, or stopped by `--prune`.
pub(crate) fn removal(host: &Host) -> Result<()> {
    let declare = |name: &str, text: &str| {
        host.write(&format!("/etc/skep/{name}.container"), text)?;
        host.exec(["skep", "apply"])
    };
    let undeclare = |name: &str, arguments: &str| {
        host.sh(&format!(
            "rm /etc/skep/{name}.container; skep apply {arguments}"
        ))?
        .ok()
    };
    let gone = |name: &str| {
        wait_until(PATIENCE, "the unit to be forgotten", || {
            Ok(loaded(host, &format!("skep@{name}.service"))?
                .is_empty()
                .then_some(()))
        })?;
        host.exec(["skep", "apply"])?.ok()?;
        let spec = host.exec(["test", "-e", &format!("/run/skep/spec/{name}.json")])?;
        ensure!(spec.status() == 1, "the spec file of {name} is still there");
        Ok(())
    };
    declare("life-quiet", BUSYBOX)?.ok()?;
    undeclare("life-quiet", "")?;
    gone("life-quiet")?;

    declare("life-wrong", "[Container]\nRoot=x\n")?;
    ensure!(
        host.exec(["systemctl", "start", "skep@life-wrong"])?
            .status()
            != 0
    );
    ensure!(property(host, "skep@life-wrong.service", "ActiveState")? == "failed");
    undeclare("life-wrong", "")?;
    gone("life-wrong")?;

    for prune in [false, true] {
        declare("life-runs", BUSYBOX)?.ok()?;
        host.exec(["systemctl", "start", "skep@life-runs"])?.ok()?;
        contains(&undeclare("life-runs", "")?, &["leave life-runs"])?;
        contains(&waiting(host, "life-runs")?, &["no longer declared"])?;
        ensure!(property(host, "skep@life-runs.service", "ActiveState")? == "active");
        match prune {
            false => host.exec(["systemctl", "stop", "skep@life-runs"])?.ok()?,
            true => host.exec(["skep", "apply", "--prune"])?.ok()?,
        };
        gone("life-runs")?;
    }
    // One keeper and its parent while something is declared, none when nothing is.
    for number in 0..5 {
        declare(
            "life-quiet",
            &format!("{BUSYBOX}[Unit]\nDescription={number}\n"),
        )?
        .ok()?;
    }
    let keepers = loaded(host, "skep-declared*")?;
    ensure!(keepers.len() == 2, "{keepers:?}");
    undeclare("life-quiet", "")?;
    wait_until(PATIENCE, "the keepers to go", || {
        Ok(loaded(host, "skep-*.slice")?.is_empty().then_some(()))
    })
}

/// Three ways to mask, each undone again.
pub(crate) fn masks(host: &Host) -> Result<()> {
    const UNIT: &str = "skep@life-mask.service";
    host.write("/run/skep/life-mask.container", BUSYBOX)?;
    host.exec(["skep", "apply"])?.ok()?;
    for (mask, undo) in [
        (
            "ln -s /dev/null /etc/skep/life-mask.container",
            "rm /etc/skep/life-mask.container",
        ),
        (
            ": >/etc/skep/life-mask.container",
            "rm /etc/skep/life-mask.container",
        ),
        (
            "ln -s /dev/null /etc/systemd/system/skep@life-mask.service",
            "rm /etc/systemd/system/skep@life-mask.service",
        ),
        (
            "ln -s /dev/null /etc/systemd/system/skep@life-mask.service; systemctl daemon-reload",
            "rm /etc/systemd/system/skep@life-mask.service; systemctl daemon-reload",
        ),
    ] {
        ensure!(
            property(host, UNIT, "LoadState")? == "loaded",
            "before {mask}"
        );
        host.sh(&format!("{mask}; skep apply"))?.ok()?;
        let start = host.exec(["systemctl", "start", UNIT])?;
        ensure!(start.status() != 0, "started in spite of {mask}");
        contains(&host.exec(["skep", "list"])?.ok()?, &["masked"])?;
        host.sh(&format!("{undo}; skep apply"))?.ok()?;
        host.exec(["systemctl", "start", UNIT])?.ok()?;
        host.exec(["systemctl", "stop", UNIT])?.ok()?;
    }
    Ok(())
}
