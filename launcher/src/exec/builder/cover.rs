//! Files and directories over, or instead of, what is in the tree.

use std::ffi::CString;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, mkdir, unlinkat};

use super::Builder;
use crate::exec::WORK;
use crate::exec::target::Kind;
use crate::step::{At, StepError};
use crate::sys::creds::AsOwner;
use crate::sys::fd::{open_in_root, open_no_follow};
use crate::sys::mount::{Attr, Depth, attach, clone_tree, set_attr};

/// What is mounted over something to hide it.
pub(super) const BLANK: Attr = Attr {
    read_only: true,
    nosuid: true,
    nodev: true,
    noexec: true,
};

impl Builder<'_> {
    pub(super) fn cover(&mut self, path: &Path, content: &[u8]) -> Result<(), StepError> {
        let target = match self.targets.existing(path) {
            Err(Errno::ENOENT) => return Ok(()),
            other => other.at("open", path.display())?,
        };
        let source = self.source(0o444, content)?;
        self.attach_blank(&source, target.as_fd())
            .at("cover", path.display())
    }

    /// Over a link rather than over what it leads to, which may have other names that are not meant.
    pub(super) fn cover_program(&mut self, path: &Path, content: &[u8]) -> Result<(), StepError> {
        let target = match open_no_follow(self.targets.root.as_fd(), path, OFlag::O_PATH) {
            Err(Errno::ENOENT) => return Ok(()),
            other => other.at("open", path.display())?,
        };
        let source = self.source(0o555, content)?;
        let attr = Attr {
            noexec: false,
            ..BLANK
        };
        self.attach_source(&source, target.as_fd(), attr)
            .at("cover", path.display())
    }

    /// A file of the work area, the container's root's own.
    pub(super) fn source(&mut self, mode: u32, content: &[u8]) -> Result<PathBuf, StepError> {
        self.covers += 1;
        let source = Path::new(WORK).join(format!("cover.{}", self.covers));
        write_new(AT_FDCWD, &source, mode, content).at("write", source.display())?;
        std::os::unix::fs::chown(&source, Some(self.targets.owner), Some(self.targets.owner))
            .at("chown", source.display())?;
        Ok(source)
    }

    pub(super) fn supply(&self, path: &Path, content: &[u8]) -> Result<(), StepError> {
        match self.targets.existing(path) {
            Err(Errno::ENOENT) => {}
            // There after all, or a link that leads nowhere: not ours to judge.
            _ => return Ok(()),
        }
        let (parent, name) = match self.place(path) {
            Err(err) if err.is(Errno::ENOENT) => return Ok(()),
            other => other?,
        };
        let _owner = AsOwner::of(self.targets.owner);
        match write_new(parent.as_fd(), name, 0o644, content) {
            // A dangling link.
            Err(Errno::EEXIST) => Ok(()),
            other => other.at("write", path.display()),
        }
    }

    /// An empty file over what is at `path`, and over a link there rather than over what it leads to: that may come and
    /// go. The supervisor fills the file through the descriptor that is kept here.
    pub(super) fn follow(&mut self, path: &Path) -> Result<(), StepError> {
        let source = self.source(0o444, b"")?;
        let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let file = nix::fcntl::open(&source, flags, Mode::empty()).at("open", source.display())?;
        self.followed.push(file);
        let root = self.targets.root.as_fd();
        let target = match open_no_follow(root, path, OFlag::O_PATH) {
            Err(Errno::ENOENT) => match self.targets.declared(path, Kind::File) {
                // A tree on a read-only file system: its names stay as they are.
                Err(err) if err.is(Errno::EROFS) => return Ok(()),
                other => other?,
            },
            other => other.at("open", path.display())?,
        };
        self.attach_blank(&source, target.as_fd())
            .at("cover", path.display())
    }

    pub(super) fn replace(&self, path: &Path, content: &[u8]) -> Result<(), StepError> {
        match self.targets.existing(path) {
            Err(Errno::ENOENT) => return Ok(()),
            other => other.at("open", path.display())?,
        };
        let (parent, name) = self.place(path)?;
        let _owner = AsOwner::of(self.targets.owner);
        unlinkat(&parent, name, UnlinkatFlags::NoRemoveDir).at("remove", path.display())?;
        write_new(parent.as_fd(), name, 0o444, content).at("write", path.display())
    }

    pub(super) fn mask(&self, path: &Path) -> Result<(), StepError> {
        let target = match self.targets.existing(path) {
            Err(Errno::ENOENT) => return Ok(()),
            other => other.at("open", path.display())?,
        };
        let kind = Kind::of(target.as_fd()).at("stat", path.display())?;
        let source = if kind == Kind::Directory {
            blank_directory()
        } else {
            blank_file()
        };
        let source = source.at("create", "mask")?;
        self.attach_blank(&source, target.as_fd())
            .at("mask", path.display())
    }

    pub(super) fn mask_of_processors(&self, name: &str) -> Result<(), StepError> {
        let path = |processor: u32| format!("/sys/devices/system/cpu/cpu{processor}/{name}");
        // Nearly all virtual machines have none, and all real ones have it for the first.
        if self
            .targets
            .existing(Path::new(&path(0)))
            .is_err_and(|err| err == Errno::ENOENT)
        {
            return Ok(());
        }
        let possible = Path::new("/sys/devices/system/cpu/possible");
        let file = open_in_root(self.targets.root.as_fd(), possible, OFlag::O_RDONLY)
            .at("open", possible.display())?;
        let mut text = String::new();
        File::from(file)
            .take(4096)
            .read_to_string(&mut text)
            .at("read", possible.display())?;
        let last = last_number(&text)
            .ok_or_else(|| StepError::new("not understood:", possible.display()))?;
        (0..=last).try_for_each(|processor| self.mask(Path::new(&path(processor))))
    }

    /// Attaches a file or directory of the work area, for reading at most.
    fn attach_blank(&self, source: &Path, target: BorrowedFd) -> nix::Result<()> {
        self.attach_source(source, target, BLANK)
    }

    fn attach_source(&self, source: &Path, target: BorrowedFd, attr: Attr) -> nix::Result<()> {
        let path =
            CString::new(source.as_os_str().as_encoded_bytes()).map_err(|_| Errno::EINVAL)?;
        let blank = clone_tree(AT_FDCWD, &path, Depth::One)?;
        set_attr(blank.as_fd(), attr, Depth::One)?;
        attach(blank.as_fd(), target)
    }
}

/// The last number of a list like `0-3,8`.
fn last_number(list: &str) -> Option<u32> {
    list.trim().rsplit([',', '-']).next()?.parse().ok()
}

fn blank_file() -> nix::Result<PathBuf> {
    let path = Path::new(WORK).join("mask.file");
    match write_new(AT_FDCWD, &path, 0o444, b"") {
        Ok(()) | Err(Errno::EEXIST) => Ok(path),
        Err(err) => Err(err),
    }
}

fn blank_directory() -> nix::Result<PathBuf> {
    let path = Path::new(WORK).join("mask.directory");
    match mkdir(&path, Mode::from_bits_truncate(0o555)) {
        Ok(()) | Err(Errno::EEXIST) => Ok(path),
        Err(err) => Err(err),
    }
}

/// Writes a file that must not exist yet, whole.
pub(super) fn write_new(
    directory: impl AsFd,
    name: &Path,
    mode: u32,
    content: &[u8],
) -> nix::Result<()> {
    let flags =
        OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let file = openat(directory, name, flags, Mode::from_bits_truncate(mode))?;
    let mut left = content;
    while !left.is_empty() {
        let written = nix::unistd::write(&file, left)?;
        left = &left[written..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors() {
        for (list, last) in [
            ("0\n", Some(0)),
            ("0-63\n", Some(63)),
            ("0,2-7,9\n", Some(9)),
            ("\n", None),
        ] {
            assert_eq!(last_number(list), last, "{list}");
        }
    }
}
