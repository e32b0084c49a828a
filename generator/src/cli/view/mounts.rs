//! What a container has mounted by its declaration.

use serde::Serialize;
use skep_spec::{Access, ContainerSpec, Upper};

use crate::problem::shown;

/// One declared mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct MountView {
    /// `bind`, `overlay` or `tmpfs`.
    pub(crate) kind: &'static str,
    /// Where it comes from; several for an overlay, the topmost last.
    pub(crate) sources: Vec<String>,
    pub(crate) target: String,
    pub(crate) read_only: bool,
}

/// All of them, in the order in which they are mounted.
pub(super) fn declared(spec: &ContainerSpec) -> Vec<MountView> {
    let temporary = spec.temporary.iter().map(|mount| MountView {
        kind: "tmpfs",
        sources: Vec::new(),
        target: shown(&mount.target),
        read_only: mount.read_only,
    });
    let overlays = spec.overlays.iter().map(|mount| {
        let upper = match &mount.upper {
            Upper::Directory(path) => Some(path),
            Upper::Memory | Upper::ReadOnly => None,
        };
        MountView {
            kind: "overlay",
            sources: mount
                .lower
                .iter()
                .chain(upper)
                .map(|path| shown(path))
                .collect(),
            target: shown(&mount.target),
            read_only: mount.upper == Upper::ReadOnly,
        }
    });
    let binds = spec.binds.iter().map(|mount| MountView {
        kind: "bind",
        sources: vec![shown(&mount.source)],
        target: shown(&mount.target),
        read_only: mount.read_only,
    });
    temporary.chain(overlays).chain(binds).collect()
}

/// The tree and what the container may do to it.
pub(super) fn root(spec: &ContainerSpec) -> (Option<String>, &'static str) {
    let access = match spec.root.access {
        Access::Write => "writable",
        Access::ReadOnly => "read-only",
        Access::Ephemeral => "copy-on-write",
        Access::Volatile => "volatile",
    };
    (spec.root.path.as_deref().map(shown), access)
}

impl MountView {
    /// One line.
    pub(crate) fn line(&self) -> String {
        let from = match self.kind {
            "bind" => self.sources.join(""),
            "overlay" => format!("overlay of {}", self.sources.join(" ")),
            kind => kind.to_owned(),
        };
        let read_only = if self.read_only { " (read-only)" } else { "" };
        match self.kind == "bind" && from == self.target {
            true => format!("{from}{read_only}"),
            false => format!("{from} on {}{read_only}", self.target),
        }
    }
}
