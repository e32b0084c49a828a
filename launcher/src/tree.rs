//! Facts about the OS tree, read through its root descriptor before anything runs.
//!
//! The tree is untrusted: every look-up stays below the root and follows no magic link, files are read only when regular,
//! and only up to a limit.

pub mod services;
mod version;

use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, readlink};
use nix::libc;
use nix::sys::stat::{FileStat, Mode, fstat};
use skep_spec::{Access, ContainerSpec};

use crate::host::os_release_field;
use crate::image::{self, Purpose};
use crate::plan::ids::Ids;
use crate::plan::init::{CANDIDATES, InitKind};
use crate::step::{At, StepError};
use crate::sys::fd::{open_in_root, open_regular};
use crate::sys::mount::{Attr, new_filesystem};
use crate::tree::services::Services;

const FILE_LIMIT: u64 = 64 << 10;

/// How much of an init that is a script is read.
const SCRIPT_LIMIT: u64 = 4 << 10;

/// What planning needs to know about the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeFacts {
    /// The init: as it is executed, and what it is.
    pub init: (PathBuf, InitKind),
    /// Version of the init, where its program says it.
    pub init_version: Option<String>,
    /// `PRETTY_NAME=` of the tree's os-release.
    pub os: Option<String>,
    /// The tree's `/etc/machine-id`.
    pub machine_id: Option<String>,
    /// What it would run at boot.
    pub services: Services,
}

/// Where a tree comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A directory on one of the host's mounts: the container gets a copy of the mount.
    Host,
    /// An image: a mount of ours that nobody else sees, with the image's own ids.
    Image,
    /// A tmpfs of ours that belongs to the container's root.
    Fresh,
}

/// What the declaration names, found but not yet used.
#[derive(Debug)]
pub struct Site {
    /// Host path; a fresh tmpfs when absent.
    path: Option<PathBuf>,
    /// The directory or image, `O_PATH`.
    found: Option<OwnedFd>,
    /// What the locks of systemd-nspawn call it.
    pub key: String,
    origin: Origin,
}

impl Site {
    /// Finds the tree, through whatever links lead to it.
    pub fn find(path: Option<&Path>) -> Result<Site, StepError> {
        let Some(path) = path else {
            return Ok(Site {
                path: None,
                found: None,
                key: String::new(),
                origin: Origin::Fresh,
            });
        };
        let found = nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
            .at("open root", path.display())
            .map_err(|err| {
                if err.is(Errno::ENOENT) {
                    err.cure("create the tree or correct Root=")
                } else {
                    err
                }
            })?;
        let stat = fstat(&found).at("stat root", path.display())?;
        let (key, origin) = match stat.st_mode & libc::S_IFMT {
            libc::S_IFDIR => (inode_key(&stat), Origin::Host),
            libc::S_IFREG => (inode_key(&stat), Origin::Image),
            libc::S_IFBLK => {
                let (major, minor) = (libc::major(stat.st_rdev), libc::minor(stat.st_rdev));
                (format!("block-{major}:{minor}"), Origin::Image)
            }
            _ => {
                return Err(StepError::new("no tree:", path.display())
                    .cure("Root= is a directory, a disk image or a block device"));
            }
        };
        Ok(Site {
            path: Some(path.to_owned()),
            found: Some(found),
            key,
            origin,
        })
    }

    /// Opens the tree. For [`Purpose::Run`] its locks are to be held.
    pub fn open(self, access: Access, ids: &Ids, purpose: Purpose) -> Result<Tree, StepError> {
        let root = match (self.origin, self.path, self.found) {
            (Origin::Host, _, Some(found)) => found,
            (Origin::Image, Some(path), Some(found)) => {
                image::mount(&path, found.as_fd(), access, purpose)?
            }
            _ => fresh(ids)?,
        };
        let stat = fstat(&root).at("stat", "root")?;
        Ok(Tree {
            root,
            identity: (stat.st_dev, stat.st_ino),
            origin: self.origin,
        })
    }
}

fn inode_key(stat: &FileStat) -> String {
    format!("inode-{}:{}", stat.st_dev, stat.st_ino)
}

/// An empty tmpfs that belongs to the container's root.
pub fn fresh(ids: &Ids) -> Result<OwnedFd, StepError> {
    let owner = CString::new(ids.host(0).to_string()).unwrap_or_default();
    let options = [
        (c"mode", Some(c"755")),
        (c"uid", Some(owner.as_c_str())),
        (c"gid", Some(owner.as_c_str())),
        (c"size", Some(c"25%")),
        (c"nr_inodes", Some(c"1m")),
    ];
    let attr = Attr {
        nodev: true,
        ..Attr::default()
    };
    new_filesystem(c"tmpfs", &options, attr).at("create", "root tmpfs")
}

/// An opened tree.
#[derive(Debug)]
pub struct Tree {
    /// The root directory: `O_PATH` when it is the host's, else a mount that nobody else sees.
    pub root: OwnedFd,
    /// Device and inode of it.
    pub identity: (u64, u64),
    /// Where it comes from.
    pub origin: Origin,
}

impl Tree {
    /// Looks into the tree for what `spec` names.
    pub fn facts(&self, spec: &ContainerSpec) -> Result<TreeFacts, StepError> {
        let path = spec.root.path.as_deref();
        let path = path.unwrap_or(Path::new("the fresh tmpfs"));
        let root = self.root.as_fd();
        let (init, kind) = match &spec.init {
            Some(init) => declared_init(root, path, init)?,
            None => detect_init(root, path)?,
        };
        let kind = match spec.process_two {
            true => InitKind::Own,
            false => kind,
        };
        Ok(self.facts_with((init, kind)))
    }

    /// Looks into a tree whose init comes from elsewhere.
    pub fn facts_with(&self, init: (PathBuf, InitKind)) -> TreeFacts {
        let root = self.root.as_fd();
        let os_release =
            read_text(root, "etc/os-release").or_else(|| read_text(root, "usr/lib/os-release"));
        let (path, kind) = init;
        let services = Services::of(root, kind);
        TreeFacts {
            init_version: version::of_init(root, &path, kind),
            init: (path, kind.run_by(services.runner)),
            services,
            os: os_release.and_then(|text| os_release_field(&text, "PRETTY_NAME")),
            machine_id: read_text(root, "etc/machine-id").map(|id| id.trim().to_owned()),
        }
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
        .map(|program| (init.to_owned(), program.kind(init)))
}

fn detect_init(root: BorrowedFd, tree: &Path) -> Result<(PathBuf, InitKind), StepError> {
    for candidate in CANDIDATES {
        match executable(root, Path::new(candidate)) {
            Ok(program) => {
                let path = PathBuf::from(candidate);
                let kind = program.kind(&path);
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

/// What an init's path finally leads to.
struct Executable {
    name: String,
    /// The beginning of the file, when it is a script.
    script: Option<String>,
}

impl Executable {
    /// What kind of init it is, called as `called`.
    fn kind(&self, called: &Path) -> InitKind {
        match (InitKind::of_program(&self.name, called), &self.script) {
            // Of System V's init there is no script; others give theirs its name.
            (InitKind::Other | InitKind::Sysvinit, Some(text)) => InitKind::of_script(text),
            (kind, _) => kind,
        }
    }
}

/// The program that `path` finally leads to, if it is one.
fn executable(root: BorrowedFd, path: &Path) -> nix::Result<Executable> {
    let file = open_in_root(root, path, OFlag::O_PATH)?;
    let stat = fstat(&file)?;
    if stat.st_mode & libc::S_IFMT != libc::S_IFREG || stat.st_mode & 0o111 == 0 {
        return Err(Errno::EACCES);
    }
    // The kernel's own name of the opened file, all links resolved.
    let link = readlink(format!("/proc/self/fd/{}", file.as_raw_fd()).as_str())?;
    let name = Path::new(&link).file_name().unwrap_or_default();
    Ok(Executable {
        name: name.to_string_lossy().into_owned(),
        script: script(file.as_fd()),
    })
}

/// The beginning of a script; nothing of any other program.
fn script(file: BorrowedFd) -> Option<String> {
    let mut bytes = Vec::new();
    File::from(open_regular(file).ok()?)
        .take(SCRIPT_LIMIT)
        .read_to_end(&mut bytes)
        .ok()?;
    bytes
        .starts_with(b"#!")
        .then(|| String::from_utf8_lossy(&bytes).into_owned())
}

fn read_text(root: BorrowedFd, path: &str) -> Option<String> {
    let bytes = read_start(root, Path::new(path))?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The first [`FILE_LIMIT`] bytes of a regular file.
fn read_start(root: BorrowedFd, path: &Path) -> Option<Vec<u8>> {
    // Looked at before it is opened: to open a device may already act on it, and a fifo would hold the start.
    let found = open_in_root(root, path, OFlag::O_PATH).ok()?;
    if fstat(&found).ok()?.st_mode & libc::S_IFMT != libc::S_IFREG {
        return None;
    }
    let mut bytes = Vec::new();
    File::from(open_regular(found.as_fd()).ok()?)
        .take(FILE_LIMIT)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(bytes)
}
