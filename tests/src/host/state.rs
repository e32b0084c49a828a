//! What is written down about a test host: how it was asked for, its supervisor, its current boot.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::Os;

/// `host.json`: what was asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    /// Host name.
    pub name: String,
    /// Which OS it runs.
    pub os: Os,
    /// Root on a loop-mounted ext4 image.
    pub image: bool,
    /// Guests below `/var/lib/machines`.
    pub guests: Vec<String>,
    /// Package to install before the first boot.
    pub package: Option<PathBuf>,
    /// The host goes down with this process.
    pub owner: Option<Process>,
    /// `/etc/machine-id`.
    pub machine_id: String,
}

/// `supervisor.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Supervisor {
    /// The process that boots the host and cleans up after it.
    pub process: Process,
    /// Directory of the host's cgroups.
    pub cgroup: PathBuf,
}

/// `boot.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Boot {
    /// PID 1 of the host.
    pub init: Process,
    /// First boot is 1.
    pub count: u32,
}

/// A process, told apart from a later one with the same number by its start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// PID as the machine sees it.
    pub pid: i32,
    /// Field 22 of proc_pid_stat(5).
    pub start: u64,
}

impl Process {
    /// The process that has this PID now. Zombies do not count.
    pub fn of(pid: i32) -> Option<Process> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        parse_stat(&text).map(|start| Process { pid, start })
    }

    /// Ourselves.
    pub fn current() -> Result<Process> {
        Process::of(nix::unistd::getpid().as_raw()).context("/proc shows no such process as ours")
    }

    /// Whether it still runs.
    pub fn is_alive(self) -> bool {
        Process::of(self.pid) == Some(self)
    }
}

/// Start time out of a stat line, `None` for the dead. The command name may hold blanks and brackets.
fn parse_stat(text: &str) -> Option<u64> {
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Reads a state file; `None` when there is none.
pub(super) fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .with_context(|| format!("{} is damaged", path.display())),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Writes a state file, so that a reader sees the old or the new one.
pub(super) fn store<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let temporary = path.with_extension("new");
    fs::write(&temporary, serde_json::to_vec_pretty(value)?)
        .and_then(|()| fs::rename(&temporary, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_time_is_field_22() {
        let rest = "1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1 2 3";
        for (head, expected) in [
            ("12 (cat) S", Some(4711)),
            ("12 (a) b) (c) R", Some(4711)),
            ("12 (gone) Z", None),
            ("12 (gone) X", None),
        ] {
            assert_eq!(parse_stat(&format!("{head} {rest}")), expected, "{head}");
        }
        assert_eq!(parse_stat("nonsense"), None);
    }
}
