//! Builds the tree of mounts below the new root, then makes it the root.
//!
//! Runs in the stage's mount namespace and in the guest's PID, IPC, cgroup and network namespaces, because proc, mqueue,
//! cgroup2 and sysfs show those of the process that mounts them. It keeps the initial user namespace's privileges.

mod cover;
mod provide;

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::mount::{MntFlags, umount2};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, bind, setsockopt, socket, sockopt,
};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat, mknodat, stat};
use nix::unistd::{fchdir, pivot_root, symlinkat};

use skep_spec::{Bind, Device, Missing, Network};

use crate::exec::explain::explain_filesystem;
use crate::exec::overlay;
use crate::exec::root::{c_path, explain_idmap};
use crate::exec::share::{create_source, refuse_interface, refuse_target};
use crate::exec::store;
use crate::exec::target::{Kind, Targets};
use crate::plan::LaunchPlan;
use crate::plan::adapt::names::{HOSTS, RESOLV_CONF};
use crate::plan::mounts::MountOp;
use crate::step::{At, StepError};
use crate::streams::follow_size;
use crate::supervise::addresses;
use crate::sync::{Channel, Frame};
use crate::sys::creds::AsOwner;
use crate::sys::fd::open_in_root;
use crate::sys::link::loopback_up;
use crate::sys::mount::{
    Attr, Depth, attach, clone_tree, new_filesystem, set_attr, set_idmap, set_writable,
};
use crate::sys::pty::{self, Size};

/// The walk through the mount operations, and what it leaves for the supervisor.
struct Builder<'a> {
    targets: Targets,
    userns: Option<BorrowedFd<'a>>,
    covers: u32,
    overlays: u32,
    console: Option<OwnedFd>,
    notify: Option<OwnedFd>,
    /// What the host sees of the sockets that the container exports.
    export: Option<OwnedFd>,
    /// Files that the supervisor fills, in the order of the plan.
    followed: Vec<OwnedFd>,
    caller: Caller,
}

/// Whether the console is joined to a terminal of the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    /// A command's is.
    HasTerminal,
    /// That of a container that boots leads to the journal.
    None,
}

/// Builds everything in `plan` below `root` and reports [`Frame::Built`].
pub fn build(
    plan: &LaunchPlan,
    userns: Option<BorrowedFd>,
    root: OwnedFd,
    channel: &Channel,
) -> Result<(), StepError> {
    let targets = Targets {
        root,
        owner: plan.ids.host(0),
        interfaces: Vec::new(),
    };
    let mut builder = Builder {
        targets,
        userns,
        covers: 0,
        overlays: 0,
        console: None,
        notify: None,
        export: None,
        followed: Vec::new(),
        caller: match plan.command {
            Some(_) => Caller::HasTerminal,
            None => Caller::None,
        },
    };
    // The ids are switched once for many operations.
    let mut owner = None;
    for op in &plan.mounts {
        if reads_host_tree(op) {
            owner = None;
        } else if owner.is_none() {
            owner = Some(AsOwner::of(plan.ids.host(0)));
        }
        builder.apply(op)?;
    }
    drop(owner);
    if plan.network == Network::Private {
        set_up_network()?;
    }
    // Without it the container only shows no addresses.
    let boots = plan.command.is_none() && plan.network != Network::Host;
    let addresses = boots.then(addresses::open).and_then(Result::ok);
    enter(builder.targets.root.as_fd())?;
    let built = [
        &builder.console,
        &builder.notify,
        &builder.export,
        &addresses,
    ];
    let built = built.into_iter().flatten().chain(&builder.followed);
    let built: Vec<_> = built.map(AsFd::as_fd).collect();
    channel.send(&Frame::Built, &built)
}

/// Sets up the links of this network namespace.
pub fn set_up_network() -> Result<(), StepError> {
    loopback_up().at("set up link", "lo")
}

/// Makes the built tree the root of every process here, the waiting guest included, and lets go of the host's.
fn enter(root: BorrowedFd) -> Result<(), StepError> {
    fchdir(root).at("enter", "new root")?;
    // With "." twice the old root lands on top of the new one, and the second call detaches it: pivot_root(2).
    pivot_root(".", ".").at("pivot to", "new root")?;
    umount2(".", MntFlags::MNT_DETACH).at("detach", "old root")
}

impl Builder<'_> {
    fn apply(&mut self, op: &MountOp) -> Result<(), StepError> {
        match op {
            MountOp::Filesystem {
                kind,
                target,
                options,
                attr,
            } => self.filesystem(kind, target, options, *attr),
            MountOp::Directory { path, mode } => self.directory(path, *mode),
            MountOp::Device(name) => self.device(name),
            MountOp::Node(device) => self.node(device),
            MountOp::Link { path, to } => self.link(path, to),
            MountOp::File(path, content) => self.file(path, content),
            MountOp::Cover(path, content) => self.cover(path, content),
            MountOp::Script(path, content) => self.cover_program(path, content),
            MountOp::Supply(path, content) => self.supply(path, content),
            MountOp::Follow { target, .. } => self.follow(Path::new(target)),
            MountOp::Neighbours(..) => self.follow(Path::new(HOSTS)),
            MountOp::Resolve(_) => self.follow(Path::new(RESOLV_CONF)),
            MountOp::Replace(path, content) => self.replace(path, content),
            MountOp::Mask(path) => self.mask(Path::new(path)),
            MountOp::MaskOfProcessors(name) => self.mask_of_processors(name),
            MountOp::ReadOnly(path) => self.again(
                Path::new(path),
                Attr {
                    read_only: true,
                    ..Attr::default()
                },
            ),
            MountOp::Writable(path) => self.again(Path::new(path), Attr::default()),
            MountOp::Console => self.console(),
            MountOp::NotifySocket(path) => self.notify_socket(path),
            MountOp::Inaccessible(path) => self.inaccessible(path),
            MountOp::Export(path) => self.export(path),
            MountOp::Credentials { target, source, .. } => match source {
                Some(source) => self.credentials(target, source),
                None => Ok(()),
            },
            MountOp::Localtime { zone, how } => self.localtime(zone.as_deref(), *how),
            MountOp::Freeze(path) => self.freeze(path),
            MountOp::Overlay(declared) => {
                self.overlays += 1;
                overlay::declared(declared, self.overlays, &self.targets, self.userns)
            }
            MountOp::Bind(bind) => self.bind(bind, key_of(bind), "add \":noidmap\" to the bind"),
            MountOp::Journal(bind) => self.bind(bind, "LinkJournal: ", "set LinkJournal=no"),
            MountOp::Store(view) => store::mount(&self.targets, self.userns, view),
        }
    }

    fn filesystem(
        &mut self,
        kind: &str,
        target: &Path,
        options: &[(String, Option<String>)],
        attr: Attr,
    ) -> Result<(), StepError> {
        let object = target.display();
        let text = |text: &str| {
            CString::new(text).map_err(|_| StepError::new("NUL in mount option of", &object))
        };
        let options = options
            .iter()
            .map(|(key, value)| Ok((text(key)?, value.as_deref().map(text).transpose()?)))
            .collect::<Result<Vec<_>, StepError>>()?;
        let options: Vec<_> = options
            .iter()
            .map(|(key, value)| (key.as_c_str(), value.as_deref()))
            .collect();
        let mount = new_filesystem(&text(kind)?, &options, attr)
            .at(&format!("mount {kind} on"), &object)
            .map_err(|err| explain_filesystem(err, kind))?;
        let place = if is_api(target) {
            self.targets.api_directory(target)?
        } else {
            let place = self.targets.declared(target, Kind::Directory)?;
            let what = format!("{kind} to {object}");
            refuse_interface(&self.targets, &place, target, &what)?;
            place
        };
        if is_interface(kind, target) {
            let device = fstat(&mount).at("stat", &object)?.st_dev;
            self.targets.interfaces.push(device);
        }
        attach(mount.as_fd(), place.as_fd()).at(&format!("attach {kind} to"), &object)
    }

    fn directory(&self, path: &Path, mode: u32) -> Result<(), StepError> {
        match self.targets.existing(path) {
            Err(Errno::ENOENT) => {}
            other => return other.map(drop).at("open", path.display()),
        }
        let (parent, name) = self.place(path)?;
        let _owner = AsOwner::of(self.targets.owner);
        mkdirat(&parent, name, Mode::from_bits_truncate(mode)).at("create", path.display())
    }

    fn device(&self, name: &str) -> Result<(), StepError> {
        let path = Path::new("/dev").join(name);
        let node =
            clone_tree(AT_FDCWD, &c_path(&path)?, Depth::One).at("open device", path.display())?;
        let attr = Attr {
            nosuid: true,
            noexec: true,
            ..Attr::default()
        };
        set_attr(node.as_fd(), attr, Depth::One).at("set attributes of", path.display())?;
        let target = self.targets.declared(&path, Kind::File)?;
        attach(node.as_fd(), target.as_fd()).at("attach device", path.display())
    }

    /// Made instead of bound: the container's root owns it, and no other mount of the host's /dev is involved.
    fn node(&self, device: &Device) -> Result<(), StepError> {
        let object = format!("Device={}", device.source.display());
        let stat = match stat(&device.source) {
            Err(Errno::ENOENT) if device.optional => return Ok(()),
            Err(err @ Errno::ENOENT) => {
                return Err(err).at("open", &object).map_err(|err| {
                    err.cure("load its driver, or write \"-\" before the path to leave it out when it is missing")
                });
            }
            other => other.at("stat", &object)?,
        };
        let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
        if kind != SFlag::S_IFCHR && kind != SFlag::S_IFBLK {
            return Err(StepError::new("not a device node:", object));
        }
        if let Some(parent) = device.target.parent() {
            self.targets.declared(parent, Kind::Directory)?;
        }
        let (parent, name) = self.place(&device.target)?;
        let _owner = AsOwner::of(self.targets.owner);
        let mode = Mode::from_bits_truncate(stat.st_mode & 0o666);
        mknodat(&parent, name, kind, mode, stat.st_rdev).at("make node", device.target.display())
    }

    fn link(&self, path: &Path, to: &str) -> Result<(), StepError> {
        let (parent, name) = self.place(path)?;
        let _owner = AsOwner::of(self.targets.owner);
        symlinkat(to, &parent, name).at("link", path.display())
    }

    fn file(&self, path: &Path, content: &[u8]) -> Result<(), StepError> {
        let (parent, name) = self.place(path)?;
        let _owner = AsOwner::of(self.targets.owner);
        cover::write_new(parent.as_fd(), name, 0o444, content).at("write", path.display())
    }

    /// The directory and the name of a path on a file system made by this builder.
    fn place<'p>(&self, path: &'p Path) -> Result<(OwnedFd, &'p Path), StepError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(StepError::new("not a path of a file:", path.display()));
        };
        let parent = self.targets.existing(parent).at("open", parent.display())?;
        Ok((parent, Path::new(name)))
    }

    /// Mounts what is at `path` over itself, read-only or writable.
    fn again(&self, path: &Path, attr: Attr) -> Result<(), StepError> {
        let target = match self.targets.existing(path) {
            Err(Errno::ENOENT) => return Ok(()),
            other => other.at("open", path.display())?,
        };
        let copy = clone_tree(target.as_fd(), c"", Depth::Recursive)
            .at("clone mount of", path.display())?;
        let set = if attr.read_only {
            set_attr(copy.as_fd(), attr, Depth::Recursive)
        } else {
            set_writable(copy.as_fd())
        };
        set.at("set attributes of", path.display())?;
        attach(copy.as_fd(), target.as_fd()).at("attach", path.display())
    }

    fn console(&mut self) -> Result<(), StepError> {
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
        let master = open_in_root(self.targets.root.as_fd(), Path::new("dev/pts/ptmx"), flags)
            .at("open", "/dev/pts/ptmx")?;
        let number = pty::unlock(master.as_fd()).at("unlock", "console")?;
        pty::set_size(
            master.as_fd(),
            Size {
                rows: 24,
                columns: 80,
            },
        )
        .at("set size of", "console")?;
        if self.caller == Caller::HasTerminal {
            // Before the command can ask: standard input is still the caller's terminal.
            follow_size(master.as_fd());
        }
        self.link(Path::new("/dev/console"), &format!("pts/{number}"))?;
        self.console = Some(master);
        Ok(())
    }

    fn notify_socket(&mut self, path: &Path) -> Result<(), StepError> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let sock = socket(AddressFamily::Unix, SockType::Datagram, flags, None)
            .at("create", "notify socket")?;
        setsockopt(&sock, sockopt::PassCred, &true).at("set up", "notify socket")?;
        let (parent, name) = self.place(path)?;
        // bind(2) takes no directory descriptor.
        fchdir(&parent).at("enter", "directory of the notify socket")?;
        let address = UnixAddr::new(name).at("bind", path.display())?;
        let _owner = AsOwner::of(self.targets.owner);
        bind(sock.as_raw_fd(), &address).at("bind", path.display())?;
        self.notify = Some(sock);
        Ok(())
    }

    fn freeze(&self, path: &Path) -> Result<(), StepError> {
        let mount = self.targets.existing(path).at("open", path.display())?;
        let attr = Attr {
            read_only: true,
            ..Attr::default()
        };
        set_attr(mount.as_fd(), attr, Depth::One).at("make read-only", path.display())
    }

    /// `otherwise` is what helps where ids cannot be mapped.
    fn bind(&self, bind: &Bind, key: &str, otherwise: &str) -> Result<(), StepError> {
        let object = format!("{key}{}", bind.source.display());
        let depth = if bind.recursive {
            Depth::Recursive
        } else {
            Depth::One
        };
        let source = match clone_tree(AT_FDCWD, &c_path(&bind.source)?, depth) {
            Err(Errno::ENOENT) if bind.missing == Missing::Skip => return Ok(()),
            Err(Errno::ENOENT) if bind.missing == Missing::Create => {
                create_source(&bind.source, &object)?;
                clone_tree(AT_FDCWD, &c_path(&bind.source)?, depth).at("open", &object)?
            }
            Err(err @ Errno::ENOENT) => {
                return Err(err).at("open", &object).map_err(|err| {
                    err.cure(
                        "create it, add \":create\" to the bind to have an empty directory made, or write \"-\" before the path to skip it when it is missing",
                    )
                });
            }
            other => other.at("open", &object)?,
        };
        if let (true, Some(userns)) = (bind.idmap, self.userns) {
            set_idmap(source.as_fd(), userns, depth)
                .at("idmap", &object)
                .map_err(|err| explain_idmap(err, &source, "move the source", otherwise))?;
        }
        let attr = Attr {
            read_only: bind.read_only,
            nosuid: bind.nosuid,
            nodev: bind.nodev,
            noexec: false,
        };
        set_attr(source.as_fd(), attr, depth).at("set attributes of", &object)?;
        let kind = Kind::of(source.as_fd()).at("stat", &object)?;
        let target = self.targets.declared(&bind.target, kind)?;
        let place = format_args!("{object} to {}", bind.target.display()).to_string();
        if Kind::of(target.as_fd()).at("stat", bind.target.display())? != kind {
            return Err(
                StepError::new("attach", place).cure("one is a directory, the other is not")
            );
        }
        refuse_target(&self.targets, &target, &bind.target, &place)?;
        attach(source.as_fd(), target.as_fd()).at("attach", place)
    }
}

/// Whether the operation opens files that the administrator named, as the host's root: a file system of the network may
/// tell users apart by itself.
fn reads_host_tree(op: &MountOp) -> bool {
    match op {
        MountOp::Filesystem { .. }
        | MountOp::Directory { .. }
        | MountOp::Device(_)
        | MountOp::Node(_)
        | MountOp::Script(..)
        | MountOp::Supply(..)
        | MountOp::Follow { .. }
        | MountOp::Resolve(_)
        | MountOp::Neighbours(..)
        | MountOp::Inaccessible(_)
        | MountOp::Export(_)
        | MountOp::Link { .. }
        | MountOp::File(..)
        | MountOp::Mask(_)
        | MountOp::MaskOfProcessors(_)
        | MountOp::ReadOnly(_)
        | MountOp::Writable(_)
        | MountOp::Console
        | MountOp::NotifySocket(_)
        | MountOp::Freeze(_) => false,
        MountOp::Cover(..)
        | MountOp::Credentials { .. }
        | MountOp::Localtime { .. }
        | MountOp::Replace(..)
        | MountOp::Overlay(_)
        | MountOp::Bind(_)
        | MountOp::Journal(_)
        | MountOp::Store(_) => true,
    }
}

fn key_of(bind: &Bind) -> &'static str {
    if bind.read_only {
        "BindReadOnly="
    } else {
        "Bind="
    }
}

/// Whether what is mounted at `target` is the kernel's or skep's own: the declaration cannot name it as a target either.
fn is_interface(kind: &str, target: &Path) -> bool {
    kind != "tmpfs" || ["/dev", "/run/host"].map(Path::new).contains(&target)
}

fn is_api(target: &Path) -> bool {
    ["/proc", "/sys", "/dev", "/run", "/tmp"]
        .iter()
        .any(|api| target.starts_with(api))
}
