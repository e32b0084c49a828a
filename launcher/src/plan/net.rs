//! The network of a container: names and hardware addresses of its links, where each end is, what the host takes from it.
//!
//! Names and addresses are systemd-nspawn's for the same container on the same host, so that DHCP leases and what others
//! configured for `ve-NAME` stay valid. Where nspawn has no rule, nothing is random either: all follows from the host's
//! machine id, the container's name and the link's name.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use skep_spec::{ContainerSpec, Join, Link, LinkKind, MacvlanMode, Network, Port, Subnet};

use crate::host::HostFacts;

mod hash;

/// Longest name of a link, net_device(7).
const LONGEST: usize = 15;

// Keys of systemd-nspawn (nspawn-network.c).
const HOST_KEY: u128 = 0x1a37_6fc7_46ec_450b_ada3_d531_0660_5db1;
const GUEST_KEY: u128 = 0xc3c4_f919_b557_b21c_e6cf_1427_039c_eea2;
const EXTRA_HOST_KEY: u128 = 0x48c7_f6b7_ea9d_4c9e_b728_d4de_91d5_bf66;
const EXTRA_GUEST_KEY: u128 = 0xaf50_1761_cef9_4d35_840d_2b20_54be_ce59;
const MACVLAN_KEY: u128 = 0x0013_6dbc_6683_4481_bb0c_f951_1f24_a66f;
/// Of names that are too long (netif-util.c).
const SHORTEN_KEY: u128 = 0xe190_a404_a8ef_4b51_8ccc_c33a_9f11_fca2;
/// Of bridges, whose addresses nspawn leaves to chance.
const OWN_KEY: u128 = 0x736b_6570_0000_0000_0000_0000_0000_0001;

/// A hardware address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The address that IPv6 makes of it for use on the link, RFC 4291.
    pub fn link_local(self) -> Ipv6Addr {
        let [a, b, c, d, e, g] = self.0;
        let word = |high, low| u16::from_be_bytes([high, low]);
        Ipv6Addr::new(
            0xfe80,
            0,
            0,
            0,
            word(a ^ 2, b),
            word(c, 0xff),
            word(0xfe, d),
            word(e, g),
        )
    }
}

/// What the container's network namespace will hold, and what leads there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetPlan {
    /// Links, in order.
    pub links: Vec<LinkPlan>,
    /// The namespace is this one, which is there already.
    pub join: Option<Join>,
    /// Name servers that were declared.
    pub dns: Vec<IpAddr>,
    /// Ports of the host that lead here.
    pub ports: Vec<Port>,
    /// Addresses that are left out, because the host has switched their protocol off.
    pub left_out: Vec<IpAddr>,
}

/// One link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkPlan {
    /// As declared.
    pub link: Link,
    /// Hardware address inside; a link of the host keeps its own.
    pub mac: Option<Mac>,
    /// The end on the host, of kinds that have two.
    pub host: Option<HostEnd>,
    /// The bridge that skep makes for it.
    pub bridge: Option<OwnBridge>,
}

/// The end of a pair that is on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEnd {
    /// Its name.
    pub name: String,
    /// The whole name, when that one had to be shortened.
    pub full: Option<String>,
    /// Its hardware address.
    pub mac: Mac,
}

/// A bridge of skep's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnBridge {
    /// Its name.
    pub name: String,
    /// Its hardware address: it would else change with its members.
    pub mac: Mac,
}

impl NetPlan {
    /// As the spec says, on this host.
    pub fn of(name: &str, spec: &ContainerSpec, host: &HostFacts) -> NetPlan {
        let id = host.machine_id.as_deref().unwrap_or_default();
        let id = u128::from_str_radix(id, 16).unwrap_or_default();
        let net = &spec.net;
        let link = |(number, link)| plan_link(name, id, number, link);
        NetPlan {
            links: match spec.network {
                Network::Private => net.links.iter().enumerate().map(link).collect(),
                Network::Host | Network::Joined => Vec::new(),
            },
            join: net.join.clone(),
            dns: net.dns.clone(),
            ports: net.ports.clone(),
            left_out: Vec::new(),
        }
    }

    /// Whether there is anything to do on the host.
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }
}

impl LinkPlan {
    /// Whether it is masqueraded where it leaves the host.
    pub fn masqueraded(&self) -> bool {
        matches!(self.link.kind, LinkKind::Nat(_))
    }
}

/// The spec as far as this host can do it, and the addresses that are left out: those of a protocol that the host has
/// switched off, on links that end on the host. In general nobody has declared them. A link that leads elsewhere is not the
/// host's business.
pub fn on_this_host(spec: &ContainerSpec, host: &HostFacts) -> (ContainerSpec, Vec<IpAddr>) {
    let mut spec = spec.clone();
    let mut left_out = Vec::new();
    let links = spec.net.links.iter_mut().filter(|_| !host.ipv6);
    for link in links.filter(|link| matches!(link.kind, LinkKind::Nat(_) | LinkKind::Veth)) {
        let inside = link.addresses.extract_if(.., |one| one.address.is_ipv6());
        left_out.extend(inside.map(|one| one.address));
        link.host_addresses.retain(|one| one.address.is_ipv4());
        link.gateways.retain(IpAddr::is_ipv4);
    }
    (spec, left_out)
}

fn plan_link(name: &str, id: u128, number: usize, link: &Link) -> LinkPlan {
    let (host_key, guest_key) = match number {
        0 => (HOST_KEY, GUEST_KEY),
        _ => (EXTRA_HOST_KEY, EXTRA_GUEST_KEY),
    };
    // nspawn tells further links apart by a number, which changes when one is added.
    let of = match number {
        0 => name.to_owned(),
        _ => format!("{name}:{}", link.name),
    };
    let end = |prefix: &str| {
        let full = match number {
            0 => format!("{prefix}-{name}"),
            _ => format!("{prefix}-{name}-{}", link.name),
        };
        let (short, full) = shorten(full);
        Some(HostEnd {
            name: short,
            full,
            mac: mac(id, host_key, &of),
        })
    };
    let bridge = |name: &str| {
        Some(OwnBridge {
            name: name.to_owned(),
            mac: mac(id, OWN_KEY, name),
        })
    };
    let (host, bridge, guest_key) = match &link.kind {
        LinkKind::Veth => (end("ve"), None, Some(guest_key)),
        LinkKind::Bridge(_) => (end("vb"), None, Some(guest_key)),
        LinkKind::Nat(name) => (end("vb"), bridge(name), Some(guest_key)),
        LinkKind::Zone(zone) => (end("vb"), bridge(&format!("vz-{zone}")), Some(guest_key)),
        // With the hardware address of the host's link.
        LinkKind::Macvlan(_, MacvlanMode::Passthru)
        | LinkKind::Ipvlan(_)
        | LinkKind::Interface(_) => (None, None, None),
        LinkKind::Macvlan(..) => (None, None, Some(MACVLAN_KEY)),
    };
    LinkPlan {
        link: link.clone(),
        mac: link
            .mac
            .map(Mac)
            .or_else(|| guest_key.map(|key| mac(id, key, &of))),
        host,
        bridge,
    }
}

/// nspawn's: the first bytes of SipHash-2-4 over machine id and name, made a local unicast address.
fn mac(id: u128, key: u128, name: &str) -> Mac {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend(name.bytes());
    let hash = hash::siphash24(&bytes, key.to_be_bytes()).to_le_bytes();
    let mut mac = [0; 6];
    mac.copy_from_slice(&hash[..6]);
    mac[0] = mac[0] & 0xfe | 0x02;
    Mac(mac)
}

/// A name that the kernel takes, and the whole one when it is another; shortened as nspawn does.
fn shorten(full: String) -> (String, Option<String>) {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    if full.len() <= LONGEST && !full.contains('@') {
        return (full, None);
    }
    let hash = hash::siphash24(full.as_bytes(), SHORTEN_KEY.to_be_bytes());
    // An instance has no name that nspawn would take.
    let mut short: String = full.replace('@', "-").chars().take(LONGEST - 4).collect();
    for shift in [18, 12, 6, 0] {
        short.push(char::from(LETTERS[(hash >> shift & 63) as usize]));
    }
    (short, Some(full))
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

fn joined<T: fmt::Display>(word: &str, all: &[T]) -> String {
    all.iter().map(|one| format!(" {word} {one}")).collect()
}

impl fmt::Display for LinkPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let link = &self.link;
        write!(f, "link {} to {}", link.name, link.kind)?;
        if let Some(mac) = self.mac {
            write!(f, " mac {mac}")?;
        }
        if let Some(mtu) = link.mtu {
            write!(f, " mtu {mtu}")?;
        }
        f.write_str(&joined::<Subnet>("address", &link.addresses))?;
        f.write_str(&joined::<IpAddr>("via", &link.gateways))?;
        if let Some(host) = &self.host {
            write!(f, ", on the host {}", host.name)?;
        }
        f.write_str(&joined::<Subnet>("address", &link.host_addresses))?;
        if self.host.is_some() && !link.fence {
            write!(f, ", not fenced")?;
        }
        writeln!(f)
    }
}

impl fmt::Display for NetPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for link in &self.links {
            write!(f, "{link}")?;
        }
        for port in &self.ports {
            writeln!(f, "port {port}")?;
        }
        for server in &self.dns {
            writeln!(f, "name server {server}")?;
        }
        for address in &self.left_out {
            writeln!(f, "without {address}, the host has no IPv6")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_differ() {
        let name = |container: &str, number| {
            let plan = plan_link(container, 1, number, &Link::of(LinkKind::Veth));
            plan.host.map(|end| (end.name, end.full)).unwrap()
        };
        assert_eq!(name("web", 0), ("ve-web".into(), None));
        let (short, full) = name("a-very-long-name", 0);
        assert_eq!(short.len(), LONGEST);
        assert!(short.starts_with("ve-a-very-l"), "{short}");
        assert_eq!(full.as_deref(), Some("ve-a-very-long-name"));
        let all: std::collections::BTreeSet<_> = (0..200)
            .map(|n| name(&format!("a-very-long-name-{n}"), 0).0)
            .chain([name("web@1", 0).0, name("web-1", 0).0, name("web", 1).0])
            .collect();
        assert_eq!(all.len(), 203);
    }

    #[test]
    fn addresses_are_stable_local_and_differ() {
        let id = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef;
        let a = mac(id, GUEST_KEY, "web");
        assert_eq!(a, mac(id, GUEST_KEY, "web"));
        assert_eq!(a.0[0] & 3, 2);
        assert_ne!(a, mac(id, HOST_KEY, "web"));
        assert_ne!(a, mac(id, GUEST_KEY, "db"));
        assert_ne!(a, mac(id + 1, GUEST_KEY, "web"));
    }

    #[test]
    fn a_host_without_ipv6_gives_none() {
        let subnet = |address: &str| Subnet {
            address: address.parse().unwrap(),
            prefix: 24,
        };
        let mut spec = crate::plan::tests_support::spec();
        spec.network = Network::Private;
        let mut one = Link::of(LinkKind::Veth);
        one.addresses = vec![subnet("10.0.0.2"), subnet("fd00::2")];
        one.host_addresses = vec![subnet("10.0.0.1"), subnet("fd00::1")];
        one.gateways = vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        spec.net.links = vec![
            one,
            Link::of(LinkKind::Macvlan("eth0".into(), Default::default())),
        ];
        spec.net.links[1].addresses = vec![subnet("fd00::3")];
        let mut host = HostFacts {
            ipv6: true,
            ..HostFacts::default()
        };
        assert_eq!(on_this_host(&spec, &host), (spec.clone(), Vec::new()));
        host.ipv6 = false;
        let (spec, left_out) = on_this_host(&spec, &host);
        assert_eq!(left_out, ["fd00::2".parse::<IpAddr>().unwrap()]);
        let text = NetPlan::of("web", &spec, &host).to_string();
        assert!(
            !text.contains("fd00::1") && text.contains("fd00::3"),
            "{text}"
        );
    }

    #[test]
    fn a_plan_can_be_read() {
        let mut one = Link::of(LinkKind::Nat("skep0".into()));
        one.addresses = vec![Subnet {
            address: [10, 213, 0, 5].into(),
            prefix: 17,
        }];
        one.gateways = vec![[10, 213, 0, 1].into()];
        let text = plan_link("web", 0, 0, &one).to_string();
        assert!(
            text.starts_with("link host0 to nat over skep0 mac ")
                && text.ends_with(" address 10.213.0.5/17 via 10.213.0.1, on the host vb-web\n"),
            "{text}"
        );
    }
}
