//! Addresses of containers that were given none: stable, and different for all that are declared.
//!
//! A pool is one IPv4 and one IPv6 network. The first half of it is the network of a bridge, the second half falls into
//! networks of four addresses, one for each pair of links. An address follows from the container's name alone, unless two
//! names lead to one: then the later one in the alphabet goes on to the next free one. So nothing has to be remembered.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use skep_spec::{Link, LinkKind, Subnet};
use thiserror::Error;

use crate::digest;

/// First address and prefix length of the default pool, of the addresses for private use of RFC 1918.
const DEFAULT: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 213, 0, 0), 16);

/// Name of the default pool's bridge.
const BRIDGE: &str = "skep0";

/// Most networks of a pair: those of 64 bits in the smallest IPv6 pool, without the bridge's.
const MOST_PAIRS: u32 = 0xffff;

/// No address is left.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("no address is left in {0}; set a larger AddressPool=")]
pub struct Exhausted(String);

/// Where addresses come from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pool {
    v4: (u32, u8),
    v6: (u128, u8),
}

impl Pool {
    /// The pool of these networks, each in place of the default of its family. The default IPv6 network is one of this
    /// host's own, RFC 4193, and another one beside each IPv4 network: two bridges cannot have the same.
    pub(crate) fn of(machine_id: Option<&str>, networks: &[Subnet]) -> Pool {
        let mut v4 = (DEFAULT.0.into(), DEFAULT.1);
        let mut given = None;
        for network in networks {
            match network.address {
                IpAddr::V4(ip) => v4 = (ip.into(), network.prefix),
                IpAddr::V6(ip) => given = Some((ip.into(), network.prefix)),
            }
        }
        let beside = match v4 == (DEFAULT.0.into(), DEFAULT.1) {
            true => String::new(),
            false => format!(":{v4:?}"),
        };
        let seed = format!("skep:{}{beside}", machine_id.unwrap_or_default());
        // 40 bits of it.
        let own = u128::from(digest::of_bytes(seed.as_bytes()) >> 24);
        Pool {
            v4,
            v6: given.unwrap_or((0xfd << 120 | own << 80, 48)),
        }
    }

    /// The name of its bridge.
    pub(crate) fn bridge(&self) -> String {
        if self.v4 == (DEFAULT.0.into(), DEFAULT.1) {
            return BRIDGE.to_owned();
        }
        let text = format!("{:?}", self.v4);
        format!(
            "skep-{:08x}",
            digest::of_bytes(text.as_bytes()) & 0xffff_ffff
        )
    }

    /// The prefix length of the bridge's network.
    pub(crate) fn bridge_prefix(&self, ip: IpAddr) -> u8 {
        match ip {
            IpAddr::V4(_) => self.v4.1 + 1,
            IpAddr::V6(_) => 64,
        }
    }

    /// The bridge's own addresses.
    pub(crate) fn bridge_addresses(&self) -> Vec<Subnet> {
        vec![self.v4_at(1, self.v4.1 + 1), self.v6_at(0, 1)]
    }

    /// Whether a container on the bridge can have this address.
    pub(crate) fn bridge_has(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => {
                let offset = u32::from(ip).wrapping_sub(self.v4.0);
                (2..self.half() - 1).contains(&offset)
            }
            IpAddr::V6(ip) => {
                let offset = u128::from(ip).wrapping_sub(self.v6.0);
                offset > 1 && offset < 1 << 64
            }
        }
    }

    /// The bridge's networks, to be read.
    pub(crate) fn bridge_networks(&self) -> String {
        let (v4, v6) = (Ipv4Addr::from(self.v4.0), Ipv6Addr::from(self.v6.0));
        format!("{v4}/{} and {v6}/64", self.v4.1 + 1)
    }

    /// Addresses of half of the pool.
    fn half(&self) -> u32 {
        1 << (31 - u32::from(self.v4.1))
    }

    fn v4_at(&self, offset: u32, prefix: u8) -> Subnet {
        Subnet {
            address: Ipv4Addr::from(self.v4.0 + offset).into(),
            prefix,
        }
    }

    /// Address `host` in network `number` of 64 bits.
    fn v6_at(&self, number: u32, host: u32) -> Subnet {
        let ip = self.v6.0 | u128::from(number) << 64 | u128::from(host);
        Subnet {
            address: Ipv6Addr::from(ip).into(),
            prefix: 64,
        }
    }
}

/// A link that wants addresses.
#[derive(Debug)]
pub struct Wanting<'a> {
    /// The container.
    pub name: &'a str,
    /// Its pool.
    pub pool: &'a Pool,
    /// Whether its gateway is the host's end.
    pub leads_out: bool,
    /// The link, which gets them.
    pub link: &'a mut Link,
}

/// Which of a container's links leads to everywhere: nobody else's gateway is taken when one is declared.
pub fn leads_out(links: &[Link]) -> Option<usize> {
    if links.iter().any(|link| !link.gateways.is_empty()) {
        return None;
    }
    let nat = |link: &Link| matches!(link.kind, LinkKind::Nat(_));
    let first = links.iter().position(nat);
    first.or_else(|| links.iter().position(|link| link.kind == LinkKind::Veth))
}

/// Whether a link is to be given addresses.
pub fn wants(link: &Link) -> bool {
    link.addresses.is_empty()
        && match link.kind {
            LinkKind::Nat(_) => true,
            LinkKind::Veth => link.host_addresses.is_empty() && link.gateways.is_empty(),
            _ => false,
        }
}

/// Slots of one pool that are in use, by the half that they are in.
type Used = BTreeMap<(Pool, bool), BTreeSet<u32>>;

/// Gives every link its addresses; `declared` are those that others were given by hand. What has none is returned with the
/// reason.
pub fn assign(mut wanting: Vec<Wanting<'_>>, declared: &[IpAddr]) -> Vec<(String, Exhausted)> {
    let mut used = Used::new();
    let mut failed = Vec::new();
    wanting.sort_by(|a, b| (a.name, &a.link.name).cmp(&(b.name, &b.link.name)));
    for Wanting {
        name,
        pool,
        leads_out,
        link,
    } in wanting
    {
        let pair = link.kind == LinkKind::Veth;
        let half = pool.half();
        let (first, end) = if pair {
            (0, (half / 4).min(MOST_PAIRS))
        } else {
            (2, half - 1)
        };
        let slots = used
            .entry((pool.clone(), pair))
            .or_insert_with(|| taken(pool, pair, declared));
        let seed = digest::of_bytes(format!("{name}:{}", link.name).as_bytes());
        let count = end - first;
        // The remainder is below `count`, which fits.
        let start = u32::try_from(seed % u64::from(count)).unwrap_or_default();
        let mut tried = (0..count).map(|step| first + (start + step) % count);
        match tried.find(|slot| !slots.contains(slot)) {
            Some(slot) => {
                slots.insert(slot);
                give(pool, link, slot, leads_out);
            }
            None => {
                let network = format!("{}/{}", Ipv4Addr::from(pool.v4.0), pool.v4.1);
                failed.push((name.to_owned(), Exhausted(network)));
            }
        }
    }
    failed
}

fn taken(pool: &Pool, pair: bool, declared: &[IpAddr]) -> BTreeSet<u32> {
    let half = pool.half();
    let slots = declared.iter().filter_map(|ip| match ip {
        IpAddr::V4(ip) => {
            let offset = u32::from(*ip).checked_sub(pool.v4.0)?;
            match (pair, offset / half) {
                (false, 0) => Some(offset),
                (true, 1) => Some((offset - half) / 4),
                _ => None,
            }
        }
        IpAddr::V6(ip) => {
            let offset = u128::from(*ip).checked_sub(pool.v6.0)?;
            let (network, host) = (offset >> 64, offset & u128::from(u64::MAX));
            let slot = match (pair, network) {
                (false, 0) => host,
                (true, 1..) => network - 1,
                _ => return None,
            };
            u32::try_from(slot).ok()
        }
    });
    slots.collect()
}

fn give(pool: &Pool, link: &mut Link, slot: u32, leads_out: bool) {
    if link.kind == LinkKind::Veth {
        let base = pool.half() + 4 * slot;
        link.host_addresses = vec![pool.v4_at(base + 1, 30), pool.v6_at(slot + 1, 1)];
        link.addresses = vec![pool.v4_at(base + 2, 30), pool.v6_at(slot + 1, 2)];
    } else {
        link.addresses = vec![pool.v4_at(slot, pool.v4.1 + 1), pool.v6_at(0, slot)];
    }
    if leads_out {
        link.gateways = link
            .host_addresses
            .iter()
            .map(|subnet| subnet.address)
            .collect();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn assigned(
        pool: &Pool,
        kind: &LinkKind,
        names: &[String],
        declared: &[IpAddr],
    ) -> (BTreeMap<String, Link>, usize) {
        let mut links: BTreeMap<String, Link> = names
            .iter()
            .map(|name| (name.clone(), Link::of(kind.clone())))
            .collect();
        let wanting = links.iter_mut().map(|(name, link)| Wanting {
            name,
            pool,
            leads_out: true,
            link,
        });
        let failed = assign(wanting.collect(), declared).len();
        (links, failed)
    }

    #[test]
    fn many_get_different_ones_whatever_the_order() {
        let names: Vec<String> = (0..500).map(|n| format!("c{n}")).collect();
        let backwards: Vec<String> = names.iter().rev().cloned().collect();
        let pool = Pool::of(None, &[]);
        for kind in [LinkKind::Nat("skep0".into()), LinkKind::Veth] {
            let (links, failed) = assigned(&pool, &kind, &names, &[]);
            let all: BTreeSet<Subnet> = links
                .values()
                .flat_map(|link| link.addresses.clone())
                .collect();
            assert_eq!((all.len(), failed), (1000, 0));
            assert_eq!(links, assigned(&pool, &kind, &backwards, &[]).0);
        }
    }

    #[test]
    fn a_small_pool_runs_out_for_the_last_ones_only() {
        let network = Subnet {
            address: [192, 0, 2, 0].into(),
            prefix: 28,
        };
        let pool = Pool::of(None, &[network]);
        assert_ne!(pool.bridge(), BRIDGE);
        let names: Vec<String> = (0..8).map(|n| format!("c{n}")).collect();
        // Eight addresses: network, bridge, broadcast and one that is declared are not free.
        let declared = [[192, 0, 2, 5].into()];
        let (links, failed) = assigned(&pool, &LinkKind::Nat(pool.bridge()), &names, &declared);
        assert_eq!(failed, 4);
        assert!(!links.values().any(|link| {
            link.addresses
                .iter()
                .any(|subnet| subnet.address == declared[0])
        }));
        let (_, failed) = assigned(&pool, &LinkKind::Veth, &names, &[]);
        assert_eq!(failed, 6);
    }

    #[test]
    fn two_bridges_have_no_network_in_common() {
        let network = |address: &str, prefix| Subnet {
            address: address.parse().unwrap(),
            prefix,
        };
        let default = Pool::of(Some("a"), &[]);
        let other = Pool::of(Some("a"), &[network("10.99.0.0", 16)]);
        for (one, two) in default
            .bridge_addresses()
            .iter()
            .zip(other.bridge_addresses())
        {
            assert_ne!(one.address, two.address);
        }
        let six = Pool::of(Some("a"), &[network("fd12::", 48)]);
        assert_eq!(six.bridge_addresses()[1].address.to_string(), "fd12::1");
        assert_eq!(
            six.bridge_addresses()[0].address,
            default.bridge_addresses()[0].address
        );
    }

    #[test]
    fn an_ipv6_address_of_another_is_not_given_away() {
        let pool = Pool::of(None, &[]);
        for (kind, pair) in [
            (LinkKind::Nat("skep0".into()), false),
            (LinkKind::Veth, true),
        ] {
            let (links, _) = assigned(&pool, &kind, &["web".into()], &[]);
            let first = links["web"].addresses[1].address;
            let (links, _) = assigned(&pool, &kind, &["web".into()], &[first]);
            assert_ne!(links["web"].addresses[1].address, first, "{pair}");
        }
    }

    #[test]
    fn both_ends_of_a_pair_are_in_one_network() {
        let (links, _) = assigned(
            &Pool::of(Some("a"), &[]),
            &LinkKind::Veth,
            &["web".into()],
            &[],
        );
        let link = &links["web"];
        let IpAddr::V4(host) = link.host_addresses[0].address else {
            unreachable!()
        };
        let IpAddr::V4(guest) = link.addresses[0].address else {
            unreachable!()
        };
        assert_eq!(u32::from(host) + 1, u32::from(guest));
        assert_eq!(link.gateways[0], IpAddr::V4(host));
        assert!(link.addresses[1].address.to_string().starts_with("fd"));
        assert!(!wants(link));
    }
}
