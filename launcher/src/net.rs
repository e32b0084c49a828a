//! The host's side of a container's network: makes the links before the container runs, and removes them after it.
//!
//! The supervisor does all of it, in the host's network namespace, with one more rtnetlink socket for the container's.
//! What is inside ends with the namespace; what is on the host is on record first, so that it is found after a kill.

mod conflict;
mod filter;
mod foreign;
mod forward;
mod hosts;
pub mod join;
mod lent;
pub mod link;
mod make;
mod nft;
pub mod record;
mod reserve;
pub mod rules;

use std::fs::File;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::unistd::Pid;
use skep_spec::LinkKind;

use self::lent::Lent;
use self::link::GROUP;
use self::record::{End, Held, Record, Records, Seat};
use crate::log;
use crate::plan::net::{LinkPlan, NetPlan};
use crate::step::{At, StepError};
use crate::sys::netlink::Socket;

/// The network of a running container. Dropping removes what is on the host.
#[derive(Debug)]
pub struct Attached {
    live: Option<Live>,
    /// The leader of the container whose network it shares.
    owner: Option<OwnedFd>,
}

#[derive(Debug)]
struct Live {
    host: Socket,
    inside: Socket,
    host_space: File,
    record: Record,
    held: Held,
    /// Links of the host that are inside.
    lent: Vec<Lent>,
    /// Numbers inside of links that hang on a link of the host.
    children: Vec<u32>,
    /// Those of them and of the lent ones over which packets will pass soon.
    awaited: Vec<(u32, Duration)>,
    /// Keeps programs of the host from taking the container's ports.
    _reserved: Vec<OwnedFd>,
}

impl Attached {
    /// A process whose end is that of the network.
    pub fn owner(&self) -> Option<BorrowedFd<'_>> {
        self.owner.as_ref().map(AsFd::as_fd)
    }
}

/// Makes the network of container `name`, whose first process is `guest`.
pub fn attach(name: &str, plan: &NetPlan, guest: Pid) -> Result<Attached, StepError> {
    let owner = join::owner(plan, guest)?;
    if plan.is_empty() {
        return Ok(Attached { live: None, owner });
    }
    if !plan.left_out.is_empty() {
        log::line("the host has no IPv6, so the container gets no address of it");
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
    conflict::refuse(&record, &alive)?;
    filter::refuse_unreachable(&record)?;
    let reserved = reserve::take(&record)?;
    let mut held = records.hold(name)?;
    held.write(&record)?;
    let mut live = Live {
        host,
        inside,
        host_space,
        record,
        held,
        lent: Vec::new(),
        children: Vec::new(),
        awaited: Vec::new(),
        _reserved: reserved,
    };
    let made = live
        .make(plan, inside_space.as_fd())
        .and_then(|()| live.apply_rules(&records, &alive));
    match made {
        Ok(()) => {
            let running = || alive.iter().chain([&live.record]).cloned();
            hosts::publish(&running().collect::<Vec<Record>>());
            // Others need not wait with it.
            drop(records);
            live.settled();
            Ok(Attached {
                live: Some(live),
                owner,
            })
        }
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
    hosts::publish(&sweep(&records, &host)?);
    Ok(())
}

/// Writes the packet filter's rules of all running containers anew: another program may have removed them.
pub fn rewrite() -> Result<(), StepError> {
    let host = Socket::open().at("open", "a rtnetlink socket")?;
    let records = Records::lock()?;
    let alive = sweep(&records, &host)?;
    // A container may have removed its link, and with it the host's end: the kernel refuses all rules for the sake of one
    // that names a device which is gone (before Linux 6.16).
    let there = |end: &&End| link::look(&host, end.index).is_ok_and(|seen| seen.name == end.name);
    let fences: String = ends_of(&alive)
        .filter(there)
        .filter_map(filter::fence)
        .collect();
    match fences.is_empty() && !alive.iter().any(Record::needs_rules) {
        true => Ok(()),
        false => filter::write(&records, &alive, fences),
    }
}

/// What a container of this plan will have.
fn record_of(name: &str, plan: &NetPlan) -> Record {
    let mut record = Record {
        name: name.to_owned(),
        ports: plan.ports.clone(),
        loopback6: true,
        ..Record::default()
    };
    for one in &plan.links {
        let addresses = || one.link.addresses.iter().map(|subnet| subnet.address);
        if let Some(host) = &one.host {
            record.ends.push(End {
                name: host.name.clone(),
                index: 0,
                fence: filter::fence_of(one),
            });
        }
        if let Some(bridge) = &one.bridge {
            record.bridges.push(bridge.name.clone());
        }
        if let LinkKind::Interface(name) = &one.link.kind {
            record.lent.push(name.clone());
        }
        record.seats.extend(seat_of(one));
        if one.masqueraded() {
            record.masqueraded.extend(addresses());
        }
        if let Some(leads) = leads_through(one) {
            record.named.push((leads.clone(), addresses().collect()));
            if one.masqueraded() {
                record.inner.push(leads.clone());
            }
            record.loopback6 &= one.link.kind == LinkKind::Veth || !forward::filters_bridges();
            record.links.push(leads);
        }
        // Over another link the host does not reach it.
        if leads_through(one).is_some() {
            let (v4, v6) = record.reached;
            record.reached = (
                v4.or(addresses().find(IpAddr::is_ipv4)),
                v6.or(addresses().find(IpAddr::is_ipv6)),
            );
        }
    }
    record
}

/// Where it could be in the way of another container.
fn seat_of(plan: &LinkPlan) -> Option<Seat> {
    let (network, routed) = match &plan.link.kind {
        LinkKind::Veth => (String::new(), true),
        LinkKind::Nat(bridge) => (bridge.clone(), true),
        LinkKind::Zone(_) => (plan.bridge.as_ref()?.name.clone(), false),
        LinkKind::Bridge(name) | LinkKind::Macvlan(name, _) | LinkKind::Ipvlan(name) => {
            (name.clone(), false)
        }
        LinkKind::Interface(_) => return None,
    };
    let addresses = plan.link.addresses.iter();
    Some(Seat {
        network,
        routed,
        mac: plan.mac.map(|mac| mac.0),
        addresses: addresses.map(|subnet| subnet.address).collect(),
    })
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

/// Clears away what is on record of containers that are gone; the records of the others.
fn sweep(records: &Records, host: &Socket) -> Result<Vec<Record>, StepError> {
    let (alive, dead) = records.all()?;
    let mut script = String::new();
    for (record, _) in &dead {
        remove_ends(host, record);
        filter::leave_loopback(host, record, &alive);
        let others = |name: &String| ends_of(&alive).any(|end| end.name == *name);
        let fenced = record.ends.iter().filter(|end| end.fence.is_some());
        // One that did not start may have wanted the name of another's.
        let own = fenced.filter(|end| !others(&end.name));
        own.for_each(|end| script.push_str(&rules::unfence(&end.name)));
    }
    let cleared = if dead.iter().any(|(record, _)| record.needs_rules()) {
        filter::write(records, &alive, script)
    } else if script.is_empty() {
        Ok(())
    } else {
        nft::run(&script)
    };
    for (record, held) in dead {
        remove_bridges(host, &record, &alive);
        // What is left stays on record, and in nobody else's way.
        if cleared.is_ok() {
            held.remove()?;
        }
    }
    if let Err(err) = cleared {
        log::line(format_args!(
            "rules of a container that has ended are left: {err}"
        ));
    }
    Ok(alive)
}

fn ends_of(records: &[Record]) -> impl Iterator<Item = &End> {
    records.iter().flat_map(|record| &record.ends)
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
        // A number is enough; a name may be another container's, whose name is shortened to the same.
        let own = end.index != 0 || seen.alias.is_empty() || seen.alias == alias(&record.name);
        if seen.group == GROUP && seen.kind == "veth" && own {
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
    /// Removes everything. What fails is told, and the rest removed all the same.
    fn end(self, records: &Records) {
        for lent in &self.lent {
            let back = lent.give_back(&self.host, &self.inside, self.host_space.as_fd());
            if let Err(err) = back {
                log::line(err);
            }
        }
        for index in &self.children {
            // The kernel would do it later, and the next start may need the hardware address. The container may have done it.
            let _ = link::remove(&self.inside, *index);
        }
        remove_ends(&self.host, &self.record);
        // A record that nobody holds is one of the dead.
        drop(self.held);
        match sweep(records, &self.host) {
            Ok(running) => hosts::publish(&running),
            Err(err) => log::line(err),
        }
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
