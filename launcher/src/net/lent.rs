//! A link of the host that is in a container for a while.
//!
//! It comes back with the names, hardware address, longest packet, group and note that it had, and up when it was, whatever
//! the container's root did to them; its addresses and routes are lost when it goes, and whoever manages it sees it come. A launcher that is killed gives nothing back: the kernel
//! returns hardware to the initial network namespace and removes virtual links with the container's.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;

use super::link::{self, GROUP, Seen};
use crate::log;
use crate::plan::net::LinkPlan;
use crate::step::{At, StepError};
use crate::sys::netlink::Socket;

/// Names that are tried when the own one is taken.
const OTHERS: u32 = 99;

/// A link that is lent.
#[derive(Debug)]
pub(super) struct Lent {
    /// Its number inside.
    index: u32,
    before: Seen,
}

impl Lent {
    /// Moves it.
    pub(super) fn move_inside(
        host: &Socket,
        inside: &Socket,
        before: Seen,
        plan: &LinkPlan,
        to: BorrowedFd,
    ) -> Result<Lent, StepError> {
        let (old, new) = (&before.name, &plan.link.name);
        if before.group == GROUP {
            return Err(StepError::new("link", old).cure("it is another container's"));
        }
        link::move_link(host, before.index, new, to)
            .at("move into the container:", old)
            .map_err(|err| match (err.is(Errno::EINVAL), &err.cure) {
                (true, None) => err.cure("links of this kind stay where they are"),
                _ => err,
            })?;
        let index = link::find(inside, new).at("find link", new)?.index;
        Ok(Lent { index, before })
    }

    pub(super) fn index(&self) -> u32 {
        self.index
    }

    /// Moves it back.
    pub(super) fn give_back(
        &self,
        host: &Socket,
        inside: &Socket,
        to: BorrowedFd,
    ) -> Result<(), StepError> {
        let before = &self.before;
        let there = link::look(inside, self.index);
        // A number may be chosen anew by the container's root, who has then removed this link.
        let Some(there) = there.ok().filter(|seen| seen.kind == before.kind) else {
            return Err(StepError::new("link", &before.name).cure("the container removed it"));
        };
        // A name that the host has keeps the link from coming back.
        let added = there
            .others
            .iter()
            .filter(|name| !before.others.contains(name));
        for name in added {
            link::remove_name(inside, self.index, name).at("take off a name of", &before.name)?;
        }
        let name = free_name(host, &before.name);
        link::move_link(inside, self.index, &name, to)
            .at("move back to the host:", &before.name)?;
        let index = link::find(host, &name).at("find link", &name)?.index;
        link::change(host, index, before.mac, Some(before.mtu))
            .at("restore address and MTU of", &name)?;
        link::set_group(host, index, before.group).at("restore group of", &name)?;
        link::set_alias(host, index, &before.alias).at("restore note on", &name)?;
        if before.up {
            link::set_up(host, index).at("set up link", &name)?;
        }
        if name != before.name {
            log::line(format_args!(
                "link {} comes back as {name}: the host has another one of its name",
                before.name
            ));
        }
        Ok(())
    }
}

fn free_name(host: &Socket, name: &str) -> String {
    let stem: String = name.chars().take(12).collect();
    let others = (1..=OTHERS).map(|number| format!("{stem}-{number}"));
    let mut all = std::iter::once(name.to_owned()).chain(others);
    let free = |name: &String| link::find(host, name).is_err();
    all.find(free).unwrap_or_else(|| name.to_owned())
}
