//! `Network=`, `Link=` and the keys that say more about them.

use std::net::IpAddr;

use skep_spec::{Link, LinkKind, MacvlanMode, Net, Network, Subnet};

use super::{At, Reader};
use crate::addresses::{self, Pool};
use crate::declaration::value::link::{self, Address, Draft, Said};
use crate::problem::Origin;

/// What the keys say.
pub(super) struct Read {
    pub(super) network: Network,
    pub(super) net: Net,
    pub(super) pool: Pool,
}

/// Most links of one container.
const MOST: usize = 16;

pub(super) fn read(reader: &mut Reader<'_>) -> Read {
    let said = reader.scalar("Network", link::network);
    let more = reader.list("Link", |text| Ok(vec![link::link(text)?]));
    let pool = read_pool(reader);
    let mut net = Net::default();
    let mut drafts: Vec<At<Draft>> = Vec::new();
    let (network, what) = match said {
        None => (Network::Private, "the default Network=private"),
        Some(At {
            value: Said::Plain(Network::Host),
            ..
        }) => (Network::Host, "Network=host"),
        Some(At {
            value: Said::Plain(network),
            ..
        }) => (network, "Network=private"),
        Some(At {
            value: Said::Join(join),
            origin,
        }) => {
            if join == skep_spec::Join::Container(reader.name.to_owned()) {
                reader.problems.error(origin, Some("Network"), || {
                    "a container cannot join itself".into()
                });
            }
            net.join = Some(join);
            (Network::Joined, "Network=netns: or container:")
        }
        Some(At {
            value: Said::Link(draft),
            origin,
        }) => {
            drafts.push(At {
                value: draft,
                origin,
            });
            (Network::Private, "")
        }
    };
    first_link(reader, drafts.first_mut().map(|at| &mut at.value), what);
    for at in more {
        if network == Network::Private {
            drafts.push(at);
        } else {
            let message = || format!("{what} has the links that it has");
            reader.problems.error(at.origin, Some("Link"), message);
        }
    }
    if let Some(at) = drafts.get(MOST) {
        let message = || format!("more than {MOST} links");
        reader.problems.error(at.origin, Some("Link"), message);
    }
    for (number, at) in drafts.into_iter().enumerate() {
        let origin = at.origin;
        let key = if number == 0 && what.is_empty() {
            "Network"
        } else {
            "Link"
        };
        match complete(at.value, number, &pool) {
            Ok(link) => {
                if net.links.iter().any(|other| other.name == link.name) {
                    let message = || format!("another link is called {}; add name=", link.name);
                    reader.problems.error(origin, Some(key), message);
                }
                let same = |ip: &IpAddr| {
                    link.gateways
                        .iter()
                        .any(|own| own.is_ipv4() == ip.is_ipv4())
                };
                let declared = net.links.iter().flat_map(|other| &other.gateways);
                if let Some(other) = declared.into_iter().find(|ip| same(ip)) {
                    let message = || {
                        format!(
                            "another link has the default gateway {other}; there is one of each family"
                        )
                    };
                    reader.problems.error(origin, Some(key), message);
                }
                net.links.push(link);
            }
            Err(message) => reader.problems.error(origin, Some(key), || message),
        }
    }
    if let Some(number) = addresses::leads_out(&net.links)
        && let Some(link) = net.links.get_mut(number)
    {
        give_gateways(link);
    }
    net.dns = servers(reader, network);
    net.ports = ports(reader, &net.links, network);
    Read { network, net, pool }
}

/// The keys that are about the link of `Network=`.
fn first_link(reader: &mut Reader<'_>, draft: Option<&mut Draft>, what: &str) {
    let name = reader.scalar("InterfaceName", link::interface_name);
    let mac = reader.scalar("MACAddress", link::mac);
    let mtu = reader.scalar("MTUBytes", link::mtu);
    let words = |text: &str| text.split_ascii_whitespace().map(link::address).collect();
    let addresses = reader.list("Address", words);
    let host_addresses = reader.list("HostAddress", words);
    let gateways = reader.list("Gateway", |text| {
        text.split_ascii_whitespace().map(link::ip).collect()
    });
    let Some(draft) = draft else {
        let given: [(&str, Option<Origin>); 6] = [
            ("InterfaceName", name.map(|at| at.origin)),
            ("MACAddress", mac.map(|at| at.origin)),
            ("MTUBytes", mtu.map(|at| at.origin)),
            ("Address", addresses.first().map(|at| at.origin)),
            ("HostAddress", host_addresses.first().map(|at| at.origin)),
            ("Gateway", gateways.first().map(|at| at.origin)),
        ];
        for (key, origin) in given {
            if let Some(origin) = origin {
                let message = || {
                    format!(
                        "{what} has no link that this could be about; set Network=veth or another kind"
                    )
                };
                reader.problems.error(origin, Some(key), message);
            }
        }
        return;
    };
    draft.name = name.map(|at| at.value).or(draft.name.take());
    draft.mac = mac.map(|at| at.value).or(draft.mac);
    draft.mtu = mtu.map(|at| at.value).or(draft.mtu);
    draft
        .addresses
        .extend(addresses.into_iter().map(|at| at.value));
    draft
        .host_addresses
        .extend(host_addresses.into_iter().map(|at| at.value));
    draft
        .gateways
        .extend(gateways.into_iter().map(|at| at.value));
}

/// The network from which addresses are taken.
fn read_pool(reader: &mut Reader<'_>) -> Pool {
    let given = reader.list("AddressPool", |text| {
        text.split_ascii_whitespace().map(link::pool).collect()
    });
    for (index, at) in given.iter().enumerate() {
        let v4 = at.value.address.is_ipv4();
        if given[..index]
            .iter()
            .any(|other| other.value.address.is_ipv4() == v4)
        {
            let message = || "one pool of each family is enough".into();
            reader
                .problems
                .error(at.origin, Some("AddressPool"), message);
        }
    }
    let networks: Vec<Subnet> = given.into_iter().map(|at| at.value).collect();
    Pool::of(reader.facts.machine_id.as_deref(), &networks)
}

/// A link with everything that does not depend on other containers.
fn complete(draft: Draft, number: usize, pool: &Pool) -> Result<Link, String> {
    let kind = match draft.kind {
        LinkKind::Nat(_) => LinkKind::Nat(pool.bridge()),
        kind => kind,
    };
    let name = draft.name.unwrap_or_else(|| match &kind {
        LinkKind::Macvlan(parent, _) => child("mv", parent),
        LinkKind::Ipvlan(parent) => child("iv", parent),
        LinkKind::Interface(name) => name.clone(),
        _ => format!("host{number}"),
    });
    let shares = match kind {
        LinkKind::Ipvlan(_) => Some("an ipvlan"),
        LinkKind::Macvlan(_, MacvlanMode::Passthru) => Some("a macvlan of mode passthru"),
        _ => None,
    };
    if let (Some(kind), Some(_)) = (shares, draft.mac) {
        return Err(format!(
            "{kind} has the hardware address of the host's link"
        ));
    }
    let own_end = matches!(kind, LinkKind::Veth | LinkKind::Zone(_));
    if !own_end && !draft.host_addresses.is_empty() {
        return Err("only a veth and a zone have addresses of their own on the host".into());
    }
    for v4 in [true, false] {
        if draft
            .gateways
            .iter()
            .filter(|ip| ip.is_ipv4() == v4)
            .count()
            > 1
        {
            return Err("more than one gateway of one family".into());
        }
    }
    let mut link = Link {
        name,
        mac: draft.mac,
        mtu: draft.mtu,
        addresses: draft
            .addresses
            .iter()
            .map(|address| within(&kind, *address, pool))
            .collect(),
        host_addresses: draft
            .host_addresses
            .into_iter()
            .map(Address::subnet)
            .collect(),
        gateways: draft.gateways,
        fence: draft.fence,
        kind,
    };
    refuse_outside(&link, pool)?;
    refuse_unreachable(&link)?;
    if let LinkKind::Nat(_) = link.kind {
        link.host_addresses = pool.bridge_addresses();
    }
    Ok(link)
}

/// nspawn's name for a link made of a link of the host.
fn child(prefix: &str, parent: &str) -> String {
    let mut name = format!("{prefix}-{parent}");
    name.truncate(15);
    name
}

fn within(kind: &LinkKind, address: Address, pool: &Pool) -> Subnet {
    let mut subnet = address.subnet();
    if let (LinkKind::Nat(_), None) = (kind, address.prefix) {
        subnet.prefix = pool.bridge_prefix(address.ip);
    }
    subnet
}

/// Of a network that is masqueraded skep knows what can be reached.
fn refuse_outside(link: &Link, pool: &Pool) -> Result<(), String> {
    let LinkKind::Nat(_) = link.kind else {
        return Ok(());
    };
    match link
        .addresses
        .iter()
        .find(|subnet| !pool.bridge_has(subnet.address))
    {
        Some(outside) => Err(format!(
            "{} is not in the network of the bridge, {}; set AddressPool= too",
            outside.address,
            pool.bridge_networks()
        )),
        None => Ok(()),
    }
}

/// What the kernel would refuse, or take and never use.
fn refuse_unreachable(link: &Link) -> Result<(), String> {
    let (inside, on_host) = (&link.addresses, &link.host_addresses);
    let v6 = |subnet: &Subnet| subnet.address.is_ipv6();
    let given = addresses::wants(link) || inside.iter().chain(on_host).any(v6);
    if given && link.mtu.is_some_and(|mtu| mtu < 1280) {
        return Err("IPv6 needs an MTU of 1280 or more".into());
    }
    for (number, one) in inside.iter().enumerate() {
        let ip = one.address;
        if inside.iter().take(number).any(|other| other.address == ip) {
            return Err(format!("the address {ip} is given twice"));
        }
        if on_host.iter().any(|other| other.address == ip) {
            return Err(format!("{ip} is the address of both ends"));
        }
        if link.gateways.contains(&ip) {
            return Err(format!("{ip} is the container itself and not its gateway"));
        }
    }
    if let Some(all) = inside.iter().chain(on_host).find(|one| is_of_all(**one)) {
        return Err(format!("{all} is the address of a whole network"));
    }
    if link.kind == LinkKind::Veth && !addresses::wants(link) {
        for (v4, family) in [(true, "IPv4"), (false, "IPv6")] {
            let has = |all: &[Subnet]| all.iter().any(|one| one.address.is_ipv4() == v4);
            let via = link.gateways.iter().any(|ip| ip.is_ipv4() == v4);
            if has(inside) && !has(on_host) && !via {
                return Err(format!(
                    "an {family} address inside and none on the host; set HostAddress= too"
                ));
            }
        }
    }
    Ok(())
}

/// The first and the last address of an IPv4 network are no single host's, unless it has two addresses or one.
fn is_of_all(subnet: Subnet) -> bool {
    match subnet.address {
        IpAddr::V4(ip) if subnet.prefix < 31 => {
            let mask = u32::MAX >> subnet.prefix;
            let host = u32::from(ip) & mask;
            host == 0 || host == mask
        }
        _ => false,
    }
}

/// With declared addresses the gateway is the host's end.
fn give_gateways(link: &mut Link) {
    for v4 in [true, false] {
        let of_family = |subnet: &&Subnet| subnet.address.is_ipv4() == v4;
        let end = link.host_addresses.iter().find(of_family);
        if link.addresses.iter().any(|subnet| of_family(&subnet)) {
            link.gateways.extend(end.map(|end| end.address));
        }
    }
}

fn servers(reader: &mut Reader<'_>, network: Network) -> Vec<IpAddr> {
    let given = reader.list("DNS", |text| {
        text.split_ascii_whitespace().map(link::server).collect()
    });
    if let (Network::Host, Some(at)) = (network, given.first()) {
        let message = || "with Network=host the container sees the host's name servers".into();
        reader.problems.error(at.origin, Some("DNS"), message);
    }
    // resolv.conf(5): more than three are not looked at.
    if let Some(at) = given.get(3) {
        let message = || "more than three name servers, which resolvers do not look at".into();
        reader.problems.error(at.origin, Some("DNS"), message);
    }
    given.into_iter().map(|at| at.value).collect()
}

/// Whether the host reaches an address of this family over the link.
fn leads_to(link: &Link, v4: bool) -> bool {
    let led = match link.kind {
        LinkKind::Nat(_) | LinkKind::Veth | LinkKind::Bridge(_) | LinkKind::Zone(_) => true,
        LinkKind::Macvlan(..) | LinkKind::Ipvlan(_) | LinkKind::Interface(_) => false,
    };
    let mut declared = link.addresses.iter();
    led && (addresses::wants(link) || declared.any(|subnet| subnet.address.is_ipv4() == v4))
}

fn ports(reader: &mut Reader<'_>, links: &[Link], network: Network) -> Vec<skep_spec::Port> {
    let given = reader.list("Port", |text| {
        text.split_ascii_whitespace().map(link::port).collect()
    });
    let reached = network == Network::Private
        && links
            .iter()
            .any(|link| leads_to(link, true) || leads_to(link, false));
    if let (false, Some(at)) = (reached, given.first()) {
        let message = || "no link leads from the host to the container; set Network=nat".into();
        reader.problems.error(at.origin, Some("Port"), message);
    }
    for at in given.iter().filter(|_| reached) {
        let Some(ip) = at.value.address else { continue };
        if !links.iter().any(|link| leads_to(link, ip.is_ipv4())) {
            let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
            let message =
                || format!("{ip} leads to no {family} address of the container; set Address= too");
            reader.problems.error(at.origin, Some("Port"), message);
        }
    }
    for (index, at) in given.iter().enumerate() {
        let end = |port: &skep_spec::Port| u32::from(port.host) + u32::from(port.count);
        let same = |other: &&At<skep_spec::Port>| {
            let (a, b) = (&at.value, &other.value);
            a.protocol == b.protocol
                && (a.address == b.address || a.address.is_none() || b.address.is_none())
                && u32::from(a.host) < end(b)
                && u32::from(b.host) < end(a)
        };
        if let Some(other) = given[..index].iter().find(same) {
            let place = reader.problems.place(other.origin);
            let message = || format!("this port of the host is given away at {place}");
            reader.problems.error(at.origin, Some("Port"), message);
        }
    }
    given.into_iter().map(|at| at.value).collect()
}
