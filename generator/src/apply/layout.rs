//! Where things lie. A value, so that tests have a place of their own.

use std::path::{Path, PathBuf};

use crate::{ranges, record, runs};

/// Paths that apply reads and writes.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Declarations lie in `etc/skep` and the other directories below it.
    pub root: PathBuf,
    /// Spec files.
    pub specs: PathBuf,
    /// Spec files of one-off runs.
    pub runs: PathBuf,
    /// State files of running containers.
    pub states: PathBuf,
    /// What supervisors remember of the last boots.
    pub ends: PathBuf,
    /// What the last apply made.
    pub record: PathBuf,
    /// One apply at a time.
    pub lock: PathBuf,
    /// Id ranges.
    pub leases: PathBuf,
    /// Where `SetUnitProperties` leaves its drop-ins.
    pub control: PathBuf,
    /// Directories in which somebody may have put a unit file or mask of the same name, highest priority first.
    pub unit_files: Vec<PathBuf>,
}

/// systemd's unit file directories in which a unit file beats, or stands in for, a transient unit.
const UNIT_FILES: &[&str] = &[
    "/etc/systemd/system",
    "/run/systemd/system",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

impl Layout {
    /// The host's.
    pub fn host() -> Self {
        Self {
            root: PathBuf::from("/"),
            specs: PathBuf::from(skep_spec::SPEC_DIR),
            runs: PathBuf::from(runs::DIRECTORY),
            states: PathBuf::from(skep_spec::STATE_DIR),
            ends: PathBuf::from(skep_spec::ENDS_DIR),
            record: PathBuf::from(record::PATH),
            lock: PathBuf::from("/run/skep/apply/lock"),
            leases: PathBuf::from(ranges::PATH),
            control: PathBuf::from("/run/systemd/system.control"),
            unit_files: UNIT_FILES.iter().map(PathBuf::from).collect(),
        }
    }

    /// The host's, but with the declarations below another directory.
    #[must_use]
    pub fn with_root(mut self, root: &Path) -> Self {
        self.root = root.to_owned();
        self
    }

    /// Everything below one directory.
    pub fn below(directory: &Path) -> Self {
        let host = Self::host();
        let moved = |path: &PathBuf| directory.join(path.strip_prefix("/").unwrap_or(path));
        Self {
            root: directory.to_owned(),
            specs: moved(&host.specs),
            runs: moved(&host.runs),
            states: moved(&host.states),
            ends: moved(&host.ends),
            record: moved(&host.record),
            lock: moved(&host.lock),
            leases: moved(&host.leases),
            control: moved(&host.control),
            unit_files: host.unit_files.iter().map(moved).collect(),
        }
    }
}
