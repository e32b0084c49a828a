//! Where a published port leads, from wherever it is asked for.

use anyhow::{Result, ensure};
use skep_tests::{
    guest::{Guest, started},
    host::Host,
};

use super::around::{Around, SCRIPT, WORLD, expect, inside, serves, serving};

/// From outside, from the host by every address, from other containers and from the container itself.
pub(super) fn everywhere(host: &Host) -> Result<()> {
    let around = Around::up(host)?;
    let a = started(
        host,
        "ports-a",
        &serving(
            "a",
            "80 81 82 83",
            "Network=nat\nPort=8080:80 udp:8080:80 9000-9002:81 udp:81-83\n\
             Port=198.51.100.1:8443:82 [2001:db8:1::1]:8443:82 127.0.0.1:8444:82\n",
        ),
    )?;
    let b = started(
        host,
        "ports-b",
        &serving("b", "80", "Network=nat\nPort=8081:80\n"),
    )?;
    let veth = "Network=veth\nPort=8082:80 udp:8082:80 [::1]:8445:80\n";
    let v = started(host, "ports-v", &serving("v", "80", veth))?;
    for guest in [&a, &b, &v] {
        serves(guest, 80)?;
    }
    let bridges = "cat /proc/sys/net/bridge/bridge-nf-call-ip6tables 2>/dev/null || echo 0";
    let filtered = host.sh(bridges)?.stdout() == "1";
    println!("bridges pass the IPv6 packet filter: {filtered}");
    expect(
        "the host",
        |targets| around.host(targets),
        &[
            ("tcp:127.0.0.1:8080", "a:80 sees 10.213.0.1"),
            ("udp:127.0.0.1:8080", "a:80 sees 10.213.0.1"),
            ("tcp:198.51.100.1:8080", "a:80 sees 198.51.100.1"),
            ("tcp:2001:db8:1::1:8080", "a:80 sees 2001:db8:1::1"),
            ("udp:2001:db8:1::1:8080", "a:80 sees 2001:db8:1::1"),
            ("tcp:127.0.0.1:9000", "a:81"),
            ("tcp:127.0.0.1:9002", "a:83"),
            ("udp:127.0.0.1:82", "a:82"),
            ("tcp:127.0.0.1:82", "Connection refused"),
            ("tcp:127.0.0.1:8081", "b:80"),
            ("tcp:127.0.0.1:8082", "v:80"),
            // One address only.
            ("tcp:198.51.100.1:8443", "a:82"),
            ("tcp:2001:db8:1::1:8443", "a:82"),
            ("tcp:127.0.0.1:8443", "Connection refused"),
            ("tcp:127.0.0.1:8444", "a:82"),
            ("tcp:198.51.100.1:8444", "Connection refused"),
            // The host's own IPv6 loopback.
            ("tcp:::1:8082", "v:80"),
            ("udp:::1:8082", "v:80"),
            ("tcp:::1:8445", "v:80"),
            (
                "tcp:::1:8080",
                if filtered {
                    "Connection refused"
                } else {
                    "a:80"
                },
            ),
        ],
    )?;
    let (v4, v6) = (
        format!("a:80 sees {}", WORLD[0]),
        format!("a:80 sees {}", WORLD[1]),
    );
    expect(
        "another host",
        |targets| around.world(targets),
        &[
            ("tcp:198.51.100.1:8080", &v4),
            ("udp:198.51.100.1:8080", &v4),
            ("tcp:2001:db8:1::1:8080", &v6),
            ("udp:2001:db8:1::1:8080", &v6),
            ("tcp:198.51.100.1:9001", "a:82"),
            ("udp:198.51.100.1:83", "a:83"),
            ("tcp:198.51.100.1:8443", "a:82"),
            ("tcp:2001:db8:1::1:8443", "a:82"),
            ("tcp:198.51.100.1:8444", "Connection refused"),
            ("tcp:198.51.100.1:8081", "b:80"),
            ("tcp:198.51.100.1:8082", "v:80"),
            ("udp:2001:db8:1::1:8082", "v:80"),
            ("tcp:198.51.100.1:8445", "Connection refused"),
        ],
    )?;
    for (guest, who) in [(&a, "a"), (&b, "b"), (&v, "v")] {
        from_inside(guest, who)?;
    }
    loopback_of_the_host_alone(host, &around, &v)?;
    // Its own address is nobody's business but the host's.
    let [address, _] = addresses(host, "ports-a")?;
    let target = format!("tcp:{address}:80");
    expect(
        "another host",
        |targets| around.world(targets),
        &[(&target, "timed out")],
    )?;
    println!("from outside, {address} itself is not reached");
    v.finish()?;
    b.finish()?;
    a.finish()
}

/// Nobody but the host has its 127.0.0.1, however they come to ask for it.
fn loopback_of_the_host_alone(host: &Host, around: &Around<'_>, veth: &Guest<'_>) -> Result<()> {
    let via = |gateway: &str| {
        format!(
            "echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet; ip address flush dev lo; ip link set lo down; \
             ip route replace 127.0.0.1/32 via {gateway} src $(ip -4 -o address show scope global | sed 's/.*inet //; s/\\/.*//; q')"
        )
    };
    let target = &[("tcp:127.0.0.1:8444", "timed out")];
    host.sh(&format!(
        "ip netns exec world sh -c '{}'",
        via("198.51.100.1").replace('\'', "'\\''")
    ))?
    .ok()?;
    let judged = expect("another host", |targets| around.world(targets), target);
    host.sh("ip netns exec world sh -c 'ip route del 127.0.0.1/32; ip link set lo up'")?
        .ok()?;
    judged?;
    let gateway = "$(ip route show default | sed 's/.* via //; s/ .*//; q')";
    veth.exec(&["/bin/sh", "-c", &via(gateway)])?.ok()?;
    expect("v", |targets| inside(veth, targets), target)
}

fn from_inside(guest: &Guest<'_>, who: &str) -> Result<()> {
    expect(
        who,
        |targets| inside(guest, targets),
        &[
            ("tcp:198.51.100.1:8080", "a:80"),
            ("udp:198.51.100.1:8080", "a:80"),
            ("tcp:2001:db8:1::1:8080", "a:80"),
            ("tcp:198.51.100.1:8081", "b:80"),
            ("tcp:2001:db8:1::1:8081", "b:80"),
            ("tcp:198.51.100.1:8082", "v:80"),
            ("udp:2001:db8:1::1:8082", "v:80"),
            ("tcp:198.51.100.1:8443", "a:82"),
        ],
    )
}

/// Addresses of a running container, as it is on record.
pub(super) fn addresses(host: &Host, name: &str) -> Result<[String; 2]> {
    let text = host
        .exec(["cat", &format!("/run/skep/network/{name}")])?
        .ok()?;
    // The last line counts.
    let line = text.lines().last().unwrap_or_default();
    let record: serde_json::Value = serde_json::from_str(line)?;
    let at = |number: usize| {
        let address = record["masqueraded"][number].as_str();
        let address = address.or(record["reached"][number].as_str());
        address.unwrap_or_default().to_owned()
    };
    Ok([at(0), at(1)])
}

/// A port belongs to one container, or to a program of the host.
pub(super) fn once(host: &Host) -> Result<()> {
    let around = Around::up(host)?;
    let first = started(
        host,
        "ports-first",
        &serving(
            "first",
            "80",
            "Network=nat\nPort=8080-8089:80 udp:8070:80\n",
        ),
    )?;
    serves(&first, 80)?;
    let text = serving("second", "80", "Network=veth\nPort=127.0.0.1:8085:80\n");
    let second = Guest::declare(host, "ports-second", &text)?;
    let both = "is wanted by ports-second and by ports-first; only one of them can run at a time";
    let checked = host.exec(["skep", "check"])?;
    ensure!(
        checked.stderr().contains(both) || checked.stdout().contains(both),
        "skep check: {}\n{}",
        checked.stdout(),
        checked.stderr()
    );
    fails(
        &second,
        "8085/tcp is wanted by ports-second and leads to ports-first",
    )?;
    expect(
        "the host",
        |targets| around.host(targets),
        &[("tcp:127.0.0.1:8080", "first:80")],
    )?;

    // Programs of the host are told, before and after.
    for port in ["tcp 8081", "tcp 8089"] {
        let number = port.split(' ').nth(1).unwrap_or_default();
        let done = host.sh(&format!("perl {SCRIPT} hold {number}"))?;
        ensure!(
            done.stderr().contains("Address already in use"),
            "{port}: {}",
            done.stderr()
        );
    }
    host.exec(["systemctl", "reset-failed", &second.unit()])?
        .ok()?;
    drop(second);
    first.finish()?;
    around.service("ports-held", &format!("perl {SCRIPT} hold 8099"))?;
    let third = Guest::declare(
        host,
        "ports-third",
        &serving("third", "80", "Network=nat\nPort=8099:80\n"),
    )?;
    fails(
        &third,
        "8099/tcp of the host, wanted by ports-third, is in use by a program of the host",
    )?;
    around.end("ports-held")?;
    third.systemctl("start")?;
    serves(&third, 80)?;
    expect(
        "the host",
        |targets| around.host(targets),
        &[("tcp:198.51.100.1:8099", "third:80")],
    )?;
    third.finish()
}

fn fails(guest: &Guest<'_>, why: &str) -> Result<()> {
    ensure!(guest.systemctl("start").is_err(), "it started");
    let status = guest.status()?;
    ensure!(status.contains(why), "no {why:?} in\n{status}");
    println!("{why}");
    Ok(())
}
