//! Locks on trees, in the files in which the launcher and systemd-nspawn look for them.
//!
//! The descriptors are inherited by the tools that work on a tree: when skep is killed and cp lives on, so does the lock.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, Flock, FlockArg, fcntl};
use nix::libc;

use super::{TreeError, beside};

/// Where locks by device and inode are.
const BY_INODE: &str = "/run/systemd/nspawn/locks";

/// How a lock is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// One holder.
    Alone,
    /// Any number of readers.
    Readers,
}

/// A lock that is held.
#[derive(Debug)]
pub(super) struct Held {
    _file: Flock<File>,
    path: PathBuf,
}

impl Held {
    /// Removes the lock's file: the tree is gone, or was never there. Lockers do not wait, so nobody is left with a lock on
    /// a file without a name but one that came at this very moment.
    pub(super) fn discard(self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Locks what is at `tree` by its inode.
pub(super) fn inode(tree: &Path, share: Share) -> Result<Held, TreeError> {
    let metadata = fs::metadata(tree).map_err(|error| TreeError::file(tree, error))?;
    let name = format!("inode-{}:{}", metadata.dev(), metadata.ino());
    take(Path::new(BY_INODE).join(name), share, tree)
}

/// Locks the name `tree`, whether or not something has it.
pub(super) fn name(tree: &Path, share: Share) -> Result<Held, TreeError> {
    take(beside(tree, ".lck"), share, tree)
}

fn take(path: PathBuf, share: Share, tree: &Path) -> Result<Held, TreeError> {
    let fail = |error: std::io::Error| TreeError::file(&path, error);
    if let Some(parent) = path.parent().filter(|parent| parent.starts_with("/run")) {
        let made = DirBuilder::new().recursive(true).mode(0o755).create(parent);
        made.map_err(fail)?;
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NOCTTY)
        .open(&path)
        .map_err(fail)?;
    let (whole, record) = match share {
        Share::Alone => (FlockArg::LockExclusiveNonblock, libc::F_WRLCK),
        Share::Readers => (FlockArg::LockSharedNonblock, libc::F_RDLCK),
    };
    // Both kinds of lock: versions of systemd use one or the other, and they do not see each other.
    let file = Flock::lock(file, whole).map_err(|(_, errno)| busy(errno, &path, tree))?;
    let range = libc::flock {
        l_type: i16::try_from(record).unwrap_or_default(),
        l_whence: 0,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&range)).map_err(|errno| busy(errno, &path, tree))?;
    fcntl(file.as_fd(), FcntlArg::F_SETFD(FdFlag::empty()))
        .map_err(|errno| TreeError::file(&path, errno))?;
    Ok(Held { _file: file, path })
}

fn busy(errno: Errno, path: &Path, tree: &Path) -> TreeError {
    match errno {
        Errno::EAGAIN | Errno::EACCES => TreeError::Busy(tree.to_owned()),
        errno => TreeError::file(path, errno),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_writer_or_many_readers() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        let first = name(&tree, Share::Readers).unwrap();
        let second = name(&tree, Share::Readers).unwrap();
        assert!(matches!(name(&tree, Share::Alone), Err(TreeError::Busy(_))));
        drop((first, second));
        let alone = name(&tree, Share::Alone).unwrap();
        assert!(matches!(
            name(&tree, Share::Readers),
            Err(TreeError::Busy(_))
        ));
        alone.discard();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
