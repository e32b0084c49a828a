//! The files by which names are looked up. With the host's network they are the host's, as they are now and as they
//! become: the supervisor follows them.

use std::net::IpAddr;

use skep_spec::{Access, ContainerSpec, Join, Link, LinkKind, Network, ResolvConf};

use super::Adaptation;
use crate::plan::mounts::MountOp;
use crate::tree::services::Services;

/// What the host's network shares.
pub const NAMES: [&str; 4] = [HOSTS, "/etc/nsswitch.conf", RESOLV_CONF, "/etc/services"];

/// hosts(5).
pub const HOSTS: &str = "/etc/hosts";

/// resolv.conf(5).
pub const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What a file that the supervisor fills is filled with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The content of this file of the host.
    File(&'static str),
    /// This text, then the containers on these networks.
    Neighbours(Vec<u8>, Vec<String>),
    /// A resolv.conf with these name servers; with those of the host that a container can reach when there are none.
    Servers(Vec<IpAddr>),
}

/// Where containers are listed that are on one network, in files of its link's name.
pub const NETWORKS: &str = "/run/skep/names";

/// What comes before the running containers in the host's hosts file, where they are wanted there.
pub const BEGIN: &str = "# BEGIN skep";

/// What comes after them.
pub const END: &str = "# END skep";

/// A hosts file for those who have none.
pub const LOCALHOST: &str = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n";

pub(super) fn plan(spec: &ContainerSpec, services: &Services, adaptation: &mut Adaptation) {
    // ResolvConf= may ask for another one, or for none.
    let asked = spec.resolv_conf != ResolvConf::Auto;
    match spec.network {
        Network::Host => {
            for path in NAMES
                .into_iter()
                .filter(|path| !asked || *path != RESOLV_CONF)
            {
                let op = MountOp::Follow {
                    host: path,
                    target: path,
                };
                over(path, op, spec, services, adaptation);
            }
        }
        Network::Private | Network::Joined => {
            let networks: Vec<String> = spec.net.links.iter().filter_map(network).collect();
            if networks.is_empty() {
                hosts(spec, services, adaptation);
            } else {
                neighbours(networks, spec, services, adaptation);
            }
            let net = &spec.net;
            // A link without addresses is configured by the container, name servers included. A joined container is where
            // the other is, which most of the time is masqueraded.
            let masqueraded = net
                .links
                .iter()
                .any(|link| matches!(link.kind, LinkKind::Nat(_)));
            let beside = matches!(net.join, Some(Join::Container(_)));
            if !asked && (masqueraded || beside || !net.dns.is_empty()) {
                let op = MountOp::Resolve(net.dns.clone());
                over(RESOLV_CONF, op, spec, services, adaptation);
            }
        }
    }
}

/// The link of the host behind which a link's neighbours are.
fn network(link: &Link) -> Option<String> {
    match &link.kind {
        LinkKind::Nat(bridge) | LinkKind::Bridge(bridge) => Some(bridge.clone()),
        LinkKind::Zone(zone) => Some(format!("vz-{zone}")),
        LinkKind::Veth | LinkKind::Macvlan(..) | LinkKind::Ipvlan(_) | LinkKind::Interface(_) => {
            None
        }
    }
}

/// The tree's hosts file with the neighbours below it.
fn neighbours(
    networks: Vec<String>,
    spec: &ContainerSpec,
    services: &Services,
    adaptation: &mut Adaptation,
) {
    let of_tree = services.hosts.as_deref();
    let own = match of_tree {
        _ if spec.root.access == Access::Volatile => LOCALHOST.to_owned(),
        None => LOCALHOST.to_owned(),
        Some(text) if text.len() >= LONGEST => {
            adaptation.notes.push(format!(
                "{HOSTS} of the tree is too long to have the names of other containers"
            ));
            return;
        }
        Some(text) => without_host_part(text),
    };
    let op = MountOp::Neighbours(own.into_bytes(), networks);
    over(HOSTS, op, spec, services, adaptation);
}

/// Longest hosts file of a tree that is taken over: what is longer was not read to its end.
const LONGEST: usize = 64 << 10;

/// What was for the host itself is left out of a copy of its own OS.
fn without_host_part(text: &str) -> String {
    let mut inside = false;
    let mut kept = String::new();
    for line in text.lines() {
        inside |= line == BEGIN;
        if !inside {
            kept.push_str(line);
            kept.push('\n');
        }
        inside &= line != END;
    }
    kept
}

/// Puts a file of ours over the tree's.
fn over(
    path: &str,
    op: MountOp,
    spec: &ContainerSpec,
    services: &Services,
    adaptation: &mut Adaptation,
) {
    // An empty mount point means to every reader what a missing file means.
    if services.names.contains(path) || spec.root.access != Access::ReadOnly {
        adaptation.mounts.push(op);
    } else {
        adaptation.notes.push(format!(
            "the read-only tree has no {path} over which the host's could be mounted"
        ));
    }
}

/// localhost is always found.
fn hosts(spec: &ContainerSpec, services: &Services, adaptation: &mut Adaptation) {
    // A volatile root has none of the tree's.
    if services.names.contains(HOSTS) && spec.root.access != Access::Volatile {
        return;
    }
    match spec.root.access {
        Access::Ephemeral | Access::Volatile => {
            let text = LOCALHOST.as_bytes().to_vec();
            adaptation.mounts.push(MountOp::Supply(HOSTS.into(), text));
        }
        // Nothing is written to a tree that stays.
        Access::Write | Access::ReadOnly => adaptation.notes.push(format!(
            "the tree has no {HOSTS}, so localhost may not be found"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests_support::spec;

    #[test]
    fn by_network_and_access() {
        let all: std::collections::BTreeSet<_> = NAMES.into();
        for (network, access, there, mounts, notes) in [
            (Network::Host, Access::Write, false, 4, 0),
            (Network::Host, Access::ReadOnly, false, 0, 4),
            (Network::Host, Access::ReadOnly, true, 4, 0),
            (Network::Private, Access::Write, true, 0, 0),
            (Network::Private, Access::Write, false, 0, 1),
            (Network::Private, Access::Ephemeral, false, 1, 0),
            (Network::Private, Access::Ephemeral, true, 0, 0),
            (Network::Private, Access::Volatile, true, 1, 0),
        ] {
            let mut spec = spec();
            (spec.network, spec.root.access) = (network, access);
            let services = Services {
                names: if there {
                    all.clone()
                } else {
                    Default::default()
                },
                ..Services::default()
            };
            let mut got = Adaptation::default();
            plan(&spec, &services, &mut got);
            assert_eq!(
                (got.mounts.len(), got.notes.len()),
                (mounts, notes),
                "{network:?} {access:?}"
            );
        }
    }

    #[test]
    fn neighbours_are_listed_where_there_can_be_some() {
        let resolve = || MountOp::Resolve(Vec::new());
        let list = |own: &str, network: &str| {
            MountOp::Neighbours(own.as_bytes().to_vec(), vec![network.into()])
        };
        let tree = format!("127.0.0.1 me\n{BEGIN}\n192.0.2.1 other\n{END}\n::1 me\n");
        for (kind, want) in [
            (
                LinkKind::Nat("skep0".into()),
                vec![list("127.0.0.1 me\n::1 me\n", "skep0"), resolve()],
            ),
            (
                LinkKind::Zone("a".into()),
                vec![list("127.0.0.1 me\n::1 me\n", "vz-a")],
            ),
            (LinkKind::Veth, vec![]),
        ] {
            let mut spec = spec();
            spec.net.links.push(Link::of(kind));
            let services = Services {
                names: NAMES.into(),
                hosts: Some(tree.clone()),
                ..Services::default()
            };
            let mut got = Adaptation::default();
            plan(&spec, &services, &mut got);
            assert_eq!(got.mounts, want);
        }
        let mut spec = spec();
        spec.net
            .links
            .push(Link::of(LinkKind::Bridge("br0".into())));
        let services = Services {
            hosts: Some("x".repeat(LONGEST)),
            ..Services::default()
        };
        let mut got = Adaptation::default();
        plan(&spec, &services, &mut got);
        assert!(got.mounts.is_empty() && got.notes[0].contains("too long"));
        spec.net.links.clear();
        spec.network = Network::Joined;
        spec.net.join = Some(Join::Container("web".into()));
        let mut got = Adaptation::default();
        plan(&spec, &services, &mut got);
        assert_eq!(got.mounts, [resolve()]);
    }
}
