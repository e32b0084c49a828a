//! Names and hardware addresses are those that systemd-nspawn gives a container of the same name.

use anyhow::{Context, Result, ensure};
use skep_tests::{guest::started, host::Host};

/// The two ends of a link as `NAME ADDRESS`, the host's first.
fn ends(inside: &str, on_host: &str) -> Vec<String> {
    [on_host, inside]
        .iter()
        .flat_map(|text| text.lines())
        .filter(|line| !line.contains(" lo:"))
        .filter_map(|line| {
            let name = line.split(' ').nth(1)?.split(['@', ':']).next()?;
            let mac = line.split("link/ether ").nth(1)?.split(' ').next()?;
            Some(format!("{name} {mac}"))
        })
        .collect()
}

pub(super) fn of_nspawn(host: &Host) -> Result<()> {
    for name in ["net-mac", "a-name-that-is-much-too-long"] {
        for (network, option, prefix) in [
            ("veth", "--network-veth", "ve-"),
            ("bridge:macbr", "--network-bridge=macbr", "vb-"),
        ] {
            host.sh("ip link add macbr type bridge && ip link set macbr up")?
                .ok()?;
            let compared = compare(host, name, network, option, prefix);
            host.sh("ip link del macbr")?.ok()?;
            compared.with_context(|| format!("{name} {network}"))?;
        }
    }
    zone(host)
}

/// One zone has containers of both.
fn zone(host: &Host) -> Result<()> {
    let before = host.snapshot()?;
    let nspawn = "systemd-run --quiet --unit=net-peer --property=KillMode=mixed systemd-nspawn --quiet --register=no --keep-unit \
         --directory=/var/lib/machines/debian-13 --volatile=overlay --machine=net-peer --network-zone=both --as-pid2 sleep 1000
         for turn in $(seq 100); do [ ! -e /sys/class/net/vb-net-peer ] || break; sleep 0.05; done";
    host.sh(nspawn)?.ok()?;
    let text = "[Container]\nRoot=/var/lib/machines/busybox\nInit=/bin/sleep\nParameters=1000\nNetwork=zone:both\n";
    let guest = started(host, "net-ours", text)?;
    let members = host
        .sh("ls /sys/class/net/vz-both/brif | tr '\\n' ' '")?
        .ok();
    host.sh("systemctl stop net-peer; systemctl reset-failed net-peer 2>/dev/null; :")?
        .ok()?;
    let left = host
        .sh("ls /sys/class/net/vz-both/brif | tr '\\n' ' '")?
        .ok()?;
    guest.systemctl("stop")?;
    host.sh("ip link del vz-both 2>/dev/null; :")?.ok()?;
    let members = members?;
    ensure!(members.trim() == "vb-net-ours vb-net-peer", "{members}");
    ensure!(left.trim() == "vb-net-ours", "{left}");
    drop(guest);
    let changes = before.changes(&host.snapshot()?);
    ensure!(changes.is_empty(), "{changes:?}");
    Ok(())
}

fn compare(host: &Host, name: &str, network: &str, option: &str, prefix: &str) -> Result<()> {
    let seen = |host: &Host| host.sh(&format!("ip -o link | grep ' {prefix}'"))?.ok();
    let text = format!(
        "[Container]\nRoot=/var/lib/machines/debian-13\nEphemeral=yes\nInit=/bin/sleep\nParameters=1000\nNetwork={network}\n"
    );
    let guest = started(host, name, &text)?;
    let on_host = seen(host)?;
    ensure!(
        on_host.contains(&format!("altname {prefix}{name}")) == (name.len() > 12),
        "{on_host}"
    );
    let ours = ends(&guest.exec(&["ip", "-o", "link"])?.ok()?, &on_host);
    ensure!(ours.len() == 2, "{ours:?}");
    guest.finish()?;
    let script = format!(
        "systemd-nspawn --quiet --directory=/var/lib/machines/debian-13 --volatile=overlay --register=no --keep-unit \
         --machine={name} {option} ip -color=never -o link </dev/null 2>/dev/null & \
         for turn in $(seq 100); do ip -o link | grep ' {prefix}' && break; sleep 0.02; done; wait $!"
    );
    let done = host.sh(&script)?;
    let said = done.stdout();
    let (on_host, inside): (Vec<&str>, Vec<&str>) = said
        .lines()
        .partition(|line| line.contains(&format!(" {prefix}")));
    let theirs = ends(&inside.join("\n"), &on_host.join("\n"));
    ensure!(
        ours == theirs,
        "ours {ours:?}, theirs {theirs:?}\n{said}{}",
        done.stderr()
    );
    println!("{name}: {ours:?}");
    Ok(())
}
