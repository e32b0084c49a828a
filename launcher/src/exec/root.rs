//! The new root: the tree, idmapped, never chowned.

use std::ffi::CString;
use std::fs::{self, DirBuilder};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::fstatfs;
use skep_spec::Access;

use crate::exec::overlay::Layers;
use crate::exec::{ROOT, WORK, volatile};
use crate::plan::LaunchPlan;
use crate::step::{At, StepError};
use crate::sys::mount::{
    Attr, Depth, attach as attach_mount, clone_tree, new_filesystem, set_attr, set_idmap,
};
use crate::tree::{Origin, Tree};

/// Attaches the tree at [`ROOT`] and returns its root directory. `tree` is the one that was locked.
pub fn attach(
    plan: &LaunchPlan,
    tree: &Tree,
    userns: Option<BorrowedFd>,
) -> Result<OwnedFd, StepError> {
    make_work_area()?;
    let root = match &plan.root {
        Some(path) => {
            let mount = of_declared(plan, path, tree, userns)?;
            match plan.access {
                Access::Write | Access::ReadOnly => mount,
                Access::Ephemeral => overlay(plan, path, mount.as_fd())?,
                Access::Volatile => return volatile::attach(plan, path, mount.as_fd()),
            }
        }
        None => tree.root.try_clone().at("duplicate", "root")?,
    };
    attach_mount(root.as_fd(), open_dir(Path::new(ROOT))?.as_fd()).at("attach", ROOT)?;
    open_dir(Path::new(ROOT))
}

/// A mount of the tree or image at `path` of the host, with the ids and attributes that the container is to see.
fn of_declared(
    plan: &LaunchPlan,
    path: &Path,
    tree: &Tree,
    userns: Option<BorrowedFd>,
) -> Result<OwnedFd, StepError> {
    let depth = match plan.access {
        Access::Ephemeral | Access::Volatile => Depth::One,
        Access::Write | Access::ReadOnly => Depth::Recursive,
    };
    let mount = match tree.origin {
        Origin::Host => of_host(path, tree.identity, depth)?,
        // Mounted by the supervisor, and mapped only here: before the clone there is no user namespace.
        Origin::Image | Origin::Fresh => tree.root.try_clone().at("duplicate", "root")?,
    };
    if let Some(userns) = userns {
        set_idmap(mount.as_fd(), userns, depth)
            .at("idmap", format_args!("Root={}", path.display()))
            .map_err(|err| {
                explain_idmap(err, &mount, "move the tree", "set PrivateUsers=identity")
            })?;
    }
    let attr = Attr {
        nodev: true,
        read_only: plan.access != Access::Write,
        ..Attr::default()
    };
    set_attr(mount.as_fd(), attr, depth).at("set attributes of", path.display())?;
    Ok(mount)
}

/// A copy of the mount at `path`, which must still be the tree that was locked.
fn of_host(path: &Path, identity: (u64, u64), depth: Depth) -> Result<OwnedFd, StepError> {
    let tree = clone_tree(AT_FDCWD, &c_path(path)?, depth).at("clone mount of", path.display())?;
    let stat = fstat(&tree).at("stat root", path.display())?;
    if (stat.st_dev, stat.st_ino) == identity {
        Ok(tree)
    } else {
        Err(StepError::new(
            "the tree was replaced while it was being opened:",
            path.display(),
        ))
    }
}

/// An error of an idmap that names the file system and what helps. EINVAL is the kernel's word for "cannot".
pub fn explain_idmap(err: StepError, tree: &OwnedFd, object: &str, otherwise: &str) -> StepError {
    if !err.is(Errno::EINVAL) {
        return err;
    }
    let kind = fstatfs(tree).map_or("unknown", |stat| match stat.filesystem_type().0 {
        0x794c_7630 => "overlay",
        0x6969 => "nfs",
        0x0102_1997 => "9p",
        0x6573_5546 => "fuse",
        0x2fc1_2fc1 => "zfs",
        0x9fa0 => "proc",
        0x6265_6572 => "sysfs",
        _ => "or a mount below it",
    });
    err.cure(format!(
        "this file system ({kind}) cannot be idmapped by this kernel: {object} to ext4, xfs, btrfs or tmpfs, or {otherwise}"
    ))
}

/// A tmpfs of the stage's own: mount points, the copy-on-write layer, and the sources of masks.
fn make_work_area() -> Result<(), StepError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(WORK)
        .at("create", WORK)?;
    let work = new_filesystem(c"tmpfs", &[(c"mode", Some(c"755"))], Attr::default())
        .at("create", "work tmpfs")?;
    attach_mount(work.as_fd(), open_dir(Path::new(WORK))?.as_fd()).at("mount tmpfs on", WORK)?;
    fs::create_dir(ROOT).at("create", ROOT)
}

/// A copy-on-write layer in memory over `lower`; it ends with the last process that sees it.
fn overlay(plan: &LaunchPlan, tree: &Path, lower: BorrowedFd) -> Result<OwnedFd, StepError> {
    let path = |name: &str| Path::new(WORK).join(name);
    fs::create_dir(path("lower")).at("create", path("lower").display())?;
    attach_mount(lower, open_dir(&path("lower"))?.as_fd()).at("attach", "lower layer")?;
    let mode = fstat(lower).at("stat", "lower layer")?.st_mode;
    let upper = Layers::in_memory(&path("memory"), plan.ids.host(0), mode)?;
    upper
        .mount(&[path("lower")])
        .at("mount overlay over", tree.display())
        .map_err(|err| {
            err.cure(
                "Ephemeral=yes and Root=/ need overlayfs, and a tree that is not itself an overlay",
            )
        })
}

/// Opens a directory of the host or of the work area.
pub fn open_dir(path: &Path) -> Result<OwnedFd, StepError> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty()).at("open", path.display())
}

/// A path as system calls take it.
pub fn c_path(path: &Path) -> Result<CString, StepError> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| StepError::new("NUL in path", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_tree_that_was_replaced_is_an_error() {
        let place = std::env::temp_dir().join(format!("skep-replaced-{}", std::process::id()));
        let (tree, locked) = (place.join("tree"), place.join("locked"));
        fs::create_dir_all(&tree).unwrap();
        let meta = fs::metadata(&tree).unwrap();
        let open = || of_host(&tree, (meta.dev(), meta.ino()), Depth::One);
        let opened = open();
        fs::rename(&tree, &locked).unwrap();
        fs::create_dir(&tree).unwrap();
        let replaced = open();
        fs::remove_dir_all(&place).unwrap();
        // As root only: mounts are cloned.
        opened.unwrap();
        let told = replaced.unwrap_err().to_string();
        assert!(told.starts_with("the tree was replaced"), "{told}");
    }
}
