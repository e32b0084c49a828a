//! What the tree would run at boot: units, init scripts and tables, as far as adapting it needs to know.
//!
//! The tree is untrusted: every list and every text read here has a limit, and what lies beyond it is left as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

use nix::fcntl::OFlag;

use super::read_text;
use crate::plan::adapt::names::NAMES;
use crate::plan::init::InitKind;
use crate::sys::fd::{open_in_root, open_no_follow};

/// Longest list of one directory that is read.
const ENTRIES: usize = 8192;

/// Most entries of all directories: each of them may lead to another long list.
const ALL_ENTRIES: usize = 65_536;

/// Most mount units and init scripts that are opened.
const OPENED: usize = 512;

/// Where systemd finds units that outlive a boot, the first wins.
const UNIT_DIRECTORIES: [&str; 4] = [
    "etc/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
];

/// What starts the services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Runner {
    /// systemd.
    Systemd,
    /// OpenRC, under whatever first process.
    Openrc,
    /// Scripts of System V init.
    Sysv,
    /// The init itself, or something unknown.
    #[default]
    Own,
}

/// A mount or swap unit of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountUnit {
    /// File name.
    pub name: String,
    /// `What=`.
    pub what: String,
    /// `Where=`; empty for swap.
    pub place: String,
    /// `Type=`.
    pub kind: String,
    /// `Options=`.
    pub options: String,
}

/// What the tree would run at boot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Services {
    /// What starts them.
    pub runner: Runner,
    /// Names of units: their files, and the instances that others want.
    pub units: BTreeSet<String>,
    /// Mount and swap units.
    pub mounts: Vec<MountUnit>,
    /// Scripts in `/etc/init.d`, by name.
    pub scripts: BTreeMap<String, String>,
    /// Services that runit runs from the start, by name.
    pub runs: BTreeSet<String>,
    /// `/etc/fstab`.
    pub fstab: Option<String>,
    /// `/etc/crypttab`.
    pub crypttab: Option<String>,
    /// `/etc/hosts`.
    pub hosts: Option<String>,
    /// `/etc/inittab`.
    pub inittab: Option<String>,
    /// Which of the files that name things are there, as a file or as a link of any kind.
    pub names: BTreeSet<&'static str>,
}

impl Services {
    /// Reads what matters for an init of this kind.
    pub(super) fn of(root: BorrowedFd, kind: InitKind) -> Services {
        let inittab = read_text(root, "etc/inittab");
        let mut services = Services {
            runner: runner(root, kind, inittab.as_deref()),
            fstab: read_text(root, "etc/fstab"),
            hosts: read_text(root, "etc/hosts"),
            crypttab: read_text(root, "etc/crypttab"),
            names: NAMES
                .into_iter()
                .filter(|path| is_there(root, path))
                .collect(),
            ..Services::default()
        };
        if kind == InitKind::Runit {
            let enabled = list(root, "etc/runit/runsvdir/default", OPENED);
            services.runs.extend(enabled);
        }
        match services.runner {
            Runner::Systemd => {
                let mut left = ALL_ENTRIES;
                for directory in UNIT_DIRECTORIES {
                    read_units(root, directory, &mut left, &mut services);
                }
                // systemd makes units of scripts that have none.
                let scripts = list(root, "etc/init.d", ENTRIES);
                let unit = |name: &String| format!("{}.service", name.trim_end_matches(".sh"));
                services.units.extend(scripts.iter().map(unit));
            }
            Runner::Openrc | Runner::Sysv => {
                for name in list(root, "etc/init.d", ENTRIES).into_iter().take(OPENED) {
                    if let Some(text) = read_text(root, &format!("etc/init.d/{name}")) {
                        services.scripts.insert(name, text);
                    }
                }
                services.inittab = inittab;
            }
            Runner::Own => services.inittab = inittab,
        }
        services
    }
}

/// OpenRC may be started by an init of its own, by System V's or by BusyBox: then their table, or the script that it
/// names, says so.
fn runner(root: BorrowedFd, kind: InitKind, inittab: Option<&str>) -> Runner {
    let starts_openrc = || {
        let names = |text: &str| {
            text.lines()
                .any(|line| !line.trim_start().starts_with('#') && line.contains("openrc"))
        };
        inittab.is_some_and(names)
            || read_text(root, "etc/init.d/rcS").is_some_and(|text| names(&text))
    };
    match kind {
        InitKind::Systemd => Runner::Systemd,
        InitKind::Openrc => Runner::Openrc,
        InitKind::Sysvinit | InitKind::Busybox if starts_openrc() => Runner::Openrc,
        InitKind::Sysvinit => Runner::Sysv,
        // Debian's runs them, too.
        InitKind::Runit if is_there(root, "etc/rcS.d") => Runner::Sysv,
        InitKind::Busybox
        | InitKind::Runit
        | InitKind::S6
        | InitKind::S6LinuxInit
        | InitKind::Dinit
        | InitKind::Shepherd
        | InitKind::Own
        | InitKind::Other => Runner::Own,
    }
}

/// `left` counts down the entries that may still be read.
fn read_units(root: BorrowedFd, directory: &str, left: &mut usize, services: &mut Services) {
    let mut take = |path: &str| {
        // Itself, too, so that empty ones have an end.
        let names = list(root, path, ENTRIES.min(*left));
        *left = left.saturating_sub(names.len() + 1);
        names
    };
    for name in take(directory) {
        if name.ends_with(".wants") || name.ends_with(".requires") {
            services.units.extend(take(&format!("{directory}/{name}")));
        } else if name.ends_with(".mount") || name.ends_with(".swap") {
            let first = services.units.insert(name.clone());
            if first && services.mounts.len() < OPENED {
                let text = read_text(root, &format!("{directory}/{name}"));
                services
                    .mounts
                    .extend(text.map(|text| mount_unit(name, &text)));
            }
        } else if name.contains('.') && !name.ends_with(".d") {
            services.units.insert(name);
        }
    }
}

fn mount_unit(name: String, text: &str) -> MountUnit {
    let value = |key: &str| {
        let line = text.lines().rev().find_map(|line| {
            let (found, value) = line.split_once('=')?;
            (found.trim() == key).then(|| value.trim().to_owned())
        });
        line.unwrap_or_default()
    };
    MountUnit {
        what: value("What"),
        place: value("Where"),
        kind: value("Type"),
        options: value("Options"),
        name,
    }
}

/// The first names in a directory, sorted; those that are no text or hold control characters are left out.
fn list(root: BorrowedFd, path: &str, limit: usize) -> Vec<String> {
    if limit == 0 {
        return Vec::new();
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    let Ok(directory) = open_in_root(root, Path::new(path), flags) else {
        return Vec::new();
    };
    let Ok(entries) = fs::read_dir(format!("/proc/self/fd/{}", directory.as_raw_fd())) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .take(limit)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| !name.contains(char::is_control))
        .collect();
    names.sort_unstable();
    names
}

fn is_there(root: BorrowedFd, path: &str) -> bool {
    open_no_follow(root, Path::new(path), OFlag::O_PATH).is_ok()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn lists_that_lead_to_each_other_have_an_end() {
        let root = std::env::temp_dir().join(format!("skep-services-{}", std::process::id()));
        let units = root.join("etc/systemd/system");
        fs::create_dir_all(&units).unwrap();
        fs::create_dir(units.join("a.target.wants")).unwrap();
        for number in 0..1000 {
            File::create(units.join(format!("a.target.wants/{number}.service"))).unwrap();
            symlink("a.target.wants", units.join(format!("{number}.wants"))).unwrap();
        }
        let directory = File::open(&root).unwrap();
        let mut services = Services::default();
        let mut left = 5000;
        let name = "etc/systemd/system";
        read_units(directory.as_fd(), name, &mut left, &mut services);
        assert_eq!((left, services.units.len()), (0, 1000));
        fs::remove_dir_all(&root).unwrap();
    }
}
