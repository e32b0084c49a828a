//! The container's network managers are told what its links have: who configures a link anew would first take away what
//! is there.
//!
//! systemd-networkd gets the same configuration, in `/run`, and finds it applied; a file of the container's own whose name
//! comes before it wins. NetworkManager is told to leave the links alone. Others do not run (`table`).

use std::fmt::Write as _;

use skep_spec::{ContainerSpec, Link, Network};

use super::Adaptation;
use crate::plan::mounts::MountOp;
use crate::tree::services::{Runner, Services};

pub(super) fn plan(spec: &ContainerSpec, services: &Services, adaptation: &mut Adaptation) {
    let configured = |link: &&Link| !link.addresses.is_empty();
    let links: Vec<&Link> = spec.net.links.iter().filter(configured).collect();
    if spec.network != Network::Private || links.is_empty() || spec.command.is_some() {
        return;
    }
    if services.runner == Runner::Systemd {
        directories(&["/run/systemd", "/run/systemd/network"], adaptation);
        for link in &links {
            let path = format!("/run/systemd/network/10-skep-{}.network", link.name);
            let text = network_file(spec, link);
            adaptation
                .mounts
                .push(MountOp::File(path.into(), text.into_bytes()));
        }
    }
    directories(
        &["/run/NetworkManager", "/run/NetworkManager/conf.d"],
        adaptation,
    );
    let names: Vec<String> = links
        .iter()
        .map(|link| format!("interface-name:{}", link.name))
        .collect();
    let text = format!(
        "# Written by skep: these links are configured.\n[keyfile]\nunmanaged-devices+={}\n",
        names.join(";")
    );
    let path = "/run/NetworkManager/conf.d/skep.conf".into();
    adaptation
        .mounts
        .push(MountOp::File(path, text.into_bytes()));
}

fn directories(paths: &[&str], adaptation: &mut Adaptation) {
    adaptation
        .mounts
        .extend(paths.iter().map(|path| MountOp::Directory {
            path: path.into(),
            mode: 0o755,
        }));
}

/// A systemd.network(5) file.
fn network_file(spec: &ContainerSpec, link: &Link) -> String {
    let mut text = format!(
        "# Written by skep: what the link already has.\n[Match]\nName={}\n\n[Network]\n\
         DHCP=no\nIPv6AcceptRA=no\nKeepConfiguration=yes\nIPv6DuplicateAddressDetection=0\n",
        link.name
    );
    // Writing to a String cannot fail.
    for server in &spec.net.dns {
        let _ = writeln!(text, "DNS={server}");
    }
    for address in &link.addresses {
        let _ = writeln!(text, "Address={address}");
    }
    for gateway in &link.gateways {
        let _ = writeln!(text, "\n[Route]\nGateway={gateway}\nGatewayOnLink=yes");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests_support::spec;
    use skep_spec::{LinkKind, Subnet};

    #[test]
    fn managers_are_told() {
        let mut spec = spec();
        spec.net.links.push(Link {
            addresses: vec![Subnet {
                address: [192, 0, 2, 2].into(),
                prefix: 30,
            }],
            gateways: vec![[192, 0, 2, 1].into()],
            ..Link::of(LinkKind::Veth)
        });
        let mut got = Adaptation::default();
        let services = Services {
            runner: Runner::Systemd,
            ..Services::default()
        };
        plan(&spec, &services, &mut got);
        let text: String = got
            .mounts
            .iter()
            .filter_map(|op| match op {
                MountOp::File(path, text) => Some(format!(
                    "{}\n{}",
                    path.display(),
                    String::from_utf8_lossy(text)
                )),
                _ => None,
            })
            .collect();
        for part in [
            "/run/systemd/network/10-skep-host0.network",
            "Name=host0\n",
            "Address=192.0.2.2/30\n",
            "[Route]\nGateway=192.0.2.1\nGatewayOnLink=yes\n",
            "unmanaged-devices+=interface-name:host0\n",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        spec.net.links[0].addresses.clear();
        let mut got = Adaptation::default();
        plan(&spec, &services, &mut got);
        assert_eq!(got, Adaptation::default());
    }
}
