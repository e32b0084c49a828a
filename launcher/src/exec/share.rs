//! What is special about sources and targets of declared mounts, beside mounting them: sources that are made, targets that
//! are refused.

use std::os::fd::AsFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use nix::sys::stat::fstat;

use crate::exec::target::Targets;
use crate::step::{At, StepError};

/// Directories whose contents an init deletes when it boots, so that they would go from the host. An init stays on the file
/// system of the directory itself, hence a mount below them is safe. Guix deletes in `/tmp`, `/var/run` and `/run`,
/// sysvinit and OpenRC in `/tmp`, `/run`, `/var/run` and both places of locks.
const WIPED: [&str; 5] = ["/tmp", "/run", "/run/lock", "/var/run", "/var/lock"];

/// Makes a source directory and its missing parents, owned by the host's root, which an id-mapped mount shows as the
/// container's.
pub fn create_source(path: &Path, object: &str) -> Result<(), StepError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .at("create", object)
}

/// Refuses a target that lies in a kernel interface by way of links in the tree.
pub fn refuse_interface(
    targets: &Targets,
    target: impl AsFd,
    path: &Path,
    place: &str,
) -> Result<(), StepError> {
    let found = fstat(&target).at("stat", path.display())?;
    if !targets.interfaces.contains(&found.st_dev) {
        return Ok(());
    }
    Err(StepError::new("attach", place).cure(
        "in this tree that is a part of /proc, /sys, /dev or /run/host, by way of a link: name another target",
    ))
}

/// As [`refuse_interface`], and a target that is one of the wiped directories, for what is the host's.
pub fn refuse_target(
    targets: &Targets,
    target: impl AsFd,
    path: &Path,
    place: &str,
) -> Result<(), StepError> {
    refuse_interface(targets, &target, path, place)?;
    let found = fstat(&target).at("stat", path.display())?;
    for wiped in WIPED {
        let Ok(directory) = targets.existing(Path::new(wiped)) else {
            continue;
        };
        let stat = fstat(&directory).at("stat", wiped)?;
        if (stat.st_dev, stat.st_ino) == (found.st_dev, found.st_ino) {
            return Err(StepError::new("attach", place).cure(format!(
                "in this tree that is {wiped}, which a guest empties when it boots: bind to a directory below it"
            )));
        }
    }
    Ok(())
}
