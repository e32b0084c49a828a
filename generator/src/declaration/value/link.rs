//! `Network=` and `Link=`: `KIND[:ARGUMENT][,OPTION=VALUE]...`; addresses, hardware addresses and ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use skep_spec::{Join, LinkKind, MacvlanMode, Network, Port, Protocol, Subnet};

use super::path::absolute;
use super::{boolean, number};
use crate::declaration::suggest::nearest;
use crate::name;
use crate::problem::quoted;

/// Longest name of a link.
const LONGEST: usize = 15;

/// Longest name of a zone: its bridge is `vz-` and it.
const LONGEST_ZONE: usize = LONGEST - 3;

/// What `Network=` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// No link: private or host.
    Plain(Network),
    /// A namespace that is there already.
    Join(Join),
    /// A link.
    Link(Draft),
}

/// A link as far as one word says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    /// Kind; the bridge of `nat` is named later.
    pub(crate) kind: LinkKind,
    /// `name=`
    pub(crate) name: Option<String>,
    /// `mac=`
    pub(crate) mac: Option<[u8; 6]>,
    /// `mtu=`
    pub(crate) mtu: Option<u32>,
    /// `address=`
    pub(crate) addresses: Vec<Address>,
    /// `host-address=`
    pub(crate) host_addresses: Vec<Address>,
    /// `gateway=`
    pub(crate) gateways: Vec<IpAddr>,
    /// `fence=`
    pub(crate) fence: bool,
}

/// An address, with the prefix length when one was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// The address.
    pub(crate) ip: IpAddr,
    /// Its prefix length.
    pub(crate) prefix: Option<u8>,
}

impl Address {
    /// With a prefix length: that of the address alone when none was written.
    pub(crate) fn subnet(self) -> Subnet {
        let whole = if self.ip.is_ipv4() { 32 } else { 128 };
        Subnet {
            address: self.ip,
            prefix: self.prefix.unwrap_or(whole),
        }
    }
}

const KINDS: [&str; 11] = [
    "private",
    "host",
    "nat",
    "veth",
    "bridge",
    "zone",
    "macvlan",
    "ipvlan",
    "interface",
    "netns",
    "container",
];

/// `Network=`
pub(crate) fn network(text: &str) -> Result<Said, String> {
    let (kind, options) = match text.split_once(',') {
        Some((kind, options)) => (kind, Some(options)),
        None => (text, None),
    };
    let (word, argument) = split(kind);
    let plain = |said: Said| match options {
        Some(_) => Err(format!("{word} is no link and takes no options")),
        None => Ok(said),
    };
    match (word, argument) {
        ("private", None) => plain(Said::Plain(Network::Private)),
        ("host", None) => plain(Said::Plain(Network::Host)),
        ("private" | "host", Some(_)) => Err(format!("{word} takes no argument")),
        ("netns", Some(path)) => {
            let path: PathBuf = absolute("the network namespace", path)?;
            plain(Said::Join(Join::Path(path)))
        }
        ("container", Some(other)) => {
            let other = other.strip_suffix(".container").unwrap_or(other);
            name::check(other)?;
            plain(Said::Join(Join::Container(other.to_owned())))
        }
        ("netns", None) => Err("write netns:PATH, as netns:/run/netns/NAME".into()),
        ("container", None) => Err("write container:NAME".into()),
        _ => link(text).map(Said::Link),
    }
}

fn split(kind: &str) -> (&str, Option<&str>) {
    match kind.split_once(':') {
        Some((word, argument)) => (word, Some(argument)),
        None => (kind, None),
    }
}

/// `Link=`
pub(crate) fn link(text: &str) -> Result<Draft, String> {
    let mut parts = text.split(',');
    let kind = parts.next().unwrap_or_default();
    let mut draft = Draft {
        kind: link_kind(kind)?,
        name: None,
        mac: None,
        mtu: None,
        addresses: Vec::new(),
        host_addresses: Vec::new(),
        gateways: Vec::new(),
        fence: true,
    };
    for part in parts {
        let Some((option, value)) = part.split_once('=') else {
            return Err(format!("not OPTION=VALUE: {}", quoted(part)));
        };
        set(&mut draft, option, value).map_err(|message| format!("{option}=: {message}"))?;
    }
    Ok(draft)
}

fn link_kind(text: &str) -> Result<LinkKind, String> {
    let (word, argument) = split(text);
    let named = |what: &str| match argument {
        Some(name) => interface_name(name),
        None => Err(format!("write {word}:{what}")),
    };
    match (word, argument) {
        ("nat" | "veth", Some(_)) => Err(format!("{word} takes no argument")),
        ("nat", None) => Ok(LinkKind::Nat(String::new())),
        ("veth", None) => Ok(LinkKind::Veth),
        ("bridge", _) => named("NAME").map(LinkKind::Bridge),
        ("zone", _) => {
            let zone = named("NAME")?;
            match zone.len() {
                0..=LONGEST_ZONE => Ok(LinkKind::Zone(zone)),
                length => Err(format!(
                    "the name of a zone has {length} characters, {LONGEST_ZONE} are allowed"
                )),
            }
        }
        ("macvlan", _) => {
            named("INTERFACE").map(|parent| LinkKind::Macvlan(parent, MacvlanMode::Bridge))
        }
        ("ipvlan", _) => named("INTERFACE").map(LinkKind::Ipvlan),
        ("interface", _) => named("INTERFACE").map(LinkKind::Interface),
        ("private" | "host" | "netns" | "container", _) => {
            Err(format!("{word} is no link; use Network={word}"))
        }
        _ => {
            let near = nearest(word, KINDS);
            let near = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
            Err(format!(
                "not a kind of network: {}{near}; there are {}",
                quoted(word),
                KINDS.join(", ")
            ))
        }
    }
}

fn set(draft: &mut Draft, option: &str, value: &str) -> Result<(), String> {
    match option {
        "name" => draft.name = Some(interface_name(value)?),
        "mac" => draft.mac = Some(mac(value)?),
        "mtu" => draft.mtu = Some(mtu(value)?),
        "address" => draft.addresses.push(address(value)?),
        "host-address" => draft.host_addresses.push(address(value)?),
        "gateway" => draft.gateways.push(ip(value)?),
        "fence" => draft.fence = boolean(value)?,
        "mode" => match &mut draft.kind {
            LinkKind::Macvlan(_, mode) => {
                *mode = match value {
                    "bridge" => MacvlanMode::Bridge,
                    "private" => MacvlanMode::Private,
                    "vepa" => MacvlanMode::Vepa,
                    "passthru" => MacvlanMode::Passthru,
                    _ => return Err("there are bridge, private, vepa and passthru".into()),
                }
            }
            _ => return Err("only a macvlan has modes".into()),
        },
        _ => {
            return Err(
                "unknown option; there are name, mac, mtu, address, host-address, gateway, fence and mode"
                    .into(),
            );
        }
    }
    Ok(())
}

/// The name of a link: the kernel takes more, but names go to files of other programs.
pub(crate) fn interface_name(text: &str) -> Result<String, String> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if text.is_empty() || text.len() > LONGEST {
        return Err(format!(
            "not the name of a link, of 1 to {LONGEST} characters: {}",
            quoted(text)
        ));
    }
    if !text.bytes().all(known)
        || text.starts_with(['.', '-'])
        || text.bytes().all(|b| b.is_ascii_digit())
    {
        return Err(format!(
            "not the name of a link: {}; use letters, digits, \".\", \"_\" and \"-\"",
            quoted(text)
        ));
    }
    match text {
        "lo" | "all" | "default" => Err(format!("{text} is not free")),
        _ => Ok(text.to_owned()),
    }
}

/// A hardware address that a single link may have.
pub(crate) fn mac(text: &str) -> Result<[u8; 6], String> {
    let wrong = || {
        format!(
            "not a hardware address: {}; write 02:00:5e:10:00:01",
            quoted(text)
        )
    };
    let mut mac = [0; 6];
    let parts: Vec<&str> = text.split([':', '-']).collect();
    if parts.len() != mac.len() {
        return Err(wrong());
    }
    for (byte, part) in mac.iter_mut().zip(parts) {
        let digits = part.len() == 2 && part.bytes().all(|c| c.is_ascii_hexdigit());
        *byte = u8::from_str_radix(part, 16)
            .ok()
            .filter(|_| digits)
            .ok_or_else(wrong)?;
    }
    if mac[0] & 1 == 1 || mac == [0; 6] {
        return Err(format!("{text} is not the address of one link"));
    }
    Ok(mac)
}

/// Bytes of the longest packet.
pub(crate) fn mtu(text: &str) -> Result<u32, String> {
    number(text, 68, 65535)
}

/// An address of a single host, without prefix length.
pub(crate) fn ip(text: &str) -> Result<IpAddr, String> {
    let ip: IpAddr = text.parse().map_err(|_| {
        format!(
            "not an address: {}; write as 192.0.2.1 or 2001:db8::1",
            quoted(text)
        )
    })?;
    let one = match ip {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && ip != Ipv4Addr::BROADCAST,
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
    };
    match one && !ip.is_loopback() {
        true => Ok(ip),
        false => Err(format!("{ip} is not the address of one host")),
    }
}

/// A server, which may be the container itself.
pub(crate) fn server(text: &str) -> Result<IpAddr, String> {
    match text.parse::<IpAddr>() {
        Ok(ip) if ip.is_loopback() => Ok(ip),
        _ => ip(text),
    }
}

/// An address with or without prefix length.
pub(crate) fn address(text: &str) -> Result<Address, String> {
    let (ip_text, prefix) = match text.split_once('/') {
        Some((ip, prefix)) => (ip, Some(prefix)),
        None => (text, None),
    };
    let ip = ip(ip_text)?;
    let bits = if ip.is_ipv4() { 32 } else { 128 };
    let prefix = prefix
        .map(|prefix| number(prefix, 1, bits).map_err(|message| format!("prefix length {message}")))
        .transpose()?;
    // Below 128 by the check above.
    let prefix = prefix.map(|prefix| u8::try_from(prefix).unwrap_or(u8::MAX));
    Ok(Address { ip, prefix })
}

/// A network for `AddressPool=`: room for the bridge's part and that of the pairs.
pub(crate) fn pool(text: &str) -> Result<Subnet, String> {
    let Address { ip, prefix } = address(text)?;
    let wrong = |why: &str| Err(format!("{}: {why}", quoted(text)));
    match (ip, prefix) {
        (IpAddr::V4(v4), Some(prefix @ 8..=28)) => {
            let mask = u32::MAX << (32 - u32::from(prefix));
            match u32::from(v4) & !mask {
                0 => Ok(Subnet {
                    address: ip,
                    prefix,
                }),
                _ => wrong(&format!(
                    "bits are set after the prefix; write {}/{prefix}",
                    Ipv4Addr::from(u32::from(v4) & mask)
                )),
            }
        }
        (IpAddr::V6(v6), Some(prefix @ 8..=48)) => {
            let mask = u128::MAX << (128 - u32::from(prefix));
            match u128::from(v6) & !mask {
                0 => Ok(Subnet {
                    address: ip,
                    prefix,
                }),
                _ => wrong(&format!(
                    "bits are set after the prefix; write {}/{prefix}",
                    Ipv6Addr::from(u128::from(v6) & mask)
                )),
            }
        }
        (IpAddr::V4(_), _) => wrong("the prefix length of a pool is 8 to 28"),
        (IpAddr::V6(_), _) => wrong("the prefix length of an IPv6 pool is 8 to 48"),
    }
}

/// Most ports of one entry: each is an entry of a table.
const MOST_PORTS: u16 = 1024;

/// `[tcp:|udp:][ADDRESS:]HOST[-LAST][:CONTAINER[-LAST]]`
pub(crate) fn port(text: &str) -> Result<Port, String> {
    let (protocol, rest) = match text.split_once(':') {
        Some(("tcp", rest)) => (Protocol::Tcp, rest),
        Some(("udp", rest)) => (Protocol::Udp, rest),
        _ => (Protocol::Tcp, text),
    };
    let (address, rest) = at_address(rest)?;
    let (host, container) = match rest.split_once(':') {
        Some((host, container)) => (range(host)?, Some(range(container)?)),
        None => (range(rest)?, None),
    };
    let (first, last) = host;
    let count = last - first + 1;
    if count > MOST_PORTS {
        return Err(format!(
            "{count} ports, {MOST_PORTS} are allowed in one range"
        ));
    }
    let container = match container {
        None => first,
        // One number stands for as many ports as the host's.
        Some((begin, end)) if begin == end && begin.checked_add(count - 1).is_some() => begin,
        Some((begin, end)) if end - begin + 1 == count => begin,
        Some(_) => return Err("the two ranges differ in length".into()),
    };
    Ok(Port {
        protocol,
        address,
        host: first,
        container,
        count,
    })
}

fn at_address(text: &str) -> Result<(Option<IpAddr>, &str), String> {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, rest)) = rest.split_once("]:") else {
            return Err(format!("not [ADDRESS]:PORT: {}", quoted(text)));
        };
        let address = server(address)?;
        if matches!(address, IpAddr::V6(ip) if ip.is_unicast_link_local()) {
            return Err(format!(
                "{address} is an address of one link only; write another one of the host, or none for all"
            ));
        }
        return Ok((Some(address), rest));
    }
    match text.split_once(':') {
        Some((address, rest)) if address.contains('.') => Ok((Some(server(address)?), rest)),
        _ => Ok((None, text)),
    }
}

fn range(text: &str) -> Result<(u16, u16), String> {
    let one = |text: &str| {
        let port = number(text, 1, 65535).map_err(|message| format!("port {message}"))?;
        Ok::<u16, String>(u16::try_from(port).unwrap_or(u16::MAX))
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (one(first)?, one(last)?),
        None => (one(text)?, one(text)?),
    };
    match first <= last {
        true => Ok((first, last)),
        false => Err(format!("the range ends before it begins: {}", quoted(text))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn links() {
        let Said::Link(draft) =
            network("macvlan:eth0,mode=vepa,name=lan,mac=02:00:00:00:00:01,mtu=9000,address=192.0.2.2/24,gateway=192.0.2.1,fence=no")
                .unwrap()
        else {
            unreachable!()
        };
        assert_eq!(
            draft.kind,
            LinkKind::Macvlan("eth0".into(), MacvlanMode::Vepa)
        );
        assert_eq!(draft.name.as_deref(), Some("lan"));
        assert_eq!(draft.mac, Some([2, 0, 0, 0, 0, 1]));
        assert_eq!((draft.mtu, draft.fence), (Some(9000), false));
        assert_eq!(draft.addresses[0].prefix, Some(24));
        for bad in [
            "vteh",
            "veth:a",
            "bridge",
            "bridge:",
            "zone:abcdefghijklm",
            "nat,x",
            "nat,x=1",
            "veth,mode=bridge",
            "host,name=a",
            "netns:run/x",
            "netns",
            "container:-a",
            "bridge:a/b",
            "bridge:lo",
            "bridge:12",
        ] {
            assert!(network(bad).is_err(), "{bad}");
        }
        assert!(network("vteh").unwrap_err().contains("did you mean veth?"));
    }

    #[test]
    fn ports() {
        let shown = |text: &str| {
            port(text).map(|port| {
                (
                    port.protocol.to_string(),
                    port.address.map(|ip| ip.to_string()),
                    port.host,
                    port.container,
                    port.count,
                )
            })
        };
        for (text, want) in [
            ("8080:80", ("tcp", None, 8080, 80, 1)),
            ("53", ("tcp", None, 53, 53, 1)),
            ("udp:53", ("udp", None, 53, 53, 1)),
            (
                "tcp:192.0.2.1:80:8080",
                ("tcp", Some("192.0.2.1"), 80, 8080, 1),
            ),
            ("[2001:db8::1]:80", ("tcp", Some("2001:db8::1"), 80, 80, 1)),
            ("127.0.0.1:80", ("tcp", Some("127.0.0.1"), 80, 80, 1)),
            ("8000-8009:9000-9009", ("tcp", None, 8000, 9000, 10)),
            ("8000-8009:9000", ("tcp", None, 8000, 9000, 10)),
        ] {
            let (protocol, address, host, container, count) = want;
            let want = (
                protocol.to_owned(),
                address.map(str::to_owned),
                host,
                container,
                count,
            );
            assert_eq!(shown(text), Ok(want), "{text}");
        }
        for bad in [
            "",
            "0",
            "65536",
            "a",
            "80:",
            ":80",
            "9-8",
            "80-81:80-82",
            "1-2000",
            "sctp:80",
            "65530-65535:65534",
        ] {
            assert!(port(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses() {
        assert_eq!(address("192.0.2.1/24").unwrap().prefix, Some(24));
        assert_eq!(address("2001:db8::1").unwrap().subnet().prefix, 128);
        for bad in [
            "192.0.2.1/33",
            "192.0.2.1/0",
            "0.0.0.0",
            "127.0.0.1",
            "ff02::1",
            "a",
            "192.0.2",
        ] {
            assert!(address(bad).is_err(), "{bad}");
        }
        assert!(pool("10.0.0.0/16").is_ok() && pool("fd00::/48").is_ok());
        assert!(
            pool("10.0.0.1/16")
                .unwrap_err()
                .contains("write 10.0.0.0/16")
        );
        for bad in ["10.0.0.0", "10.0.0.0/30", "fd00::/64"] {
            assert!(pool(bad).is_err(), "{bad}");
        }
        for bad in [
            "01:00:00:00:00:01",
            "02:00:00:00:00",
            "2:0:0:0:0:1",
            "00:00:00:00:00:00",
        ] {
            assert!(mac(bad).is_err(), "{bad}");
        }
    }
}
