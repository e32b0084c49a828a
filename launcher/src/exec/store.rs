//! Mounts a store or a part of it, read-only at the same path.
//!
//! A part is a tmpfs in which each item has its mount point, so a root that stays is left without hundreds of them. Who may
//! build in a store chooses what an item is, a link to anywhere included: none is followed here.

use std::ffi::CString;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};
use nix::unistd::symlinkat;

use crate::exec::WORK;
use crate::exec::root::{c_path, explain_idmap};
use crate::exec::target::{Kind, Targets};
use crate::plan::store::View;
use crate::step::{At, StepError};
use crate::sys::creds::AsOwner;
use crate::sys::mount::{Attr, Depth, attach, clone_tree, new_filesystem, set_attr, set_idmap};

/// No item may be written, is setuid or a device.
const SEALED: Attr = Attr {
    read_only: true,
    nosuid: true,
    nodev: true,
    noexec: false,
};

/// Mounts what `view` says below the new root.
pub fn mount(targets: &Targets, userns: Option<BorrowedFd>, view: &View) -> Result<(), StepError> {
    let object = view.store.display();
    let store =
        clone_tree(AT_FDCWD, &c_path(&view.store)?, Depth::Recursive).at("open store", &object)?;
    if let Some(userns) = userns {
        set_idmap(store.as_fd(), userns, Depth::Recursive)
            .at("idmap store", &object)
            .map_err(|err| {
                explain_idmap(err, &store, "move the store", "set PrivateUsers=identity")
            })?;
    }
    set_attr(store.as_fd(), SEALED, Depth::Recursive).at("set attributes of store", &object)?;
    let target = targets.declared(&view.store, Kind::Directory)?;
    match &view.items {
        None => attach(store.as_fd(), target.as_fd()).at("attach store", &object),
        Some(items) => {
            mount_items(targets, &store, target.as_fd(), items).map_err(|err| StepError {
                object: format!("{object}/{}", err.object),
                ..err
            })
        }
    }
}

/// Mounts the items of `store` in a tmpfs on `target`.
fn mount_items(
    targets: &Targets,
    store: &OwnedFd,
    target: BorrowedFd,
    items: &[String],
) -> Result<(), StepError> {
    // Attached out of the container's sight: only then can parts of it be cloned, which inherit its ids and attributes.
    let area = Path::new(WORK).join("store");
    fs::create_dir(&area).at("create", area.display())?;
    attach(store.as_fd(), open(AT_FDCWD, &area)?.as_fd()).at("attach", area.display())?;
    let source = open(AT_FDCWD, &area)?;
    let owner = CString::new(targets.owner.to_string()).unwrap_or_default();
    let options = [
        (c"mode", Some(c"755")),
        (c"uid", Some(owner.as_c_str())),
        (c"gid", Some(owner.as_c_str())),
        (c"size", Some(c"4m")),
        (c"nr_inodes", Some(c"100k")),
    ];
    let top = new_filesystem(
        c"tmpfs",
        &options,
        Attr {
            read_only: false,
            ..SEALED
        },
    )
    .at("mount tmpfs on", "")?;
    attach(top.as_fd(), target).at("attach tmpfs to", "")?;
    for item in items {
        mount_item(targets, source.as_fd(), top.as_fd(), item)?;
    }
    set_attr(top.as_fd(), SEALED, Depth::One).at("make read-only", "")
}

fn mount_item(
    targets: &Targets,
    source: BorrowedFd,
    top: BorrowedFd,
    item: &str,
) -> Result<(), StepError> {
    let name = Path::new(item);
    let found = open(source, name).map_err(|err| {
        if err.is(Errno::ENOENT) {
            err.cure("the store does not have it")
        } else {
            err
        }
    })?;
    let kind = SFlag::from_bits_truncate(fstat(&found).at("stat", item)?.st_mode) & SFlag::S_IFMT;
    if kind == SFlag::S_IFLNK {
        let text = readlinkat(source, name).at("read link", item)?;
        let _owner = AsOwner::of(targets.owner);
        return symlinkat(text.as_os_str(), top, name).at("link", item);
    }
    if kind == SFlag::S_IFDIR {
        mkdirat(top, name, Mode::from_bits_truncate(0o555)).at("make mount point", item)?;
    } else {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        openat(top, name, flags, Mode::from_bits_truncate(0o444)).at("make mount point", item)?;
    }
    let mount = clone_tree(found.as_fd(), c"", Depth::Recursive).at("clone mount of", item)?;
    attach(mount.as_fd(), open(top, name)?.as_fd()).at("attach", item)
}

/// Opens a path whose last part is not followed.
fn open(directory: impl AsFd, path: &Path) -> Result<OwnedFd, StepError> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(directory, path, flags, Mode::empty()).at("open", path.display())
}
