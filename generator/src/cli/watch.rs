//! `skep watch`: the part of `skep.path` that a path unit cannot do.
//!
//! systemd watches the entries of a directory, not those of its subdirectories, and takes one inotify instance for each
//! path, of which a user has 128 on the whole host. This program watches all drop-in directories with one. It ends at
//! once where there are none. A new directory is an entry of a directory that `skep.path` watches; `skep-apply.service`
//! then starts this program anew.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent};

use crate::apply::Layout;
use crate::declaration::DIRECTORIES;
use crate::manager::{BusError, Systemd, Verb};
use crate::problem::shown;
use crate::report;

use super::{FAILED, OK};

/// What applies the declarations.
const APPLY: &str = "skep-apply.service";

/// How long edits are collected before anything is said.
const SETTLE: Duration = Duration::from_millis(200);

/// How often, and how long apart, systemd is asked while the bus is away.
const ATTEMPTS: u32 = 30;
const PAUSE: Duration = Duration::from_secs(1);

/// `skep watch`
pub(super) fn watch(layout: &Layout) -> u8 {
    let directories = dropin_directories(&layout.root);
    if directories.is_empty() {
        return OK;
    }
    match watch_all(&directories) {
        Ok(never) => match never {},
        Err(message) => {
            report::error_line(&message);
            FAILED
        }
    }
}

/// Asks for an apply after every change, until that fails.
fn watch_all(directories: &[PathBuf]) -> Result<std::convert::Infallible, String> {
    let inotify =
        Inotify::init(InitFlags::IN_CLOEXEC).map_err(|errno| explained("drop-ins", errno))?;
    let changes = AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_ATTRIB
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_ONLYDIR;
    for directory in directories {
        match inotify.add_watch(directory.as_path(), changes) {
            // Removed since it was listed: its parent tells.
            Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(errno) => return Err(explained(&shown(directory), errno)),
        }
    }
    loop {
        let events = match inotify.read_events() {
            Err(Errno::EINTR) => continue,
            events => events.map_err(|errno| format!("cannot watch drop-ins: {errno}"))?,
        };
        if events.iter().any(concerns_us) {
            sleep(SETTLE);
            ask_for_apply().map_err(|error| format!("cannot start {APPLY}: {error}"))?;
        }
    }
}

/// The numbers of inotify instances and watches are limited for each user, and other programs of root need them, too.
fn explained(what: &str, errno: Errno) -> String {
    let cure = match errno {
        Errno::EMFILE => "; raise fs.inotify.max_user_instances with sysctl(8)",
        Errno::ENOSPC => "; raise fs.inotify.max_user_watches with sysctl(8)",
        _ => "",
    };
    format!("cannot watch {what}: {errno}{cure}")
}

/// Whether a drop-in changed; temporary files of editors are none. An overflow may hide anything.
fn concerns_us(event: &InotifyEvent) -> bool {
    event
        .name
        .as_deref()
        .map_or(event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW), |name| {
            name.as_bytes().ends_with(b".conf")
        })
}

fn ask_for_apply() -> Result<(), BusError> {
    let mut attempt = 1;
    loop {
        let asked =
            zbus::block_on(async { Systemd::connect().await?.queue(Verb::Start, APPLY).await });
        match asked {
            Ok(_) => return Ok(()),
            Err(error) if attempt == ATTEMPTS => return Err(error),
            Err(_) => sleep(PAUSE),
        }
        attempt += 1;
    }
}

/// Every directory of drop-ins that exists.
fn dropin_directories(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for directory in DIRECTORIES {
        let directory = root.join(directory.trim_start_matches('/'));
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        found.extend(
            entries
                .filter(|entry| is_for_dropins(&entry.file_name()))
                .map(|entry| entry.path())
                .filter(|path| path.is_dir()),
        );
    }
    found.sort();
    found
}

fn is_for_dropins(name: &OsStr) -> bool {
    name == "container.d" || name.as_bytes().ends_with(b".container.d")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn directories_of_dropins_are_found() {
        let root = tempfile::tempdir().unwrap();
        for directory in [
            "etc/skep/container.d",
            "etc/skep/web.container.d",
            "etc/skep/other.d",
            "usr/lib/skep/web.container.d",
        ] {
            fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        fs::write(root.path().join("etc/skep/file.container.d"), "").unwrap();
        let found = dropin_directories(root.path());
        let found: Vec<&Path> = found
            .iter()
            .map(|path| path.strip_prefix(root.path()).unwrap())
            .collect();
        assert_eq!(
            found,
            [
                Path::new("etc/skep/container.d"),
                Path::new("etc/skep/web.container.d"),
                Path::new("usr/lib/skep/web.container.d"),
            ]
        );
    }
}
