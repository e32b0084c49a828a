//! Links, addresses and routes of one network namespace, over rtnetlink.
//!
//! Links that skep makes carry the group [`GROUP`] from the moment they exist, so that a network manager can be told to
//! leave them alone, and an alias that says whose they are. They are removed by index once both were looked at.

#[cfg(test)]
mod oracle;

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use skep_spec::{MacvlanMode, Subnet};

use crate::plan::net::Mac;
use crate::sys::netlink::{Answer, Request, Result, Socket, nested, number, text};

/// Group of all links of ours on the host: "sk" in ASCII. `packaging/` names it for udev.
pub const GROUP: u32 = 0x736b;

/// Length of ifinfomsg, of the fixed part of messages about links.
const INFO: usize = 16;

// if_link.h, what libc lacks.
const IFLA_ALT_IFNAME: u16 = 53;
const IFLA_PROP_LIST: u16 = 52;
const RTM_NEWLINKPROP: u16 = 108;
const RTM_DELLINKPROP: u16 = 109;
const VETH_INFO_PEER: u16 = 1;
const IFLA_MACVLAN_MODE: u16 = 1;
const IFLA_IPVLAN_MODE: u16 = 1;
const IFLA_BR_MCAST_SNOOPING: u16 = 23;
const IFLA_BRPORT_MODE: u16 = 4;
const IFLA_BRPORT_LEARNING: u16 = 8;
const IFLA_BRPORT_UNICAST_FLOOD: u16 = 9;
const IFLA_BRPORT_LOCKED: u16 = 39;
const NESTED: u16 = 0x8000;
const IFA_F_NODAD: u8 = 2;
const NTF_MASTER: u8 = 4;
/// Up, or never told: not all drivers do.
const OPER_GOOD: [u8; 2] = [6, 0];

/// A link as the kernel describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Its number, never used twice while the host runs.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its other names.
    pub others: Vec<String>,
    /// What was noted on it.
    pub alias: String,
    /// Its group.
    pub group: u32,
    /// The bridge that it is in, else 0.
    pub master: u32,
    /// `bridge`, `veth` and so on; empty for hardware.
    pub kind: String,
    /// Its hardware address, when it is of the usual length.
    pub mac: Option<Mac>,
    /// Its longest packet.
    pub mtu: u32,
    /// Whether somebody set it up.
    pub up: bool,
    /// Whether packets pass.
    pub carries: bool,
}

/// What a new link is called and has.
#[derive(Clone, Debug, Default)]
pub struct New<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its hardware address.
    pub mac: Option<Mac>,
    /// Its longest packet.
    pub mtu: Option<u32>,
}

/// The kinds that are made of a link of the host.
#[derive(Clone, Copy, Debug)]
pub enum Child {
    /// With a hardware address of its own.
    Macvlan(MacvlanMode),
    /// With the parent's.
    Ipvlan,
}

fn info(index: u32) -> [u8; INFO] {
    let mut info = [0; INFO];
    info[4..8].copy_from_slice(&index.to_ne_bytes());
    info
}

fn new_link(flags: i32) -> Request {
    Request::new(libc::RTM_NEWLINK, libc::NLM_F_CREATE | flags, &info(0))
}

fn describe(request: &mut Request, new: &New<'_>) {
    request.put_text(libc::IFLA_IFNAME, new.name);
    if let Some(mac) = new.mac {
        request.put(libc::IFLA_ADDRESS, &mac.0);
    }
    if let Some(mtu) = new.mtu {
        request.put_u32(libc::IFLA_MTU, mtu);
    }
}

/// Makes a pair of links, one here and one in the namespace `inside`.
pub fn create_veth(
    socket: &Socket,
    host: &New<'_>,
    guest: &New<'_>,
    inside: BorrowedFd,
) -> Result<()> {
    let mut request = new_link(libc::NLM_F_EXCL);
    describe(&mut request, host);
    request.put_u32(libc::IFLA_GROUP, GROUP);
    let linkinfo = request.open(libc::IFLA_LINKINFO);
    request.put_text(libc::IFLA_INFO_KIND, "veth");
    let data = request.open(libc::IFLA_INFO_DATA);
    let peer = request.open(VETH_INFO_PEER);
    request.raw(&info(0));
    describe(&mut request, guest);
    request.put_u32(libc::IFLA_NET_NS_FD, descriptor(inside));
    request.close(peer).close(data).close(linkinfo);
    socket.ask(&request)
}

/// Makes a bridge.
pub fn create_bridge(socket: &Socket, new: &New<'_>) -> Result<()> {
    let mut request = new_link(libc::NLM_F_EXCL);
    describe(&mut request, new);
    request.put_u32(libc::IFLA_GROUP, GROUP);
    let linkinfo = request.open(libc::IFLA_LINKINFO);
    request.put_text(libc::IFLA_INFO_KIND, "bridge");
    let data = request.open(libc::IFLA_INFO_DATA);
    // Without a querier it only loses what neighbour discovery needs.
    request.put(IFLA_BR_MCAST_SNOOPING, &[0]);
    request.close(data).close(linkinfo);
    socket.ask(&request)
}

/// Makes a link of a link of the host, in the namespace `inside`.
pub fn create_child(
    socket: &Socket,
    parent: u32,
    child: Child,
    new: &New<'_>,
    inside: BorrowedFd,
) -> Result<()> {
    let mut request = new_link(libc::NLM_F_EXCL);
    describe(&mut request, new);
    request.put_u32(libc::IFLA_LINK, parent);
    request.put_u32(libc::IFLA_NET_NS_FD, descriptor(inside));
    let linkinfo = request.open(libc::IFLA_LINKINFO);
    match child {
        Child::Macvlan(mode) => {
            request.put_text(libc::IFLA_INFO_KIND, "macvlan");
            let data = request.open(libc::IFLA_INFO_DATA);
            let mode = match mode {
                MacvlanMode::Private => 1,
                MacvlanMode::Vepa => 2,
                MacvlanMode::Bridge => 4,
                MacvlanMode::Passthru => 8,
            };
            request.put_u32(IFLA_MACVLAN_MODE, mode).close(data);
        }
        Child::Ipvlan => {
            request.put_text(libc::IFLA_INFO_KIND, "ipvlan");
            let data = request.open(libc::IFLA_INFO_DATA);
            // L2.
            request
                .put(IFLA_IPVLAN_MODE, &0u16.to_ne_bytes())
                .close(data);
        }
    }
    request.close(linkinfo);
    socket.ask(&request)
}

fn descriptor(fd: BorrowedFd) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// Moves a link to another namespace, under this name.
pub fn move_link(socket: &Socket, index: u32, name: &str, to: BorrowedFd) -> Result<()> {
    let mut request = Request::new(libc::RTM_NEWLINK, 0, &info(index));
    request.put_text(libc::IFLA_IFNAME, name);
    request.put_u32(libc::IFLA_NET_NS_FD, descriptor(to));
    socket.ask(&request)
}

/// Sets hardware address and longest packet of a link that was there before.
pub fn change(socket: &Socket, index: u32, mac: Option<Mac>, mtu: Option<u32>) -> Result<()> {
    let mut request = Request::new(libc::RTM_NEWLINK, 0, &info(index));
    if let Some(mac) = mac {
        request.put(libc::IFLA_ADDRESS, &mac.0);
    }
    if let Some(mtu) = mtu {
        request.put_u32(libc::IFLA_MTU, mtu);
    }
    socket.ask(&request)
}

/// Notes on a link whose it is.
pub fn set_alias(socket: &Socket, index: u32, alias: &str) -> Result<()> {
    let mut request = Request::new(libc::RTM_NEWLINK, 0, &info(index));
    request.put(libc::IFLA_IFALIAS, alias.as_bytes());
    socket.ask(&request)
}

/// Gives a link one more name, which may be long.
pub fn add_name(socket: &Socket, index: u32, name: &str) -> Result<()> {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL | libc::NLM_F_APPEND;
    change_name(socket, RTM_NEWLINKPROP, flags, index, name)
}

/// Takes such a name off a link.
pub fn remove_name(socket: &Socket, index: u32, name: &str) -> Result<()> {
    change_name(socket, RTM_DELLINKPROP, 0, index, name)
}

fn change_name(socket: &Socket, kind: u16, flags: i32, index: u32, name: &str) -> Result<()> {
    let mut request = Request::new(kind, flags, &info(index));
    let list = request.open(IFLA_PROP_LIST | NESTED);
    request.put_text(IFLA_ALT_IFNAME, name).close(list);
    socket.ask(&request)
}

/// Puts a link into a group.
pub fn set_group(socket: &Socket, index: u32, group: u32) -> Result<()> {
    let mut request = Request::new(libc::RTM_NEWLINK, 0, &info(index));
    request.put_u32(libc::IFLA_GROUP, group);
    socket.ask(&request)
}

/// Puts a link into a bridge.
pub fn set_master(socket: &Socket, index: u32, bridge: u32) -> Result<()> {
    let mut request = Request::new(libc::RTM_NEWLINK, 0, &info(index));
    request.put_u32(libc::IFLA_MASTER, bridge);
    socket.ask(&request)
}

/// Of this member of a bridge only packets from `mac` are taken, and only they lead to it.
pub fn lock_port(socket: &Socket, index: u32, mac: Mac) -> Result<()> {
    let mut fixed = info(index);
    fixed[0] = AF_BRIDGE;
    let mut request = Request::new(libc::RTM_SETLINK, 0, &fixed);
    let port = request.open(libc::IFLA_PROTINFO | NESTED);
    request
        .put(IFLA_BRPORT_LEARNING, &[0])
        .put(IFLA_BRPORT_UNICAST_FLOOD, &[0])
        .put(IFLA_BRPORT_LOCKED, &[1]);
    request.close(port);
    socket.ask(&request)?;
    // ndmsg: family, index at 4, state at 8, flags at 10.
    let mut neighbour = [0; 12];
    neighbour[0] = AF_BRIDGE;
    neighbour[4..8].copy_from_slice(&index.to_ne_bytes());
    // Static: it never ages, and the port may be its own.
    neighbour[8..10].copy_from_slice(&NUD_NOARP.to_ne_bytes());
    neighbour[10] = NTF_MASTER;
    let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    let mut request = Request::new(libc::RTM_NEWNEIGH, flags, &neighbour);
    request.put(libc::NDA_LLADDR, &mac.0);
    socket.ask(&request)
}

/// This member of a bridge is sent, too, what it sent itself: where bridges pass the packet filter, a container's packet to
/// its own published port goes no other way.
pub fn return_to_sender(socket: &Socket, index: u32) -> Result<()> {
    let mut fixed = info(index);
    fixed[0] = AF_BRIDGE;
    let mut request = Request::new(libc::RTM_SETLINK, 0, &fixed);
    let port = request.open(libc::IFLA_PROTINFO | NESTED);
    request.put(IFLA_BRPORT_MODE, &[1]).close(port);
    socket.ask(&request)
}

const AF_BRIDGE: u8 = 7;
const NUD_NOARP: u16 = 0x40;

/// Sets a link up.
pub fn set_up(socket: &Socket, index: u32) -> Result<()> {
    let up = libc::IFF_UP.cast_unsigned();
    let mut fixed = info(index);
    fixed[8..12].copy_from_slice(&up.to_ne_bytes());
    fixed[12..16].copy_from_slice(&up.to_ne_bytes());
    socket.ask(&Request::new(libc::RTM_NEWLINK, 0, &fixed))
}

/// Removes a link.
pub fn remove(socket: &Socket, index: u32) -> Result<()> {
    socket.ask(&Request::new(libc::RTM_DELLINK, 0, &info(index)))
}

/// The link of this name.
pub fn find(socket: &Socket, name: &str) -> Result<Seen> {
    let mut request = Request::new(libc::RTM_GETLINK, 0, &info(0));
    request.put_text(libc::IFLA_IFNAME, name);
    socket.look(&request).map(|answer| seen(&answer))
}

/// The link of this number.
pub fn look(socket: &Socket, index: u32) -> Result<Seen> {
    let request = Request::new(libc::RTM_GETLINK, 0, &info(index));
    socket.look(&request).map(|answer| seen(&answer))
}

/// All links.
pub fn list(socket: &Socket) -> Result<Vec<Seen>> {
    let all = socket.list(&Request::new(libc::RTM_GETLINK, 0, &info(0)))?;
    Ok(all.iter().map(seen).collect())
}

fn seen(answer: &Answer) -> Seen {
    let mut seen = Seen {
        index: answer.u32_at(4),
        up: answer.u32_at(8) & libc::IFF_UP.cast_unsigned() != 0,
        ..Seen::default()
    };
    for (kind, value) in answer.attributes(INFO) {
        match kind {
            libc::IFLA_IFNAME => seen.name = text(value),
            libc::IFLA_IFALIAS => seen.alias = text(value),
            _ if kind == IFLA_PROP_LIST => {
                let names = nested(value).filter(|(kind, _)| *kind == IFLA_ALT_IFNAME);
                seen.others = names.map(|(_, name)| text(name)).collect();
            }
            libc::IFLA_ADDRESS => seen.mac = value.try_into().ok().map(Mac),
            libc::IFLA_MTU => seen.mtu = number(value, 0),
            libc::IFLA_GROUP => seen.group = number(value, 0),
            libc::IFLA_MASTER => seen.master = number(value, 0),
            libc::IFLA_OPERSTATE => {
                seen.carries = value.first().is_some_and(|state| OPER_GOOD.contains(state));
            }
            libc::IFLA_LINKINFO => {
                let kind = nested(value).find(|(kind, _)| *kind == libc::IFLA_INFO_KIND);
                seen.kind = kind.map(|(_, name)| text(name)).unwrap_or_default();
            }
            _ => {}
        }
    }
    seen
}

/// Waits until packets pass.
pub fn wait_until_carries(socket: &Socket, index: u32, limit: Duration) {
    let begun = Instant::now();
    // Gone, or somebody set it down: what comes next says so.
    while look(socket, index).is_ok_and(|link| !link.carries) && begun.elapsed() < limit {
        sleep(Duration::from_millis(1));
    }
}

fn octets(address: IpAddr) -> (u8, Vec<u8>) {
    match address {
        IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
    }
}

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// Gives a link an address, usable at once: nobody else has it, or the administrator said so.
pub fn add_address(socket: &Socket, index: u32, subnet: Subnet) -> Result<()> {
    let (family, bytes) = octets(subnet.address);
    // ifaddrmsg: family, prefix, flags, scope, index.
    let mut fixed = vec![family, subnet.prefix, IFA_F_NODAD, 0];
    fixed.extend(index.to_ne_bytes());
    let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    let mut request = Request::new(libc::RTM_NEWADDR, flags, &fixed);
    request.put(libc::IFA_LOCAL, &bytes);
    request.put(libc::IFA_ADDRESS, &bytes);
    if let (IpAddr::V4(address), 0..=30) = (subnet.address, subnet.prefix) {
        let host = u32::MAX
            .checked_shr(subnet.prefix.into())
            .unwrap_or_default();
        let broadcast = u32::from(address) | host;
        request.put(libc::IFA_BROADCAST, &broadcast.to_be_bytes());
    }
    socket.ask(&request)
}

/// Adds a default route.
pub fn add_default_route(socket: &Socket, index: u32, gateway: IpAddr) -> Result<()> {
    let (family, bytes) = octets(gateway);
    // A gateway outside of the link's networks is on the link all the same.
    let mut request = new_route(family, 0, UNIVERSE, RTNH_F_ONLINK);
    request.put(libc::RTA_GATEWAY, &bytes);
    request.put_u32(libc::RTA_OIF, index);
    socket.ask(&request)
}

/// Adds a route to one address that is on the link.
pub fn add_host_route(socket: &Socket, index: u32, to: IpAddr) -> Result<()> {
    let (family, bytes) = octets(to);
    let (bits, scope) = match to {
        IpAddr::V4(_) => (32, ON_LINK),
        IpAddr::V6(_) => (128, UNIVERSE),
    };
    let mut request = new_route(family, bits, scope, 0);
    request.put(libc::RTA_DST, &bytes);
    request.put_u32(libc::RTA_OIF, index);
    socket.ask(&request)
}

fn new_route(family: u8, bits: u8, scope: u8, flags: u32) -> Request {
    // rtmsg: family, lengths, tos, main table, static, scope, unicast, flags.
    let mut fixed = vec![family, bits, 0, 0, MAIN_TABLE, 4, scope, 1];
    fixed.extend(flags.to_ne_bytes());
    let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    Request::new(libc::RTM_NEWROUTE, flags, &fixed)
}

/// Lets answers to ::1 that come in through this link reach the host: looked up for that link, the kernel's own route to
/// ::1, of the loopback link, is none. What is sent to ::1 as such is refused before any lookup, as ever.
pub fn add_loopback_route(socket: &Socket, index: u32) -> Result<()> {
    let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    socket.ask(&loopback_route(libc::RTM_NEWROUTE, flags, index))
}

/// Removes that route.
pub fn remove_loopback_route(socket: &Socket, index: u32) -> Result<()> {
    socket.ask(&loopback_route(libc::RTM_DELROUTE, 0, index))
}

fn loopback_route(kind: u16, flags: i32, index: u32) -> Request {
    // As above, in the table of local addresses.
    let mut fixed = vec![
        AF_INET6,
        128,
        0,
        0,
        LOCAL_TABLE,
        4,
        UNIVERSE,
        libc::RTN_LOCAL,
    ];
    fixed.extend([0; 4]);
    let mut request = Request::new(kind, flags, &fixed);
    request.put(libc::RTA_DST, &std::net::Ipv6Addr::LOCALHOST.octets());
    request.put_u32(libc::RTA_OIF, index);
    // Below the kernel's own, and one for each link.
    request.put_u32(libc::RTA_PRIORITY, GROUP + index);
    request
}

const LOCAL_TABLE: u8 = 255;
const MAIN_TABLE: u8 = 254;
const RTNH_F_ONLINK: u32 = 4;
const UNIVERSE: u8 = 0;
const ON_LINK: u8 = 253;

/// A route of the main table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where it leads; `None` for everywhere.
    pub to: Option<Subnet>,
    /// Through which link.
    pub index: u32,
}

/// All routes of the main table.
pub fn routes(socket: &Socket) -> Result<Vec<Route>> {
    let mut found = Vec::new();
    for family in [AF_INET, AF_INET6] {
        let mut fixed = [0; 12];
        fixed[0] = family;
        let all = match socket.list(&Request::new(libc::RTM_GETROUTE, 0, &fixed)) {
            // A kernel without this family.
            Err(refused) if matches!(refused.errno, Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT) => {
                Vec::new()
            }
            other => other?,
        };
        // rtmsg: family, length, ..., table at 4, type at 7.
        for route in all
            .iter()
            .filter(|route| route.u8_at(4) == MAIN_TABLE && route.u8_at(7) == 1)
        {
            let (mut to, mut index) = (None, 0);
            for (kind, value) in route.attributes(12) {
                match kind {
                    libc::RTA_DST => to = address(value),
                    libc::RTA_OIF => index = number(value, 0),
                    _ => {}
                }
            }
            let prefix = route.u8_at(1);
            let to = to.map(|address| Subnet { address, prefix });
            found.push(Route { to, index });
        }
    }
    Ok(found)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}
