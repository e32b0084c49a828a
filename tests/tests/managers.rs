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
    wait::{PATIENCE, wait_until},
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
    /// How that is restarted; empty where nothing does.
    restart: &'static str,
}

const SIDES: [Side; 7] = [
    Side {
        name: "m-networkd",
        tree: "debian-13",
        declaration: "Network=nat\nParameters=systemd.wants=systemd-networkd.service systemd.wants=systemd-networkd-wait-online.service",
        restart: "systemctl restart systemd-networkd systemd-networkd-wait-online",
    },
    Side {
        name: "m-old-networkd",
        tree: "debian-12",
        declaration: "Network=veth\nParameters=systemd.wants=systemd-networkd.service systemd.wants=systemd-networkd-wait-online.service",
        restart: "systemctl restart systemd-networkd",
    },
    Side {
        name: "m-ifupdown",
        tree: "metal",
        declaration: "Network=nat\nMask=NetworkManager\nBindReadOnly=/run/interfaces:/etc/network/interfaces",
        restart: "systemctl restart networking",
    },
    Side {
        name: "m-nm",
        tree: "metal",
        declaration: "Network=nat",
        restart: "systemctl restart NetworkManager",
    },
    Side {
        name: "m-nothing",
        tree: "busybox",
        declaration: "Network=nat",
        restart: "",
    },
    Side {
        name: "m-zone",
        tree: "debian-sid",
        declaration: "Network=zone:m\nAddress=10.77.0.2/24\nHostAddress=10.77.0.1/24\nParameters=systemd.wants=systemd-networkd.service",
        restart: "systemctl restart systemd-networkd",
    },
    Side {
        name: "m-sysvinit",
        tree: "sysvinit",
        declaration: "Network=nat\nBindReadOnly=/run/interfaces:/etc/network/interfaces",
        restart: "/etc/init.d/networking restart",
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
    for side in SIDES.iter().filter(|side| !side.restart.is_empty()) {
        inside(host, side.name, side.restart)?;
    }
    host_side::restart(host, manager)?;
    same(host, &first, "after restarts of the managers")?;
    verb("reboot")?;
    same(host, &first, "after a reboot")?;
    if manager == Manager::Networkd {
        lease(host)?;
    }
    verb("stop")?;
    let mut changes = Vec::new();
    wait_until(PATIENCE, "the host to be as before", || {
        changes = before.changes(&host.snapshot()?);
        if manager == Manager::Networkd {
            // It forwards and masquerades for the zone, until it is told otherwise.
            changes.retain(|line| !line.contains("network"));
        }
        Ok(changes.is_empty().then_some(()))
    })
    .with_context(|| changes.join("\n"))
}

/// In a zone, systemd-networkd of the host gives an address to a container that asks for one, and systemd-machined tells it.
fn lease(host: &Host) -> Result<()> {
    let text = "[Container]\nRoot=/var/lib/machines/debian-13\nEphemeral=yes\nNetwork=zone:l\nParameters=systemd.wants=systemd-networkd.service\n";
    host.write("/etc/skep/m-lease.container", text)?;
    host.sh("skep apply && skep start m-lease")?.ok()?;
    let judged = wait_until(Duration::from_secs(20), "an address", || {
        let got = inside(host, "m-lease", "ip -4 route show default dev host0")?;
        let named = host
            .sh("getent -s mymachines ahostsv4 m-lease || true")?
            .ok()?;
        let leased = |text: &str| text.contains("192.168.") || text.contains("10.");
        Ok((got.contains("proto dhcp") && leased(&named)).then_some(()))
    });
    host.sh("skep stop m-lease; rm -f /etc/skep/m-lease.container; skep apply")?
        .ok()?;
    judged
}

fn inside(host: &Host, name: &str, script: &str) -> Result<String> {
    host.exec(["skep", "exec", name, "--", "/bin/sh", "-c", script])?
        .ok()
}

/// Run on the host for a container: what is wrong in it, then what it has; last, what of it the host does not reach, where
/// nobody listens, which is told at once.
const LOOK: &str = r#"
look() {
    if [ $2 = systemd ]; then
        skep exec $1 -- /bin/sh -c "
            systemctl is-system-running --wait | grep -vx running
            systemctl list-units --failed --plain --no-legend
            systemctl list-jobs --no-legend" | sed 's/^/in trouble: /'
    fi
    skep exec $1 -- /bin/sh -c "$SEEN" >/run/seen/$1.has
    cat /run/seen/$1.has
    for address in $(sed -n 's/^inet6* \([^/]*\).*/\1/p' /run/seen/$1.has); do
        timeout 2 bash -c "</dev/tcp/$address/9" 2>&1 | grep -q refused || echo not reached: $address
    done
}
"#;

/// What each has; nothing in it has failed and nothing waits, and the host reaches it. All at the same time.
fn seen(host: &Host) -> Result<BTreeMap<&'static str, String>> {
    let mut script = format!(
        "mkdir -p /run/seen\nSEEN='{}'\n{LOOK}",
        SEEN.replace('\'', r"'\''")
    );
    for side in &SIDES {
        let kind = match side.restart.starts_with("systemctl") {
            true => "systemd",
            false => "other",
        };
        script.push_str(&format!(
            "look {0} {kind} >/run/seen/{0} 2>&1 &\n",
            side.name
        ));
    }
    script.push_str("wait\n");
    host.sh(&script)?.ok()?;
    let mut all = BTreeMap::new();
    for name in names() {
        let seen = host.sh(&format!("cat /run/seen/{name}"))?.ok()?;
        ensure!(
            !seen.contains("in trouble: ") && !seen.contains("not reached: "),
            "{name}: {seen}"
        );
        all.insert(name, seen);
    }
    host.sh("rm -r /run/seen")?.ok()?;
    Ok(all)
}

/// Managers take a moment before they do harm, so twice.
fn same(host: &Host, first: &BTreeMap<&'static str, String>, when: &str) -> Result<()> {
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(700));
        let now = seen(host).context(when.to_owned())?;
        for (name, was) in first {
            let is = &now[name];
            ensure!(is == was, "{name} {when} has\n{is}\nand had\n{was}");
        }
    }
    Ok(())
}
