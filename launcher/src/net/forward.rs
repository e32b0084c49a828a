//! The host's own settings: forwarding, router advertisements, packets to 127.0.0.1.
//!
//! Forwarding has one switch for all links in IPv6, and in IPv4 an answer comes in through a link that is not known in
//! advance. So the switch is set, and where it was off before, the packet filter lets nothing pass that does not come from
//! a container or go to one: for everybody else it stays off. With the last container it is set back.

use std::fs;
use std::path::Path;

use super::record::{Record, Records};
use super::rules::Opened;
use crate::step::{At, StepError};

const V4: &str = "/proc/sys/net/ipv4/ip_forward";
const V6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";

/// Sets forwarding as these containers need it; what was opened for them.
pub(super) fn set(records: &Records, needing: &[Record]) -> Result<Opened, StepError> {
    let has = |v6: bool| {
        let masqueraded = needing.iter().flat_map(|one| &one.masqueraded);
        let reached = needing.iter().filter(|one| !one.ports.is_empty());
        let reached = reached.flat_map(|one| [one.reached.0, one.reached.1].into_iter().flatten());
        masqueraded
            .copied()
            .chain(reached)
            .any(|ip| ip.is_ipv6() == v6)
    };
    Ok(Opened {
        v4: switch(records, "forwarding4", V4, has(false))?,
        v6: switch(records, "forwarding6", V6, has(true))?,
    })
}

fn switch(records: &Records, note: &str, file: &str, wanted: bool) -> Result<bool, StepError> {
    let note = records.note(note);
    let ours = note.exists();
    // A host without IPv6 has no such file.
    let Ok(now) = fs::read_to_string(file) else {
        return Ok(false);
    };
    let on = now.trim() != "0";
    match (wanted, on, ours) {
        (true, false, _) => {
            fs::write(&note, "").at("write", note.display())?;
            if file == V6 {
                keep_advertisements();
            }
            fs::write(file, "1").at("write", file)?;
            Ok(true)
        }
        (false, _, true) => {
            if on {
                fs::write(file, "0").at("write", file)?;
            }
            fs::remove_file(&note).at("remove", note.display())?;
            Ok(false)
        }
        (_, _, ours) => Ok(ours),
    }
}

/// A router ignores router advertisements, unless it is told that it is none to these links: the host's own default route
/// may come from one.
fn keep_advertisements() {
    let Ok(links) = fs::read_dir("/proc/sys/net/ipv6/conf") else {
        return;
    };
    for link in links.flatten().filter(|link| link.file_name() != "all") {
        let file = link.path().join("accept_ra");
        if fs::read_to_string(&file).is_ok_and(|now| now.trim() == "1") {
            // Gone meanwhile: it needs nothing.
            let _ = fs::write(file, "2");
        }
    }
}

/// Keeps a link of ours quiet: nobody takes a route or an address from who is behind it. In this thread's namespace.
pub(super) fn calm(link: &str) {
    for (file, value) in [
        ("ipv6", "accept_ra"),
        ("ipv6", "autoconf"),
        ("ipv4", "accept_redirects"),
        ("ipv6", "accept_redirects"),
        ("ipv4", "accept_source_route"),
    ]
    .map(|(family, name)| (format!("/proc/sys/net/{family}/conf/{link}/{name}"), "0"))
    {
        // A host without IPv6 has nothing to take.
        let _ = fs::write(file, value);
    }
    // The link's own IPv6 address is usable at once: its hardware address is nobody else's.
    let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{link}/accept_dad"), "0");
}

/// Lets packets from 127.0.0.1 leave through this link, whose ports they were sent to; the shared table keeps others from
/// coming that way.
pub(super) fn serve_loopback(link: &str) -> Result<(), StepError> {
    let file = format!("/proc/sys/net/ipv4/conf/{link}/route_localnet");
    match Path::new(&file).exists() {
        true => fs::write(&file, "1").at("write", &file),
        false => Ok(()),
    }
}
