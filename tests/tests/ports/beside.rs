//! Packet filter rules of other programs, as they write them, and forwarding for nobody else.

use anyhow::{Result, ensure};
use skep_tests::{guest::started, host::Host};

use super::around::{Around, WORLD, expect, inside, serves, serving};

/// As firewalld 2.3 has written them, with the package's zone; without the flags of its table, which older nft does not know.
const FIREWALLD: &str = include_str!("firewalld.nft");

/// As ufw 0.36 has written them through iptables-nft, without counters.
const UFW: &str = include_str!("ufw.nft");

/// As Docker 28 writes them through iptables-nft, without counters.
const DOCKER: &str = include_str!("docker.nft");

/// A host that is no router.
const OFF: &str = "sysctl -q net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0";

/// The way out, and a port, with each of these.
pub(super) fn others(host: &Host) -> Result<()> {
    let around = Around::up(host)?;
    host.sh("nft flush ruleset")?.ok()?;
    let judged = [("firewalld", FIREWALLD), ("ufw", UFW), ("docker", DOCKER)]
        .into_iter()
        .try_for_each(|(name, rules)| beside(host, &around, name, rules))
        .and_then(|()| neighbours(host, &around))
        .and_then(|()| named(host, &around));
    host.sh(&format!("nft flush ruleset; {OFF}"))?.ok()?;
    judged
}

fn beside(host: &Host, around: &Around<'_>, name: &str, rules: &str) -> Result<()> {
    host.write("/run/ports-test/rules.nft", rules)?;
    host.sh("nft -f /run/ports-test/rules.nft")?.ok()?;
    let before = host.sh("nft list ruleset")?.ok()?;
    let guest = started(
        host,
        "ports-beside",
        &serving("c", "80", "Network=nat\nPort=8080:80 udp:8080:80\n"),
    )?;
    serves(&guest, 80)?;
    let out = [
        ("tcp:198.51.100.2:80", "world:80 sees 198.51.100.1"),
        ("udp:198.51.100.2:80", "world:80 sees 198.51.100.1"),
        ("tcp:2001:db8:1::2:80", "world:80 sees 2001:db8:1::1"),
    ];
    expect(name, |targets| inside(&guest, targets), &out)?;
    let (v4, v6) = (
        format!("c:80 sees {}", WORLD[0]),
        format!("c:80 sees {}", WORLD[1]),
    );
    let to_it = [
        ("tcp:198.51.100.1:8080", v4.as_str()),
        ("udp:198.51.100.1:8080", &v4),
        ("tcp:2001:db8:1::1:8080", &v6),
    ];
    expect(name, |targets| around.world(targets), &to_it)?;
    expect(
        name,
        |targets| around.host(targets),
        &[("tcp:127.0.0.1:8080", "c:80")],
    )?;
    expect(
        name,
        |targets| inside(&guest, targets),
        &[("tcp:198.51.100.1:8080", "c:80")],
    )?;
    let said = guest.journal()?;
    ensure!(
        !said.contains("drops what it does not know"),
        "{name}: {said}"
    );
    host.exec(["systemctl", "stop", &guest.unit()])?.ok()?;
    let after = host.sh("nft list ruleset")?.ok()?;
    ensure!(before == after, "{name}: before\n{before}\nafter\n{after}");
    let forwarding = host
        .sh("sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding")?
        .ok()?;
    // Docker would not switch it on again.
    let left = if name == "docker" { "1\n1" } else { "0\n0" };
    ensure!(forwarding == left, "{name}: {forwarding}");
    println!("{name}: the way out and the port work, and its rules are as before");
    host.sh(OFF)?.ok()?;
    guest.finish()?;
    host.sh("nft flush ruleset")?.ok().map(drop)
}

/// A router whose packet filter keeps others from a bridge: one container in there, with a port, opens that port only.
fn neighbours(host: &Host, around: &Around<'_>) -> Result<()> {
    let lan = "ip link add portsbr type bridge; ip link set portsbr up; ip address add 192.0.2.1/24 dev portsbr; \
         ip netns add lan; ip link add lan0 type veth peer name lan1 netns lan; ip link set lan0 master portsbr up; \
         ip -n lan link set lan1 up; ip -n lan address add 192.0.2.2/24 dev lan1; ip -n lan route add default via 192.0.2.1; \
         ip -n world route add 192.0.2.0/24 via 198.51.100.1; sysctl -q net.ipv4.ip_forward=1; \
         systemd-run --quiet --unit=ports-lan ip netns exec lan perl /run/ports-test/peer.pl serve lan 80";
    host.sh(lan)?.ok()?;
    host.write("/run/ports-test/rules.nft", UFW)?;
    host.sh("nft -f /run/ports-test/rules.nft")?.ok()?;
    let judged = (|| {
        let network =
            "Network=bridge:portsbr\nAddress=192.0.2.9/24\nGateway=192.0.2.1\nPort=8080:80\n";
        let guest = started(host, "ports-lan", &serving("l", "80 81", network))?;
        serves(&guest, 80)?;
        expect(
            "another host",
            |targets| around.world(targets),
            &[
                ("tcp:198.51.100.1:8080", "l:80 sees 198.51.100.2"),
                ("tcp:192.0.2.2:80", "timed out"),
                ("tcp:192.0.2.9:81", "timed out"),
            ],
        )?;
        guest.finish()
    })();
    host.sh("systemctl stop ports-lan.service; ip link del lan0; ip netns del lan; ip link del portsbr; ip -n world route del 192.0.2.0/24; nft flush ruleset; sysctl -q net.ipv4.ip_forward=0")?
        .ok()?;
    judged
}

/// A chain that nobody knows drops, and the start says which.
fn named(host: &Host, around: &Around<'_>) -> Result<()> {
    host.sh(
        "nft 'add table inet mine; add chain inet mine through { type filter hook forward priority 5; policy drop; }'",
    )?
    .ok()?;
    let guest = started(
        host,
        "ports-named",
        &serving("n", "80", "Network=nat\nPort=8080:80\n"),
    )?;
    serves(&guest, 80)?;
    let said = guest.journal()?;
    ensure!(
        said.contains("chain through of table inet mine drops what it does not know")
            && said.contains("skep0"),
        "{said}"
    );
    expect(
        "inside",
        |targets| inside(&guest, targets),
        &[("tcp:198.51.100.2:80", "timed out")],
    )?;
    // As the message says.
    host.sh(
        "nft 'add rule inet mine through iifname skep0 accept; add rule inet mine through oifname skep0 accept'",
    )?
    .ok()?;
    expect(
        "inside",
        |targets| inside(&guest, targets),
        &[("tcp:198.51.100.2:80", "world:80")],
    )?;
    expect(
        "the host",
        |targets| around.world(targets),
        &[("tcp:198.51.100.1:8080", "n:80")],
    )?;
    guest.finish()
}

/// Forwarding that is on for its port leads a container on a link of its own no further, nor others to the rest of it.
fn beside_a_pair(host: &Host, around: &Around<'_>) -> Result<()> {
    let guest = started(
        host,
        "ports-pair",
        &serving("p", "80 81", "Network=veth\nPort=8080:80\n"),
    )?;
    serves(&guest, 80)?;
    let address = guest
        .exec(&[
            "/bin/sh",
            "-c",
            "ip -4 -o address show host0 | sed 's/.*inet //; s/\\/.*//'",
        ])?
        .ok()?;
    let rest = format!("tcp:{address}:81");
    expect(
        "another host",
        |targets| around.world(targets),
        &[("tcp:198.51.100.1:8080", "p:80"), (&rest, "timed out")],
    )?;
    expect(
        "inside",
        |targets| inside(&guest, targets),
        &[("tcp:203.0.113.2:80", "timed out")],
    )?;
    guest.finish()
}

/// Forwarding is on while a container needs it, and leads nobody else through the host.
pub(super) fn forwarding(host: &Host) -> Result<()> {
    let around = Around::up(host)?;
    let read = "sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding; cat /proc/sys/net/ipv6/conf/wan0/accept_ra \
         /proc/sys/net/ipv4/conf/wan0/route_localnet";
    // Behind a second host, to which this one is no router.
    let far = "ip netns add far; ip link set far0 down; ip link del far0; \
        ip link add far0 type veth peer name far1 netns far; ip link set far0 up; ip address add 203.0.113.1/24 dev far0; \
        ip -n far link set lo up; ip -n far link set far1 up; ip -n far address add 203.0.113.2/24 dev far1; \
        ip -n far route add default via 203.0.113.1; ip -n world route add 203.0.113.0/24 via 198.51.100.1; \
        systemd-run --quiet --unit=ports-far ip netns exec far perl /run/ports-test/peer.pl serve far 80";
    host.sh(far)?.ok()?;
    let judged = (|| {
        let before = host.sh(read)?.ok()?;
        ensure!(before.starts_with("0\n0"), "{before}");
        let guest = started(
            host,
            "ports-through",
            &serving("t", "80", "Network=nat\nPort=8080:80\n"),
        )?;
        serves(&guest, 80)?;
        let now = host.sh(read)?.ok()?;
        ensure!(now.starts_with("1\n1\n2\n0"), "{now}");
        expect(
            "inside",
            |targets| inside(&guest, targets),
            &[("tcp:203.0.113.2:80", "far:80 sees 203.0.113.1")],
        )?;
        expect(
            "another host",
            |targets| around.world(targets),
            &[("tcp:203.0.113.2:80", "timed out")],
        )?;
        guest.finish()?;
        let after = host.sh(read)?.ok()?;
        ensure!(before == after, "before {before:?}, after {after:?}");
        beside_a_pair(host, &around)?;
        // The test would notice a host that leads through.
        host.sh("sysctl -q net.ipv4.ip_forward=1")?.ok()?;
        expect(
            "another host",
            |targets| around.world(targets),
            &[("tcp:203.0.113.2:80", "far:80")],
        )?;
        let guest = started(host, "ports-router", &serving("r", "80", "Network=nat\n"))?;
        serves(&guest, 80)?;
        // A router before stays one, meanwhile and afterwards.
        expect(
            "another host",
            |targets| around.world(targets),
            &[("tcp:203.0.113.2:80", "far:80")],
        )?;
        host.exec(["systemctl", "stop", &guest.unit()])?.ok()?;
        ensure!(
            host.sh("sysctl -n net.ipv4.ip_forward")?.ok()? == "1",
            "switched off a router"
        );
        guest.finish()
    })();
    host.sh("sysctl -q net.ipv4.ip_forward=0; systemctl stop ports-far; ip netns del far")?
        .ok()?;
    judged
}
