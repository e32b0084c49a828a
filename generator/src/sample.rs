//! Values that tests start from.

use std::path::{Path, PathBuf};

use skep_spec::{Access, ContainerSpec, Root, Users};

use crate::addresses::Pool;
use crate::property::Property;
use crate::wanted::{Ids, Wanted};

/// A container that only boots a directory.
pub(crate) fn spec(root: &str) -> ContainerSpec {
    let root = Root {
        path: Some(PathBuf::from(root)),
        template: None,
        access: Access::Write,
    };
    ContainerSpec::of(root, Users::Private { base: 0 })
}

/// A declaration of such a container, with properties of `[Unit]` and `[Service]`.
pub(crate) fn wanted(name: &str, properties: Vec<Property>) -> Wanted {
    Wanted {
        name: name.to_owned(),
        source: Path::new("/etc/skep").join(format!("{name}.container")),
        spec: spec(&format!("/var/lib/machines/{name}")),
        ids: Ids::Pick,
        pool: Pool::of(None, &[]),
        properties,
        wanted_by: Vec::new(),
    }
}
