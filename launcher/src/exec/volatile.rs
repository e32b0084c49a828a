//! `Volatile=yes`: a fresh root that has only the tree's `/usr`, as the "stateless" systems of systemd want it.

use std::ffi::OsString;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, readlinkat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::symlinkat;

use crate::exec::root::open_dir;
use crate::exec::{ROOT, WORK};
use crate::plan::LaunchPlan;
use crate::step::{At, StepError};
use crate::sys::creds::AsOwner;
use crate::sys::fd::open_no_links;
use crate::sys::mount::{Depth, attach as attach_mount, clone_tree};
use crate::tree::fresh;

/// Links into `/usr` that a merged-/usr system has in its root.
const MERGED: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// Directories that an OS expects to be there before it can make the rest itself.
const DIRECTORIES: [(&str, u32); 4] = [
    ("usr", 0o755),
    ("etc", 0o755),
    ("root", 0o700),
    ("var", 0o755),
];

/// Attaches a fresh tmpfs at [`ROOT`], with `/usr` of `tree` below it, and returns its root directory. `tree` is a detached
/// mount and read-only already.
pub fn attach(plan: &LaunchPlan, path: &Path, tree: BorrowedFd) -> Result<OwnedFd, StepError> {
    // Before Linux 6.15 a mount is copied only from one that is attached, and attached only below one that is.
    let place = Path::new(WORK).join("tree");
    fs::create_dir(&place).at("create", place.display())?;
    attach_mount(tree, open_dir(&place)?.as_fd()).at("attach", "tree")?;
    let place = open_dir(&place)?;
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let usr = open_no_links(place.as_fd(), Path::new("usr"), flags)
        .at("open /usr of", path.display())
        .map_err(|err| err.cure("Volatile=yes needs a tree with a directory /usr"))?;
    let usr = clone_tree(usr.as_fd(), c"", Depth::One).at("clone mount of", "/usr")?;
    attach_mount(
        fresh(&plan.ids)?.as_fd(),
        open_dir(Path::new(ROOT))?.as_fd(),
    )
    .at("attach", ROOT)?;
    let root = open_dir(Path::new(ROOT))?;
    furnish(plan, path, place.as_fd(), root.as_fd())?;
    let target = open_no_links(root.as_fd(), Path::new("usr"), flags).at("open", "/usr")?;
    attach_mount(usr.as_fd(), target.as_fd()).at("attach", "/usr")?;
    Ok(root)
}

/// Makes the links and directories of the fresh root.
fn furnish(
    plan: &LaunchPlan,
    path: &Path,
    tree: BorrowedFd,
    root: BorrowedFd,
) -> Result<(), StepError> {
    let mut links = Vec::new();
    for name in MERGED {
        if let Some(to) = merged(tree, name, path)? {
            links.push((name, to));
        }
    }
    let _owner = AsOwner::of(plan.ids.host(0));
    for (name, to) in links {
        symlinkat(to.as_os_str(), root, name).at("link", format_args!("/{name}"))?;
    }
    for (name, mode) in DIRECTORIES {
        mkdirat(root, name, Mode::from_bits_truncate(mode))
            .at("create", format_args!("/{name}"))?;
    }
    Ok(())
}

/// Where the link `name` in the root of the tree leads to, when it is there.
fn merged(tree: BorrowedFd, name: &str, path: &Path) -> Result<Option<OsString>, StepError> {
    match readlinkat(tree, name) {
        Ok(to) => Ok(Some(to)),
        Err(Errno::ENOENT) => Ok(None),
        Err(Errno::EINVAL) => Err(StepError::new(
            format!("/{name} is not a link into /usr in"),
            path.display(),
        )
        .cure("Volatile=yes needs a system with a merged /usr; use Volatile=overlay or state")),
        Err(err) => Err(err).at("read link", format_args!("/{name} of {}", path.display())),
    }
}
