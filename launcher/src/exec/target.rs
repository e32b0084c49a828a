//! Mount points below the new root.
//!
//! The tree may hold any link at any place: a look-up never leaves the root, and API mount points must not be links at all.
//! What is missing is made with the container's own ids.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag, fstat, mkdirat};

use crate::step::{At, StepError};
use crate::sys::creds::AsOwner;
use crate::sys::fd::{open_in_root, open_no_links};

/// What a mount point has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// Anything else.
    File,
}

impl Kind {
    /// What an opened file is.
    pub fn of(file: BorrowedFd) -> nix::Result<Kind> {
        let mode = SFlag::from_bits_truncate(fstat(file)?.st_mode);
        Ok(if mode & SFlag::S_IFMT == SFlag::S_IFDIR {
            Kind::Directory
        } else {
            Kind::File
        })
    }
}

/// The new root and the id that its files get.
#[derive(Debug)]
pub struct Targets {
    /// The root directory.
    pub root: OwnedFd,
    /// Host id of the container's root.
    pub owner: u32,
    /// Devices of the mounted kernel interfaces, which nothing declared covers.
    pub interfaces: Vec<u64>,
}

impl Targets {
    /// What is at `path`, links followed inside the root.
    pub fn existing(&self, path: &Path) -> nix::Result<OwnedFd> {
        open_in_root(self.root.as_fd(), path, OFlag::O_PATH)
    }

    /// The directory `path` of an API file system, made when missing.
    pub fn api_directory(&self, path: &Path) -> Result<OwnedFd, StepError> {
        let open = || open_no_links(self.root.as_fd(), path, OFlag::O_PATH | OFlag::O_DIRECTORY);
        match open() {
            Ok(dir) => Ok(dir),
            Err(Errno::ENOENT) => {
                self.make(path, Kind::Directory)?;
                open().at("open mount point", path.display())
            }
            Err(err @ (Errno::ELOOP | Errno::ENOTDIR)) => Err(err)
                .at("open mount point", path.display())
                .map_err(|err| {
                    err.cure("it must be a directory in the tree, not a link or a file")
                }),
            Err(err) => Err(err).at("open mount point", path.display()),
        }
    }

    /// The mount point `path` of a declared mount, made when missing, parents included.
    pub fn declared(&self, path: &Path, kind: Kind) -> Result<OwnedFd, StepError> {
        match self.existing(path) {
            Ok(found) => Ok(found),
            Err(Errno::ENOENT) => {
                self.make(path, kind)?;
                self.existing(path).at("open mount point", path.display())
            }
            Err(err) => Err(err).at("open mount point", path.display()),
        }
    }

    /// Makes `path` and its missing parents.
    fn make(&self, path: &Path, kind: Kind) -> Result<(), StepError> {
        let _owner = AsOwner::of(self.owner);
        let names: Vec<_> = path
            .components()
            .filter(|part| matches!(part, Component::Normal(_)))
            .collect();
        let mut done = PathBuf::new();
        let mut parent: Option<OwnedFd> = None;
        for (index, name) in names.iter().enumerate() {
            let here = parent.as_ref().map_or(self.root.as_fd(), AsFd::as_fd);
            done.push(name);
            if self.existing(&done).is_err_and(|err| err == Errno::ENOENT) {
                let kind = if index + 1 == names.len() {
                    kind
                } else {
                    Kind::Directory
                };
                make_one(here, Path::new(name), kind)
                    .at("make mount point", format_args!("/{}", done.display()))
                    .map_err(|err| {
                        if err.is(Errno::EROFS) {
                            err.cure("make it in the tree first")
                        } else {
                            err
                        }
                    })?;
            }
            parent = Some(
                self.existing(&done)
                    .at("open mount point", format_args!("/{}", done.display()))?,
            );
        }
        Ok(())
    }
}

fn make_one(parent: BorrowedFd, name: &Path, kind: Kind) -> nix::Result<()> {
    // The names are relative to an O_PATH descriptor and without a slash, and O_EXCL does not follow a link.
    let made = match kind {
        Kind::Directory => mkdirat(parent, name, Mode::from_bits_truncate(0o755)),
        Kind::File => {
            let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
            nix::fcntl::openat(parent, name, flags, Mode::from_bits_truncate(0o644)).map(drop)
        }
    };
    if made == Err(Errno::EEXIST) {
        Ok(())
    } else {
        made
    }
}
