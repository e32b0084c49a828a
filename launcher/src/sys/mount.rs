//! The mount API on descriptors: open_tree(2), mount_setattr(2), move_mount(2), fsopen(2) and relatives (Linux 5.12).

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::libc;

/// Attributes of a mount, as mount_setattr(2) names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attr {
    /// `MOUNT_ATTR_RDONLY`.
    pub read_only: bool,
    /// `MOUNT_ATTR_NOSUID`.
    pub nosuid: bool,
    /// `MOUNT_ATTR_NODEV`.
    pub nodev: bool,
    /// `MOUNT_ATTR_NOEXEC`.
    pub noexec: bool,
}

impl Attr {
    fn bits(self) -> u64 {
        let mut bits = 0;
        for (on, bit) in [
            (self.read_only, libc::MOUNT_ATTR_RDONLY),
            (self.nosuid, libc::MOUNT_ATTR_NOSUID),
            (self.nodev, libc::MOUNT_ATTR_NODEV),
            (self.noexec, libc::MOUNT_ATTR_NOEXEC),
        ] {
            if on {
                bits |= bit;
            }
        }
        bits
    }
}

/// Whether an operation covers the mounts below, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// This mount alone.
    One,
    /// The whole tree of mounts.
    Recursive,
}

impl Depth {
    fn bits(self) -> libc::c_int {
        match self {
            Depth::One => 0,
            Depth::Recursive => libc::AT_RECURSIVE,
        }
    }
}

/// A detached copy of the mount at `path` below `dir`; an empty path is `dir` itself. `path` is opened as is: links are
/// followed, so it must not be chosen by a guest.
pub fn clone_tree(dir: BorrowedFd, path: &CStr, depth: Depth) -> nix::Result<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE
        | libc::OPEN_TREE_CLOEXEC
        | depth.bits() as libc::c_uint
        | libc::AT_EMPTY_PATH as libc::c_uint;
    // SAFETY: `path` is a C string.
    let fd = super::check(unsafe {
        libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), path.as_ptr(), flags)
    })?;
    // SAFETY: open_tree(2) returned a new descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// A detached copy of the link at `path` itself, which is mounted over another link.
pub fn clone_link(path: &CStr) -> nix::Result<OwnedFd> {
    let flags =
        libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_SYMLINK_NOFOLLOW as libc::c_uint;
    // SAFETY: `path` is a C string.
    let fd = super::check(unsafe {
        libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags)
    })?;
    // SAFETY: open_tree(2) returned a new descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Sets attributes on the mount `tree`; the others stay.
pub fn set_attr(tree: BorrowedFd, attr: Attr, depth: Depth) -> nix::Result<()> {
    mount_setattr(tree, depth, &attributes(attr.bits()))
}

/// Keeps every look-up through the mount `tree` from following a link on it. EINVAL: the kernel is older than Linux 5.14.
pub fn set_no_links(tree: BorrowedFd) -> nix::Result<()> {
    const MOUNT_ATTR_NOSYMFOLLOW: u64 = 0x0020_0000;
    mount_setattr(tree, Depth::One, &attributes(MOUNT_ATTR_NOSYMFOLLOW))
}

/// Makes a read-only mount writable again.
pub fn set_writable(tree: BorrowedFd) -> nix::Result<()> {
    let attributes = libc::mount_attr {
        attr_clr: libc::MOUNT_ATTR_RDONLY,
        ..attributes(0)
    };
    mount_setattr(tree, Depth::One, &attributes)
}

/// Maps the ids of a detached mount through user namespace `userns`. EINVAL: the file system cannot, or it is mapped already.
pub fn set_idmap(tree: BorrowedFd, userns: BorrowedFd, depth: Depth) -> nix::Result<()> {
    let mut attributes = attributes(libc::MOUNT_ATTR_IDMAP);
    attributes.userns_fd = userns.as_raw_fd() as u64;
    mount_setattr(tree, depth, &attributes)
}

fn attributes(set: u64) -> libc::mount_attr {
    libc::mount_attr {
        attr_set: set,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    }
}

fn mount_setattr(tree: BorrowedFd, depth: Depth, attributes: &libc::mount_attr) -> nix::Result<()> {
    // SAFETY: the path is empty, and `attributes` is a mount_attr of the given size.
    super::check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | depth.bits(),
            std::ptr::from_ref(attributes),
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}

/// Attaches the detached mount `tree` onto the file or directory `target`.
pub fn attach(tree: BorrowedFd, target: BorrowedFd) -> nix::Result<()> {
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: both paths are empty C strings.
    super::check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            target.as_raw_fd(),
            c"".as_ptr(),
            flags,
        )
    })
    .map(drop)
}

/// A new file system of type `kind` with `options` (a missing value is a flag), as a detached mount.
pub fn new_filesystem(
    kind: &CStr,
    options: &[(&CStr, Option<&CStr>)],
    attr: Attr,
) -> nix::Result<OwnedFd> {
    // What mountinfo shows as the source; without one it says "none".
    mount_device(kind, kind, options, attr)
}

/// As [`new_filesystem`], from the block device at `source`.
pub fn mount_device(
    kind: &CStr,
    source: &CStr,
    options: &[(&CStr, Option<&CStr>)],
    attr: Attr,
) -> nix::Result<OwnedFd> {
    // SAFETY: `kind` is a C string.
    let context = super::check(unsafe {
        libc::syscall(libc::SYS_fsopen, kind.as_ptr(), libc::FSOPEN_CLOEXEC)
    })?;
    // SAFETY: fsopen(2) returned a new descriptor.
    let context = unsafe { OwnedFd::from_raw_fd(context as RawFd) };
    configure(
        &context,
        libc::FSCONFIG_SET_STRING,
        Some(c"source"),
        Some(source),
    )?;
    for (key, value) in options {
        match value {
            Some(value) => configure(&context, libc::FSCONFIG_SET_STRING, Some(key), Some(value))?,
            None => configure(&context, libc::FSCONFIG_SET_FLAG, Some(key), None)?,
        }
    }
    configure(&context, libc::FSCONFIG_CMD_CREATE, None, None)?;
    // SAFETY: three integers.
    let mount = super::check(unsafe {
        libc::syscall(
            libc::SYS_fsmount,
            context.as_raw_fd(),
            libc::FSMOUNT_CLOEXEC,
            attr.bits() as libc::c_uint,
        )
    })?;
    // SAFETY: fsmount(2) returned a new descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(mount as RawFd) })
}

fn configure(
    context: &OwnedFd,
    command: libc::c_uint,
    key: Option<&CStr>,
    value: Option<&CStr>,
) -> nix::Result<()> {
    let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: key and value are C strings or null, as the command wants them.
    super::check(unsafe {
        libc::syscall(
            libc::SYS_fsconfig,
            context.as_raw_fd(),
            command,
            pointer(key),
            pointer(value),
            0,
        )
    })
    .map(drop)
}
