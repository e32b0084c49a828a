//! The launch plan: everything a start will do, as a plain value that can be printed and compared.
//!
//! Computed from the spec, the host's and the tree's facts, without I/O. `exec` walks it and decides nothing.

pub mod environment;
pub mod ids;
pub mod init;
pub mod mounts;
pub mod security;
pub mod store;

use std::fmt;
use std::path::{Path, PathBuf};

use skep_spec::{Access, ContainerSpec, Network};

use crate::host::HostFacts;
use crate::lock::Lock;
use crate::plan::ids::Ids;
use crate::plan::init::Init;
use crate::plan::mounts::MountOp;
use crate::plan::store::SystemPlan;
use crate::sys::caps::CapSet;
use crate::sys::fd::LockKind;
use crate::tree::TreeFacts;

/// What a start will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchPlan {
    /// Container name.
    pub name: String,
    /// Locks to hold while it runs.
    pub locks: Vec<Lock>,
    /// Host path of the tree; a fresh tmpfs when absent.
    pub root: Option<PathBuf>,
    /// What the container may do to it.
    pub access: Access,
    /// Id mapping.
    pub ids: Ids,
    /// Network namespace.
    pub network: Network,
    /// Mounts below the new root, in order.
    pub mounts: Vec<MountOp>,
    /// Host name inside.
    pub hostname: String,
    /// The first process.
    pub init: Init,
    /// Capabilities that stay in the bounding set.
    pub capabilities: CapSet,
    /// `PRETTY_NAME=` of the tree.
    pub os: Option<String>,
    /// What boots from a store.
    pub system: Option<SystemPlan>,
}

/// Plans the start of container `name` from the tree with `identity` (device, inode).
pub fn plan_launch(
    name: &str,
    spec: &ContainerSpec,
    host: &HostFacts,
    tree: &TreeFacts,
    identity: (u64, u64),
    environment: impl Fn(&str) -> Option<String>,
) -> LaunchPlan {
    let ids = Ids::of(spec.users);
    let machine_id = environment::machine_id(name, spec, host);
    LaunchPlan {
        name: name.to_owned(),
        locks: plan_locks(spec.root.path.as_deref(), spec.root.access, identity, &ids),
        root: spec.root.path.clone(),
        access: spec.root.access,
        ids,
        network: spec.network,
        mounts: mounts::plan_mounts(spec, &ids, host, tree, &machine_id),
        hostname: spec.hostname.clone().unwrap_or_else(|| name.to_owned()),
        init: init::plan_init(spec, host, tree, &machine_id, environment),
        capabilities: security::capabilities(spec.network),
        os: tree.os.clone(),
        system: None,
    }
}

/// The lock files that systemd-nspawn and machinectl use for the same tree and ids.
fn plan_locks(
    root: Option<&Path>,
    access: Access,
    (device, inode): (u64, u64),
    ids: &Ids,
) -> Vec<Lock> {
    let kind = if access == Access::Write {
        LockKind::Exclusive
    } else {
        LockKind::Shared
    };
    let mut locks = Vec::new();
    // The host's own OS is always copied on write.
    if let Some(root) = root.filter(|root| *root != Path::new("/")) {
        let what = format!("Root={}", root.display());
        let global = format!("/run/systemd/nspawn/locks/inode-{device}:{inode}");
        locks.push(Lock {
            path: global.into(),
            kind,
            what: what.clone(),
            optional: false,
        });
        if let (Some(parent), Some(file)) = (root.parent(), root.file_name()) {
            let path = parent.join(format!(".#{}.lck", file.to_string_lossy()));
            locks.push(Lock {
                path,
                kind,
                what,
                optional: true,
            });
        }
    }
    if ids.picked() {
        let path = format!("/run/systemd/nspawn-uid/{}", ids.base).into();
        let what = format!("id range {}", ids.base);
        locks.push(Lock {
            path,
            kind: LockKind::Exclusive,
            what,
            optional: false,
        });
    }
    locks
}

impl fmt::Display for LaunchPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access = match self.access {
            Access::Write => "writable",
            Access::ReadOnly => "read-only",
            Access::Ephemeral => "copy-on-write",
            Access::Volatile => "its /usr read-only, all else fresh",
        };
        for lock in &self.locks {
            writeln!(f, "lock {} ({})", lock.path.display(), lock.what)?;
        }
        match &self.root {
            Some(root) => writeln!(f, "root {} {access}", root.display())?,
            None => writeln!(f, "root on a fresh tmpfs")?,
        }
        if let Some(system) = &self.system {
            write!(f, "{system}")?;
        }
        writeln!(f, "ids {}", self.ids)?;
        let net = if self.network == Network::Host {
            "host"
        } else {
            "private, loopback only"
        };
        writeln!(f, "network {net}")?;
        for op in &self.mounts {
            writeln!(f, "{op}")?;
        }
        writeln!(f, "hostname {}", self.hostname)?;
        writeln!(
            f,
            "capabilities {}",
            security::names(self.capabilities).join(" ")
        )?;
        write!(f, "{}", self.init)
    }
}

#[cfg(test)]
pub(crate) mod tests_support {
    //! A plain spec for the tests of the planning modules.
    use skep_spec::{Access, ContainerSpec, Root, Users};

    pub(crate) fn spec() -> ContainerSpec {
        let root = Root {
            path: Some("/var/lib/machines/web".into()),
            template: None,
            access: Access::Write,
        };
        ContainerSpec::of(root, Users::Private { base: 655_360 })
    }
}
