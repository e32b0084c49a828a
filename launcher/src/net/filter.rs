//! What a container changes in the host's packet filter, its forwarding, and what its loopback leads to.

use skep_spec::Port;

use super::foreign::Foreign;
use super::forward::Forwarding;
use super::record::{End, Fence, Record, Records};
use super::{Live, forward, link, nft, rules};
use crate::plan::net::LinkPlan;
use crate::step::{At, StepError};
use crate::sys::netlink::Socket;

impl Live {
    /// Packet filter and forwarding.
    pub(super) fn apply_rules(
        &mut self,
        records: &Records,
        alive: &[Record],
    ) -> Result<(), StepError> {
        let script: String = self.record.ends.iter().filter_map(fence).collect();
        if !self.record.needs_rules() {
            return match script.is_empty() {
                true => Ok(()),
                false => nft::run(&script),
            };
        }
        let mut all = alive.to_vec();
        all.push(self.record.clone());
        write(records, &all, script)?;
        // After the rules that keep others from using it.
        self.serve_loopback(alive)
    }

    /// Lets the host's own loopback addresses lead to the container's ports.
    fn serve_loopback(&mut self, alive: &[Record]) -> Result<(), StepError> {
        if self.record.ports.is_empty() {
            return Ok(());
        }
        for name in self.record.links.clone() {
            // What the administrator has set stays set.
            let served = forward::serves_loopback(&name);
            if !served || alive.iter().any(|other| other.loopback.contains(&name)) {
                self.record.loopback.push(name.clone());
                self.held.write(&self.record)?;
                forward::serve_loopback(&name)?;
            }
            if self.record.loopback6 && self.record.reached.1.is_some() {
                let index = link::find(&self.host, &name).at("find link", &name)?.index;
                link::add_loopback_route(&self.host, index).at("add a route from ::1 to", &name)?;
            }
        }
        Ok(())
    }
}

pub(super) fn fence_of(plan: &LinkPlan) -> Option<Fence> {
    let (Some(mac), true) = (plan.mac, plan.link.fence) else {
        return None;
    };
    let addresses = plan.link.addresses.iter();
    Some(Fence {
        mac: mac.0,
        addresses: addresses.map(|subnet| subnet.address).collect(),
    })
}

/// The rules of one link alone.
pub(super) fn fence(end: &End) -> Option<String> {
    Some(rules::fence(&end.name, end.fence.as_ref()?))
}

/// Writes packet filter and forwarding as these containers need them, after `first`.
pub(super) fn write(records: &Records, all: &[Record], first: String) -> Result<(), StepError> {
    let foreign = Foreign::look();
    let forwarding = Forwarding::of(records, all);
    forwarding.close(foreign.masquerades())?;
    nft::run(&(first + &rules::shared(all, forwarding.opened())))?;
    forwarding.open()?;
    foreign.make_way(&rules::ways(all));
    Ok(())
}

/// A port of ::1 alone that ::1 does not lead to.
pub(super) fn refuse_unreachable(record: &Record) -> Result<(), StepError> {
    let loopback = |port: &&Port| port.address == Some(std::net::Ipv6Addr::LOCALHOST.into());
    match record.ports.iter().find(loopback) {
        Some(port) if !record.loopback6 => Err(StepError::new(
            "not reached from ::1:",
            format_args!("port {}/{} of {}", port.host, port.protocol, record.name),
        )
        .cure(
            "give it to 127.0.0.1, use Network=veth, or set net.bridge.bridge-nf-call-ip6tables to 0",
        )),
        _ => Ok(()),
    }
}

/// The host's own loopback leads through links only as long as a container needs it.
pub(super) fn leave_loopback(host: &Socket, record: &Record, alive: &[Record]) {
    for name in &record.loopback {
        if alive.iter().any(|other| other.loopback.contains(name)) {
            continue;
        }
        forward::leave_loopback(name);
        if let Ok(seen) = link::find(host, name) {
            // It has none where ::1 leads nowhere.
            let _ = link::remove_loopback_route(host, seen.index);
        }
    }
}
