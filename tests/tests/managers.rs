//! Network managers on both sides of a link: whoever runs on the host and in the container, the container's address, routes
//! and name servers are the same after the start, after restarts of the managers and after a reboot.

#[path = "managers/host_side.rs"]
mod host_side;
#[path = "managers/internet.rs"]
mod internet;
#[path = "managers/names.rs"]
mod names;

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use anyhow::{Context, Result, ensure};
use skep_tests::{
    host::{Host, Os},
    trial,
    wait::wait_until,
};

use self::host_side::Manager;

fn main() -> ExitCode {
    let tests = [
        ("nothing", Manager::Nothing),
        ("networkd", Manager::Networkd),
        ("networkmanager", Manager::Nm),
    ];
    let pairs = tests.into_iter().flat_map(|(name, manager)| {
        trial::on_each(&Os::DEBIAN, &format!("pairs_with_{name}"), move |host| {
            pairs(host, manager)
        })
    });
    let names = trial::on_each(&Os::DEBIAN, "names_are_found", names::resolve);
    let servers = trial::on_each(&Os::DEBIAN, "name_servers_are_the_hosts", names::servers);
    trial::main(pairs.chain(names).chain(servers).collect())
}

/// A container, and what in it looks after links.
struct Side {
    name: &'static str,
    tree: &'static str,
    declaration: &'static str,
    /// Unit that is restarted.
    manager: &'static str,
}

const SIDES: [Side; 6] = [
    Side {
        name: "m-networkd",
        tree: "debian-13",
        declaration: "Network=nat\nParameters=systemd.wants=systemd-networkd.service systemd.wants=systemd-networkd-wait-online.service",
        manager: "systemd-networkd systemd-networkd-wait-online",
    },
    Side {
        name: "m-old-networkd",
        tree: "debian-12",
        declaration: "Network=veth\nParameters=systemd.wants=systemd-networkd.service systemd.wants=systemd-networkd-wait-online.service",
        manager: "systemd-networkd",
    },
    Side {
        name: "m-ifupdown",
        tree: "metal",
        declaration: "Network=nat\nMask=NetworkManager\nBindReadOnly=/run/interfaces:/etc/network/interfaces",
        manager: "networking",
    },
    Side {
        name: "m-nm",
        tree: "metal",
        declaration: "Network=nat",
        manager: "NetworkManager",
    },
    Side {
        name: "m-nothing",
        tree: "busybox",
        declaration: "Network=nat",
        manager: "",
    },
    Side {
        name: "m-zone",
        tree: "busybox",
        declaration: "Network=zone:m\nAddress=10.77.0.2/24\nHostAddress=10.77.0.1/24",
        manager: "",
    },
];

/// Addresses, routes and the answer of the name server, for the tools of Debian and of BusyBox.
const SEEN: &str = "ip addr show dev host0 | grep 'scope global' | grep -o 'inet6* [0-9a-f.:]*/[0-9]*'; \
    ip route | grep -o '^default via [0-9.]*'; ip -6 route | grep -o '^default via [0-9a-f:]*'; \
    { getent ahostsv4 www.example || nslookup www.example; } 2>/dev/null | grep -o '192.0.2.53' | head -n 1";

fn pairs(host: &Host, manager: Manager) -> Result<()> {
    // Who obeyed it would wait for an answer, and lose the addresses meanwhile.
    host.write("/run/interfaces", "auto host0\niface host0 inet dhcp\n")?;
    for side in &SIDES {
        let text = format!(
            "[Container]\nRoot=/var/lib/machines/{}\nEphemeral=yes\n{}\n",
            side.tree, side.declaration
        );
        host.write(&format!("/etc/skep/{}.container", side.name), text)?;
    }
    let judged = internet::with(host, || {
        host_side::with(host, manager, || {
            let judged = all(host, manager);
            let stop: Vec<&str> = ["skep", "stop"].into_iter().chain(names()).collect();
            host.exec(stop)?.ok()?;
            judged
        })
    });
    for side in &SIDES {
        host.exec(["rm", "-f", &format!("/etc/skep/{}.container", side.name)])?;
    }
    host.sh("rm -f /run/interfaces; skep apply")?.ok()?;
    judged
}

fn names() -> impl Iterator<Item = &'static str> {
    SIDES.iter().map(|side| side.name)
}

fn all(host: &Host, manager: Manager) -> Result<()> {
    host.exec(["skep", "apply"])?.ok()?;
    let before = host.snapshot()?;
    let verb = |verb: &'static str| {
        let command: Vec<&str> = ["skep", verb].into_iter().chain(names()).collect();
        host.exec(command)?.ok()
    };
    verb("start")?;
    let first = seen(host).context("after the start")?;
    for (name, seen) in &first {
        let (lines, want) = match *name {
            // One family, and no way out.
            "m-zone" => (seen.lines().count(), 1),
            "m-old-networkd" => (seen.lines().count(), 4),
            _ => (seen.lines().count(), 5),
        };
        ensure!(lines == want, "{name} has\n{seen}");
    }
    for side in SIDES.iter().filter(|side| !side.manager.is_empty()) {
        let restart = format!("systemctl restart {}", side.manager);
        inside(host, side.name, &restart)?;
    }
    host_side::restart(host, manager)?;
    same(host, &first, "after restarts of the managers")?;
    verb("reboot")?;
    same(host, &first, "after a reboot")?;
    verb("stop")?;
    let mut changes = Vec::new();
    wait_until(Duration::from_secs(5), "the host to be as before", || {
        changes = before.changes(&host.snapshot()?);
        if manager == Manager::Networkd {
            // It forwards and masquerades for the zone, until it is told otherwise.
            changes.retain(|line| !line.contains("network"));
        }
        Ok(changes.is_empty().then_some(()))
    })
    .with_context(|| changes.join("\n"))
}

fn inside(host: &Host, name: &str, script: &str) -> Result<String> {
    host.exec(["skep", "exec", name, "--", "/bin/sh", "-c", script])?
        .ok()
}

/// What each has; nothing in it has failed and nothing waits.
fn seen(host: &Host) -> Result<BTreeMap<&'static str, String>> {
    let mut all = BTreeMap::new();
    for side in &SIDES {
        if !side.manager.is_empty() {
            let state = "systemctl is-system-running --wait; systemctl list-units --failed --plain --no-legend; systemctl list-jobs";
            let state = inside(host, side.name, state);
            let state = state.with_context(|| side.name)?;
            ensure!(
                state == "running\nNo jobs running.",
                "{}: {state}",
                side.name
            );
        }
        let seen = inside(host, side.name, SEEN)?;
        reached(host, &seen).with_context(|| side.name)?;
        all.insert(side.name, seen);
    }
    Ok(all)
}

/// The host reaches every address: nobody listens, which is told at once.
fn reached(host: &Host, seen: &str) -> Result<()> {
    let addresses = seen.lines().filter_map(|line| line.strip_prefix("inet"));
    for address in addresses {
        let address = address.trim_start_matches('6').trim();
        let address = address.split('/').next().unwrap_or_default();
        let script = format!("timeout 2 bash -c '</dev/tcp/{address}/9' 2>&1; true");
        let said = host.sh(&script)?.stdout();
        ensure!(said.contains("refused"), "{address}: {said:?}");
    }
    Ok(())
}

/// Managers take a moment before they do harm, so twice.
fn same(host: &Host, first: &BTreeMap<&'static str, String>, when: &str) -> Result<()> {
    for _ in 0..2 {
        std::thread::sleep(Duration::from_secs(1));
        let now = seen(host).context(when.to_owned())?;
        for (name, was) in first {
            let is = &now[name];
            ensure!(is == was, "{name} {when} has\n{is}\nand had\n{was}");
        }
    }
    Ok(())
}
