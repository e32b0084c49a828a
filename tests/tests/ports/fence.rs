//! What a container sends in another's name goes nowhere.

use anyhow::{Context, Result, ensure};
use skep_tests::{
    guest::{Guest, started},
    host::Host,
    wait::{PATIENCE, wait_until},
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::around::{Around, SCRIPT, serves, serving};
use super::frames::{Frame, MARK, Mac, arp, frame, frame_to, icmp6, link_local, mac, tagged, udp};
use super::lead::addresses;

const ADVERTISEMENT: u8 = 136;
const SOLICITATION: u8 = 135;
const ROUTER: u8 = 134;
const REDIRECT: u8 = 137;

/// Somebody on a link.
struct End {
    mac: Mac,
    v4: Ipv4Addr,
    v6: Ipv6Addr,
}

impl End {
    fn of(host: &Host, guest: &Guest<'_>, name: &str) -> Result<End> {
        let [v4, v6] = addresses(host, name)?;
        let own = guest.exec(&["cat", "/sys/class/net/host0/address"])?.ok()?;
        Ok(End {
            mac: mac(&own),
            v4: v4.parse()?,
            v6: v6.parse()?,
        })
    }
}

/// What a container may send, and what it may not: frames whose names say which.
fn frames(own: &End, victim: &End) -> Vec<Frame> {
    let broadcast: IpAddr = Ipv4Addr::BROADCAST.into();
    let all: IpAddr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).into();
    let datagram = |name: &str, from: Mac, ip: IpAddr, ports| {
        let (kind, packet) = udp(name, ip, if ip.is_ipv4() { broadcast } else { all }, ports);
        frame(name, from, kind, &packet)
    };
    let foreign = [2, 0, 0, 0, 0, 0x99];
    let own_link = link_local(own.mac);
    let made_up = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x1234, 0x5678, 0x9abc, 1);
    let six = |name: &str, kind, from, target, mac| {
        frame(name, own.mac, 0x86dd, &icmp6(name, kind, from, target, mac))
    };
    vec![
        datagram("own-v4", own.mac, own.v4.into(), (4242, 4242)),
        datagram("own-v6", own.mac, own.v6.into(), (4242, 4242)),
        datagram("own-link", own.mac, own_link.into(), (4242, 4242)),
        datagram("own-link-made-up", own.mac, made_up.into(), (4242, 4242)),
        frame("own-arp", own.mac, 0x0806, &arp(own.mac, own.v4)),
        six("own-advertisement", ADVERTISEMENT, own.v6, own.v6, own.mac),
        six(
            "own-advertisement-link",
            ADVERTISEMENT,
            own_link,
            own_link,
            own.mac,
        ),
        six(
            "own-solicitation",
            SOLICITATION,
            own_link,
            victim.v6,
            own.mac,
        ),
        datagram("bad-mac", foreign, own.v4.into(), (4242, 4242)),
        datagram("bad-mac-victim", victim.mac, own.v4.into(), (4242, 4242)),
        datagram("bad-v4-victim", own.mac, victim.v4.into(), (4242, 4242)),
        datagram(
            "bad-v4-world",
            own.mac,
            Ipv4Addr::new(203, 0, 113, 9).into(),
            (4242, 4242),
        ),
        datagram("bad-v6-victim", own.mac, victim.v6.into(), (4242, 4242)),
        datagram(
            "bad-v6-link",
            own.mac,
            link_local(victim.mac).into(),
            (4242, 4242),
        ),
        frame("bad-arp-victim", own.mac, 0x0806, &arp(own.mac, victim.v4)),
        frame("bad-arp-mac", own.mac, 0x0806, &arp(victim.mac, own.v4)),
        six(
            "bad-advertisement",
            ADVERTISEMENT,
            own.v6,
            victim.v6,
            own.mac,
        ),
        six(
            "bad-advertisement-source",
            ADVERTISEMENT,
            victim.v6,
            own.v6,
            own.mac,
        ),
        six(
            "bad-advertisement-link",
            ADVERTISEMENT,
            own_link,
            link_local(victim.mac),
            own.mac,
        ),
        six(
            "bad-detection",
            SOLICITATION,
            Ipv6Addr::UNSPECIFIED,
            victim.v6,
            own.mac,
        ),
        six("bad-router", ROUTER, own_link, own_link, own.mac),
        six("bad-redirect", REDIRECT, own_link, victim.v6, own.mac),
        datagram("bad-dhcp", own.mac, own.v4.into(), (67, 68)),
        datagram("bad-dhcp6", own.mac, own_link.into(), (547, 546)),
        // Clients do not look from which port it comes.
        datagram("bad-dhcp-port", own.mac, own.v4.into(), (1067, 68)),
        datagram("bad-dhcp6-port", own.mac, own_link.into(), (1547, 546)),
        // One tag is taken off before the fence, the next one after it.
        twice_tagged(
            "bad-router-tags",
            own.mac,
            (
                0x86dd,
                icmp6("bad-router-tags", ROUTER, own_link, own_link, own.mac),
            ),
        ),
        twice_tagged(
            "bad-dhcp-tags",
            own.mac,
            udp("bad-dhcp-tags", own.v4.into(), broadcast, (67, 68)),
        ),
        frame(
            "bad-tagged",
            own.mac,
            0x8100,
            &tagged(
                5,
                udp("bad-tagged", victim.v4.into(), broadcast, (4242, 4242)),
            ),
        ),
        frame("bad-kind", own.mac, 0x88cc, &[0; 40]),
        datagram("own-last", own.mac, own.v4.into(), (4242, 4242)),
    ]
}

fn twice_tagged(name: &str, from: Mac, packet: (u16, Vec<u8>)) -> Frame {
    frame(name, from, 0x8100, &tagged(0, (0x8100, tagged(0, packet))))
}

fn send(guest: &Guest<'_>, frames: &[Frame]) -> Result<()> {
    let script = sending(frames, "/peer.pl", "host0");
    guest.exec(&["/bin/sh", "-c", &script])?.ok().map(drop)
}

fn sending(frames: &[Frame], peer: &str, link: &str) -> String {
    let frames: Vec<&str> = frames.iter().map(|frame| frame.hex.as_str()).collect();
    format!(
        "printf '%s\\n' {} | perl {peer} send {link}",
        frames.join(" ")
    )
}

/// Fails unless exactly these frames came, of those with this beginning.
fn came(around: &Around<'_>, unit: &str, own: usize) -> Result<()> {
    let mut said = String::new();
    wait_until(PATIENCE, "the last frame", || {
        said = around.said(unit)?;
        Ok(said.contains("own-last").then_some(()))
    })
    .with_context(|| format!("{unit}: {said}"))?;
    let bad: Vec<&str> = said
        .lines()
        .filter(|name| name.starts_with("bad"))
        .collect();
    ensure!(bad.is_empty(), "{unit} heard {bad:?}");
    let count = said.lines().filter(|name| name.starts_with("own")).count();
    ensure!(count == own, "{unit} heard {count} of {own}:\n{said}");
    println!("{unit}: {own} frames of its own came, none of the others'");
    Ok(())
}

/// Two containers on one bridge, and one in a bridge where somebody else gives the addresses.
pub(super) fn bridge(host: &Host) -> Result<()> {
    let around = Around::up(host)?;
    let y = started(host, "ports-y", &serving("y", "80", "Network=nat\n"))?;
    let x = started(host, "ports-x", &serving("x", "80", "Network=nat\n"))?;
    serves(&y, 80)?;
    let (own, victim) = (End::of(host, &x, "ports-x")?, End::of(host, &y, "ports-y")?);
    let gateway = host.exec(["cat", "/sys/class/net/skep0/address"])?.ok()?;
    around.service("ports-skep0", &format!("perl {SCRIPT} sniff skep0 {MARK}"))?;
    around.service(
        "ports-in-y",
        &format!("skep exec ports-y -- perl /peer.pl sniff host0 {MARK}"),
    )?;
    let mut sent = frames(&own, &victim);
    let last = sent.len() - 1;
    let bridge = mac(&gateway);
    sent.insert(
        last,
        frame(
            "bad-arp-gateway",
            own.mac,
            0x0806,
            &arp(own.mac, Ipv4Addr::new(10, 213, 0, 1)),
        ),
    );
    let claim = icmp6(
        "bad-advertisement-gateway",
        ADVERTISEMENT,
        link_local(own.mac),
        link_local(bridge),
        own.mac,
    );
    sent.insert(
        last,
        frame("bad-advertisement-gateway", own.mac, 0x86dd, &claim),
    );
    send(&x, &sent)?;
    for unit in ["ports-skep0", "ports-in-y"] {
        came(&around, unit, 9)?;
        around.end(unit)?;
    }
    let hears = "for f in /proc/sys/net/ipv6/conf/skep0 /proc/sys/net/ipv6/conf/vb-*; do cat $f/accept_ra; done | sort -u";
    ensure!(
        host.sh(hears)?.ok()? == "0",
        "a link of ours hears router advertisements"
    );
    x.finish()?;

    // Without a fence all of it comes: it was the fence.
    let x = started(
        host,
        "ports-x",
        &serving("x", "80", "Network=nat,fence=no\n"),
    )?;
    around.service(
        "ports-open",
        &format!("skep exec ports-y -- perl /peer.pl sniff host0 {MARK}"),
    )?;
    serves(&x, 80)?;
    send(&x, &sent)?;
    let mut missing: Vec<&str> = sent.iter().map(|frame| frame.name.as_str()).collect();
    wait_until(PATIENCE, "every frame", || {
        let said = around.said("ports-open")?;
        missing.retain(|name| !said.lines().any(|line| line == *name));
        Ok(missing.is_empty().then_some(()))
    })
    .with_context(|| format!("{missing:?}"))?;
    around.end("ports-open")?;
    x.finish()?;
    y.finish()?;
    of_others(host, &around)
}

/// In a bridge of the host's, the addresses are somebody else's business, but not the rest.
fn of_others(host: &Host, around: &Around<'_>) -> Result<()> {
    host.sh("ip link add portsbr type bridge; ip link set portsbr up")?
        .ok()?;
    let guest = started(
        host,
        "ports-b",
        &serving("b", "80", "Network=bridge:portsbr\n"),
    )?;
    serves(&guest, 80)?;
    around.service(
        "ports-portsbr",
        &format!("perl {SCRIPT} sniff portsbr {MARK}"),
    )?;
    let own = mac(&guest.exec(&["cat", "/sys/class/net/host0/address"])?.ok()?);
    let any = End {
        mac: own,
        v4: Ipv4Addr::new(192, 0, 2, 77),
        v6: Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 7),
    };
    let victim = End {
        mac: [2, 0, 0, 0, 0, 7],
        v4: Ipv4Addr::new(192, 0, 2, 78),
        v6: Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 8),
    };
    let kept = [
        "own-",
        "bad-mac",
        "bad-arp-mac",
        "bad-router",
        "bad-redirect",
        "bad-dhcp",
    ];
    let mut wanted = frames(&any, &victim);
    wanted.retain(|frame| kept.iter().any(|name| frame.name.starts_with(name)));
    send(&guest, &wanted)?;
    came(around, "ports-portsbr", 9)?;
    around.end("ports-portsbr")?;
    // The bridge does not send it what is for somebody of whom it has not heard yet.
    around.service(
        "ports-in-b",
        &format!("skep exec ports-b -- perl /peer.pl sniff host0 {MARK}"),
    )?;
    let to = |name: &str, mac| {
        let (kind, packet) = udp(name, victim.v4.into(), any.v4.into(), (4242, 4242));
        frame_to(name, mac, victim.mac, kind, &packet)
    };
    let sent = [
        to("bad-unknown", [2, 0, 0, 0, 0, 0xaa]),
        to("own-last", own),
    ];
    host.sh(&sending(&sent, SCRIPT, "portsbr"))?.ok()?;
    came(around, "ports-in-b", 1)?;
    around.end("ports-in-b")?;
    guest.finish()?;
    host.sh("ip link del portsbr")?.ok().map(drop)
}

/// A link to the host alone; what of the host is not behind it.
pub(super) fn pair(host: &Host) -> Result<()> {
    let around = Around::up(host)?;
    let z = started(
        host,
        "ports-z",
        &serving("z", "80", "Network=veth\nPort=8080:80\n"),
    )?;
    serves(&z, 80)?;
    let own = End::of(host, &z, "ports-z")?;
    let victim = End {
        mac: [2, 0, 0, 0, 0, 7],
        v4: Ipv4Addr::new(10, 213, 0, 9),
        v6: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9),
    };
    around.service(
        "ports-ve",
        &format!("perl {SCRIPT} sniff ve-ports-z {MARK}"),
    )?;
    send(&z, &frames(&own, &victim))?;
    came(&around, "ports-ve", 9)?;
    around.end("ports-ve")?;

    // Its ports lead from 127.0.0.1 to it, so 127.0.0.1 could be reached the other way round.
    host.sh(
        "nft 'add table ip spy; add chain ip spy in { type filter hook input priority 0; }; \
         add rule ip spy in iifname \"ve-ports-z\" ip daddr 127.0.0.0/8 counter'",
    )?
    .ok()?;
    let to = mac(&host
        .exec(["cat", "/sys/class/net/ve-ports-z/address"])?
        .ok()?);
    let (kind, packet) = udp(
        "own-loopback",
        own.v4.into(),
        Ipv4Addr::LOCALHOST.into(),
        (4242, 4242),
    );
    let knock = [frame_to("own-loopback", to, own.mac, kind, &packet)];
    let counted = || {
        Ok::<_, anyhow::Error>(
            host.sh("nft list table ip spy")?
                .ok()?
                .contains("packets 0 "),
        )
    };
    send(&z, &knock)?;
    ensure!(counted()?, "the host's 127.0.0.1 was reached");
    // That it was the rules: without them it is reached, and they can be had back.
    host.sh("nft flush ruleset")?.ok()?;
    host.sh(
        "nft 'add table ip spy; add chain ip spy in { type filter hook input priority 0; }; \
             add rule ip spy in iifname \"ve-ports-z\" ip daddr 127.0.0.0/8 counter'",
    )?
    .ok()?;
    send(&z, &knock)?;
    wait_until(PATIENCE, "the packet", || Ok((!counted()?).then_some(())))?;
    host.sh("nft delete table ip spy; /usr/libexec/skep/launcher clean --rules")?
        .ok()?;
    let tables = host.sh("nft list tables")?.ok()?;
    ensure!(
        tables.contains("table inet skep") && tables.contains("table netdev skep-ve-ports-z"),
        "not written again:\n{tables}"
    );

    around.service(
        "ports-abstract",
        &format!("perl {SCRIPT} abstract listen ports-abstract"),
    )?;
    let call = host
        .sh(&format!("perl {SCRIPT} abstract call ports-abstract"))?
        .ok()?;
    ensure!(call == "connected", "from the host: {call}");
    let call = z
        .exec(&["perl", "/peer.pl", "abstract", "call", "ports-abstract"])?
        .ok()?;
    ensure!(call == "Connection refused", "from inside: {call}");
    z.finish()
}
