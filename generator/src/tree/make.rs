//! Makes a tree: under a hidden name beside the target, which gets its own name when everything is on disk.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::lock::{self, Share};
use super::tool::{Measure, Until, run, tool};
use super::{Interrupts, Source, TREES, TreeError, beside};
use crate::problem::shown;
use crate::report;

/// End of the name under which a tree is made.
pub(super) const NEW: &str = ".skep-new";

/// What to make, where.
#[derive(Debug)]
pub struct Making<'a> {
    /// Directory, archive or image.
    pub from: &'a Path,
    /// What `from` is.
    pub source: Source,
    /// Where the tree goes: an absolute path that nothing has yet.
    pub to: &'a Path,
}

/// Makes a tree or an image file.
///
/// # Errors
/// Why it was not made; then nothing is left of it.
pub fn make(making: &Making<'_>, interrupts: &Interrupts) -> Result<(), TreeError> {
    let to = making.to;
    make_parent(to)?;
    refuse_existing(to)?;
    let from =
        fs::canonicalize(making.from).map_err(|error| TreeError::file(making.from, error))?;
    if making.source == Source::Directory && to.starts_with(&from) {
        return Err(TreeError::Unfit {
            path: from,
            why: "the copy would lie in itself; for this host's own OS write Root=/ in a declaration, which copies nothing",
        });
    }
    let name = lock::name(to, Share::Alone)?;
    let made = lock::inode(&from, Share::Readers)
        .and_then(|_reading| make_locked(making, &from, interrupts));
    name.discard();
    made
}

fn make_locked(making: &Making<'_>, from: &Path, interrupts: &Interrupts) -> Result<(), TreeError> {
    let new = beside(making.to, NEW);
    // Left by one that was killed: we have the lock, so nobody is at work on it.
    discard(&new)?;
    let made = fill(making, from, &new, interrupts)
        .and_then(|()| settle(making.source, &new))
        .and_then(|()| publish(&new, making.to));
    if made.is_err()
        && let Err(error) = discard(&new)
    {
        // What went wrong first is the error. The rest has a name that nobody takes for a tree; the next try removes it.
        report::warning(&error.to_string());
    }
    made
}

fn make_parent(to: &Path) -> Result<(), TreeError> {
    if to.parent() != Some(Path::new(TREES)) {
        return Ok(());
    }
    // Trees hold set-user-ID programs of other systems: users of the host do not get at them.
    let made = DirBuilder::new().recursive(true).mode(0o700).create(TREES);
    made.map_err(|error| TreeError::file(Path::new(TREES), error))
}

fn refuse_existing(to: &Path) -> Result<(), TreeError> {
    match fs::symlink_metadata(to) {
        Ok(_) => Err(TreeError::Exists(to.to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(TreeError::file(to, error)),
    }
}

fn fill(
    making: &Making<'_>,
    from: &Path,
    new: &Path,
    interrupts: &Interrupts,
) -> Result<(), TreeError> {
    let until = Until::Interrupted(interrupts);
    let fail = |error| TreeError::file(new, error);
    if making.source == Source::Image {
        let options = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(new);
        drop(options.map_err(fail)?);
        let total = fs::metadata(from).map_or(0, |metadata| metadata.blocks() * 512);
        let mut cp = tool("cp");
        cp.args(["--reflink=auto", "--sparse=always", "--"])
            .arg(from)
            .arg(new);
        let task = format!("copying {}", shown(from));
        return run("cp", &mut cp, task, &Measure::Bytes(new, total), &until);
    }
    DirBuilder::new().mode(0o700).create(new).map_err(fail)?;
    let (program, mut command, verb) = match making.source {
        Source::Archive => ("tar", unpack(from, new), "unpacking"),
        Source::Directory | Source::Image => ("cp", copy(from, new), "copying"),
    };
    let task = format!("{verb} {}", shown(from));
    run(program, &mut command, task, &Measure::Lines, &until)
}

/// Everything about the files stays, and other file systems that are mounted in there do not come along.
fn copy(from: &Path, new: &Path) -> Command {
    let mut command = tool("cp");
    command.args([
        "--archive",
        "--one-file-system",
        "--reflink=auto",
        "--sparse=auto",
        "--verbose",
        "--",
    ]);
    // With "/." the directory itself is copied onto the new one, with its owner and mode.
    command.arg(from.join(".")).arg(new);
    command
}

/// tar refuses members with ".." and strips leading slashes, and follows no link that it unpacked. Of extended attributes
/// only those come along that belong into an archive of an OS: `trusted.` ones mean something to the host's overlays.
fn unpack(from: &Path, new: &Path) -> Command {
    let mut command = tool("tar");
    command.args([
        "--extract",
        "--verbose",
        "--force-local",
        "--numeric-owner",
        "--same-owner",
    ]);
    command.args(["--preserve-permissions", "--acls", "--xattrs"]);
    command.args([
        "--xattrs-include=user.*",
        "--xattrs-include=security.capability",
    ]);
    command.arg("--directory").arg(new).arg("--file").arg(from);
    command
}

/// Gives an unpacked tree that has no entry for its root a root that users can enter, and writes everything to disk.
fn settle(source: Source, new: &Path) -> Result<(), TreeError> {
    let fail = |error| TreeError::file(new, error);
    let file = File::open(new).map_err(fail)?;
    let mode = file.metadata().map_err(fail)?.mode() & 0o7777;
    if source == Source::Archive && mode == 0o700 {
        file.set_permissions(Permissions::from_mode(0o755))
            .map_err(fail)?;
    }
    nix::unistd::syncfs(file.as_fd()).map_err(|errno| TreeError::file(new, errno))
}

fn publish(new: &Path, to: &Path) -> Result<(), TreeError> {
    match renameat2(AT_FDCWD, new, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        Ok(()) => sync_parent(to),
        Err(Errno::EEXIST) => Err(TreeError::Exists(to.to_owned())),
        Err(errno) => Err(TreeError::file(to, errno)),
    }
}

/// Makes a rename last.
pub(super) fn sync_parent(path: &Path) -> Result<(), TreeError> {
    let parent: PathBuf = path.parent().unwrap_or(Path::new("/")).to_owned();
    let synced = File::open(&parent).and_then(|directory| directory.sync_all());
    synced.map_err(|error| TreeError::file(&parent, error))
}

/// Removes a half-made tree. It is ours, under a name of ours, and nothing is mounted there.
fn discard(new: &Path) -> Result<(), TreeError> {
    if fs::symlink_metadata(new).is_err() {
        return Ok(());
    }
    super::remove::delete(new, &Until::Done)
}
