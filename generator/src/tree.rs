//! Trees and images of containers on disk: making one and removing one.
//!
//! cp, tar and rm do the work; what is owned here is that nothing half made or half removed ever stands under a tree's
//! name, that nothing in use is touched, and that nothing outside the tree is. Which tree belongs to which container is
//! decided by those who call.

mod lock;
mod make;
mod mounted;
mod progress;
mod remove;
mod source;
mod tool;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::problem::shown;

pub use make::{Making, make};
pub use remove::{leftover, remove};
pub use source::Source;
pub use tool::Interrupts;

/// Where machined and nspawn look for trees.
pub const TREES: &str = "/var/lib/machines";

/// Why a tree was not made or not removed.
#[derive(Debug, Error)]
pub enum TreeError {
    /// Something has its name already.
    #[error("{} exists already", shown(.0))]
    Exists(PathBuf),
    /// A container, nspawn or another skep has it.
    #[error("{} is in use: by a container, by systemd-nspawn or by another skep", shown(.0))]
    Busy(PathBuf),
    /// Removing would reach what is mounted there.
    #[error("{} is a mount point: unmount it first, so that what is mounted there is not removed", shown(.0))]
    Mounted(PathBuf),
    /// It is not what can be worked on.
    #[error("{}: {why}", shown(.path))]
    Unfit {
        /// The path.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A program failed; what it said is printed.
    #[error("{program} failed ({status})")]
    Tool {
        /// The program.
        program: &'static str,
        /// How it ended.
        status: String,
    },
    /// Some of it is left under another name.
    #[error("{cause}; what is left of the tree is {}: run this again once the cause is gone (files that cannot be deleted: lsattr, chattr -i)", shown(.left))]
    Partly {
        /// Where the rest is.
        left: PathBuf,
        /// What stopped it.
        cause: Box<TreeError>,
    },
    /// SIGINT, SIGTERM or SIGHUP came.
    #[error("interrupted")]
    Interrupted,
    /// A file cannot be worked on.
    #[error("{}: {error}", shown(.path))]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl TreeError {
    fn file(path: &Path, error: impl Into<io::Error>) -> TreeError {
        TreeError::File {
            path: path.to_owned(),
            error: error.into(),
        }
    }
}

/// A name beside a tree under which nobody looks for trees: machined ignores names that start like this.
fn beside(tree: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(".#");
    name.push(tree.file_name().unwrap_or_default());
    name.push(suffix);
    tree.with_file_name(name)
}
