//! Several applies at once, and a bus that goes away.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use skep_tests::{
    host::Host,
    wait::{PATIENCE, timed, wait_until},
};

use super::{BUSYBOX, contains, loaded, property};

/// Applies wait for each other, that of a package upgrade included, and all of them end well.
pub(crate) fn side_by_side(host: &Host) -> Result<()> {
    for number in 0..20 {
        host.write(
            &format!("/etc/skep/life-side{number}.container"),
            BUSYBOX.replace("busybox", &format!("none{number}")),
        )?;
    }
    let said = thread::scope(|scope| {
        let run = |line: &'static str| scope.spawn(move || host.sh(line));
        let all = [
            run("skep apply"),
            run("skep apply --from-unit"),
            run("skep apply"),
            run("systemctl start skep-apply.service"),
            run("systemctl reload skep.service"),
        ];
        all.map(|one| one.join().ok().context("a thread panicked")?)
    });
    for one in said {
        one?.ok()?;
    }
    ensure!(loaded(host, "skep@life-side*.service")?.len() == 20);
    wait_until(PATIENCE, "one keeper", || {
        Ok((loaded(host, "skep-declared-*.slice")?.len() == 1).then_some(()))
    })?;
    // Wrong declarations are no failure of the upgrade.
    host.write("/etc/skep/life-wrong.container", "[Container]\nRoot=x\n")?;
    host.exec(["skep", "apply", "--from-unit"])?.ok()?;
    ensure!(host.exec(["skep", "apply"])?.status() == 1);
    Ok(())
}

/// Without a bus apply fails soon and says so; with one again it works.
pub(crate) fn restarting(host: &Host) -> Result<()> {
    host.write("/etc/skep/life-bus.container", BUSYBOX)?;
    host.exec(["skep", "apply"])?.ok()?;
    host.exec(["systemctl", "start", "skep@life-bus"])?.ok()?;
    let leader = property(host, "skep@life-bus.service", "MainPID")?;
    let judged = without_a_bus(host);
    host.sh("systemctl start dbus.socket dbus.service")?.ok()?;
    judged?;
    wait_until(Duration::from_secs(20), "systemd on the bus", || {
        Ok((host.exec(["skep", "apply"])?.status() == 0).then_some(()))
    })?;
    // One that meets the restart may win or lose, but ends.
    let (done, time) = timed(|| {
        host.sh("systemctl --no-block restart dbus.service; skep apply >/dev/null 2>&1 || echo lost: $?")
    });
    println!(
        "apply during a restart of the bus: {time:?} {}",
        done?.stdout()
    );
    ensure!(time < Duration::from_secs(40));
    wait_until(Duration::from_secs(20), "systemd on the bus", || {
        Ok((host.exec(["skep", "apply"])?.status() == 0).then_some(()))
    })?;
    ensure!(
        property(host, "skep@life-bus.service", "MainPID")? == leader,
        "it was restarted"
    );
    host.exec(["systemctl", "stop", "skep@life-bus"])?
        .ok()
        .map(drop)
}

fn without_a_bus(host: &Host) -> Result<()> {
    host.sh("systemctl stop dbus.socket dbus.service")?.ok()?;
    let (done, time) = timed(|| host.exec(["skep", "apply"]));
    let done = done?;
    println!("apply without a bus: {time:?}: {}", done.stderr());
    ensure!(done.status() == 1, "status {}", done.status());
    ensure!(time < Duration::from_secs(15), "it took {time:?}");
    contains(
        &done.stderr(),
        &["cannot reach systemd over the system bus"],
    )
}
