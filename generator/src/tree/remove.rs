//! Removes a tree: it gets a hidden name first, so that nothing half removed is ever started.

use std::fs;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::lock::{self, Share};
use super::make::sync_parent;
use super::mounted::refuse_mounts;
use super::tool::{Measure, Until, run, tool};
use super::{Interrupts, TreeError, beside};
use crate::problem::shown;

/// End of the name under which a tree is removed.
const OLD: &str = ".skep-old";

/// What an interrupted removal left of `tree`.
pub fn leftover(tree: &Path) -> Option<PathBuf> {
    let old = beside(tree, OLD);
    fs::symlink_metadata(&old).is_ok().then_some(old)
}

/// Removes the tree or image `tree`, and what an earlier removal left of it.
///
/// # Errors
/// Why it was not removed, or not wholly.
pub fn remove(tree: &Path, interrupts: &Interrupts) -> Result<(), TreeError> {
    check(tree)?;
    let name = lock::name(tree, Share::Alone)?;
    let until = Until::Interrupted(interrupts);
    let removed = leftover(tree)
        .map_or(Ok(()), |old| delete_renamed(&old, &until))
        .and_then(|()| match fs::symlink_metadata(tree) {
            Ok(_) => remove_locked(tree, &until),
            Err(_) => Ok(()),
        });
    name.discard();
    removed
}

/// Only what a container can have as its own is removed.
fn check(tree: &Path) -> Result<(), TreeError> {
    let unfit = |why| TreeError::Unfit {
        path: tree.to_owned(),
        why,
    };
    if tree.components().count() < 3 {
        return Err(unfit("a directory right below / is not removed"));
    }
    match fs::symlink_metadata(tree) {
        Ok(metadata) if metadata.is_dir() || metadata.is_file() => {}
        Ok(metadata) if metadata.is_symlink() => {
            return Err(unfit(
                "it is a link; remove that, and what it leads to, by hand",
            ));
        }
        Ok(_) => return Err(unfit("neither a directory nor a file")),
        // The rest of an earlier removal may be there.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && leftover(tree).is_some() => {}
        Err(error) => return Err(TreeError::file(tree, error)),
    }
    // The mount table has paths without links.
    let parent = tree.parent().unwrap_or(Path::new("/"));
    match fs::canonicalize(parent) {
        Ok(real) if real == parent => Ok(()),
        Ok(_) => Err(unfit("there are links in its path; name it as it is")),
        Err(error) => Err(TreeError::file(parent, error)),
    }
}

fn remove_locked(tree: &Path, until: &Until<'_>) -> Result<(), TreeError> {
    let in_use = lock::inode(tree, Share::Alone)?;
    refuse_mounts(tree)?;
    let old = beside(tree, OLD);
    rename(tree, &old)?;
    // Under the old name nothing can be mounted any more, and nobody knows the new one; what came in between comes along.
    if let Err(error) = refuse_mounts(&old) {
        rename(&old, tree)?;
        return Err(error);
    }
    sync_parent(tree)?;
    let deleted = delete_renamed(&old, until);
    in_use.discard();
    deleted
}

fn rename(from: &Path, to: &Path) -> Result<(), TreeError> {
    match renameat2(AT_FDCWD, from, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::EXDEV | Errno::EBUSY) => Err(TreeError::Mounted(from.to_owned())),
        Err(errno) => Err(TreeError::file(from, errno)),
    }
}

fn delete_renamed(old: &Path, until: &Until<'_>) -> Result<(), TreeError> {
    refuse_mounts(old)?;
    delete(old, until).map_err(|cause| TreeError::Partly {
        left: old.to_owned(),
        cause: Box::new(cause),
    })
}

/// rm(1) walks by descriptors and follows no link, whatever the depth.
pub(super) fn delete(path: &Path, until: &Until<'_>) -> Result<(), TreeError> {
    let mut rm = tool("rm");
    rm.args([
        "--recursive",
        "--force",
        "--one-file-system",
        "--preserve-root=all",
        "--verbose",
        "--",
    ]);
    rm.arg(path);
    run(
        "rm",
        &mut rm,
        format!("removing {}", shown(path)),
        &Measure::Lines,
        until,
    )
}
