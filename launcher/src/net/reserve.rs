//! Ports of the host that lead to a container are taken there too: a program that listens on one would never hear anything,
//! without a word. Nothing is ever received on these sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, setsockopt, socket, sockopt,
};
use skep_spec::{Port, Protocol};

use super::record::Record;
use crate::step::{At, StepError};

/// Descriptors of everything else in this process, generously.
const OTHERS: u64 = 256;

/// Takes the ports of a container on the host.
pub(super) fn take(record: &Record) -> Result<Vec<OwnedFd>, StepError> {
    let wanted: Vec<(&Port, IpAddr)> = record
        .ports
        .iter()
        .flat_map(|port| addresses(port, record).map(move |ip| (port, ip)))
        .collect();
    make_room(wanted.iter().map(|(port, _)| u64::from(port.count)).sum())?;
    let mut taken = Vec::new();
    for (port, ip) in wanted {
        for number in port.host..=port.host.saturating_add(port.count.saturating_sub(1)) {
            match one(port.protocol, ip, number) {
                Ok(Some(socket)) => taken.push(socket),
                // Without this family, nobody can take it.
                Ok(None) => {}
                Err(Errno::EADDRINUSE) => {
                    return Err(StepError::new(
                        "port in use:",
                        format_args!(
                            "{number}/{} of the host, wanted by {}, is in use by a program of the host",
                            port.protocol, record.name
                        ),
                    )
                    .cure(format!("see \"ss -lp 'sport = :{number}'\", or change Port=")));
                }
                Err(err) => {
                    return Err(err).at("take port", format_args!("{number}/{}", port.protocol));
                }
            }
        }
    }
    Ok(taken)
}

/// Where a port is taken: all addresses of the families in which it leads somewhere.
fn addresses(port: &Port, record: &Record) -> impl Iterator<Item = IpAddr> {
    let (v4, v6) = record.reached;
    let all = [
        v4.map(|_| Ipv4Addr::UNSPECIFIED.into()),
        v6.map(|_| Ipv6Addr::UNSPECIFIED.into()),
    ];
    match port.address {
        Some(ip) => [Some(ip), None],
        None => all,
    }
    .into_iter()
    .flatten()
}

fn make_room(sockets: u64) -> Result<(), StepError> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).at("read", "the limit of open files")?;
    let wanted = sockets + OTHERS;
    if soft >= wanted {
        return Ok(());
    }
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard.max(wanted)).at(
        "raise the limit of open files for",
        format_args!("{sockets} ports"),
    )
}

fn one(protocol: Protocol, ip: IpAddr, number: u16) -> nix::Result<Option<OwnedFd>> {
    let family = if ip.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let kind = match protocol {
        Protocol::Tcp => SockType::Stream,
        Protocol::Udp => SockType::Datagram,
    };
    let fd = match socket(family, kind, SockFlag::SOCK_CLOEXEC, None) {
        Err(Errno::EAFNOSUPPORT) => return Ok(None),
        other => other?,
    };
    if ip.is_ipv6() {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    // An address that the host has not yet.
    setsockopt(&fd, sockopt::IpFreebind, &true)?;
    setsockopt(&fd, sockopt::RcvBuf, &0)?;
    let at = SockaddrStorage::from(std::net::SocketAddr::new(ip, number));
    match bind(fd.as_raw_fd(), &at) {
        // Connections of a program that is gone, and still wait for their end, are in nobody's way.
        Err(Errno::EADDRINUSE) if protocol == Protocol::Tcp => {
            setsockopt(&fd, sockopt::ReuseAddr, &true)?;
            bind(fd.as_raw_fd(), &at)?;
        }
        other => other?,
    }
    Ok(Some(fd))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(protocol: Protocol, host: u16) -> Record {
        Record {
            name: "web".into(),
            reached: (Some([10, 213, 0, 5].into()), None),
            ports: vec![Port {
                protocol,
                address: Some([127, 0, 0, 1].into()),
                host,
                container: 80,
                count: 1,
            }],
            ..Record::default()
        }
    }

    #[test]
    fn a_port_in_use_is_told_and_a_taken_one_is_kept() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let err = take(&record(Protocol::Tcp, port)).unwrap_err().to_string();
        assert!(err.contains("in use by a program of the host"), "{err}");
        drop(listener);
        let taken = take(&record(Protocol::Tcp, port)).unwrap();
        assert_eq!(taken.len(), 1);
        assert!(std::net::TcpListener::bind(("127.0.0.1", port)).is_err());
        drop(taken);
        std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        let taken = take(&record(Protocol::Udp, port)).unwrap();
        assert!(std::net::UdpSocket::bind(("127.0.0.1", port)).is_err());
        drop(taken);
    }
}
