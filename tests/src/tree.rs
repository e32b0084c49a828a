//! Cached OS trees: what test hosts and their guests boot.
//!
//! A tree is `trees/NAME/root`, with the recipe it was made from beside it; another recipe makes it anew. Trees are
//! never booted themselves: hosts lay an overlay over them, guests are copies.

mod busybox;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};

use crate::{
    command::{capture, program, run_logged},
    host, place, progress, tool,
};

/// Part of every recipe: raise it when what is done to a finished tree changes.
const RECIPE: &str = "debian 2";

/// What every Debian tree of ours has.
const BASE: &str = "iproute2,procps";

/// What it boots with, unless it has another init.
const SYSTEMD: &str = "systemd,systemd-sysv,dbus,libpam-systemd";

/// What a host has on top: tools of administrators, of tests and of the programs we are compared with.
const HOST: &str = "systemd-container,libnss-mymachines,util-linux,e2fsprogs,bubblewrap,busybox-static,kmod,nftables,less,strace,openssl,tzdata,squashfs-tools,erofs-utils,fdisk,python3-minimal";

/// On the newest host: the tools of both stores, and a real init of Guix.
const STORES: &str = "guix,shepherd,nix-bin,patchelf";

/// What a machine of its own has and a container has no use for.
const METAL: &str =
    "network-manager,ifupdown,isc-dhcp-client,udev,kmod,kbd,console-setup,e2fsprogs,cron";

/// A tree that can be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Name in the cache.
    pub name: &'static str,
    source: Source,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Debian {
        suite: &'static str,
        init: &'static str,
        extra: &'static [&'static str],
    },
    Busybox,
}

const fn debian(name: &'static str, suite: &'static str, extra: &'static [&'static str]) -> Tree {
    other_init(name, suite, SYSTEMD, extra)
}

const fn other_init(
    name: &'static str,
    suite: &'static str,
    init: &'static str,
    extra: &'static [&'static str],
) -> Tree {
    Tree {
        name,
        source: Source::Debian { suite, init, extra },
    }
}

/// All trees: three hosts, then guests.
pub const ALL: &[Tree] = &[
    debian("bookworm-host", "bookworm", &[HOST]),
    debian("trixie-host", "trixie", &[HOST]),
    debian("sid-host", "sid", &[HOST, STORES]),
    debian("debian-12", "bookworm", &[]),
    debian("debian-13", "trixie", &[]),
    debian("debian-sid", "sid", &[]),
    debian("metal", "trixie", &[METAL]),
    other_init("sysvinit", "trixie", "sysvinit-core", &["ifupdown", "cron"]),
    other_init(
        "openrc",
        "trixie",
        "openrc,sysvinit-core",
        &["ifupdown", "cron"],
    ),
    Tree {
        name: "busybox",
        source: Source::Busybox,
    },
];

impl Tree {
    /// The tree of that name.
    pub fn named(name: &str) -> Option<Tree> {
        ALL.iter().copied().find(|tree| tree.name == name)
    }

    /// The root directory, built first when it is missing or made from an older recipe.
    pub fn ready(self) -> Result<PathBuf> {
        tool::ensure_host_tools()?;
        let trees = place::trees();
        fs::create_dir_all(&trees).with_context(|| format!("cannot create {}", trees.display()))?;
        let lock = fs::File::create(trees.join(format!("{}.lock", self.name)))?;
        let _lock = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
        let directory = trees.join(self.name);
        let root = directory.join("root");
        let recipe = self.recipe();
        if fs::read_to_string(directory.join("recipe")).is_ok_and(|old| old == recipe) {
            return Ok(root);
        }
        if let Some(user) = host::list()?.iter().find(|host| host.uses_tree(self)) {
            bail!(
                "tree {} is out of date and host {} stands on it: take that down first",
                self.name,
                user.name()
            );
        }
        progress::step(
            format_args!("OS tree {} (once; about half a minute)", self.name),
            || {
                let temporary = trees.join(format!(".{}.new", self.name));
                remove_tree(&temporary)?;
                fs::create_dir(&temporary)?;
                self.build(
                    &temporary.join("root"),
                    &trees.join(format!("{}.log", self.name)),
                )?;
                fs::write(temporary.join("recipe"), &recipe)?;
                remove_tree(&directory)?;
                fs::rename(&temporary, &directory)?;
                Ok(root.clone())
            },
        )
    }

    /// Everything that decides what is in the tree.
    fn recipe(self) -> String {
        match self.source {
            Source::Busybox => busybox::RECIPE.to_owned(),
            Source::Debian { suite, init, extra } => {
                format!("{RECIPE} {suite} {}", arguments(init, extra).join(" "))
            }
        }
    }

    fn build(self, root: &Path, log: &Path) -> Result<()> {
        match self.source {
            Source::Busybox => busybox::build(root),
            Source::Debian { suite, init, extra } => {
                bootstrap(suite, arguments(init, extra), root, log)
            }
        }
    }
}

fn bootstrap(suite: &str, arguments: Vec<String>, root: &Path, log: &Path) -> Result<()> {
    let mut command = program("mmdebstrap", arguments);
    // The machine's own proxy, if apt has one, may be the only way out.
    let proxy = capture(&mut program("apt-config", ["dump", "Acquire::http::Proxy"]));
    let proxy = proxy.unwrap_or_default();
    if !proxy.trim().is_empty() {
        command.arg(format!("--aptopt={}", proxy.trim()));
    }
    command.arg(suite).arg(root);
    command.args(std::env::var_os("SKEP_TEST_MIRROR"));
    run_logged(&mut command, log)?;
    // These two are copies of this machine's; a tree from elsewhere does not have them.
    for path in ["etc/hostname", "etc/resolv.conf"] {
        let path = root.join(path);
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

fn arguments(init: &str, extra: &[&str]) -> Vec<String> {
    let packages: Vec<&str> = [BASE, init]
        .into_iter()
        .chain(extra.iter().copied())
        .collect();
    vec![
        "--variant=minbase".into(),
        "--mode=root".into(),
        "--format=directory".into(),
        // Snapshots and mirrors that lag are fine for tests.
        "--aptopt=Acquire::Check-Valid-Until \"false\"".into(),
        "--dpkgopt=path-exclude=/usr/share/locale/*".into(),
        format!("--include={}", packages.join(",")),
    ]
}

/// Removes a directory tree that may be missing.
pub fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Copies a tree with everything that belongs to it: owners, modes, times, xattrs, hard links.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut command = program(
        "cp",
        ["-a", "--reflink=auto", "--no-target-directory", "--"],
    );
    command.arg(from).arg(to);
    capture(&mut command).map(drop)
}
