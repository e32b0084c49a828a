//! Makes the links of a container, with their addresses and routes, before its first process runs.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::thread::sleep;
use std::time::Duration;

use nix::errno::Errno;
use skep_spec::{Link, LinkKind, Subnet};

use super::lent::Lent;
use super::link::{self, Child, GROUP, New, Seen};
use super::{Live, alias, forward};
use crate::plan::net::{LinkPlan, NetPlan, OwnBridge};
use crate::step::{At, StepError};
use crate::sys::netlink::{self, Socket, within};

/// How long the links of a container that was killed may keep a hardware address busy, in steps of 20 ms.
const FREED: u32 = 100;

/// The kernel sees that the other end is up a little later than it is.
const SOON: Duration = Duration::from_millis(500);

/// Two pieces of hardware take seconds to agree.
const NEGOTIATED: Duration = Duration::from_secs(5);

impl Live {
    pub(super) fn make(&mut self, plan: &NetPlan, inside: BorrowedFd) -> Result<(), StepError> {
        plan.links.iter().try_for_each(|one| self.link(one, inside))
    }

    /// Waits until packets pass, where they will.
    pub(super) fn settled(&self) {
        for end in &self.record.ends {
            link::wait_until_carries(&self.host, end.index, SOON);
        }
        for (index, limit) in &self.awaited {
            link::wait_until_carries(&self.inside, *index, *limit);
        }
    }

    fn link(&mut self, plan: &LinkPlan, inside: BorrowedFd) -> Result<(), StepError> {
        let link = &plan.link;
        let bridge = match (&plan.bridge, &link.kind) {
            (Some(own), _) => Some(self.own_bridge(own, link)?),
            (None, LinkKind::Bridge(name)) => Some(self.bridge(name)?),
            (None, _) => None,
        };
        let guest = New {
            name: &link.name,
            mac: plan.mac,
            mtu: link.mtu,
        };
        match &link.kind {
            LinkKind::Veth | LinkKind::Nat(_) | LinkKind::Bridge(_) | LinkKind::Zone(_) => {
                self.pair(plan, &guest, inside, bridge)?;
            }
            LinkKind::Macvlan(parent, mode) => {
                self.child(parent, Child::Macvlan(*mode), &guest, inside)?;
            }
            LinkKind::Ipvlan(parent) => self.child(parent, Child::Ipvlan, &guest, inside)?,
            LinkKind::Interface(name) => {
                let seen = self.find_on_host(name)?;
                let carried = seen.carries;
                let lent = Lent::move_inside(&self.host, &self.inside, seen, plan, inside)?;
                let index = lent.index();
                self.lent.push(lent);
                self.awaited.extend(carried.then_some((index, NEGOTIATED)));
                if link.mac.is_some() || link.mtu.is_some() {
                    link::change(&self.inside, index, plan.mac, link.mtu)
                        .at("set address or MTU of", name)?;
                }
            }
        }
        if !link.addresses.is_empty() {
            within(inside, || forward::calm(&link.name))
                .at("enter the network of", "the container")?;
        }
        self.settle(link)
    }

    /// The pair of links of one kind or another.
    fn pair(
        &mut self,
        plan: &LinkPlan,
        guest: &New<'_>,
        inside: BorrowedFd,
        bridge: Option<u32>,
    ) -> Result<(), StepError> {
        let Some(end) = &plan.host else {
            return Ok(());
        };
        if bridge.is_none() {
            self.refuse_routed(&plan.link)?;
        }
        let new = New {
            name: &end.name,
            mac: Some(end.mac),
            mtu: guest.mtu,
        };
        link::create_veth(&self.host, &new, guest, inside)
            .at("create link", &end.name)
            .map_err(|err| self.explain(err, &end.name))?;
        let index = link::find(&self.host, &end.name)
            .at("find link", &end.name)?
            .index;
        if let Some(own) = self.record.ends.iter_mut().find(|own| own.name == end.name) {
            own.index = index;
        }
        self.held.write(&self.record)?;
        link::set_alias(&self.host, index, &alias(&self.record.name)).at("mark link", &end.name)?;
        if let Some(full) = &end.full {
            // Only a convenience: another program may have the name.
            let _ = link::add_name(&self.host, index, full);
        }
        forward::calm(&end.name);
        match bridge {
            Some(bridge) => {
                link::set_master(&self.host, index, bridge).at("put into the bridge", &end.name)?;
                if let (Some(mac), true) = (plan.mac, plan.link.fence) {
                    link::lock_port(&self.host, index, mac).at("fence link", &end.name)?;
                }
                if !self.record.ports.is_empty() {
                    link::return_to_sender(&self.host, index).at("set up link", &end.name)?;
                }
            }
            None => add_addresses(&self.host, index, &plan.link.host_addresses, &end.name)?,
        }
        link::set_up(&self.host, index).at("set up link", &end.name)?;
        match bridge {
            Some(_) => Ok(()),
            None => self.route_to(&plan.link, index),
        }
    }

    /// Addresses inside that are in no network of the host's end are on the link all the same.
    fn route_to(&self, link: &Link, index: u32) -> Result<(), StepError> {
        let reached = |ip: IpAddr| link.host_addresses.iter().any(|end| contains(*end, ip));
        let mut rest = link.addresses.iter().map(|subnet| subnet.address);
        rest.try_for_each(|ip| match reached(ip) {
            true => Ok(()),
            false => link::add_host_route(&self.host, index, ip).at("add a route to", ip),
        })
    }

    /// A name that is taken is that of another program's link, or of this container's last run, whose namespace the kernel
    /// has not freed yet.
    fn explain(&self, err: StepError, name: &str) -> StepError {
        let there = |socket: &Socket| link::find(socket, name).ok();
        match err.errno {
            errno if errno == Errno::EEXIST as i32 => match there(&self.host) {
                Some(seen) => err.cure(format!(
                    "the host has a {} link of this name that is not this container's",
                    seen.kind
                )),
                None => err.cure("two links of this container have one name inside"),
            },
            errno if errno == Errno::EOPNOTSUPP as i32 => {
                err.cure("the kernel has no links of this kind")
            }
            _ => err,
        }
    }

    fn child(
        &mut self,
        parent: &str,
        child: Child,
        guest: &New<'_>,
        inside: BorrowedFd,
    ) -> Result<(), StepError> {
        let parent = self.find_on_host(parent)?;
        let what = match child {
            Child::Macvlan(_) => "create macvlan of",
            Child::Ipvlan => "create ipvlan of",
        };
        link::create_child(&self.host, parent.index, child, guest, inside)
            .at(what, &parent.name)
            .map_err(|err| match err.errno {
                errno if errno == Errno::EOPNOTSUPP as i32 => {
                    err.cure("the kernel has no links of this kind")
                }
                errno if errno == Errno::EBUSY as i32 => {
                    err.cure("it is a member of a bridge, or has links of the other kind")
                }
                _ => err,
            })?;
        let made = link::find(&self.inside, guest.name).at("find link", guest.name)?;
        self.children.push(made.index);
        self.awaited
            .extend(parent.carries.then_some((made.index, SOON)));
        Ok(())
    }

    /// A link that the declaration names.
    fn find_on_host(&self, name: &str) -> Result<Seen, StepError> {
        link::find(&self.host, name)
            .at("find link", name)
            .map_err(
                |err| match (err.is(Errno::ENODEV), link::list(&self.host)) {
                    (true, Ok(all)) => err.cure(format!("the host has {}", names(&all))),
                    _ => err,
                },
            )
    }

    /// Addresses and routes inside, and the link up.
    fn settle(&self, link: &Link) -> Result<(), StepError> {
        let name = &link.name;
        let index = link::find(&self.inside, name).at("find link", name)?.index;
        add_addresses(&self.inside, index, &link.addresses, name)?;
        set_up_patiently(&self.inside, index)
            .at("set up link", name)
            .map_err(|err| match err.is(Errno::EBUSY) {
                true => err.cure("another link of the same parent has its hardware address"),
                false => err,
            })?;
        for gateway in &link.gateways {
            link::add_default_route(&self.inside, index, *gateway)
                .at("add the default route via", gateway)?;
        }
        Ok(())
    }

    fn bridge(&self, name: &str) -> Result<u32, StepError> {
        let find = link::find(&self.host, name).at("find bridge", name);
        let seen = find.map_err(|err| match err.is(Errno::ENODEV) {
            true => err.cure(
                "skep joins bridges of the host and makes none of them; Network=zone:NAME needs none",
            ),
            false => err,
        })?;
        match seen.kind.as_str() {
            "bridge" => Ok(seen.index),
            kind => Err(StepError::new("not a bridge:", name).cure(match kind {
                "" => format!("for a link of its own on it use Network=macvlan:{name}"),
                kind => format!(
                    "it is a {kind}; for a link of its own on it use Network=macvlan:{name}"
                ),
            })),
        }
    }

    /// The bridge of this name, made when there is none.
    fn own_bridge(&self, own: &OwnBridge, link: &Link) -> Result<u32, StepError> {
        let name = &own.name;
        match link::find(&self.host, name) {
            Ok(seen) if seen.group == GROUP && seen.kind == "bridge" => {
                // Killed before it was complete.
                self.fill_bridge(seen.index, name, link)?;
                return Ok(seen.index);
            }
            // That of systemd-nspawn's zone of this name, which removes it when it is empty.
            Ok(seen)
                if seen.kind == "bridge"
                    && matches!(link.kind, LinkKind::Zone(_))
                    && link.host_addresses.is_empty() =>
            {
                return Ok(seen.index);
            }
            Ok(_) => {
                let taken = StepError::new("a link of another program has the name", name);
                return Err(match link.host_addresses.is_empty() {
                    true => taken,
                    false => taken.cure("HostAddress= is for bridges that skep makes"),
                });
            }
            Err(refused) if refused.errno == Errno::ENODEV => {}
            Err(err) => return Err(err).at("find bridge", name),
        }
        self.refuse_routed(link)?;
        let new = New {
            name,
            mac: Some(own.mac),
            mtu: None,
        };
        link::create_bridge(&self.host, &new)
            .at("create bridge", name)
            .map_err(|err| self.explain(err, name))?;
        let index = link::find(&self.host, name).at("find bridge", name)?.index;
        self.fill_bridge(index, name, link)?;
        Ok(index)
    }

    fn fill_bridge(&self, index: u32, name: &str, link: &Link) -> Result<(), StepError> {
        forward::calm(name);
        add_addresses(&self.host, index, &link.host_addresses, name)?;
        link::set_up(&self.host, index).at("set up bridge", name)
    }

    /// A network that the host reaches another way must not be taken from it.
    fn refuse_routed(&self, link: &Link) -> Result<(), StepError> {
        let routes = match link::routes(&self.host) {
            // A router of the internet: nobody has put a network for private use there.
            Err(refused) if refused.errno == Errno::EMSGSIZE => return Ok(()),
            other => other.at("list", "routes")?,
        };
        let own = link::list(&self.host).at("list", "links")?;
        let of_container = |index| {
            own.iter()
                .any(|seen| seen.index == index && seen.group == GROUP)
        };
        for wanted in &link.host_addresses {
            let taken = routes.iter().find_map(|route| {
                let to = route.to?;
                let inside = to.prefix >= wanted.prefix && contains(*wanted, to.address);
                // The other way round a longer prefix takes precedence, as it should, but not from another container.
                let around = contains(to, wanted.address) && of_container(route.index);
                (inside || around).then_some(to)
            });
            if let Some(taken) = taken {
                return Err(StepError::new(
                    "network taken:",
                    format_args!("the host has a route to {taken} already, which overlaps {wanted}"),
                )
                .cure("name another with AddressPool=, for all containers in /etc/skep/container.d/pool.conf"));
            }
        }
        Ok(())
    }
}

/// The kernel frees what a killed container had a little later than it is gone.
fn set_up_patiently(socket: &Socket, index: u32) -> netlink::Result<()> {
    for _ in 0..FREED {
        match link::set_up(socket, index) {
            Err(refused) if refused.errno == Errno::EBUSY => sleep(Duration::from_millis(20)),
            done => return done,
        }
    }
    link::set_up(socket, index)
}

/// A few names of links, to choose from.
fn names(all: &[Seen]) -> String {
    const SHOWN: usize = 8;
    let others = all
        .iter()
        .filter(|seen| seen.group != GROUP && seen.name != "lo");
    let mut names: Vec<&str> = others.map(|seen| seen.name.as_str()).collect();
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    match (names.is_empty(), more) {
        (true, _) => "no links but its loopback".to_owned(),
        (false, 0) => names.join(", "),
        (false, more) => format!("{} and {more} more", names.join(", ")),
    }
}

fn add_addresses(
    socket: &Socket,
    index: u32,
    addresses: &[Subnet],
    name: &str,
) -> Result<(), StepError> {
    addresses.iter().try_for_each(|subnet| {
        link::add_address(socket, index, *subnet)
            .at("add address", format_args!("{subnet} to {name}"))
    })
}

fn contains(network: Subnet, address: IpAddr) -> bool {
    match (network.address, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            (u32::from(a) ^ u32::from(b)).leading_zeros() >= network.prefix.into()
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            (u128::from(a) ^ u128::from(b)).leading_zeros() >= network.prefix.into()
        }
        _ => false,
    }
}
