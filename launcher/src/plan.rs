//! The launch plan: everything a start will do, as a plain value that can be printed and compared.
//!
//! Computed from the spec, the host's and the tree's facts, without I/O. `exec` walks it and decides nothing.

pub mod adapt;
pub mod command;
pub mod environment;
pub mod filter;
pub mod ids;
pub mod init;
pub mod journal;
pub mod mounts;
pub mod net;
pub mod security;
pub mod store;

use std::fmt;
use std::path::{Path, PathBuf};

use skep_spec::{Access, ContainerSpec, Join, Namespace, Network};

use crate::host::HostFacts;
use crate::lock::{Lock, TREES};
use crate::plan::adapt::Adaptation;
use crate::plan::adapt::names::Source;
use crate::plan::command::CommandPlan;
use crate::plan::ids::Ids;
use crate::plan::init::Init;
use crate::plan::mounts::MountOp;
use crate::plan::net::NetPlan;
use crate::plan::security::Limits;
use crate::plan::store::SystemPlan;
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
    /// What it is copied from when it does not exist.
    pub template: Option<PathBuf>,
    /// What the container may do to it.
    pub access: Access,
    /// Id mapping.
    pub ids: Ids,
    /// Network namespace.
    pub network: Network,
    /// What it holds.
    pub net: NetPlan,
    /// Mounts below the new root, in order.
    pub mounts: Vec<MountOp>,
    /// Machine id, 32 hex digits.
    pub machine_id: String,
    /// Host name inside.
    pub hostname: String,
    /// The first process.
    pub init: Init,
    /// What its processes can have at most.
    pub limits: Limits,
    /// Version of the init, where the tree says it.
    pub init_version: Option<String>,
    /// `PRETTY_NAME=` of the tree.
    pub os: Option<String>,
    /// What of the tree's own services does not run, and why.
    pub adaptation: Adaptation,
    /// Namespaces that are the host's.
    pub shared: Vec<Namespace>,
    /// How the first process runs when it is a single command.
    pub command: Option<CommandPlan>,
    /// Names of the sockets that the first process inherits, from descriptor 3 on.
    pub sockets: Vec<String>,
    /// What boots from a store.
    pub system: Option<SystemPlan>,
}

impl LaunchPlan {
    /// Whether the container has a namespace of this kind of its own.
    pub fn owns(&self, namespace: Namespace) -> bool {
        !self.shared.contains(&namespace)
    }

    /// Files of the host that files in the container follow, in the order of their operations.
    pub fn followed(&self) -> impl Iterator<Item = Source> {
        self.mounts.iter().filter_map(|op| match op {
            MountOp::Follow { host, .. } => Some(Source::File(host)),
            MountOp::Neighbours(own, networks) => {
                Some(Source::Neighbours(own.clone(), networks.clone()))
            }
            MountOp::Resolve(servers) => Some(Source::Servers(servers.clone())),
            _ => None,
        })
    }
}

/// Plans the start of container `name` from `tree`, which the locks call `key`.
pub fn plan_launch(
    name: &str,
    spec: &ContainerSpec,
    host: &HostFacts,
    tree: &TreeFacts,
    key: &str,
    environment: impl Fn(&str) -> Option<String>,
) -> LaunchPlan {
    let (spec, left_out) = &net::on_this_host(spec, host);
    let ids = Ids::of(spec.users);
    let machine_id = environment::machine_id(name, spec, host);
    let adaptation = adapt::plan_adaptation(spec, &tree.services);
    LaunchPlan {
        name: name.to_owned(),
        locks: plan_locks(spec, key),
        root: spec.root.path.clone(),
        template: spec.root.template.clone(),
        access: spec.root.access,
        ids,
        network: spec.network,
        net: NetPlan {
            left_out: left_out.clone(),
            ..NetPlan::of(name, spec, host)
        },
        mounts: match &spec.command {
            Some(command) => command::plan_mounts(spec, command, &ids),
            None => mounts::plan_mounts(spec, &ids, host, tree, &machine_id, &adaptation),
        },
        machine_id: machine_id.clone(),
        hostname: spec
            .hostname
            .clone()
            // A host name has no "@", an instance's name has one.
            .unwrap_or_else(|| name.replace('@', "-")),
        init: match &spec.command {
            Some(command) => command::plan_init(spec, command, environment),
            None => init::plan_init(spec, host, tree, &machine_id, environment),
        },
        limits: Limits::of(spec),
        init_version: tree.init_version.clone(),
        os: tree.os.clone(),
        adaptation,
        shared: spec.shared.clone(),
        command: spec.command.as_ref().map(CommandPlan::of),
        sockets: match &spec.command {
            Some(_) => Vec::new(),
            None => host.handed.sockets.clone(),
        },
        system: None,
    }
}

/// The lock files that systemd-nspawn and machinectl use for the same tree, which they call `key`, and the same ids.
pub fn plan_locks(spec: &ContainerSpec, key: &str) -> Vec<Lock> {
    let ids = Ids::of(spec.users);
    let root = spec.root.path.as_deref();
    let kind = if spec.root.access == Access::Write {
        LockKind::Exclusive
    } else {
        LockKind::Shared
    };
    let mut locks = Vec::new();
    // The host's own OS is always copied on write.
    if let Some(root) = root.filter(|root| *root != Path::new("/")) {
        let what = format!("Root={}", root.display());
        locks.push(Lock::of_tree(Path::new(TREES), key, kind, what.clone()));
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
            Some(root) => {
                write!(f, "root {} {access}", root.display())?;
                match &self.template {
                    Some(template) => {
                        writeln!(f, ", made from {} when missing", template.display())?
                    }
                    None => writeln!(f)?,
                }
            }
            None => writeln!(f, "root on a fresh tmpfs")?,
        }
        if let Some(system) = &self.system {
            write!(f, "{system}")?;
        }
        writeln!(f, "ids {}", self.ids)?;
        match (self.network, &self.net.join) {
            (Network::Host, _) => writeln!(f, "network host")?,
            (Network::Joined, Some(Join::Path(path))) => {
                writeln!(f, "network namespace {}", path.display())?
            }
            (Network::Joined, Some(Join::Container(other))) => {
                writeln!(f, "network of container {other}")?
            }
            _ if self.net.is_empty() => writeln!(f, "network private, loopback only")?,
            _ => writeln!(f, "network private")?,
        }
        write!(f, "{}", self.net)?;
        for namespace in &self.shared {
            writeln!(f, "namespace {namespace:?} of the host")?;
        }
        for op in &self.mounts {
            writeln!(f, "{op}")?;
        }
        writeln!(f, "hostname {}", self.hostname)?;
        write!(f, "{}", self.limits)?;
        if !self.sockets.is_empty() {
            writeln!(f, "sockets {}", self.sockets.join(" "))?;
        }
        write!(f, "{}{}", self.adaptation, self.init)?;
        self.command
            .iter()
            .try_for_each(|command| write!(f, "{command}"))
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
