//! The network of a container by its declaration.

use std::net::IpAddr;

use serde::Serialize;
use skep_spec::{ContainerSpec, Join, Link, Network};

use crate::problem::shown;

/// Links and ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct NetworkView {
    /// `private`, `host`, `netns:PATH` or `container:NAME`.
    pub(crate) namespace: String,
    pub(crate) links: Vec<LinkView>,
    /// As `8080/tcp to 80`.
    pub(crate) ports: Vec<String>,
}

/// One link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct LinkView {
    /// Inside.
    pub(crate) name: String,
    /// Where it leads.
    pub(crate) kind: String,
    pub(crate) addresses: Vec<String>,
    pub(crate) gateways: Vec<IpAddr>,
}

pub(super) fn declared(spec: &ContainerSpec) -> NetworkView {
    let namespace = match (spec.network, &spec.net.join) {
        (Network::Host, _) => "host".to_owned(),
        (_, Some(Join::Path(path))) => format!("netns:{}", shown(path)),
        (_, Some(Join::Container(name))) => format!("container:{name}"),
        _ => "private".to_owned(),
    };
    NetworkView {
        namespace,
        links: spec.net.links.iter().map(LinkView::of).collect(),
        ports: spec.net.ports.iter().map(ToString::to_string).collect(),
    }
}

impl LinkView {
    fn of(link: &Link) -> LinkView {
        LinkView {
            name: link.name.clone(),
            kind: link.kind.to_string(),
            addresses: link.addresses.iter().map(ToString::to_string).collect(),
            gateways: link.gateways.clone(),
        }
    }
}

impl NetworkView {
    /// One line for each link.
    pub(crate) fn lines(&self) -> Vec<String> {
        if self.links.is_empty() {
            return vec![self.namespace.clone()];
        }
        let line = |link: &LinkView| {
            let addresses = match link.addresses.is_empty() {
                true => ", configured by the container".to_owned(),
                false => format!(", {}", link.addresses.join(", ")),
            };
            format!("{} to {}{addresses}", link.name, link.kind)
        };
        self.links.iter().map(line).collect()
    }
}
