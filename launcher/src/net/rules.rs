//! Rules of the packet filter, as text for nft(8).
//!
//! `table inet skep` holds what all containers share and is written anew as a whole with each change, in one transaction:
//! whatever was lost, by a flush of the whole ruleset or by a killed launcher, is there again afterwards. Established
//! connections are not affected. `table netdev skep-LINK` is the fence of one link.
//!
//! Nothing here is text of a guest's: names of links, addresses and numbers only.

use std::fmt::Write as _;
use std::net::IpAddr;

use skep_spec::Port;

use super::record::Record;
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
    set(&mut text, "links", "type ifname", &all(|one| &one.links));
    set(&mut text, "inner", "type ifname", &all(|one| &one.inner));
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
        for port in &record.ports {
            destinations(text, port, record.reached);
        }
        text.push_str(" }\n");
        for port in &record.ports {
            for number in port.host..=port.host.saturating_add(port.count - 1) {
                let entry = format!("{} . {number} : goto {chain}", port.protocol);
                match port.address {
                    None => any.push(entry),
                    Some(IpAddr::V4(ip)) => v4.push(format!("{ip} . {entry}")),
                    Some(IpAddr::V6(ip)) => v6.push(format!("{ip} . {entry}")),
                }
            }
        }
    }
    for (name, kind, entries) in [
        ("ports", "inet_proto . inet_service : verdict", any),
        (
            "ports4",
            "ipv4_addr . inet_proto . inet_service : verdict",
            v4,
        ),
        (
            "ports6",
            "ipv6_addr . inet_proto . inet_service : verdict",
            v6,
        ),
    ] {
        let _ = writeln!(text, " map {name} {{ type {kind}");
        list(text, &entries);
        text.push_str(" }\n");
    }
}

/// The slash is no character of a container's name.
fn chain_name(container: &str) -> String {
    format!("to-{}", container.replace('@', "/"))
}

fn destinations(text: &mut String, port: &Port, (v4, v6): (Option<IpAddr>, Option<IpAddr>)) {
    for (family, address, full) in [
        ("ip", v4, v4.map(|ip| ip.to_string())),
        ("ip6", v6, v6.map(|ip| format!("[{ip}]"))),
    ] {
        let (Some(address), Some(full)) = (address, full) else {
            continue;
        };
        if port
            .address
            .is_some_and(|at| at.is_ipv4() != address.is_ipv4())
        {
            continue;
        }
        let at = port.address.map_or_else(
            || {
                format!(
                    "meta nfproto {}",
                    if address.is_ipv4() { "ipv4" } else { "ipv6" }
                )
            },
            |at| format!("{family} daddr {at}"),
        );
        for step in 0..port.count {
            let (from, to) = (port.host + step, port.container + step);
            let protocol = port.protocol;
            let _ = writeln!(
                text,
                "  {at} {protocol} dport {from} dnat {family} to {full}:{to}"
            );
        }
    }
}

const CHAINS: &str = "\
 chain guard {
  type filter hook prerouting priority raw; policy accept;
  iifname @links ip daddr 127.0.0.0/8 drop
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
  ct status dnat ip saddr @out4 ip daddr @out4 masquerade
  ct status dnat ip6 saddr @out6 ip6 daddr @out6 masquerade
 }
 chain passing {
  type filter hook forward priority filter; policy accept;
  ct state established,related accept
  oifname @inner ct status dnat accept
  iifname != @inner oifname @inner drop
";

fn chains(text: &mut String, opened: Opened) {
    text.push_str(CHAINS);
    for (is_open, family) in [(opened.v4, "ipv4"), (opened.v6, "ipv6")] {
        if is_open {
            let _ = writeln!(
                text,
                "  meta nfproto {family} iifname != @links oifname != @links drop"
            );
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

/// Of what comes from this link, only what has these addresses passes, and nothing that changes how others reach things:
/// no router advertisement, no answer for an address of somebody else.
pub fn fence(link: &str, mac: Mac, addresses: &[IpAddr]) -> String {
    let table = fence_name(link);
    let mut text = unfence(link);
    let _ = writeln!(text, "table netdev {table} {{\n chain from {{");
    let _ = writeln!(
        text,
        "  type filter hook ingress device \"{link}\" priority 0; policy drop;"
    );
    let _ = writeln!(text, "  ether saddr != {mac} drop");
    for ip in addresses {
        match ip {
            IpAddr::V4(ip) => {
                let _ = writeln!(
                    text,
                    "  ether type arp arp saddr ip {ip} arp saddr ether {mac} accept"
                );
                let _ = writeln!(text, "  ip saddr {ip} accept");
            }
            IpAddr::V6(ip) => {
                // The target of the advertisement, after type, code, checksum and flags.
                let target = u128::from(*ip);
                let _ = writeln!(
                    text,
                    "  icmpv6 type nd-neighbor-advert @th,64,128 {target:#034x} accept"
                );
            }
        }
    }
    text.push_str("  icmpv6 type nd-neighbor-advert @th,64,16 & 0xffc0 == 0xfe80 accept\n");
    text.push_str("  icmpv6 type { nd-neighbor-advert, nd-router-advert, nd-redirect } drop\n");
    for ip in addresses.iter().filter(|ip| ip.is_ipv6()) {
        let _ = writeln!(text, "  ip6 saddr {ip} accept");
    }
    if addresses.iter().any(IpAddr::is_ipv6) {
        text.push_str("  ip6 saddr { fe80::/10, :: } accept\n");
    }
    text.push_str(" }\n}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_spec::Protocol;

    fn record() -> Record {
        let (v4, v6) = ("10.213.0.5".parse().unwrap(), "fd00::5".parse().unwrap());
        Record {
            name: "web@1".into(),
            addresses: vec![v4, v6],
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
            "tcp . 8080 : goto to-web/1, tcp . 8081 : goto to-web/1",
            "meta nfproto ipv4 tcp dport 8081 dnat ip to 10.213.0.5:81\n",
            "meta nfproto ipv6 tcp dport 8080 dnat ip6 to [fd00::5]:80\n",
            "meta nfproto ipv4 iifname != @links oifname != @links drop",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("nfproto ipv6 iifname"));
    }

    #[test]
    fn a_port_at_an_address_is_of_its_family() {
        let mut record = record();
        record.ports[0].address = Some("192.0.2.1".parse().unwrap());
        let text = shared(&[record], Opened::default());
        assert!(text.contains("192.0.2.1 . tcp . 8080 : goto"), "{text}");
        assert!(
            text.contains("ip daddr 192.0.2.1 tcp dport 8080 dnat ip to"),
            "{text}"
        );
        assert!(!text.contains("dnat ip6 to"), "{text}");
    }

    #[test]
    fn a_fence_names_every_address() {
        let text = fence("vb-web", Mac([2, 0, 0, 0, 0, 1]), &record().addresses);
        assert!(text.contains("ether saddr != 02:00:00:00:00:01 drop"));
        assert!(text.contains("arp saddr ip 10.213.0.5"));
        assert!(
            text.contains("@th,64,128 0xfd000000000000000000000000000005 accept"),
            "{text}"
        );
    }
}
