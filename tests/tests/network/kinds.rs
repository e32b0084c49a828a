//! Each kind: asked from inside at the first instruction, then from outside.

use anyhow::{Result, ensure};
use skep_tests::{
    guest::{Guest, sh, started},
    host::Host,
    wait::{PATIENCE, wait_until},
};

use super::{
    lan::{Found, Lan, answered, asking},
    refused,
};

/// Kinds with a link of their own on the host.
pub(super) fn own(host: &Host) -> Result<()> {
    let lan = Lan::up(host)?;
    let world = ["198.51.100.2", "2001:db8:1::2"];
    let guest = started(
        host,
        "net-nat",
        &asking("Network=nat\n", &["gateway", world[0], world[1]]),
    )?;
    let found = Found::by(&guest)?;
    let own = found.addresses("host0");
    ensure!(own.len() == 2, "{own:?}\n{}", found.0);
    // The host sees the container itself, everybody else sees the host.
    found.answered(4, &[own[0], own[1], "198.51.100.1", "2001:db8:1::1"])?;
    for (address, seen) in [(world[0], "198.51.100.1"), (world[1], "2001:db8:1::1")] {
        found.has(&[
            &format!("tcp {address} you are {seen}"),
            &format!("udp {address} you are {seen}"),
        ])?;
    }
    answered(&lan.ask(&own)?, 2, &["10.213.0.1", &gateway(&found)])?;
    guest.finish()?;

    for (name, network) in [
        ("net-veth", "Network=veth\n"),
        (
            "net-pair",
            "Network=veth\nInterfaceName=eth0\nMTUBytes=1400\nMACAddress=02:00:00:00:00:07\n\
             Address=10.9.9.9 10.9.8.2/30 fd00:9::9\nHostAddress=10.9.8.1/30 fd00:9::1\nGateway=10.9.8.1 fd00:9::1\n",
        ),
    ] {
        let guest = started(host, name, &asking(network, &["gateway"]))?;
        let found = Found::by(&guest)?;
        let own = found.addresses(if name == "net-pair" { "eth0" } else { "host0" });
        ensure!(own.len() >= 2, "{own:?}\n{}", found.0);
        found.answered(2, &own)?;
        if name == "net-pair" {
            found.has(&["mtu 1400", "02:00:00:00:00:07", "eth0@"])?;
        }
        let said = lan.ask(&own)?;
        // The server answers from one of two IPv4 addresses: only TCP says it to the other.
        let said = said.replace(
            "udp 10.9.9.9 timed out\n",
            "udp 10.9.9.9 you are 10.9.8.1\n",
        );
        answered(&said, own.len(), &[&gateway(&found), &said_v4(&found)])?;
        guest.finish()?;
    }
    in_bridge(host, &lan)?;
    several(host)?;
    in_zone(host, &lan)
}

fn route(found: &Found, v6: bool) -> String {
    let mut via = found.0.lines().filter_map(|line| {
        let mut words = line.strip_prefix("default via ")?.split(' ');
        words.next().filter(|ip| ip.contains(':') == v6)
    });
    via.next().unwrap_or_default().to_owned()
}

fn gateway(found: &Found) -> String {
    route(found, true)
}

fn said_v4(found: &Found) -> String {
    route(found, false)
}

fn in_bridge(host: &Host, lan: &Lan<'_>) -> Result<()> {
    let network = "Network=bridge:lanbr\nAddress=192.0.2.10/24 2001:db8:2::10/64\nGateway=192.0.2.1 2001:db8:2::1\n";
    let others = ["192.0.2.1", "192.0.2.2", "2001:db8:2::1", "2001:db8:2::2"];
    let guest = started(host, "net-bridge", &asking(network, &others))?;
    let own = ["192.0.2.10", "2001:db8:2::10"];
    Found::by(&guest)?.answered(4, &own)?;
    answered(&lan.ask(&own)?, 2, &["192.0.2.1", "2001:db8:2::1"])?;
    answered(
        &lan.ask_from_world(&own)?,
        2,
        &["192.0.2.2", "2001:db8:2::2"],
    )?;
    guest.finish()
}

/// Of several links the first that leads anywhere is the way out.
fn several(host: &Host) -> Result<()> {
    let network =
        "Network=veth\nLink=nat\nLink=bridge:lanbr,name=lan,address=192.0.2.11/24,mtu=1400\n";
    let asked = ["198.51.100.2", "192.0.2.2"];
    let guest = started(host, "net-several", &asking(network, &asked))?;
    let found = Found::by(&guest)?;
    found.answered(2, &["198.51.100.1", "192.0.2.11"])?;
    found.has(&["default via 10.213.0.1 dev host1 ", " lan@", "mtu 1400"])?;
    ensure!(found.0.matches("default via").count() == 2, "{}", found.0);
    ensure!(found.addresses("host0").len() == 2 && found.addresses("host1").len() == 2);
    let ends = host
        .sh("ls /sys/class/net | grep ^v | sort | tr '\\n' ' '")?
        .ok()?;
    for end in ["vb-net-several", "ve-net-several"] {
        ensure!(ends.contains(&end[..10]), "{ends}");
    }
    guest.finish()
}

/// The bridge of a zone is there as long as a container is in it, and has an address on the host if one says so.
fn in_zone(host: &Host, lan: &Lan<'_>) -> Result<()> {
    let of = |last: u8| {
        format!(
            "Network=zone:yard\nAddress=10.8.8.{last}/24 fd00:8::{last}/64\nHostAddress=10.8.8.1/24 fd00:8::1/64\n"
        )
    };
    let one = started(
        host,
        "net-zone-1",
        &asking(&of(2), &["10.8.8.1", "fd00:8::1"]),
    )?;
    Found::by(&one)?.answered(2, &["10.8.8.2", "fd00:8::2"])?;
    let before = host.snapshot()?;
    let two = started(
        host,
        "net-zone-2",
        &asking(&of(3), &["10.8.8.2", "fd00:8::2", "10.8.8.1", "fd00:8::1"]),
    )?;
    Found::by(&two)?.answered(4, &["10.8.8.3", "fd00:8::3"])?;
    answered(
        &lan.ask(&["10.8.8.2", "10.8.8.3", "fd00:8::3"])?,
        3,
        &["10.8.8.1", "fd00:8::1"],
    )?;
    two.finish()?;
    let changes = before.changes(&host.snapshot()?);
    ensure!(changes.is_empty(), "{changes:?}");
    one.finish()?;
    ensure!(host.sh("[ ! -e /sys/class/net/vz-yard ]")?.status() == 0);
    Ok(())
}

/// Kinds that are made of a link of the host, or are one.
pub(super) fn of_host(host: &Host) -> Result<()> {
    let lan = Lan::up(host)?;
    let own = ["198.51.100.10", "2001:db8:1::10"];
    let world = ["198.51.100.2", "2001:db8:1::2"];
    let addresses =
        "Address=198.51.100.10/24 2001:db8:1::10/64\nGateway=198.51.100.2 2001:db8:1::2\n";
    let guest = started(
        host,
        "net-macvlan",
        &asking(&format!("Network=macvlan:wan0\n{addresses}"), &world),
    )?;
    let found = Found::by(&guest)?;
    found.has(&["mv-wan0@"])?;
    found.answered(2, &own)?;
    answered(&lan.ask_from_world(&own)?, 2, &world)?;
    // At once again, when the kernel may still have the last one.
    for _ in 0..2 {
        guest.systemctl("restart")?;
    }
    host.exec(["systemctl", "reset-failed", &guest.unit()])?
        .ok()?;
    guest.systemctl("restart")?;
    Found::by(&guest)?.answered(2, &own)?;
    guest.finish()?;
    ipvlan(host, &world, addresses)?;
    lent(host, &lan)
}

/// Not every kernel has this kind: then the message says it.
fn ipvlan(host: &Host, world: &[&str], addresses: &str) -> Result<()> {
    let text = asking(&format!("Network=ipvlan:wan0\n{addresses}"), world);
    let known = host
        .sh("ip link add net-probe link wan0 type ipvlan && ip link del net-probe")?
        .status()
        == 0;
    if known {
        let guest = started(host, "net-ipvlan", &text)?;
        Found::by(&guest)?.answered(2, &["198.51.100.10", "2001:db8:1::10"])?;
        return guest.finish();
    }
    println!("this kernel has no ipvlan, so only the message is looked at");
    let reasons = [
        "create ipvlan of wan0: EOPNOTSUPP",
        "the kernel has no links of this kind",
    ];
    refused(host, &text, &reasons)
}

fn says(guest: &Guest<'_>, text: &str) -> Result<()> {
    wait_until(PATIENCE, text, || {
        Ok(guest.journal()?.contains(text).then_some(()))
    })
}

/// A link of the host goes in and comes back as it was, whatever the guest did to it.
fn lent(host: &Host, lan: &Lan<'_>) -> Result<()> {
    host.sh("ip link set card0 address 02:00:00:00:00:c0 mtu 1444")?
        .ok()?;
    let state = || host.sh("ip -o link show card0 | sed 's/^[0-9]*: //'")?.ok();
    let before = state()?;
    let network = "Network=interface:card0\nInterfaceName=eth0\nMTUBytes=1300\nMACAddress=02:00:00:00:00:c1\n\
         Address=203.0.113.1/24 2001:db8:3::1/64\nGateway=203.0.113.2 2001:db8:3::2\n";
    let guest = started(
        host,
        "net-lent",
        &asking(network, &["203.0.113.2", "2001:db8:3::2"]),
    )?;
    let found = Found::by(&guest)?;
    found.answered(2, &["203.0.113.1", "2001:db8:3::1"])?;
    found.has(&["mtu 1300", "02:00:00:00:00:c1"])?;
    ensure!(host.sh("[ ! -e /sys/class/net/card0 ]")?.status() == 0);
    answered(
        &lan.ask_from_world(&["203.0.113.1", "2001:db8:3::1"])?,
        2,
        &["203.0.113.2", "2001:db8:3::2"],
    )?;
    guest.exec(&["ip", "link", "set", "eth0", "down"])?.ok()?;
    guest
        .exec(&[
            "ip", "link", "set", "eth0", "name", "renamed", "mtu", "1200",
        ])?
        .ok()?;
    // As if it were a link of ours, and with a name that the host has.
    sh(
        &guest,
        "ip link set renamed group 29547 alias skep@other; ip link property add dev renamed altname lanbr",
    )?;
    guest.systemctl("stop")?;
    let after = state()?;
    ensure!(after == before, "was\n{before}\nis\n{after}");
    // The name is taken meanwhile: it comes back under another.
    guest.systemctl("start")?;
    host.sh("ip link add card0 type bridge")?.ok()?;
    guest.systemctl("stop")?;
    let other = host.sh("grep -l 02:00:00:00:00:c0 /sys/class/net/*/address")?;
    host.sh("ip link del card0; for at in $(grep -l 02:00:00:00:00:c0 /sys/class/net/*/address); do \
             name=${at%/address}; ip link set ${name##*/} down; ip link set ${name##*/} name card0; done; ip link set card0 up")?
        .ok()?;
    ensure!(other.ok()?.lines().count() == 1, "it did not come back");
    says(&guest, "comes back as")?;
    // Its number is one that root of the container may give to another link.
    guest.systemctl("start")?;
    let swap = "n=$(cat /sys/class/net/eth0/ifindex); ip link del eth0; ip link add eth0 index $n type bridge";
    sh(&guest, swap)?;
    guest.systemctl("stop")?;
    says(&guest, "link card0; the container removed it")?;
    // It is gone for good; the rest is to be as before.
    host.sh("ip link add card0 type veth peer name card1 netns world")?
        .ok()?;
    guest.finish()
}
