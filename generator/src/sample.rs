//! Values that tests start from.

use std::path::{Path, PathBuf};

use skep_spec::{Access, ContainerSpec, Network, Root, Users};

use crate::property::Property;
use crate::wanted::{Ids, Wanted};

/// A container that only boots a directory.
pub(crate) fn spec(root: &str) -> ContainerSpec {
    ContainerSpec {
        root: Root {
            path: PathBuf::from(root),
            access: Access::Write,
        },
        init: None,
        parameters: Vec::new(),
        hostname: None,
        machine_id: None,
        environment: Vec::new(),
        pass_environment: Vec::new(),
        binds: Vec::new(),
        temporary: Vec::new(),
        users: Users::Private { base: 0 },
        network: Network::Private,
        kill_signal: None,
        notify_ready: None,
    }
}

/// A declaration of such a container, with properties of `[Unit]` and `[Service]`.
pub(crate) fn wanted(name: &str, properties: Vec<Property>) -> Wanted {
    Wanted {
        name: name.to_owned(),
        source: Path::new("/etc/skep").join(format!("{name}.container")),
        spec: spec(&format!("/var/lib/machines/{name}")),
        ids: Ids::Pick,
        properties,
        wanted_by: Vec::new(),
    }
}
