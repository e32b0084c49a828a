//! The host's own settings: forwarding, router advertisements, packets to 127.0.0.1.
//!
//! Forwarding has one switch for all links in IPv6, and in IPv4 an answer comes in through a link that is not known in
//! advance. So the switch is set, and where it was off before, the packet filter lets nothing pass that does not come from
//! a container or go to one: for everybody else it stays off. With the last container it is set back, unless another
//! program has begun to rely on it.

use std::fs;
use std::path::PathBuf;

use super::record::{Record, Records};
use super::rules::Opened;
use crate::step::{At, StepError};

const V4: &str = "/proc/sys/net/ipv4/ip_forward";
const V6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";

/// One switch: as it is, and as containers need it.
#[derive(Debug)]
struct Switch {
    file: &'static str,
    /// Exists while it is on because of containers; lists the links whose router advertisements are kept.
    note: PathBuf,
    wanted: bool,
    on: bool,
    ours: bool,
}

/// Both switches. What opens is done after the rules that limit it, what closes before they go.
#[derive(Debug)]
pub(super) struct Forwarding {
    v4: Switch,
    v6: Switch,
}

impl Forwarding {
    /// As these containers need it.
    pub(super) fn of(records: &Records, needing: &[Record]) -> Forwarding {
        let has = |v6: bool| {
            let masqueraded = needing.iter().flat_map(|one| &one.masqueraded);
            let reached = needing.iter().filter(|one| !one.ports.is_empty());
            let reached =
                reached.flat_map(|one| [one.reached.0, one.reached.1].into_iter().flatten());
            masqueraded
                .copied()
                .chain(reached)
                .any(|ip| ip.is_ipv6() == v6)
        };
        Forwarding {
            v4: Switch::read(V4, records.note("forwarding4"), has(false)),
            v6: Switch::read(V6, records.note("forwarding6"), has(true)),
        }
    }

    /// What is forwarded because of containers only.
    pub(super) fn opened(&self) -> Opened {
        Opened {
            v4: self.v4.opened(),
            v6: self.v6.opened(),
        }
    }

    /// Switches on what is needed.
    pub(super) fn open(&self) -> Result<(), StepError> {
        self.v4.open()?;
        self.v6.open()
    }

    /// Switches off what is not needed any more, unless somebody `else_needs` it.
    pub(super) fn close(&self, else_needs: bool) -> Result<(), StepError> {
        self.v4.close(else_needs)?;
        self.v6.close(else_needs)
    }
}

impl Switch {
    fn read(file: &'static str, note: PathBuf, wanted: bool) -> Switch {
        // A host without IPv6 has no such file, and nothing to switch.
        let now = fs::read_to_string(file).ok();
        Switch {
            file,
            ours: note.exists(),
            note,
            wanted: wanted && now.is_some(),
            on: now.is_some_and(|now| now.trim() != "0"),
        }
    }

    fn opened(&self) -> bool {
        self.wanted && (self.ours || !self.on)
    }

    fn open(&self) -> Result<(), StepError> {
        if !self.wanted || self.on {
            return Ok(());
        }
        let hearing = match self.file == V6 {
            true => hearing(),
            false => Vec::new(),
        };
        fs::write(&self.note, hearing.join("\n")).at("write", self.note.display())?;
        for link in hearing {
            // Gone meanwhile: it needs nothing.
            let _ = fs::write(hears(&link), "2");
        }
        fs::write(self.file, "1").at("write", self.file)
    }

    fn close(&self, else_needs: bool) -> Result<(), StepError> {
        if self.wanted || !self.ours {
            return Ok(());
        }
        if self.on && !else_needs {
            fs::write(self.file, "0").at("write", self.file)?;
            let kept = fs::read_to_string(&self.note).unwrap_or_default();
            for file in kept.lines().map(hears) {
                if fs::read_to_string(&file).is_ok_and(|now| now.trim() == "2") {
                    let _ = fs::write(file, "1");
                }
            }
        }
        fs::remove_file(&self.note).at("remove", self.note.display())
    }
}

/// Links that hear router advertisements as long as the host is no router: its own default route may come from one, so they
/// are told to go on.
fn hearing() -> Vec<String> {
    let links = fs::read_dir("/proc/sys/net/ipv6/conf")
        .into_iter()
        .flatten();
    let names = links
        .flatten()
        .filter_map(|link| link.file_name().into_string().ok());
    names
        .filter(|name| name != "all")
        .filter(|name| fs::read_to_string(hears(name)).is_ok_and(|now| now.trim() == "1"))
        .collect()
}

fn hears(link: &str) -> String {
    format!("/proc/sys/net/ipv6/conf/{link}/accept_ra")
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

/// Whether what passes through bridges goes through the host's IPv6 packet filter. Then an answer to ::1 is given its
/// destination before it enters the host's stack, which refuses it.
pub(super) fn filters_bridges() -> bool {
    fs::read_to_string("/proc/sys/net/bridge/bridge-nf-call-ip6tables")
        .is_ok_and(|now| now.trim() == "1")
}

fn local(link: &str) -> String {
    format!("/proc/sys/net/ipv4/conf/{link}/route_localnet")
}

/// Whether packets from 127.0.0.1 leave through this link.
pub(super) fn serves_loopback(link: &str) -> bool {
    // A link that is gone, too, needs no setting.
    fs::read_to_string(local(link)).is_ok_and(|now| now.trim() != "0")
}

/// Lets packets from 127.0.0.1 leave through this link, whose ports they were sent to; the shared table keeps others from
/// coming that way.
pub(super) fn serve_loopback(link: &str) -> Result<(), StepError> {
    fs::write(local(link), "1").at("write", local(link))
}

/// Sets that back.
pub(super) fn leave_loopback(link: &str) {
    // Gone with its link.
    let _ = fs::write(local(link), "0");
}
