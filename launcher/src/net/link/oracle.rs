//! What is sent, as an encoder and decoder by others reads it, and what is made of answers that no kernel should send.

use std::fmt::Debug;
use std::os::fd::{AsFd, AsRawFd};
use std::thread;

use netlink_packet_core::NetlinkMessage;
use netlink_packet_route::RouteNetlinkMessage;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};

use super::*;
use crate::sys::netlink::Refused;

const ACK: i32 = libc::NLMSG_ERROR;

fn answer(kind: i32, flags: u16, sequence: &[u8], body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).unwrap();
    let kind = u16::try_from(kind).unwrap();
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence);
    bytes.extend([0; 4]);
    bytes.extend(body);
    bytes
}

/// Does `work` with a kernel that sends these answers to each request, and returns the requests.
fn with_kernel<T>(
    answers: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send,
    work: impl FnOnce(&Socket) -> T,
) -> (T, Vec<Vec<u8>>) {
    let flags = SockFlag::SOCK_CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags).unwrap();
    thread::scope(|scope| {
        let kernel = scope.spawn(move || {
            let (mut requests, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
            loop {
                let length = recv(theirs.as_raw_fd(), &mut buffer, MsgFlags::empty()).unwrap();
                if length == 0 {
                    return requests;
                }
                requests.push(buffer[..length].to_vec());
                for answer in answers(&buffer[8..12]) {
                    // The other end may have had enough.
                    let _ = send(theirs.as_raw_fd(), &answer, MsgFlags::MSG_NOSIGNAL);
                }
            }
        });
        let done = work(&Socket::of(ours));
        (done, kernel.join().unwrap())
    })
}

fn agreed(sequence: &[u8]) -> Vec<Vec<u8>> {
    vec![answer(ACK, 0, sequence, &[0; 20])]
}

/// Fails unless the oracle understands every request, says it in the same bytes, and finds these words in it.
fn check<T: Debug>(work: impl FnOnce(&Socket) -> Result<T>, words: &[&str]) {
    for (message, bytes) in read(work, words) {
        let said = format!("{message:?}");
        assert!(!said.contains("Other("), "not known: {said}");
        let mut again = vec![0; message.buffer_len()];
        message.serialize(&mut again);
        assert_eq!(again, bytes, "{message:?}");
    }
}

/// The same, without what the oracle would say.
fn read<T: Debug>(
    work: impl FnOnce(&Socket) -> Result<T>,
    words: &[&str],
) -> Vec<(NetlinkMessage<RouteNetlinkMessage>, Vec<u8>)> {
    let (done, requests) = with_kernel(agreed, work);
    done.unwrap();
    let parse = |bytes: Vec<u8>| (NetlinkMessage::deserialize(&bytes).unwrap(), bytes);
    let messages: Vec<_> = requests.into_iter().map(parse).collect();
    let said = format!("{messages:?}");
    for word in words {
        assert!(said.contains(word), "no {word} in {said}");
    }
    messages
}

fn new(name: &str) -> New<'_> {
    New {
        name,
        mac: Some(Mac([2, 0, 0, 0, 0, 7])),
        mtu: Some(1400),
    }
}

#[test]
fn links() {
    let file = std::fs::File::open("/dev/null").unwrap();
    let fd = format!("NetNsFd({})", file.as_raw_fd());
    check(
        |socket| create_veth(socket, &new("ve-web"), &new("host0"), file.as_fd()),
        &[
            "NewLink",
            "IfName(\"ve-web\")",
            "Address([2, 0, 0, 0, 0, 7])",
            "Mtu(1400)",
            "Group(29547)",
            "Kind(Veth), Data(Veth(Peer(",
            "IfName(\"host0\")",
            &fd,
        ],
    );
    check(
        |socket| create_bridge(socket, &new("skep0")),
        &["Kind(Bridge)", "MulticastSnooping"],
    );
    for (mode, word) in [
        (MacvlanMode::Bridge, "Mode(Bridge)"),
        (MacvlanMode::Private, "Mode(Private)"),
        (MacvlanMode::Vepa, "Mode(Vepa)"),
        (MacvlanMode::Passthru, "Mode(Passthrough)"),
    ] {
        let kind = Child::Macvlan(mode);
        check(
            |socket| create_child(socket, 3, kind, &new("mv-eth0"), file.as_fd()),
            &["Kind(MacVlan)", word, "Link(3)", &fd],
        );
    }
    check(
        |socket| create_child(socket, 3, Child::Ipvlan, &new("iv-eth0"), file.as_fd()),
        &["Kind(IpVlan)", "Mode(L2)", "Link(3)"],
    );
}

#[test]
fn changes_of_links() {
    let file = std::fs::File::open("/dev/null").unwrap();
    let fd = format!("NetNsFd({})", file.as_raw_fd());
    check(
        |socket| move_link(socket, 5, "eth0", file.as_fd()),
        &["index: 5", "IfName(\"eth0\")", &fd],
    );
    // The oracle ends the text with a NUL, ip(8) does not.
    read(
        |socket| set_alias(socket, 5, "skep@web"),
        &["IfAlias(\"skep@web\")"],
    );
    check(|socket| set_master(socket, 5, 6), &["Controller(6)"]);
    check(|socket| set_group(socket, 5, 6), &["Group(6)"]);
    // Settings of a port are numbers to the oracle.
    read(
        |socket| lock_port(socket, 5, Mac([2, 0, 0, 0, 0, 7])),
        &[
            "interface_family: Bridge",
            "kind: 8, value: [0]",
            "kind: 9, value: [0]",
            "kind: 39, value: [1]",
            "NewNeighbour",
            "ifindex: 5, state: Noarp",
            "LinkLayerAddress([2, 0, 0, 0, 0, 7])",
        ],
    );
    check(|socket| set_up(socket, 5), &["flags: LinkFlags(Up)"]);
    check(|socket| remove(socket, 5), &["DelLink", "index: 5"]);
}

#[test]
fn addresses_and_routes() {
    let subnet = |address: &str, prefix| Subnet {
        address: address.parse().unwrap(),
        prefix,
    };
    check(
        |socket| add_address(socket, 5, subnet("192.0.2.7", 24)),
        &[
            "NewAddress",
            "prefix_len: 24",
            "Local(192.0.2.7)",
            "Broadcast(192.0.2.255)",
        ],
    );
    check(
        |socket| add_address(socket, 5, subnet("2001:db8::7", 64)),
        &[
            "prefix_len: 64",
            "Nodad",
            "Address(2001:db8::7)",
            "index: 5",
        ],
    );
    for gateway in ["192.0.2.1", "fe80::1"] {
        check(
            |socket| add_default_route(socket, 5, gateway.parse().unwrap()),
            &[
                "NewRoute",
                "destination_prefix_length: 0",
                gateway,
                "Oif(5)",
                "Onlink",
                "table: 254",
            ],
        );
    }
    check(
        |socket| add_host_route(socket, 5, "192.0.2.7".parse().unwrap()),
        &["destination_prefix_length: 32", "scope: Link", "Oif(5)"],
    );
}

#[test]
fn answers() {
    let link = |sequence: &[u8]| {
        let mut body = info(7).to_vec();
        for (kind, value) in [
            (libc::IFLA_IFNAME, &b"ve-web\0"[..]),
            (libc::IFLA_ADDRESS, &[2, 0, 0, 0, 0, 7]),
            (libc::IFLA_MTU, &1400u32.to_ne_bytes()),
            (
                libc::IFLA_LINKINFO,
                &[9, 0, 1, 0, b'v', b'e', b't', b'h', 0],
            ),
        ] {
            let length = u16::try_from(value.len() + 4).unwrap();
            body.extend(length.to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        answer(16, 0, sequence, &body)
    };
    let (found, _) = with_kernel(
        |sequence| {
            // What is somebody else's comes first.
            let mut all = vec![answer(ACK, 0, &[9; 4], &[255; 20]), link(sequence)];
            all.extend(agreed(sequence));
            all
        },
        |socket| find(socket, "ve-web").unwrap(),
    );
    let short = (found.index, found.name.as_str(), found.mtu);
    assert_eq!(short, (7, "ve-web", 1400));
    assert_eq!(
        (found.kind.as_str(), found.mac),
        ("veth", Some(Mac([2, 0, 0, 0, 0, 7])))
    );
}

/// Answers to a request of this sequence number.
type Answers = fn(&[u8]) -> Vec<Vec<u8>>;

#[test]
fn odd_answers_are_errors() {
    let cases: [(Answers, Errno); 5] = [
        (agreed, Errno::ENODATA),
        (|_| vec![vec![0; (64 << 10) + 1]], Errno::EMSGSIZE),
        (
            |sequence| vec![answer(libc::NLMSG_OVERRUN, 0, sequence, &[])],
            Errno::ENOBUFS,
        ),
        (
            |sequence| vec![answer(ACK, 0, sequence, &(-libc::EPERM).to_ne_bytes())],
            Errno::EPERM,
        ),
        (
            |sequence| vec![[&[255; 4], &answer(16, 0, sequence, &[0; 16])[4..]].concat()],
            Errno::EBADMSG,
        ),
    ];
    for (answers, errno) in cases {
        let (seen, _) = with_kernel(answers, |socket| look(socket, 1));
        assert_eq!(seen, Err(Refused { errno, said: None }));
    }
    // A listing that changes all the time ends all the same.
    let (listed, requests) = with_kernel(
        |sequence| vec![answer(libc::NLMSG_DONE, 0x10, sequence, &[0; 4])],
        list,
    );
    assert_eq!((listed, requests.len()), (Err(Errno::EINTR.into()), 10));
}
