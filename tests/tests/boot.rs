//! Every kind of guest boots with `systemctl start` on every systemd generation, and leaves nothing when it stops.

use std::{env, path::Path, process::ExitCode, time::Duration};

use anyhow::{Context, Result, ensure};
use skep_tests::{
    guest::Guest,
    host::{Host, Os, Wanted},
    quiet::OWN_OS,
    trial,
    wait::{PATIENCE, wait_until},
};

fn main() -> ExitCode {
    let mut trials = trial::on_each(&Os::DEBIAN, "host_runs", host_runs);
    for tree in ["debian-12", "debian-13", "debian-sid"] {
        let name = format!("boots_{}", tree.replace('-', "_"));
        trials.extend(trial::on_each(&Os::DEBIAN, &name, move |host| {
            systemd_guest(host, tree)
        }));
    }
    trials.extend(trial::on_each(&Os::DEBIAN, "boots_busybox", busybox_guest));
    trials.extend(trial::on_each(&Os::DEBIAN, "boots_own_os", own_os));
    trials.extend(trial::on_each(&Os::DEBIAN, "boots_at_host_boot", host_boot));
    trials.push(trial::promised("image::boots_own_root".into(), own_root));
    trial::main(trials)
}

fn host_runs(host: &Host) -> Result<()> {
    let state = host.exec(["systemctl", "is-system-running"])?.stdout();
    let failed = host
        .exec([
            "systemctl",
            "list-units",
            "--failed",
            "--plain",
            "--no-legend",
        ])?
        .ok()?;
    ensure!(state == "running", "the host is {state}: {failed}");
    let version = host.exec(["skep", "--version"])?.ok()?;
    ensure!(version.starts_with("skep "), "{version}");
    host.exec(["systemctl", "is-active", "skep.service", "skep.path"])?
        .ok()?;
    Ok(())
}

fn systemd_guest(host: &Host, tree: &str) -> Result<()> {
    let guest = Guest::declare(
        host,
        &format!("boot-{tree}"),
        &format!("[Container]\nRoot=/var/lib/machines/{tree}\n"),
    )?;
    let time = guest.systemctl("start")?;
    println!("started in {time:?}");
    guest.is_running()?;
    // Not the last of them: a getty hangs up the console, and the kernel drops what nobody has read yet.
    wait_until(PATIENCE, "the guest's boot messages in the journal", || {
        Ok(guest.journal()?.contains("Basic System").then_some(()))
    })?;
    guest.finish()
}

fn busybox_guest(host: &Host) -> Result<()> {
    let guest = Guest::declare(
        host,
        "boot-busybox",
        "[Container]\nRoot=/var/lib/machines/busybox\n",
    )?;
    let time = guest.systemctl("start")?;
    println!("started in {time:?}");
    let init = guest.exec(&["readlink", "/proc/1/exe"])?.ok()?;
    ensure!(init == "/bin/busybox", "PID 1 is {init}");
    wait_until(
        Duration::from_secs(10),
        "the guest's service to say something in the journal",
        || {
            Ok(guest
                .journal()?
                .contains("busybox service runs")
                .then_some(()))
        },
    )?;
    guest.finish()
}

/// The OS of the machine that all this runs on, copy-on-write from a read-only bind of its root.
fn own_os(host: &Host) -> Result<()> {
    let text = format!("[Container]\nRoot=/var/lib/machines/host\nEphemeral=yes\n{OWN_OS}");
    let guest = Guest::declare(host, "boot-own", &text)?;
    println!("started in {:?}", guest.systemctl("start")?);
    guest.is_running()?;
    guest.exec(&["touch", "/written-by-the-guest"])?.ok()?;
    guest.finish()?;
    ensure!(
        !Path::new("/written-by-the-guest").exists(),
        "the guest wrote through to its tree"
    );
    Ok(())
}

/// `Root=/` of a host whose own root can be idmapped: an ext4 image.
fn own_root() -> Result<()> {
    let package = env::var_os("SKEP_TEST_PACKAGE")
        .context("SKEP_TEST_PACKAGE is not set: run `cargo xtask test`")?;
    let host = Host::up(Wanted {
        os: Os::Trixie,
        name: Some(format!("image-{}", std::process::id())),
        guests: Vec::new(),
        image: true,
        package: Some(package.into()),
        owned: true,
    })?;
    let judged = Guest::declare(&host, "own-root", "[Container]\nRoot=/\n").and_then(|guest| {
        guest.systemctl("start")?;
        guest.is_running()?;
        guest.exec(&["touch", "/written-by-the-guest"])?.ok()?;
        guest.finish()?;
        ensure!(
            host.exec(["test", "-e", "/written-by-the-guest"])?.status() == 1,
            "the guest wrote to the host's root"
        );
        Ok(())
    });
    let down = host.down();
    judged.and(down)
}

/// What is wanted at boot runs after one, beside declarations that cannot work, and these have not gone unseen.
fn host_boot(host: &Host) -> Result<()> {
    let wanted = "\n[Install]\nWantedBy=multi-user.target\n";
    let good = format!("[Container]\nRoot=/var/lib/machines/busybox\n{wanted}");
    let guest = Guest::declare(host, "at-boot", &good)?;
    host.write(
        "/etc/skep/typo.container",
        format!("[Container]\nRoot=/var/lib/machines/busybox\nBnid=/srv\n{wanted}"),
    )?;
    host.write(
        "/etc/skep/gone.container",
        format!("[Container]\nRoot=/var/lib/machines/gone\n{wanted}"),
    )?;
    let judged = host.reboot().and_then(|()| after_boot(host, &guest));
    host.sh(
        "rm /etc/skep/typo.container /etc/skep/gone.container; skep apply; systemctl reset-failed",
    )?
    .ok()?;
    judged?;
    guest.finish()
}

fn after_boot(host: &Host, guest: &Guest<'_>) -> Result<()> {
    wait_until(Duration::from_secs(10), "the wanted container", || {
        Ok((guest.property("ActiveState")? == "active").then_some(()))
    })?;
    host.exec(["systemctl", "is-active", "multi-user.target"])?
        .ok()?;
    let failed = host
        .exec([
            "systemctl",
            "list-units",
            "--failed",
            "--plain",
            "--no-legend",
        ])?
        .ok()?;
    let failed: Vec<&str> = failed
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    ensure!(
        failed == ["skep@gone.service", "skep@typo.service"],
        "failed are {failed:?}"
    );
    for (name, reason) in [
        ("typo", "/etc/skep/typo.container:3: Bnid="),
        ("gone", "/var/lib/machines/gone"),
    ] {
        let status = host
            .exec([
                "systemctl",
                "status",
                "--no-pager",
                "--full",
                &format!("skep@{name}"),
            ])?
            .stdout();
        ensure!(
            status.contains(reason),
            "the status of {name} does not say {reason:?}:\n{status}"
        );
    }
    Ok(())
}
