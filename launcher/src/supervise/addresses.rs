//! The addresses of a container, as the kernel tells them for its network namespace.
//!
//! The socket is opened inside that namespace while the container is built, so that nobody has to enter it later. Root of
//! the container may change addresses as often as it likes and may send messages of its own to the socket: only what the
//! kernel sent counts, and each look reads no more than twice `MESSAGES`.

use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, getsockname,
    recvmsg, sendto, socket,
};
use skep_spec::ADDRESSES;

/// Multicast groups of rtnetlink(7): changes of IPv4 and IPv6 addresses.
const GROUPS: u32 = (libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR).cast_unsigned();

/// Messages that are read at once.
const MESSAGES: usize = 512;

/// Size of the largest message. What the kernel tells of addresses is a page or 8 KiB, whichever is less, unless the reader
/// has room for more.
const MESSAGE: usize = 8 << 10;

/// Messages of the answer among them, each of about a hundred addresses: for the kernel the cost grows with the square of
/// their number.
const ANSWERS: usize = 32;

/// Size of `struct nlmsghdr`.
const HEADER: usize = 16;

/// Size of `struct ifaddrmsg`.
const BODY: usize = 8;

/// Size of a request, which is both.
const REQUEST: u32 = 24;

/// `NLM_F_REQUEST | NLM_F_DUMP`
const ALL: u16 = 0x301;

/// Addresses that cannot be used (yet), by the flags in `struct ifaddrmsg`: `IFA_F_TENTATIVE`, `IFA_F_DEPRECATED`,
/// `IFA_F_DADFAILED`.
const UNUSABLE: u8 = 0x40 | 0x20 | 0x08;

/// A socket for [`Addresses`] in the network namespace of the caller. Without one a container shows no addresses.
pub fn open() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let protocol = SockProtocol::NetlinkRoute;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
    Ok(socket)
}

/// The socket and what it said last.
#[derive(Debug)]
pub struct Addresses {
    socket: OwnedFd,
    port: u32,
    sequence: u32,
    found: Vec<IpAddr>,
}

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// The same as before.
    Same,
    /// Other addresses.
    Changed,
    /// More than is worth reading: do not look again.
    TooMany,
}

impl Addresses {
    /// Reads from a socket of [`open`].
    pub fn of(socket: OwnedFd) -> nix::Result<Addresses> {
        let port = getsockname::<NetlinkAddr>(socket.as_raw_fd())?.pid();
        Ok(Addresses {
            socket,
            port,
            sequence: 0,
            found: Vec::new(),
        })
    }

    /// What becomes readable when an address has changed.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The addresses of the last look.
    pub fn found(&self) -> &[IpAddr] {
        &self.found
    }

    /// Asks the kernel for all addresses. Never waits.
    pub fn look(&mut self) -> Look {
        // What has changed does not matter: all of it is read anew.
        self.read(|_| true);
        self.sequence += 1;
        if self.ask().is_err() {
            return Look::Same;
        }
        let (mut all, mut ended, mut answers) = (Vec::new(), false, 0);
        let (port, sequence) = (self.port, self.sequence);
        self.read(|bytes| {
            answers += usize::from(u32_at(bytes, 8) == Some(sequence));
            ended = collect(bytes, port, sequence, &mut all);
            !ended && answers < ANSWERS
        });
        all.sort_by_key(IpAddr::is_ipv6);
        all.dedup();
        all.truncate(ADDRESSES);
        let changed = all != self.found;
        self.found = all;
        match (ended, changed) {
            // The rest of the answer would stand in the way of the next one.
            (false, _) => Look::TooMany,
            (true, true) => Look::Changed,
            (true, false) => Look::Same,
        }
    }

    /// Feeds messages of the kernel to `take` until it has enough, there are no more, or it were too many. The buffer must
    /// not become a part of the frame in which the supervisor waits.
    #[inline(never)]
    fn read(&self, mut take: impl FnMut(&[u8]) -> bool) {
        let mut buffer = [0; MESSAGE];
        for _ in 0..MESSAGES {
            let mut slices = [IoSliceMut::new(&mut buffer)];
            let flags = MsgFlags::MSG_DONTWAIT;
            let (length, sender) =
                match recvmsg::<NetlinkAddr>(self.socket.as_raw_fd(), &mut slices, None, flags) {
                    Ok(message) => (message.bytes, message.address.map(|from| from.pid())),
                    // Changes were lost, which the next request makes good.
                    Err(Errno::ENOBUFS | Errno::EINTR) => continue,
                    Err(_) => return,
                };
            if sender == Some(0) && !take(&buffer[..length]) {
                return;
            }
        }
    }

    fn ask(&self) -> nix::Result<()> {
        let mut request = Vec::with_capacity(HEADER + BODY);
        request.extend(REQUEST.to_ne_bytes());
        request.extend(libc::RTM_GETADDR.to_ne_bytes());
        request.extend(ALL.to_ne_bytes());
        request.extend(self.sequence.to_ne_bytes());
        request.extend(self.port.to_ne_bytes());
        // Of any family.
        request.extend([0; BODY]);
        let kernel = NetlinkAddr::new(0, 0);
        let flags = MsgFlags::MSG_DONTWAIT;
        sendto(self.socket.as_raw_fd(), &request, &kernel, flags).map(drop)
    }
}

/// Adds the addresses of an answer; true at its end.
fn collect(mut bytes: &[u8], port: u32, sequence: u32, all: &mut Vec<IpAddr>) -> bool {
    while let Some(length) = u32_at(bytes, 0) {
        let length = length as usize;
        let (Some(message), Some(kind)) = (bytes.get(HEADER..length), u16_at(bytes, 4)) else {
            return false;
        };
        // Changes that happen meanwhile carry other numbers.
        if (u32_at(bytes, 8), u32_at(bytes, 12)) == (Some(sequence), Some(port)) {
            match i32::from(kind) {
                libc::NLMSG_DONE | libc::NLMSG_ERROR => return true,
                _ if kind == libc::RTM_NEWADDR => all.extend(address(message)),
                _ => {}
            }
        }
        bytes = bytes.get(aligned(length)..).unwrap_or_default();
    }
    false
}

/// The address in one message, when it is of global scope and usable.
fn address(message: &[u8]) -> Option<IpAddr> {
    let [family, _prefix, flags, scope, ..] = *message.get(..BODY)? else {
        return None;
    };
    if flags & UNUSABLE != 0 || scope != libc::RT_SCOPE_UNIVERSE {
        return None;
    }
    let (mut local, mut peer) = (None, None);
    let mut rest = message.get(BODY..)?;
    while let (Some(length), Some(kind)) = (u16_at(rest, 0), u16_at(rest, 2)) {
        let length = usize::from(length);
        let value = rest.get(4..length)?;
        match kind {
            libc::IFA_LOCAL => local = parse(family, value),
            libc::IFA_ADDRESS => peer = parse(family, value),
            _ => {}
        }
        rest = rest.get(aligned(length)..).unwrap_or_default();
    }
    // On a point-to-point link the other end's stands in IFA_ADDRESS.
    local.or(peer).filter(|address| !address.is_loopback())
}

fn parse(family: u8, value: &[u8]) -> Option<IpAddr> {
    match i32::from(family) {
        libc::AF_INET => <[u8; 4]>::try_from(value)
            .ok()
            .map(|four| Ipv4Addr::from(four).into()),
        libc::AF_INET6 => <[u8; 16]>::try_from(value)
            .ok()
            .map(|six| Ipv6Addr::from(six).into()),
        _ => None,
    }
}

/// Messages and attributes start at multiples of four.
fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat()
    }

    fn message(kind: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + body.len()).unwrap();
        let numbers = [sequence.to_ne_bytes(), 7_u32.to_ne_bytes()].concat();
        let head = [
            &length.to_ne_bytes()[..],
            &kind.to_ne_bytes(),
            &[0, 0],
            &numbers,
        ];
        [&head.concat(), body].concat()
    }

    fn told(family: u8, flags: u8, scope: u8, attributes: &[Vec<u8>]) -> Option<IpAddr> {
        let head = vec![family, 24, flags, scope, 2, 0, 0, 0];
        address(&[head, attributes.concat()].concat())
    }

    #[test]
    fn only_usable_addresses_of_global_scope_count() {
        let ten = [10, 0, 0, 5];
        let local = || attribute(libc::IFA_LOCAL, &ten);
        let peer = attribute(libc::IFA_ADDRESS, &[10, 0, 0, 1]);
        let want = Some(IpAddr::from(ten));
        assert_eq!(told(2, 0, 0, &[peer, local()]), want);
        assert_eq!(told(2, 0x20, 0, &[local()]), None);
        assert_eq!(told(2, 0, libc::RT_SCOPE_HOST, &[local()]), None);
        let global = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 9);
        let six = || attribute(libc::IFA_ADDRESS, &global.octets());
        assert_eq!(told(10, 0, 0, &[six()]), Some(global.into()));
        assert_eq!(told(10, 0x40, 0, &[six()]), None);
        assert_eq!(told(10, 0, libc::RT_SCOPE_LINK, &[six()]), None);
    }

    #[test]
    fn cut_and_foreign_messages_do_no_harm() {
        let body = [vec![2, 24, 0, 0, 2, 0, 0, 0], attribute(2, &[10, 0, 0, 5])].concat();
        let mine = message(libc::RTM_NEWADDR, 3, &body);
        let other = message(libc::RTM_NEWADDR, 0, &body);
        let done = message(libc::NLMSG_DONE.try_into().unwrap(), 3, &[0; 4]);
        let whole = [other.clone(), mine, done].concat();
        let mut all = Vec::new();
        assert!(collect(&whole, 7, 3, &mut all));
        assert_eq!(all, [IpAddr::from([10, 0, 0, 5])]);
        for end in 0..whole.len() {
            collect(&whole[..end], 7, 3, &mut Vec::new());
        }
        // A length of zero would never end.
        assert!(!collect(&[0; 64], 7, 3, &mut Vec::new()));
        assert_eq!(address(&[&body[..8], &[0; 8]].concat()), None);
        assert!(!collect(&other, 7, 3, &mut Vec::new()));
    }

    #[test]
    fn a_look_reads_to_the_end() {
        let mut addresses = Addresses::of(open().unwrap()).unwrap();
        assert_ne!(addresses.look(), Look::TooMany);
        assert_eq!(addresses.look(), Look::Same);
        assert!(!addresses.found().iter().any(IpAddr::is_loopback));
    }
}
