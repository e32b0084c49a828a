//! The operations that a tree of mounts is built from, as values that can be printed.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use skep_spec::{Bind, Device, Missing, Overlay, Timezone, Upper};

use crate::plan::adapt::names::{HOSTS, RESOLV_CONF};
use crate::plan::store::View;
use crate::sys::mount::Attr;

/// One operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountOp {
    /// A new file system. The target is a real directory, made when missing.
    Filesystem {
        /// Type, as in filesystems(5).
        kind: &'static str,
        /// Where.
        target: PathBuf,
        /// Options without those of `attr`.
        options: Vec<(String, Option<String>)>,
        /// Mount attributes.
        attr: Attr,
    },
    /// A directory of the container's own root, made with this mode when missing.
    Directory {
        /// Where.
        path: PathBuf,
        /// Permissions.
        mode: u32,
    },
    /// A device node of the host.
    Device(&'static str),
    /// A device node of the host, made anew with the container's root as owner.
    Node(Device),
    /// A symbolic link on a file system made here.
    Link {
        /// Where.
        path: PathBuf,
        /// What it says.
        to: &'static str,
    },
    /// A file on a file system made here, readable by all.
    File(PathBuf, Vec<u8>),
    /// A file with this content over an existing file, read-only.
    Cover(PathBuf, Vec<u8>),
    /// A file with this content instead of an existing one, in a copy-on-write layer.
    Replace(PathBuf, Vec<u8>),
    /// A program with this content over an existing file, read-only.
    Script(PathBuf, Vec<u8>),
    /// A file with this content where there is none, in a copy-on-write layer.
    Supply(PathBuf, Vec<u8>),
    /// A file that the supervisor keeps like one of the host's, over what the tree has there, read-only. A mount point is
    /// made when missing, where that is possible.
    Follow {
        /// Of the host.
        host: &'static str,
        /// In the container.
        target: &'static str,
    },
    /// As [`MountOp::Follow`], /etc/resolv.conf: with these name servers, or else those of the host that a container can
    /// reach.
    Resolve(Vec<IpAddr>),
    /// As [`MountOp::Follow`], /etc/hosts: with this text and the containers on these networks.
    Neighbours(Vec<u8>, Vec<String>),
    /// An empty file or directory over what is there, so that a reader finds nothing instead of an error. Nothing there:
    /// skipped.
    Mask(&'static str),
    /// As `Mask`, for the file or directory of this name of each processor.
    MaskOfProcessors(&'static str),
    /// What is there, read-only with all below it. Nothing there: skipped.
    ReadOnly(&'static str),
    /// What is there, writable again inside a read-only part. Nothing there: skipped.
    Writable(&'static str),
    /// The container's console: a terminal of its own devpts, and the link to it.
    Console,
    /// The socket on which the init says that it is ready.
    NotifySocket(PathBuf),
    /// Six files that no process can use, one of each kind, over which a service manager mounts what it hides.
    Inaccessible(PathBuf),
    /// A small file system in which the container makes sockets that the host may connect to.
    Export(PathBuf),
    /// The unit's credentials, in memory that is never swapped.
    Credentials {
        /// Where.
        target: PathBuf,
        /// Directory that systemd made for the unit; none before it is started, or when it has none.
        source: Option<PathBuf>,
        /// Names or patterns that the declaration says.
        declared: Vec<String>,
    },
    /// The host's time zone over the tree's, a link over a link where it can be one.
    Localtime {
        /// The name of the zone.
        zone: Option<String>,
        /// How.
        how: Timezone,
    },
    /// An existing mount becomes read-only.
    Freeze(PathBuf),
    /// An overlay mount of directories of the host.
    Overlay(Overlay),
    /// A bind mount from the host.
    Bind(Bind),
    /// The directory of the container's journal on the host.
    Journal(Bind),
    /// A store of the host or a part of it.
    Store(View),
}

impl fmt::Display for MountOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MountOp::Filesystem {
                kind,
                target,
                options,
                attr,
            } => {
                write!(
                    f,
                    "mount {kind} on {}{}",
                    target.display(),
                    attributes(*attr)
                )?;
                for (key, value) in options {
                    write!(f, ",{key}")?;
                    if let Some(value) = value {
                        write!(f, "={value}")?;
                    }
                }
                Ok(())
            }
            MountOp::Directory { path, mode } => {
                write!(f, "directory {} {mode:04o}", path.display())
            }
            MountOp::Device(name) => write!(f, "device /dev/{name}"),
            MountOp::Node(device) => {
                let missing = if device.optional { " if it exists" } else { "" };
                let (source, target) = (device.source.display(), device.target.display());
                write!(f, "device {source} at {target}{missing}")
            }
            MountOp::Link { path, to } => write!(f, "link {} -> {to}", path.display()),
            MountOp::File(path, content) => {
                write!(f, "file {} ({} bytes)", path.display(), content.len())
            }
            MountOp::Cover(path, _) => write!(f, "cover {}", path.display()),
            MountOp::Script(path, _) => write!(f, "cover program {}", path.display()),
            MountOp::Supply(path, _) => write!(f, "file {} if there is none", path.display()),
            MountOp::Follow { host, target } if host == target => {
                write!(f, "follow the host's {host}")
            }
            MountOp::Follow { host, target } => write!(f, "follow the host's {host} on {target}"),
            MountOp::Resolve(servers) if servers.is_empty() => {
                write!(f, "follow the host's name servers in {RESOLV_CONF}")
            }
            MountOp::Neighbours(_, networks) => {
                write!(
                    f,
                    "list the containers on {} in {HOSTS}",
                    networks.join(", ")
                )
            }
            MountOp::Resolve(_) => write!(f, "cover {RESOLV_CONF}"),
            MountOp::Replace(path, _) => write!(f, "replace {}", path.display()),
            MountOp::Mask(path) => write!(f, "mask {path}"),
            MountOp::MaskOfProcessors(name) => write!(f, "mask {name} of each processor"),
            MountOp::ReadOnly(path) => write!(f, "read-only {path}"),
            MountOp::Writable(path) => write!(f, "writable {path}"),
            MountOp::Console => f.write_str("console /dev/console"),
            MountOp::NotifySocket(path) => write!(f, "notify socket {}", path.display()),
            MountOp::Inaccessible(path) => write!(f, "inaccessible files in {}", path.display()),
            MountOp::Export(path) => write!(f, "sockets for the host in {}", path.display()),
            MountOp::Credentials {
                target, declared, ..
            } => {
                write!(f, "credentials")?;
                declared.iter().try_for_each(|name| write!(f, " {name}"))?;
                write!(f, " of the unit in {}", target.display())
            }
            MountOp::Localtime { zone, how } => {
                let zone = zone.as_deref().unwrap_or("unnamed");
                write!(
                    f,
                    "time zone {zone} of the host on /etc/localtime ({how:?})"
                )
            }
            MountOp::Freeze(path) => write!(f, "read-only from now on {}", path.display()),
            MountOp::Store(view) => write!(f, "{view}"),
            MountOp::Overlay(overlay) => {
                f.write_str("overlay of")?;
                for lower in &overlay.lower {
                    write!(f, " {}", lower.display())?;
                }
                match &overlay.upper {
                    Upper::Directory(upper) => write!(f, " changed in {}", upper.display())?,
                    Upper::Memory => f.write_str(" changed in memory")?,
                    Upper::ReadOnly => f.write_str(" read-only")?,
                }
                write!(f, " on {}", overlay.target.display())
            }
            MountOp::Bind(bind) => write_bind(bind, f),
            MountOp::Journal(bind) => {
                f.write_str("journal: ")?;
                write_bind(bind, f)
            }
        }
    }
}

fn write_bind(bind: &Bind, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let attr = Attr {
        read_only: bind.read_only,
        nosuid: bind.nosuid,
        nodev: bind.nodev,
        noexec: false,
    };
    let missing = match bind.missing {
        Missing::Fail => "",
        Missing::Skip => " if it exists",
        Missing::Create => ", created when missing",
    };
    let depth = if bind.recursive { "rbind" } else { "bind" };
    let idmap = if bind.idmap { ",idmap" } else { "" };
    let (source, target) = (bind.source.display(), bind.target.display());
    write!(
        f,
        "{depth} {source} on {target}{}{idmap}{missing}",
        attributes(attr)
    )
}

fn attributes(attr: Attr) -> String {
    let names = [
        (attr.nosuid, ",nosuid"),
        (attr.nodev, ",nodev"),
        (attr.noexec, ",noexec"),
    ];
    let access = if attr.read_only { " ro" } else { " rw" };
    names
        .iter()
        .filter(|(on, _)| *on)
        .fold(access.to_owned(), |text, (_, name)| text + name)
}
