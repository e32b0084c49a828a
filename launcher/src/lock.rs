//! Locks that say "this tree runs" and "these ids are taken", in the files where systemd-nspawn looks for them.
//!
//! Held by descriptors that close on exec and at the end of the process, so a killed launcher never leaves a stale lock.

use std::fs::{self, DirBuilder, OpenOptions};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::sys::stat::fstat;

use crate::step::{At, StepError};
use crate::sys::fd::{LockKind, try_lock};

/// Where nspawn has its locks of id ranges, named after the first id.
pub const RANGES: &str = "/run/systemd/nspawn-uid";

/// Where nspawn has its locks of trees, named after their inodes.
pub const TREES: &str = "/run/systemd/nspawn/locks";

/// One lock to take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The lock file, created when missing.
    pub path: PathBuf,
    /// Exclusive or shared.
    pub kind: LockKind,
    /// What is locked, for the message.
    pub what: String,
    /// Taken only where the file can be made: the directory may be read-only.
    pub optional: bool,
}

impl Lock {
    /// The lock of the tree that systemd-nspawn calls `key`, by whatever path it was found; `directory` is [`TREES`].
    pub fn of_tree(directory: &Path, key: &str, kind: LockKind, what: String) -> Lock {
        Lock {
            path: directory.join(key),
            kind,
            what,
            optional: false,
        }
    }
}

/// Takes all locks, or names the one that another process holds.
pub fn take_locks(locks: &[Lock]) -> Result<Vec<OwnedFd>, StepError> {
    locks
        .iter()
        .filter_map(|lock| take_lock(lock).transpose())
        .collect()
}

fn take_lock(lock: &Lock) -> Result<Option<OwnedFd>, StepError> {
    if let Some(parent) = lock.path.parent() {
        // Left to the open below to report.
        let _ = DirBuilder::new().recursive(true).mode(0o755).create(parent);
    }
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NOCTTY)
        .open(&lock.path)
        .at("open lock", lock.path.display());
    let file: OwnedFd = match file {
        Ok(file) => file.into(),
        Err(err) if lock.optional && (err.is(Errno::EROFS) || err.is(Errno::ENOENT)) => {
            return Ok(None);
        }
        Err(err) => return Err(err),
    };
    match try_lock(file.as_fd(), lock.kind) {
        Ok(()) if is_current(&file, lock)? => Ok(Some(file)),
        Ok(()) => take_lock(lock),
        Err(Errno::EAGAIN | Errno::EACCES) => Err(StepError::new(
            lock.what.clone(),
            "is in use by another container or by systemd-nspawn",
        )
        .cure(format!("see \"fuser {}\"", lock.path.display()))),
        Err(err) => Err(err).at("lock", lock.path.display()),
    }
}

/// Whether the file still has its name: whoever held it may have removed it between the open and the lock.
fn is_current(file: &OwnedFd, lock: &Lock) -> Result<bool, StepError> {
    let held = fstat(file).at("look at lock", lock.path.display())?;
    Ok(held.st_nlink > 0)
}

/// Removes the files of exclusive locks that only last as long as `held`: those of a range of ids. Each single command has
/// a range of its own, and a range whose file is there counts as taken: however a command ends, its file must go.
pub fn remove_ranges(locks: &[Lock], held: Vec<OwnedFd>) {
    for lock in locks.iter().filter(|lock| lock.path.starts_with(RANGES)) {
        // It is in nobody's way: the next one who wants the range locks it again.
        let _ = fs::remove_file(&lock.path);
    }
    drop(held);
}
