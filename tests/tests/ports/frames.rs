//! Frames as a container would forge them, in hexadecimal. Pure.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Comes before the name that a frame carries.
pub(crate) const MARK: &str = "MARK:";

/// To everybody on the link.
const ALL: Mac = [0xff; 6];

/// A frame.
pub(crate) struct Frame {
    /// What it carries.
    pub(crate) name: String,
    pub(crate) hex: String,
}

/// A hardware address.
pub(crate) type Mac = [u8; 6];

/// A name as it is in a frame.
fn marked(name: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> = MARK.bytes().chain(name.bytes()).collect();
    // It ends where something else begins.
    bytes.push(0);
    bytes
}

/// A frame to everybody, with its name at its end, too: packets are cut off where they say that they end.
pub(crate) fn frame(name: &str, from: Mac, kind: u16, payload: &[u8]) -> Frame {
    frame_to(name, ALL, from, kind, payload)
}

pub(crate) fn frame_to(name: &str, to: Mac, from: Mac, kind: u16, payload: &[u8]) -> Frame {
    let mut bytes = [&to[..], &from, &kind.to_be_bytes(), payload].concat();
    bytes.extend(marked(name));
    bytes.resize(bytes.len().max(60), 0);
    let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    Frame {
        name: name.to_owned(),
        hex,
    }
}

/// A datagram that holds a name.
pub(crate) fn udp(name: &str, from: IpAddr, to: IpAddr, ports: (u16, u16)) -> (u16, Vec<u8>) {
    let name = marked(name);
    let length = u16::try_from(8 + name.len()).unwrap_or_default();
    let mut packet = [
        ports.0.to_be_bytes(),
        ports.1.to_be_bytes(),
        length.to_be_bytes(),
        [0, 0],
    ]
    .concat();
    packet.extend(name);
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => (0x0800, ipv4(from, to, &packet)),
        (IpAddr::V6(from), IpAddr::V6(to)) => (0x86dd, ipv6(from, to, 17, &packet)),
        _ => (0, Vec::new()),
    }
}

fn ipv4(from: Ipv4Addr, to: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap_or_default();
    let mut header = vec![0x45, 0];
    header.extend(length.to_be_bytes());
    header.extend([0, 0, 0, 0, 64, 17, 0, 0]);
    header.extend(from.octets().into_iter().chain(to.octets()));
    let sum = header
        .chunks(2)
        .map(|two| u32::from(two[0]) << 8 | u32::from(two[1]))
        .sum();
    header[10..12].copy_from_slice(&folded(sum).to_be_bytes());
    header.extend(payload);
    header
}

fn folded(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

fn ipv6(from: Ipv6Addr, to: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap_or_default();
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([next, 255]);
    packet.extend(from.octets().into_iter().chain(to.octets()));
    packet.extend(payload);
    packet
}

/// A message of ICMPv6 about `target`, with an option that names a hardware address, and one of no meaning that holds a name.
pub(crate) fn icmp6(name: &str, kind: u8, from: Ipv6Addr, target: Ipv6Addr, mac: Mac) -> Vec<u8> {
    let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let mut message = vec![kind, 0, 0, 0, 0x20, 0, 0, 0];
    message.extend(target.octets());
    message.extend([2, 1]);
    message.extend(mac);
    let name = marked(name);
    let words = u8::try_from((2 + name.len()).div_ceil(8)).unwrap_or_default();
    message.extend([200, words]);
    message.extend(name);
    message.resize(message.len().next_multiple_of(8), 0);
    let length = u32::try_from(message.len())
        .unwrap_or_default()
        .to_be_bytes();
    let pseudo = [
        &from.octets()[..],
        &all.octets(),
        &length,
        &[0, 0, 0, 58],
        &message,
    ]
    .concat();
    let sum = pseudo
        .chunks(2)
        .map(|two| u32::from(two[0]) << 8 | u32::from(two[1]))
        .sum();
    message[2..4].copy_from_slice(&folded(sum).to_be_bytes());
    ipv6(from, all, 58, &message)
}

/// An ARP reply to everybody: `ip` is at `mac`.
pub(crate) fn arp(mac: Mac, ip: Ipv4Addr) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, 2];
    packet.extend(mac.into_iter().chain(ip.octets()));
    packet.extend(ALL.into_iter().chain(ip.octets()));
    packet
}

/// A packet with the tag of a virtual network before it.
pub(crate) fn tagged(network: u16, (kind, packet): (u16, Vec<u8>)) -> Vec<u8> {
    [&network.to_be_bytes()[..], &kind.to_be_bytes(), &packet].concat()
}

/// The address that IPv6 makes of a hardware address.
pub(crate) fn link_local([a, b, c, d, e, f]: Mac) -> Ipv6Addr {
    let word = |high, low| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(
        0xfe80,
        0,
        0,
        0,
        word(a ^ 2, b),
        word(c, 0xff),
        word(0xfe, d),
        word(e, f),
    )
}

/// Reads `02:00:...`.
pub(crate) fn mac(text: &str) -> Mac {
    let mut mac = [0; 6];
    for (to, part) in mac.iter_mut().zip(text.trim().split(':')) {
        *to = u8::from_str_radix(part, 16).unwrap_or_default();
    }
    mac
}
