//! The host's side of a container's network: makes the links before the container runs, and removes them after it.
//!
//! The supervisor does all of it, in the host's network namespace, with one more rtnetlink socket for the container's.
//! What is inside ends with the namespace; what is on the host is on record first, so that it is found after a kill.

mod forward;
pub mod join;
pub mod link;
mod nft;
pub mod record;
pub mod rules;

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::unistd::Pid;
use skep_spec::{Link, LinkKind, Port, Subnet};

use self::link::{Child, GROUP, New};
use self::record::{End, Held, Record, Records};
use crate::log;
use crate::plan::net::{LinkPlan, NetPlan, OwnBridge};
use crate::step::{At, StepError};
use crate::sys::netlink::{Socket, within};

/// The network of a running container. Dropping removes what is on the host.
#[derive(Debug)]
pub struct Attached {
    live: Option<Live>,
}

#[derive(Debug)]
struct Live {
    host: Socket,
    inside: Socket,
    host_space: File,
    record: Record,
    held: Held,
    /// Links of the host that are inside: number and name.
    lent: Vec<(u32, String)>,
}

/// Makes the network of container `name`, whose first process is `guest`.
pub fn attach(name: &str, plan: &NetPlan, guest: Pid) -> Result<Attached, StepError> {
    if plan.is_empty() {
        return Ok(Attached { live: None });
    }
    let open = |path: &str| File::open(path).at("open", path);
    let inside_space = open(&format!("/proc/{guest}/ns/net"))?;
    let host_space = open("/proc/self/ns/net")?;
    let host = Socket::open().at("open", "a rtnetlink socket")?;
    let inside =
        Socket::open_in(inside_space.as_fd()).at("open a rtnetlink socket in", "the container")?;
    let records = Records::lock()?;
    let alive = sweep(&records, &host)?;
    let record = record_of(name, plan);
    refuse_conflicts(&record, &alive)?;
    let mut held = records.hold(name)?;
    held.write(&record)?;
    let mut live = Live {
        host,
        inside,
        host_space,
        record,
        held,
        lent: Vec::new(),
    };
    let made = live
        .make(plan, inside_space.as_fd())
        .and_then(|()| live.apply_rules(&records, &alive, plan));
    match made {
        Ok(()) => Ok(Attached { live: Some(live) }),
        Err(err) => {
            live.end(&records);
            Err(err)
        }
    }
}

/// Removes what killed launchers left.
pub fn clean() -> Result<(), StepError> {
    let host = Socket::open().at("open", "a rtnetlink socket")?;
    let records = Records::lock()?;
    sweep(&records, &host).map(drop)
}

/// What a container of this plan will have.
fn record_of(name: &str, plan: &NetPlan) -> Record {
    let mut record = Record {
        name: name.to_owned(),
        ports: plan.ports.clone(),
        ..Record::default()
    };
    for one in &plan.links {
        let addresses = || one.link.addresses.iter().map(|subnet| subnet.address);
        if let Some(host) = &one.host {
            record.ends.push(End {
                name: host.name.clone(),
                index: 0,
                fenced: fences_addresses(one),
            });
        }
        if let Some(bridge) = &one.bridge {
            record.bridges.push(bridge.name.clone());
        }
        record.addresses.extend(addresses());
        if one.masqueraded() {
            record.masqueraded.extend(addresses());
        }
        if let Some(leads) = leads_through(one) {
            if one.masqueraded() {
                record.inner.push(leads.clone());
            }
            record.links.push(leads);
        }
        let (v4, v6) = record.reached;
        record.reached = (
            v4.or(addresses().find(IpAddr::is_ipv4)),
            v6.or(addresses().find(IpAddr::is_ipv6)),
        );
    }
    record
}

/// The link of the host through which its packets come as packets: a member of a bridge has none.
fn leads_through(plan: &LinkPlan) -> Option<String> {
    match &plan.link.kind {
        LinkKind::Veth => plan.host.as_ref().map(|end| end.name.clone()),
        LinkKind::Bridge(bridge) | LinkKind::Nat(bridge) => Some(bridge.clone()),
        LinkKind::Zone(_) => plan.bridge.as_ref().map(|bridge| bridge.name.clone()),
        LinkKind::Macvlan(..) | LinkKind::Ipvlan(_) | LinkKind::Interface(_) => None,
    }
}

/// A fence needs to know the addresses: without any, the container gets its own from somebody else.
fn fences_addresses(plan: &LinkPlan) -> bool {
    plan.link.fence && plan.host.is_some() && !plan.link.addresses.is_empty()
}

fn refuse_conflicts(record: &Record, alive: &[Record]) -> Result<(), StepError> {
    for other in alive {
        let taken = record
            .addresses
            .iter()
            .find(|ip| other.addresses.contains(ip));
        if let Some(ip) = taken {
            return Err(StepError::new(
                "address taken:",
                format_args!("{ip} of {} is also that of {}", record.name, other.name),
            )
            .cure("change Address= of one of them, or restart the other to give it its own"));
        }
        for port in &record.ports {
            if let Some(theirs) = other.ports.iter().find(|theirs| overlap(port, theirs)) {
                let number = port.host.max(theirs.host);
                return Err(StepError::new(
                    "port taken:",
                    format_args!(
                        "{number}/{} is wanted by {} and leads to {}",
                        port.protocol, record.name, other.name
                    ),
                )
                .cure("change Port= of one of them"));
            }
        }
    }
    Ok(())
}

/// Whether a packet could mean both.
fn overlap(a: &Port, b: &Port) -> bool {
    let last = |port: &Port| port.host.saturating_add(port.count.saturating_sub(1));
    let (any, same) = (
        a.address.is_none() || b.address.is_none(),
        a.address == b.address,
    );
    a.protocol == b.protocol && (any || same) && a.host <= last(b) && b.host <= last(a)
}

/// Clears away what is on record of containers that are gone; the records of the others.
fn sweep(records: &Records, host: &Socket) -> Result<Vec<Record>, StepError> {
    let (alive, dead) = records.all()?;
    let mut script = String::new();
    for (record, _) in &dead {
        remove_ends(host, record);
        record.ends.iter().filter(|end| end.fenced).for_each(|end| {
            script.push_str(&rules::unfence(&end.name));
        });
    }
    if dead.iter().any(|(record, _)| record.needs_rules()) || !script.is_empty() {
        let opened = forward::set(records, &alive)?;
        script.push_str(&rules::shared(&alive, opened));
        nft::run(&script)?;
    }
    for (record, held) in dead {
        remove_bridges(host, &record, &alive);
        held.remove()?;
    }
    Ok(alive)
}

fn alias(name: &str) -> String {
    format!("skep@{name}")
}

/// Removes the ends of a container by number, once sure that they are its own. One that was killed before it could note
/// a number is found by name.
fn remove_ends(host: &Socket, record: &Record) {
    for end in &record.ends {
        let seen = match end.index {
            0 => link::find(host, &end.name),
            index => link::look(host, index),
        };
        let Ok(seen) = seen else { continue };
        let unmarked = seen.alias.is_empty() && seen.name == end.name;
        if seen.group == GROUP && (seen.alias == alias(&record.name) || unmarked) {
            // Ended with its namespace meanwhile.
            let _ = link::remove(host, seen.index);
        }
    }
}

/// Removes the bridges of a container that nobody else is in.
fn remove_bridges(host: &Socket, record: &Record, alive: &[Record]) {
    for bridge in &record.bridges {
        if alive.iter().any(|other| other.bridges.contains(bridge)) {
            continue;
        }
        let Ok(seen) = link::find(host, bridge) else {
            continue;
        };
        // Somebody else may have put a link of theirs into it.
        let used =
            link::list(host).is_ok_and(|all| all.iter().any(|member| member.master == seen.index));
        if seen.group == GROUP && seen.kind == "bridge" && !used {
            let _ = link::remove(host, seen.index);
        }
    }
}

impl Live {
    fn make(&mut self, plan: &NetPlan, inside: BorrowedFd) -> Result<(), StepError> {
        for one in &plan.links {
            self.link(one, inside)?;
        }
        // Both ends are up only now.
        for end in &self.record.ends {
            link::wait_until_carries(&self.host, end.index);
        }
        Ok(())
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
            LinkKind::Interface(name) => self.lend(name, plan, inside)?,
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
        let new = New {
            name: &end.name,
            mac: Some(end.mac),
            mtu: guest.mtu,
        };
        link::create_veth(&self.host, &new, guest, inside)
            .at("create link", &end.name)
            .map_err(|err| self.explain(err, &end.name))?;
        let seen = link::find(&self.host, &end.name).at("find link", &end.name)?;
        let index = seen.index;
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
        &self,
        parent: &str,
        child: Child,
        guest: &New<'_>,
        inside: BorrowedFd,
    ) -> Result<(), StepError> {
        let parent = link::find(&self.host, parent).at("find link", parent)?;
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
            })
    }

    /// Moves a link of the host inside.
    fn lend(&mut self, name: &str, plan: &LinkPlan, inside: BorrowedFd) -> Result<(), StepError> {
        let seen = link::find(&self.host, name).at("find link", name)?;
        if seen.group == GROUP {
            return Err(StepError::new("link", name).cure("it is another container's"));
        }
        link::move_link(&self.host, seen.index, &plan.link.name, inside)
            .at("move into the container", name)?;
        let moved = link::find(&self.inside, &plan.link.name).at("find link", &plan.link.name)?;
        self.lent.push((moved.index, name.to_owned()));
        if plan.link.mac.is_some() || plan.link.mtu.is_some() {
            link::change(&self.inside, moved.index, plan.mac, plan.link.mtu)
                .at("set address or MTU of", name)?;
        }
        Ok(())
    }

    /// Addresses and routes inside, and the link up.
    fn settle(&self, link: &Link) -> Result<(), StepError> {
        let name = &link.name;
        let index = link::find(&self.inside, name).at("find link", name)?.index;
        add_addresses(&self.inside, index, &link.addresses, name)?;
        // Left down for a container that configures it itself, as one on a machine is.
        link::set_up(&self.inside, index).at("set up link", name)?;
        for gateway in &link.gateways {
            link::add_default_route(&self.inside, index, *gateway)
                .at("add the default route via", gateway)?;
        }
        Ok(())
    }

    fn bridge(&self, name: &str) -> Result<u32, StepError> {
        let seen = link::find(&self.host, name).at("find bridge", name)?;
        match seen.kind.as_str() {
            "bridge" => Ok(seen.index),
            _ => Err(StepError::new("not a bridge:", name)),
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
            Ok(_) => {
                return Err(StepError::new(
                    "a link of another program has the name",
                    name,
                ));
            }
            Err(Errno::ENODEV) => {}
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
        let routes = link::routes(&self.host).at("list", "routes")?;
        for wanted in &link.host_addresses {
            let taken = routes
                .iter()
                .filter_map(|route| route.to)
                .find(|to| to.prefix >= wanted.prefix && contains(*wanted, to.address));
            if let Some(taken) = taken {
                return Err(StepError::new(
                    "network taken:",
                    format_args!("the host has a route to {taken} already, inside of {wanted}"),
                )
                .cure("name another with AddressPool=, for all containers in /etc/skep/container.d/pool.conf"));
            }
        }
        Ok(())
    }

    /// Packet filter and forwarding.
    fn apply_rules(
        &self,
        records: &Records,
        alive: &[Record],
        plan: &NetPlan,
    ) -> Result<(), StepError> {
        let mut script = String::new();
        for one in plan.links.iter().filter(|one| fences_addresses(one)) {
            if let (Some(end), Some(mac)) = (&one.host, one.mac) {
                let addresses: Vec<IpAddr> = one
                    .link
                    .addresses
                    .iter()
                    .map(|subnet| subnet.address)
                    .collect();
                script.push_str(&rules::fence(&end.name, mac, &addresses));
            }
        }
        if self.record.needs_rules() {
            let mut all = alive.to_vec();
            all.push(self.record.clone());
            let opened = forward::set(records, &all)?;
            script.push_str(&rules::shared(&all, opened));
        }
        if script.is_empty() {
            return Ok(());
        }
        nft::run(&script)?;
        if self.record.ports.is_empty() {
            return Ok(());
        }
        // After the rules that keep others from using it.
        self.record
            .links
            .iter()
            .try_for_each(|link| forward::serve_loopback(link))
    }

    /// Removes everything. What fails is told, and the rest removed all the same.
    fn end(self, records: &Records) {
        for (index, name) in &self.lent {
            let back = link::move_link(&self.inside, *index, name, self.host_space.as_fd());
            if let Err(err) = back.at("move back to the host", name) {
                log::line(err);
            }
        }
        remove_ends(&self.host, &self.record);
        // A record that nobody holds is one of the dead.
        drop(self.held);
        if let Err(err) = sweep(records, &self.host) {
            log::line(err);
        }
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

impl Drop for Attached {
    fn drop(&mut self) {
        if let Some(live) = self.live.take() {
            match Records::lock() {
                Ok(records) => live.end(&records),
                Err(err) => log::line(err),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use skep_spec::Protocol;

    fn port(address: Option<&str>, host: u16, count: u16) -> Port {
        Port {
            protocol: Protocol::Tcp,
            address: address.map(|ip| ip.parse().unwrap()),
            host,
            container: 80,
            count,
        }
    }

    #[test]
    fn ports_overlap() {
        for (a, b, want) in [
            (port(None, 80, 1), port(None, 80, 1), true),
            (port(None, 80, 1), port(None, 81, 1), false),
            (port(None, 80, 10), port(None, 89, 1), true),
            (port(None, 80, 1), port(Some("192.0.2.1"), 80, 1), true),
            (
                port(Some("192.0.2.2"), 80, 1),
                port(Some("192.0.2.1"), 80, 1),
                false,
            ),
        ] {
            assert_eq!(overlap(&a, &b), want, "{a:?} {b:?}");
            assert_eq!(overlap(&b, &a), want, "{a:?} {b:?}");
        }
    }

    #[test]
    fn the_second_one_is_refused_with_both_names() {
        let record = |name: &str| Record {
            name: name.into(),
            ports: vec![port(None, 8080, 1)],
            ..Record::default()
        };
        let err = refuse_conflicts(&record("web"), &[record("db")])
            .unwrap_err()
            .to_string();
        assert!(
            err.contains("8080/tcp is wanted by web and leads to db"),
            "{err}"
        );
    }
}
