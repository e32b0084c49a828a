//! Facts about the OS tree, read through its root descriptor before anything runs.
//!
//! The tree is untrusted: every look-up stays below the root and follows no magic link, files are read only when regular,
//! and only up to a limit.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, readlink};
use nix::libc;
use nix::sys::stat::{Mode, fstat};

use crate::host::os_release_field;
use crate::plan::init::{CANDIDATES, InitKind};
use crate::step::{At, StepError};
use crate::sys::fd::open_in_root;

const FILE_LIMIT: u64 = 64 << 10;

/// What planning needs to know about the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeFacts {
    /// The init: as it is executed, and what it is.
    pub init: (PathBuf, InitKind),
    /// `PRETTY_NAME=` of the tree's os-release.
    pub os: Option<String>,
    /// The tree's `/etc/machine-id`.
    pub machine_id: Option<String>,
}

/// An opened tree.
#[derive(Debug)]
pub struct Tree {
    /// The root directory, `O_PATH`.
    pub root: OwnedFd,
    /// Device and inode of it: the key of its lock.
    pub identity: (u64, u64),
}

impl Tree {
    /// Opens the tree at `path`, which the declaration names and links may lead to.
    pub fn open(path: &Path) -> Result<Tree, StepError> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = nix::fcntl::open(path, flags, Mode::empty())
            .at("open root", path.display())
            .map_err(|err| {
                if err.is(Errno::ENOENT) {
                    err.cure("create the tree or correct Root=")
                } else {
                    err
                }
            })?;
        let stat = fstat(&root).at("stat root", path.display())?;
        Ok(Tree {
            root,
            identity: (stat.st_dev, stat.st_ino),
        })
    }

    /// Looks into the tree. `init` is the declared one, an absolute path inside.
    pub fn facts(&self, path: &Path, init: Option<&Path>) -> Result<TreeFacts, StepError> {
        let root = self.root.as_fd();
        let os_release =
            read_text(root, "etc/os-release").or_else(|| read_text(root, "usr/lib/os-release"));
        Ok(TreeFacts {
            init: match init {
                Some(init) => declared_init(root, path, init)?,
                None => detect_init(root, path)?,
            },
            os: os_release.and_then(|text| os_release_field(&text, "PRETTY_NAME")),
            machine_id: read_text(root, "etc/machine-id").map(|id| id.trim().to_owned()),
        })
    }
}

fn declared_init(
    root: BorrowedFd,
    tree: &Path,
    init: &Path,
) -> Result<(PathBuf, InitKind), StepError> {
    executable(root, init)
        .at(
            "open Init=",
            format_args!("{} in {}", init.display(), tree.display()),
        )
        .map_err(|err| {
            if err.is(Errno::ENOENT) {
                err.cure("no such file in the tree, where its links lead to")
            } else if err.is(Errno::EACCES) {
                err.cure("not an executable file")
            } else {
                err
            }
        })
        .map(|name| (init.to_owned(), InitKind::of_program(&name, init)))
}

fn detect_init(root: BorrowedFd, tree: &Path) -> Result<(PathBuf, InitKind), StepError> {
    for candidate in CANDIDATES {
        match executable(root, Path::new(candidate)) {
            Ok(name) => {
                let path = PathBuf::from(candidate);
                let kind = InitKind::of_program(&name, &path);
                return Ok((path, kind));
            }
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES) => {}
            Err(err) => {
                return Err(err).at(
                    "look for init",
                    format_args!("{candidate} in {}", tree.display()),
                );
            }
        }
    }
    Err(StepError::new("no init in", tree.display())
        .cure(format!("looked for {}; set Init=", CANDIDATES.join(" "))))
}

/// The name of the program that `path` finally leads to, if it is one.
fn executable(root: BorrowedFd, path: &Path) -> nix::Result<String> {
    let file = open_in_root(root, path, OFlag::O_PATH)?;
    let stat = fstat(&file)?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFREG || stat.st_mode & 0o111 == 0 {
        return Err(Errno::EACCES);
    }
    // The kernel's own name of the opened file, all links resolved.
    let link = readlink(format!("/proc/self/fd/{}", file.as_raw_fd()).as_str())?;
    Ok(Path::new(&link)
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned())
}

fn read_text(root: BorrowedFd, path: &str) -> Option<String> {
    // Looked at before it is opened: to open a device may already act on it, and a fifo would hold the start.
    let found = open_in_root(root, Path::new(path), OFlag::O_PATH).ok()?;
    if fstat(&found).ok()?.st_mode & libc::S_IFMT != libc::S_IFREG {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(format!("/proc/self/fd/{}", found.as_raw_fd()))
        .ok()?
        .take(FILE_LIMIT)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
