//! Rules of the packet filter, as text for nft(8).
//!
//! `table inet skep` holds what all containers share and is written anew as a whole with each change, in one transaction:
//! whatever was lost, by a flush of the whole ruleset or by a killed launcher, is there again afterwards. Established
//! connections are not affected. `table netdev skep-LINK` is the fence of one link.
//!
//! Nothing here is text of a guest's: names of links, addresses and numbers only.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use skep_spec::Port;

use super::record::{Fence, Record};
use crate::plan::net::Mac;

/// What the shared table does about forwarding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// IPv4 is forwarded because of containers only.
    pub v4: bool,
    /// IPv6 is.
    pub v6: bool,
}

/// The table that all containers share; empty when none needs it.
pub fn shared(records: &[Record], opened: Opened) -> String {
    // Adding what may be there already makes that it can be deleted.
    let mut text = "add table inet skep\ndelete table inet skep\n".to_owned();
    let needing: Vec<&Record> = records.iter().filter(|one| one.needs_rules()).collect();
    if needing.is_empty() {
        return text;
    }
    text.push_str("table inet skep {\n");
    let all = |pick: fn(&Record) -> &Vec<String>| {
        let mut names: Vec<_> = needing
            .iter()
            .flat_map(|one| pick(one))
            .map(quoted)
            .collect();
        names.sort();
        names.dedup();
        names
    };
    let links = all(|one| &one.links);
    set(&mut text, "links", "type ifname", &links);
    set(&mut text, "inner", "type ifname", &all(|one| &one.inner));
    let zones = records.iter().flat_map(zones_of).map(quoted);
    let zones: BTreeSet<String> = zones.collect();
    set(
        &mut text,
        "zones",
        "type ifname",
        &zones.into_iter().collect::<Vec<_>>(),
    );
    let back: Vec<_> = links
        .iter()
        .map(|link| format!("{link} . {link}"))
        .collect();
    set(&mut text, "back", "type ifname . ifname", &back);
    let masqueraded = || needing.iter().flat_map(|one| &one.masqueraded);
    let v4: Vec<_> = masqueraded()
        .filter(|ip| ip.is_ipv4())
        .map(IpAddr::to_string)
        .collect();
    let v6: Vec<_> = masqueraded()
        .filter(|ip| ip.is_ipv6())
        .map(IpAddr::to_string)
        .collect();
    set(&mut text, "out4", "type ipv4_addr", &v4);
    set(&mut text, "out6", "type ipv6_addr", &v6);
    ports(&mut text, &needing);
    chains(&mut text, opened);
    text.push_str("}\n");
    text
}

/// What has to pass the chains of other programs, too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// All that comes from a link and goes to it: behind it are containers of ours only, for which the shared table decides.
    Link(String),
    /// What goes to a published port and comes from it.
    Port {
        /// The link behind which the container is, maybe with others.
        link: String,
        /// Its address.
        address: IpAddr,
        /// `tcp` or `udp`.
        protocol: String,
        /// One port or a range.
        ports: String,
    },
}

impl Way {
    /// The link.
    pub fn link(&self) -> &str {
        match self {
            Way::Link(link) | Way::Port { link, .. } => link,
        }
    }
}

/// All of them, each once.
pub fn ways(records: &[Record]) -> Vec<Way> {
    let needing = || records.iter().filter(|one| one.needs_rules());
    let links = needing().flat_map(|one| one.inner.iter().cloned().map(Way::Link));
    let mut ways: Vec<_> = links.chain(needing().flat_map(ports_beside)).collect();
    ways.sort();
    ways.dedup();
    ways
}

/// The ways to a container's ports over links that are not ours alone.
fn ports_beside(record: &Record) -> Vec<Way> {
    let mut ways = Vec::new();
    for address in [record.reached.0, record.reached.1].into_iter().flatten() {
        let leads = |(_, behind): &&(String, Vec<IpAddr>)| behind.contains(&address);
        let Some((link, _)) = record.named.iter().find(leads) else {
            continue;
        };
        if record.inner.contains(link) {
            continue;
        }
        let of_family = |port: &&Port| {
            port.address
                .is_none_or(|at| at.is_ipv4() == address.is_ipv4())
        };
        ways.extend(record.ports.iter().filter(of_family).map(|port| Way::Port {
            link: link.clone(),
            address,
            protocol: port.protocol.to_string(),
            ports: range(port.container, port),
        }));
    }
    ways
}

/// Bridges of ours that lead to the host and no further.
fn zones_of(record: &Record) -> impl Iterator<Item = &String> {
    let bridges = record.bridges.iter();
    bridges.filter(|bridge| !record.inner.contains(bridge))
}

fn quoted(name: &String) -> String {
    format!("\"{name}\"")
}

fn set(text: &mut String, name: &str, kind: &str, elements: &[String]) {
    let _ = writeln!(text, " set {name} {{ {kind}");
    list(text, elements);
    text.push_str(" }\n");
}

fn list(text: &mut String, elements: &[String]) {
    if !elements.is_empty() {
        let _ = writeln!(text, "  elements = {{ {} }}", elements.join(", "));
    }
}

/// A chain of each container that has ports, and what leads to it.
fn ports(text: &mut String, records: &[&Record]) {
    let (mut any, mut v4, mut v6) = (Vec::new(), Vec::new(), Vec::new());
    for record in records.iter().filter(|one| !one.ports.is_empty()) {
        let chain = chain_name(&record.name);
        let _ = writeln!(text, " chain {chain} {{");
        if !record.loopback6 {
            text.push_str("  ip6 daddr ::1 return\n");
        }
        for port in &record.ports {
            destinations(text, port, record.reached);
            let entry = format!(
                "{} . {} : goto {chain}",
                port.protocol,
                range(port.host, port)
            );
            match port.address {
                None => any.push(entry),
                Some(IpAddr::V4(ip)) => v4.push(format!("{ip} . {entry}")),
                Some(IpAddr::V6(ip)) => v6.push(format!("{ip} . {entry}")),
            }
        }
        text.push_str(" }\n");
    }
    let key = "inet_proto . inet_service : verdict; flags interval";
    for (name, address, entries) in [
        ("ports", "", any),
        ("ports4", "ipv4_addr . ", v4),
        ("ports6", "ipv6_addr . ", v6),
    ] {
        let _ = writeln!(text, " map {name} {{ type {address}{key}");
        list(text, &entries);
        text.push_str(" }\n");
    }
}

/// The slash is no character of a container's name.
fn chain_name(container: &str) -> String {
    format!("to-{}", container.replace('@', "/"))
}

/// As many ports as this one stands for, from `first` on.
fn range(first: u16, port: &Port) -> String {
    match port.count {
        0 | 1 => first.to_string(),
        count => format!("{first}-{}", first.saturating_add(count - 1)),
    }
}

fn destinations(text: &mut String, port: &Port, (v4, v6): (Option<IpAddr>, Option<IpAddr>)) {
    let protocol = port.protocol;
    let from = range(port.host, port);
    for (family, target) in [("ip", v4), ("ip6", v6)] {
        let Some(target) = target else { continue };
        let at = match port.address {
            None if target.is_ipv4() => "meta nfproto ipv4".to_owned(),
            None => "meta nfproto ipv6".to_owned(),
            Some(at) if at.is_ipv4() == target.is_ipv4() => format!("{family} daddr {at}"),
            Some(_) => continue,
        };
        let target = match target {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        let to = match port.count {
            // The kernel keeps the port.
            _ if port.host == port.container => target,
            0 | 1 => format!("{target}:{}", port.container),
            // A range of destinations would mean any of them.
            count => {
                let pair = |step: u16| {
                    let (host, inside) = (port.host, port.container);
                    format!(
                        "{} : {}",
                        host.saturating_add(step),
                        inside.saturating_add(step)
                    )
                };
                let pairs: Vec<_> = (0..count).map(pair).collect();
                format!("{target} : {protocol} dport map {{ {} }}", pairs.join(", "))
            }
        };
        let _ = writeln!(text, "  {at} {protocol} dport {from} dnat {family} to {to}");
    }
}

/// What a container sends to its own port, or to that of another on the same bridge, must come back the same way. A bridge
/// that passes the packet filter has no `iifname` there.
///
/// A port of 127.0.0.1 is for the host alone: what comes from elsewhere for such an address would be led on before the kernel
/// refuses it. Answers bear the host's own address here.
const CHAINS: &str = "\
 chain guard {
  type filter hook prerouting priority raw; policy accept;
  iifname != \"lo\" ip daddr 127.0.0.0/8 drop
  iifname != \"lo\" ip saddr 127.0.0.0/8 drop
 }
 chain arriving {
  type nat hook prerouting priority dstnat; policy accept;
  ip daddr . meta l4proto . th dport vmap @ports4
  ip6 daddr . meta l4proto . th dport vmap @ports6
  fib daddr type local meta l4proto . th dport vmap @ports
 }
 chain own {
  type nat hook output priority -100; policy accept;
  ip daddr . meta l4proto . th dport vmap @ports4
  ip6 daddr . meta l4proto . th dport vmap @ports6
  fib daddr type local meta l4proto . th dport vmap @ports
 }
 chain leaving {
  type nat hook postrouting priority srcnat; policy accept;
  ip saddr @out4 oifname != @inner masquerade
  ip6 saddr @out6 oifname != @inner masquerade
  ct status dnat ip saddr 127.0.0.0/8 masquerade
  ct status dnat ip6 saddr ::1 masquerade
  ct status dnat iifname . oifname @back masquerade
  ct status dnat ip saddr @out4 ip daddr @out4 masquerade
  ct status dnat ip6 saddr @out6 ip6 daddr @out6 masquerade
 }
 chain passing {
  type filter hook forward priority filter; policy accept;
  ct state established,related accept
  oifname @inner ct status dnat accept
  iifname != @inner oifname @inner drop
";

/// Where forwarding was off, only containers with a way out and published ports have it; and what comes out of bridges of
/// other programs, which rely on it as they find it on.
const OTHERS: &str = "\
  iifname @inner accept
  ct status dnat accept
  iifname @zones drop
  meta iifkind \"bridge\" accept
";

fn chains(text: &mut String, opened: Opened) {
    text.push_str(CHAINS);
    if opened.v4 || opened.v6 {
        text.push_str(OTHERS);
    }
    for (is_open, family) in [(opened.v4, "ipv4"), (opened.v6, "ipv6")] {
        if is_open {
            let _ = writeln!(text, "  meta nfproto {family} drop");
        }
    }
    text.push_str(" }\n");
}

/// The table of one link's fence.
fn fence_name(link: &str) -> String {
    format!("skep-{}", link.replace(['@', '+', ':'], "/"))
}

/// Removes a fence.
pub fn unfence(link: &str) -> String {
    let table = fence_name(link);
    format!("add table netdev {table}\ndelete table netdev {table}\n")
}

/// Of what comes from this link only what has its own addresses passes, and nothing that changes how others reach things:
/// no answer for an address of somebody else, no router advertisement or redirect, nothing for DHCP clients, who do not
/// look from which port an answer comes.
///
/// Without addresses, somebody else gives them: then only the hardware address is checked, and the rest of the above.
pub fn fence(link: &str, fence: &Fence) -> String {
    let (table, mac) = (fence_name(link), Mac(fence.mac));
    let known = !fence.addresses.is_empty();
    let policy = if known { "drop" } else { "accept" };
    let mut text = unfence(link);
    let _ = writeln!(text, "table netdev {table} {{");
    let targets = if known {
        addressed(&mut text, mac, &fence.addresses)
    } else {
        String::new()
    };
    let _ = writeln!(
        text,
        " chain from {{\n  type filter hook ingress device \"{link}\" priority 0; policy {policy};"
    );
    // One tag is off by now. What has more is not looked into here, but may lose the next on its way.
    text.push_str("  meta protocol { 8021q, 8021ad } drop\n");
    let _ = writeln!(text, "  ether saddr != {mac} drop");
    let _ = writeln!(text, "  meta protocol arp arp saddr ether != {mac} drop");
    text.push_str(
        "  icmpv6 type { nd-router-advert, nd-redirect } drop
  udp dport { 68, 546 } drop
  udp sport 67 udp dport 67 drop
  udp sport 547 udp dport 547 drop
",
    );
    if known {
        text.push_str(
            "  meta protocol arp arp saddr ip @v4 accept
  meta protocol ip ip saddr @v4 accept
  meta protocol ip6 goto sixth
",
        );
    }
    text.push_str(" }\n");
    text.push_str(&targets);
    text.push_str("}\n");
    text
}

/// The addresses, and the chain of IPv6, which has more than one.
///
/// A container may make link-local addresses as it likes, but none of the form that is made of a hardware address: those
/// belong to who has that hardware address.
fn addressed(text: &mut String, mac: Mac, addresses: &[IpAddr]) -> String {
    let own = IpAddr::V6(mac.link_local());
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for ip in addresses.iter().chain([&own]) {
        if ip.is_ipv4() { &mut v4 } else { &mut v6 }.push(ip.to_string());
    }
    set(text, "v4", "type ipv4_addr", &v4);
    set(text, "v6", "type ipv6_addr", &v6);
    // The address that a solicitation or an advertisement is about, after type, code, checksum and flags.
    let about: Vec<String> = addresses
        .iter()
        .chain([&own])
        .filter_map(|ip| match ip {
            IpAddr::V4(_) => None,
            IpAddr::V6(ip) => Some(format!("  @th,64,128 {:#034x} return", u128::from(*ip))),
        })
        .collect();
    format!(
        " chain about {{
{}
  @th,152,16 0xfffe drop
  @th,64,16 & 0xffc0 == 0xfe80 return
  drop
 }}
 chain sixth {{
  icmpv6 type nd-neighbor-advert jump about
  ip6 saddr :: icmpv6 type nd-neighbor-solicit jump about
  ip6 saddr :: icmpv6 type {{ nd-neighbor-solicit, nd-router-solicit, mld-listener-report, mld2-listener-report }} accept
  ip6 saddr @v6 accept
  ip6 saddr & ::ff:ff00:0 == ::ff:fe00:0 drop
  ip6 saddr & ffc0:: == fe80:: accept
 }}
",
        about.join("\n")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_spec::Protocol;

    fn record() -> Record {
        let (v4, v6) = ("10.213.0.5".parse().unwrap(), "fd00::5".parse().unwrap());
        Record {
            name: "web@1".into(),
            masqueraded: vec![v4, v6],
            reached: (Some(v4), Some(v6)),
            ports: vec![Port {
                protocol: Protocol::Tcp,
                address: None,
                host: 8080,
                container: 80,
                count: 2,
            }],
            links: vec!["skep0".into()],
            inner: vec!["skep0".into()],
            loopback6: true,
            ..Record::default()
        }
    }

    #[test]
    fn shared_table_holds_what_is_needed() {
        let removal = "add table inet skep\ndelete table inet skep\n";
        assert_eq!(shared(&[], Opened::default()), removal);
        assert_eq!(
            shared(&[Record::default()], Opened { v4: true, v6: true }),
            removal
        );
        let text = shared(
            &[record()],
            Opened {
                v4: true,
                v6: false,
            },
        );
        for part in [
            "elements = { \"skep0\" }",
            "elements = { 10.213.0.5 }",
            "tcp . 8080-8081 : goto to-web/1",
            "meta nfproto ipv4 tcp dport 8080-8081 dnat ip to 10.213.0.5 : tcp dport map { 8080 : 80, 8081 : 81 }\n",
            "meta nfproto ipv6 tcp dport 8080-8081 dnat ip6 to [fd00::5] : tcp dport map",
            "elements = { \"skep0\" . \"skep0\" }",
            "meta nfproto ipv4 drop",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("nfproto ipv6 drop"));
        assert!(!text.contains("daddr ::1 return"));
    }

    #[test]
    fn a_port_at_an_address_is_of_its_family() {
        let mut record = record();
        record.ports[0].address = Some("192.0.2.1".parse().unwrap());
        let text = shared(&[record], Opened::default());
        assert!(
            text.contains("192.0.2.1 . tcp . 8080-8081 : goto"),
            "{text}"
        );
        assert!(
            text.contains("ip daddr 192.0.2.1 tcp dport 8080-8081 dnat ip to"),
            "{text}"
        );
        assert!(!text.contains("dnat ip6 to"), "{text}");
    }

    #[test]
    fn other_programs_let_through_no_more_than_is_needed() {
        let inner = record();
        let mut beside = record();
        beside.inner.clear();
        beside.links = vec!["br0".into()];
        beside.named = vec![("br0".into(), vec!["10.213.0.5".parse().unwrap()])];
        beside.reached.1 = None;
        let port = Way::Port {
            link: "br0".into(),
            address: "10.213.0.5".parse().unwrap(),
            protocol: "tcp".into(),
            ports: "80-81".into(),
        };
        let link = Way::Link("skep0".into());
        assert_eq!(ways(&[inner.clone(), inner, beside]), [link, port]);
        assert_eq!(ways(&[Record::default()]), []);
    }

    #[test]
    fn zones_lead_nowhere_where_forwarding_is_on_for_others() {
        let zone = Record {
            bridges: vec!["vz-a".into()],
            ..Record::default()
        };
        let opened = Opened { v4: true, v6: true };
        let text = shared(&[record(), zone], opened);
        assert!(text.contains("set zones { type ifname\n  elements = { \"vz-a\" }"));
        assert!(text.contains("iifname @zones drop"), "{text}");
    }

    #[test]
    fn ports_that_stay_need_no_map() {
        let mut record = record();
        record.loopback6 = false;
        record.ports[0].container = 8080;
        let text = shared(&[record.clone()], Opened::default());
        assert!(
            text.contains("ipv4 tcp dport 8080-8081 dnat ip to 10.213.0.5\n"),
            "{text}"
        );
        assert!(text.contains("ip6 daddr ::1 return"), "{text}");
        record.ports[0].count = 1;
        record.ports[0].container = 80;
        let text = shared(&[record], Opened::default());
        assert!(
            text.contains("ipv6 tcp dport 8080 dnat ip6 to [fd00::5]:80\n"),
            "{text}"
        );
    }

    #[test]
    fn a_fence_names_every_address() {
        let mac = [2, 0, 0, 0, 0, 1];
        let mut known = Fence {
            mac,
            addresses: record().masqueraded,
        };
        let text = fence("vb-web", &known);
        for part in [
            "ether saddr != 02:00:00:00:00:01 drop",
            "set v4 { type ipv4_addr\n  elements = { 10.213.0.5 }",
            "elements = { fd00::5, fe80::ff:fe00:1 }",
            "@th,64,128 0xfd000000000000000000000000000005 return",
            "policy drop",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        known.addresses.clear();
        let text = fence("vb-web", &known);
        assert!(
            text.contains("policy accept") && !text.contains("sixth"),
            "{text}"
        );
    }
}
