//! The network of a container: its links, addresses and ports.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What the network namespace of a container holds beside loopback.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Net {
    /// `Network=` when it names a link, then each `Link=`.
    pub links: Vec<Link>,
    /// The namespace of [`crate::Network::Joined`].
    pub join: Option<Join>,
    /// `DNS=`: servers for the container's resolv.conf.
    pub dns: Vec<IpAddr>,
    /// `Port=`: ports of the host that lead to the container.
    pub ports: Vec<Port>,
}

/// A network namespace that is there already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Join {
    /// `netns:PATH`: that of this file.
    Path(PathBuf),
    /// `container:NAME`: that of this running container.
    Container(String),
}

/// One link of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Where it leads.
    pub kind: LinkKind,
    /// Its name inside: 1-15 characters.
    pub name: String,
    /// Its hardware address inside; derived from the host's machine id and the container's name when absent.
    pub mac: Option<[u8; 6]>,
    /// Its longest packet; the kernel's choice when absent.
    pub mtu: Option<u32>,
    /// Addresses inside.
    pub addresses: Vec<Subnet>,
    /// Addresses of the host's end, or of the bridge that skep makes.
    pub host_addresses: Vec<Subnet>,
    /// Default gateways, at most one of each family.
    pub gateways: Vec<IpAddr>,
    /// The host takes nothing from it but packets with its own addresses.
    pub fence: bool,
}

impl Link {
    /// One that nothing else is declared of.
    #[must_use]
    pub fn of(kind: LinkKind) -> Link {
        Link {
            kind,
            name: "host0".to_owned(),
            mac: None,
            mtu: None,
            addresses: Vec::new(),
            host_addresses: Vec::new(),
            gateways: Vec::new(),
            fence: true,
        }
    }
}

/// Where a link leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum LinkKind {
    /// To a bridge of skep's own, of this name, and from there masqueraded to wherever the host can reach.
    Nat(String),
    /// To the host, point to point.
    Veth,
    /// To this bridge of the host.
    Bridge(String),
    /// To a bridge that exists as long as it has members, `vz-` and this name.
    Zone(String),
    /// To the network of this link of the host, with a hardware address of its own.
    Macvlan(String, MacvlanMode),
    /// To the network of this link of the host, with that link's hardware address.
    Ipvlan(String),
    /// It is this link of the host itself.
    Interface(String),
}

/// What links that share one link of the host see of each other, ip-link(8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MacvlanMode {
    /// Each other.
    #[default]
    Bridge,
    /// Nothing.
    Private,
    /// What the switch sends back.
    Vepa,
    /// There is only one.
    Passthru,
}

/// An address and the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subnet {
    /// The address.
    pub address: IpAddr,
    /// Bits of it that name the network.
    pub prefix: u8,
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// A range of ports of the host that leads to as many ports of the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Address of the host; any of its own when absent.
    pub address: Option<IpAddr>,
    /// First port of the host.
    pub host: u16,
    /// First port of the container.
    pub container: u16,
    /// How many.
    pub count: u16,
}

/// As `192.0.2.1:8080-8089/tcp to 80-89`.
impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            None => {}
            Some(IpAddr::V4(ip)) => write!(f, "{ip}:")?,
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:")?,
        }
        let last = |first: u16| match self.count {
            0 | 1 => String::new(),
            count => format!("-{}", u32::from(first) + u32::from(count) - 1),
        };
        let (host, container) = (self.host, self.container);
        write!(
            f,
            "{host}{}/{} to {container}{}",
            last(host),
            self.protocol,
            last(container)
        )
    }
}

/// A transport protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

impl fmt::Display for LinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkKind::Nat(bridge) => write!(f, "nat over {bridge}"),
            LinkKind::Veth => f.write_str("veth"),
            LinkKind::Bridge(name) => write!(f, "bridge {name}"),
            LinkKind::Zone(name) => write!(f, "zone {name}"),
            LinkKind::Macvlan(parent, _) => write!(f, "macvlan of {parent}"),
            LinkKind::Ipvlan(parent) => write!(f, "ipvlan of {parent}"),
            LinkKind::Interface(name) => write!(f, "the host's {name}"),
        }
    }
}
